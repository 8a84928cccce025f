//! A child process of a delivery keeps nothing but the recipient's rights.

use rustix::process::{getegid, geteuid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

/// Makes the effective user and group the real and the saved ones too, so that there is no way back.
///
/// The LMTP server's threads act as recipients, with root as their real user: a child process must not inherit that.
/// To be called in the child, before it runs another program or works on what strangers have written. It makes system
/// calls only, so it may be called between fork(2) and exec(3).
///
/// # Errors
/// When the operating system refuses; the child must not go on then.
pub fn give_up_root() -> std::io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::lmtp::identity::Identity;
    use crate::sieve::confine::{Confines, confined};
    use crate::submit::submit;
    use std::time::Duration;

    /// The lines of /proc/self/status that tell who a process is.
    fn who(status: &str) -> Vec<String> {
        let is_wanted = |line: &&str| ["Uid:", "Gid:", "CapPrm:"].iter().any(|name| line.starts_with(name));
        status
            .lines()
            .filter(is_wanted)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    const NOBODY: [&str; 3] =
        ["Uid: 65534 65534 65534 65534", "Gid: 65534 65534 65534 65534", "CapPrm: 0000000000000000"];

    #[test]
    fn children_of_a_thread_that_acts_as_a_recipient_are_the_recipient() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(scratch.path(), Some(65534), Some(65534)).unwrap();
        let (out, program) = (scratch.path().join("out"), scratch.path().join("sendmail"));
        // A shell whose real and effective users differ would go back to the real one.
        let text = format!("#!/bin/sh\ncat > /dev/null\ncat /proc/self/status > {}\n", out.display());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let identity = Identity::take_on(65534, 65534, &[65534]).unwrap();
        let sent = submit(&program, "", &["a@x".to_owned()], &mut &b"x"[..], Duration::from_secs(20));
        let confines = Confines { cpu: Duration::from_secs(5), memory: 1 << 28 };
        let script = confined(confines, || std::fs::read("/proc/self/status").unwrap_or_default());
        drop(identity);
        sent.unwrap();
        assert_eq!(who(&std::fs::read_to_string(out).unwrap()), NOBODY);
        assert_eq!(who(&String::from_utf8(script.unwrap()).unwrap()), NOBODY);
    }
}
