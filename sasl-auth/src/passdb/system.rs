//! Passwords of the system's own users, from shadow(5).

use std::sync::Arc;

use base::passwd_file;
use base::secret::Secret;

use super::{Entry, Lookup, StoredPassword, Unavailable};
use crate::request::Request;
use crate::user_file::{Kind, UserFiles};

const SHADOW: &str = "/etc/shadow";

/// The system's users. Only those in the file itself: for users of a directory (NSS) there is PAM.
pub struct System {
    shadow: Arc<UserFiles>,
}

impl System {
    /// Opens nothing yet. Reading `/etc/shadow` needs the group `shadow` or root.
    ///
    /// # Errors
    /// None in practice.
    pub fn new() -> Result<Self, String> {
        Self::reading(SHADOW)
    }

    fn reading(path: &str) -> Result<Self, String> {
        Ok(Self { shadow: UserFiles::open(path, Kind { name: "shadow", ..Kind::USERS })? })
    }

    /// Looks the request's user up. An account that is locked has the field `fail` with the reason, and
    /// no password; one that has expired, or whose password has, the field `pass_expired`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn lookup(&self, request: &Request, now_unix: u64) -> Result<Lookup, Unavailable> {
        let content = self.shadow.content(request).await.map_err(|error| {
            Unavailable::new(format!(
                "{error}; the service needs the group shadow to read it, or use the driver pam"
            ))
        })?;
        let Some(content) = content else { return Ok(Lookup::Unknown) };
        let Some(line) = content.lines(&request.user).next() else { return Ok(Lookup::Unknown) };
        Ok(Lookup::Found(entry(line, now_unix / 86400)))
    }
}

/// The entry of a line of shadow(5), on a day counted from 1970-01-01.
fn entry(line: &[u8], today: u64) -> Entry {
    let mut entry = Entry::default();
    let passwd_file::Line::User(user) = passwd_file::line(line) else { return entry };
    let locked = user.password.starts_with(b"!") || user.password.starts_with(b"*");
    if !locked && !user.password.is_empty() {
        // What crypt(3) reads, whatever the passdb's default scheme is.
        let text = Secret::new([b"{CRYPT}", user.password.as_ref()].concat());
        entry.passwords.push(StoredPassword { text, ..StoredPassword::default() });
    }
    if locked {
        entry.fields.set("fail", Some("account has no password or is locked".to_owned()));
    } else if let Some(reason) = Ages::read(line).refusal(today) {
        entry.fields.set("pass_expired", Some(reason.to_owned()));
    }
    entry
}

/// The days of shadow(5) that matter; `None` for an empty or unreadable field.
struct Ages {
    changed: Option<u64>,
    most: Option<u64>,
    inactive: Option<u64>,
    expires: Option<u64>,
}

impl Ages {
    fn read(line: &[u8]) -> Self {
        let mut fields = line
            .split(|byte| *byte == b':')
            .map(|field| std::str::from_utf8(field).ok()?.trim().parse().ok());
        let mut field = |skip: usize| fields.nth(skip).flatten();
        Self { changed: field(2), most: field(1), inactive: field(1), expires: field(0) }
    }

    /// What has expired, as pam_unix decides it. Dovecot's PAM passdb tells clients of an account that
    /// has expired the same as of a password (2.3).
    fn refusal(&self, today: u64) -> Option<&'static str> {
        if self.expires.is_some_and(|day| today >= day) {
            return Some("account has expired");
        }
        if self.changed == Some(0) {
            return Some("password must be changed");
        }
        let (changed, most) = (self.changed?, self.most?);
        let age = today.checked_sub(changed)?;
        if age <= most {
            None
        } else if self.inactive.is_some_and(|inactive| age > most.saturating_add(inactive)) {
            Some("account is inactive since its password expired")
        } else {
            Some("password has expired")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: u64 = 20_000;

    fn refusal(line: &str) -> Option<String> {
        let fields = entry(line.as_bytes(), TODAY).fields;
        assert!(fields.iter().count() < 2, "{line}: {fields:?}");
        fields.iter().next().map(|(name, value)| format!("{name}: {}", value.unwrap_or_default()))
    }

    #[test]
    fn expiry_is_decided_as_pam_unix_does() {
        for (line, part) in [
            ("a:$y$x:19000:0:99999:7:::", None),
            ("a:$y$x:::::::", None),
            ("a:$y$x", None),
            ("a:$y$x:19900:0:100:7:::", None),
            ("a:$y$x:19899:0:100:7:::", Some("password has expired")),
            ("a:$y$x:19899:0:100:7:1::", Some("password has expired")),
            ("a:$y$x:19898:0:100:7:1::", Some("inactive")),
            ("a:$y$x:0:0:99999:7:::", Some("must be changed")),
            ("a:$y$x:19000:0:99999:7::20001:", None),
            ("a:$y$x:19000:0:99999:7::20000:", Some("account has expired")),
            ("a:$y$x:30000:0:1:7:::", None),
            ("a:!$y$x:19000:0:99999:7:::", Some("locked")),
            ("a:*:19000:0:99999:7:::", Some("locked")),
        ] {
            let found = refusal(line);
            match part {
                None => assert_eq!(found, None, "{line}"),
                Some(part) => {
                    let name = if part == "locked" { "fail: " } else { "pass_expired: " };
                    let fits = |found: &String| found.starts_with(name) && found.contains(part);
                    assert!(found.as_ref().is_some_and(fits), "{line}: {found:?}");
                }
            }
        }
        assert!(entry(b"a:!$y$x:19000:::::", TODAY).passwords.is_empty());
        assert!(entry(b"a::19000:::::", TODAY).passwords.is_empty());
        assert_eq!(entry(b"a:$y$x:19000:::::", TODAY).passwords[0].text, Secret::from("{CRYPT}$y$x"));
    }

    #[tokio::test]
    async fn users_of_the_file_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shadow");
        std::fs::write(&path, "joe:$6$x:19000:0:99999:7:::\n").unwrap();
        let system = System::reading(path.to_str().unwrap()).unwrap();
        let request = |user: &str| Request { user: user.into(), ..Request::default() };
        assert!(matches!(system.lookup(&request("joe"), 0).await, Ok(Lookup::Found(_))));
        assert_eq!(system.lookup(&request("ann"), 0).await, Ok(Lookup::Unknown));
        std::fs::remove_file(&path).unwrap();
        assert!(system.lookup(&request("joe"), 0).await.unwrap_err().detail.contains("group shadow"));
    }
}
