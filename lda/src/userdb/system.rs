//! The system's own users, by getpwnam(3) and so with users of directories (NSS) too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use nix::unistd::{Gid, User, alarm};

use super::{Answer, Fields};

/// Look-ups that hang and that a server with threads bears; one more is answered at once.
const MOST_HANGING: usize = 64;

pub(super) fn look_up(user: &str, timeout: Duration, service: &str) -> Answer {
    let name = user.to_owned();
    let answer = limited(timeout, service, move || found(&name));
    answer.unwrap_or_else(|why| Answer::Temporary(format!("getpwnam({user}): {why}")))
}

/// The further groups of a system's user.
///
/// # Errors
/// A sentence.
pub fn groups(user: &str, gid: u32, timeout: Duration, service: &str) -> Result<Vec<u32>, String> {
    let name = std::ffi::CString::new(user).map_err(|error| error.to_string())?;
    let found = limited(timeout, service, move || nix::unistd::getgrouplist(&name, Gid::from_raw(gid)));
    let found = found.and_then(|found| found.map_err(|error| error.to_string()));
    let found = found.map_err(|why| format!("getgrouplist({user}): {why}"))?;
    Ok(found.into_iter().map(Gid::as_raw).collect())
}

/// Asks the system. Its calls know no time limit, and a directory behind them can hang for ever: postrider-lda, which
/// has no threads, is ended by the system then (SIGALRM; Postfix tries again), and the server leaves the call to itself.
fn limited<T: Send + 'static>(
    timeout: Duration,
    service: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    static HANGING: AtomicUsize = AtomicUsize::new(0);
    if service == "lmtp" {
        return within(&HANGING, timeout, work);
    }
    // A part of a second counts as a whole one.
    let seconds = u32::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    let _before = alarm::set(seconds.max(1));
    let answer = work();
    let _left = alarm::cancel();
    Ok(answer)
}

/// Does `work` in a thread of its own, which is left alone when it takes longer.
fn within<T: Send + 'static>(
    hanging: &'static AtomicUsize,
    timeout: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    if hanging.fetch_add(1, Ordering::SeqCst) >= MOST_HANGING {
        hanging.fetch_sub(1, Ordering::SeqCst);
        return Err(format!(
            "{MOST_HANGING} look-ups wait already; see what /etc/nsswitch.conf names for passwd"
        ));
    }
    let (sender, receiver) = mpsc::channel();
    let begun = std::thread::Builder::new().name("nss".to_owned()).spawn(move || {
        let answer = work();
        hanging.fetch_sub(1, Ordering::SeqCst);
        // Nobody may wait for it any more.
        drop(sender.send(answer));
    });
    if let Err(error) = begun {
        hanging.fetch_sub(1, Ordering::SeqCst);
        return Err(format!("no thread: {error}"));
    }
    receiver.recv_timeout(timeout).map_err(|_no_answer| {
        format!("no answer in {} s; see what /etc/nsswitch.conf names for passwd", timeout.as_secs_f32())
    })
}

fn found(user: &str) -> Answer {
    let found = match User::from_name(user) {
        Ok(found) => found,
        Err(error) => return Answer::Temporary(format!("getpwnam({user}): {error}")),
    };
    let Some(user) = found else { return Answer::Unknown };
    let mut fields = Fields::default();
    fields.set("uid", user.uid.to_string());
    fields.set("gid", user.gid.to_string());
    fields.set("home", user.dir.to_string_lossy());
    // Dovecot's name for it.
    fields.set("system_groups_user", user.name);
    Answer::Found(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_this_machine() {
        for service in ["lda", "lmtp"] {
            let limit = Duration::from_secs(30);
            let Answer::Found(root) = look_up("root", limit, service) else { panic!() };
            assert_eq!((root.value("uid"), root.value("home")), (Some("0"), Some("/root")));
            assert_eq!(look_up("no such user", limit, service), Answer::Unknown);
        }
    }

    #[test]
    fn a_directory_that_hangs_holds_nobody_up() {
        static HANGING: AtomicUsize = AtomicUsize::new(0);
        let (stop, wait) = mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let hang = || {
            let wait = std::sync::Arc::clone(&wait);
            within(&HANGING, Duration::from_millis(5), move || wait.lock().unwrap().recv().is_ok())
        };
        let why: Vec<String> = (0..=MOST_HANGING).map(|_| hang().unwrap_err()).collect();
        assert!(why[0].starts_with("no answer in 0.005 s; see"), "{}", why[0]);
        assert!(why[MOST_HANGING].starts_with("64 look-ups wait already"), "{}", why[MOST_HANGING]);
        drop(stop);
        let end = base::clock::monotonic_now() + Duration::from_secs(20);
        while within(&HANGING, Duration::from_secs(5), || 7) != Ok(7) {
            assert!(base::clock::monotonic_now() < end, "places do not come back");
        }
    }
}
