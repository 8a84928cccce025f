//! The system's own users, by getpwnam(3) and so with users of directories (NSS) too.

use std::time::Duration;

use nix::unistd::User;

use super::{Answer, Fields};

/// A directory (NSS) has time limits of its own; `timeout` bounds what can be bounded: see the manual page.
pub(super) fn look_up(user: &str, timeout: Duration) -> Answer {
    let started = base::clock::monotonic_now();
    let found = match User::from_name(user) {
        Ok(found) => found,
        Err(error) => return Answer::Temporary(format!("getpwnam({user}): {error}")),
    };
    let took = base::clock::monotonic_now() - started;
    if took > timeout {
        log::warn!("getpwnam({user}) took {} s", took.as_secs());
    }
    let Some(user) = found else { return Answer::Unknown };
    let mut fields = Fields::default();
    fields.set("uid", user.uid.to_string());
    fields.set("gid", user.gid.to_string());
    fields.set("home", user.dir.to_string_lossy());
    fields.set("system_user", user.name);
    Answer::Found(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_this_machine() {
        let Answer::Found(root) = look_up("root", Duration::from_secs(30)) else { panic!() };
        assert_eq!((root.value("uid"), root.value("home")), (Some("0"), Some("/root")));
        assert_eq!(look_up("no such user", Duration::from_secs(30)), Answer::Unknown);
    }
}
