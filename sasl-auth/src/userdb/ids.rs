//! User and group ids from numbers or names.

use nix::unistd::{Group, User};

/// A uid as a number, or of a user of the system. Root is refused: nobody's mail is delivered as root.
///
/// # Errors
/// The text is 0, no number and no user, or users cannot be looked up.
pub(super) fn uid(text: &str) -> Result<u32, String> {
    id(text, "uid", "user", |name| User::from_name(name).map(|user| user.map(|user| user.uid.as_raw())))
}

/// A gid as a number, or of a group of the system, likewise.
///
/// # Errors
/// As [`uid`].
pub(super) fn gid(text: &str) -> Result<u32, String> {
    id(text, "gid", "group", |name| Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw())))
}

fn id(
    text: &str,
    kind: &str,
    of: &str,
    find: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> Result<u32, String> {
    let number = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_too_large| format!("{kind} {text:?} is not a number up to 4294967294"))?
    } else {
        match find(text) {
            Ok(Some(number)) => number,
            Ok(None) => return Err(format!("{kind}: there is no {of} {text:?}")),
            Err(error) => return Err(format!("{kind}: {of} {text:?} cannot be looked up: {error}")),
        }
    };
    match number {
        0 => Err(format!("{kind} 0 is refused")),
        // -1, which setuid(2) takes for "no change".
        u32::MAX => Err(format!("{kind} {text:?} is not a number up to 4294967294")),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        assert_eq!(uid("1000"), Ok(1000));
        assert_eq!(gid("00100"), Ok(100));
        assert_eq!(uid("nobody"), Ok(65534));
        for (result, part) in [
            (uid("0"), "uid 0"),
            (uid("root"), "uid 0"),
            (gid("0"), "gid 0"),
            (uid("4294967295"), "not a number"),
            (uid("99999999999"), "not a number"),
            (uid("no such user"), "there is no user"),
            (gid("-1"), "there is no group"),
            (gid(""), "not a number"),
        ] {
            assert!(result.as_ref().is_err_and(|error| error.contains(part)), "{result:?} {part}");
        }
    }
}
