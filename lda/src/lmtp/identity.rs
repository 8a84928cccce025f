//! Acting as a recipient: this thread's effective user, group and further groups, and back again.
//!
//! The calls are the kernel's own, which concern one thread only; those of the C library would change the whole
//! process. Real and saved user stay root: so the way back is open, and no recipient may send this process a signal.

use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// The recipient that this thread acts as; on drop it is root again.
#[derive(Debug)]
pub struct Identity {
    /// Whether there is anything to undo.
    changed: bool,
}

/// Why a recipient cannot be taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityError {
    /// The service does not run as root, and this user is another one.
    NotRoot {
        /// Who runs the service.
        own: u32,
        /// Whom it would have to act as.
        wanted: u32,
    },
    /// The operating system refused.
    Refused(&'static str, rustix::io::Errno),
}

impl std::fmt::Display for IdentityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRoot { own, wanted } => write!(
                f,
                "postrider-lmtp runs as uid {own} and cannot deliver as uid {wanted}: let it run as root, or give all \
                 users uid {own}"
            ),
            Self::Refused(call, errno) => write!(f, "{call} failed: {errno}"),
        }
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// Becomes `uid` and `gid` with exactly the further groups given. A service that does not run as root stays who
    /// it is, if that is who is asked for.
    ///
    /// # Errors
    /// See [`IdentityError`]; the thread is then who it was before.
    pub fn take_on(uid: u32, gid: u32, groups: &[u32]) -> Result<Self, IdentityError> {
        let own = geteuid();
        if !own.is_root() {
            let same = own.as_raw() == uid;
            let error = IdentityError::NotRoot { own: own.as_raw(), wanted: uid };
            return if same { Ok(Self { changed: false }) } else { Err(error) };
        }
        let groups: Vec<Gid> = groups.iter().map(|&group| Gid::from_raw(group)).collect();
        let changed = Self { changed: true };
        set_thread_groups(&groups).map_err(|errno| IdentityError::Refused("setgroups", errno))?;
        let gid = Gid::from_raw(gid);
        set_thread_res_gid(Gid::ROOT, gid, Gid::ROOT)
            .map_err(|errno| IdentityError::Refused("setresgid", errno))?;
        set_thread_res_uid(Uid::ROOT, Uid::from_raw(uid), Uid::ROOT)
            .map_err(|errno| IdentityError::Refused("setresuid", errno))?;
        Ok(changed)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        if !self.changed {
            return;
        }
        let back = set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
            .and_then(|()| set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT))
            .and_then(|()| set_thread_groups(&[]));
        if back.is_err() || !geteuid().is_root() || !getegid().is_root() {
            // Going on would deliver one user's mail with another's rights.
            log::error!("a thread cannot become root again: {back:?}; the service ends");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_only_and_back_again() {
        if !geteuid().is_root() {
            let own = geteuid().as_raw();
            assert!(Identity::take_on(own, 0, &[]).is_ok());
            let error = Identity::take_on(own + 1, 0, &[]).unwrap_err();
            assert_eq!(error, IdentityError::NotRoot { own, wanted: own + 1 });
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let acting = scope.spawn(|| {
                let identity = Identity::take_on(65534, 65534, &[4, 24]).unwrap();
                assert!(std::fs::write(scratch.path().join("denied"), "").is_err(), "root's rights are gone");
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                let line =
                    |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or("").to_owned();
                assert_eq!(line("Uid:").split_whitespace().nth(4), Some("65534"), "the fsuid follows");
                assert_eq!(line("Groups:").split_whitespace().collect::<Vec<_>>(), ["Groups:", "4", "24"]);
                assert_eq!(line("CapEff:").split_whitespace().nth(1), Some("0000000000000000"));
                drop(identity);
                std::fs::write(scratch.path().join("allowed"), "").unwrap();
            });
            acting.join().unwrap();
        });
        assert!(geteuid().is_root());
    }

    #[test]
    fn a_panic_does_not_leave_the_thread_as_somebody_else() {
        if !geteuid().is_root() {
            return;
        }
        let result = std::panic::catch_unwind(|| {
            let _identity = Identity::take_on(65534, 65534, &[]).unwrap();
            panic!("a bug");
        });
        assert!(result.is_err() && geteuid().is_root());
    }
}
