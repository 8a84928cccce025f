//! Users of Dovecot's passwd-file: read through to the user's line at each look-up.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use base::passwd_file::{self, LONGEST_LINE, Line};

use super::{Answer, Fields};
use crate::variables::{Template, Values};

pub(super) fn look_up(path: &Template, key: &str, values: &Values<'_>) -> Answer {
    // A part of a path that comes from an address must not lead elsewhere.
    if path.has_variables() && (key.contains('/') || key.split('@').any(|part| part.starts_with('.'))) {
        return Answer::Unknown;
    }
    let path = path.expand(values);
    match find(&path, key) {
        Ok(Some(line)) => entry(&path, &line, key, values),
        Ok(None) => Answer::Unknown,
        Err(error) => Answer::Temporary(format!("passwd-file {path}: {error}")),
    }
}

/// The first line of this user.
fn find(path: &str, key: &str) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = io::Read::take(&mut reader, u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX) + 2);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() > LONGEST_LINE && !line.ends_with(b"\n") {
            // What follows is no line of its own.
            reader.skip_until(b'\n')?;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if passwd_file::user(text) == key.as_bytes() && !text.starts_with(b"#") {
            line.truncate(text.len());
            return Ok(Some(line));
        }
    }
}

fn entry(path: &str, line: &[u8], key: &str, values: &Values<'_>) -> Answer {
    let user = match passwd_file::line(line) {
        Line::User(user) => user,
        Line::Nothing => return Answer::Unknown,
        Line::Bad(why) => return Answer::Temporary(format!("passwd-file {path}: user {key}: {why}")),
    };
    let mut fields = Fields::default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for (name, value) in [("uid", user.uid), ("gid", user.gid), ("home", user.home), ("mail", user.mail)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            fields.set(name, text(value));
        }
    }
    let home = fields.value("home").unwrap_or_default().to_owned();
    let values = Values { home: &home, ..*values };
    for (name, value) in user.fields() {
        let Some(name) = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix("userdb_")) else {
            continue;
        };
        let value = value.map_or_else(|| "yes".to_owned(), text);
        match Template::parse(&value) {
            Ok(template) => fields.set(name, template.expand(&values)),
            Err(error) => {
                return Answer::Temporary(format!("passwd-file {path}: user {key}: {name}: {error}"));
            }
        }
    }
    Answer::Found(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let lines = "#joe:x\njoe:{PLAIN}x:1000:1001::/home/joe::userdb_quota_rule=*:storage=1G userdb_mail=maildir:%h/M userdb_x nothing=1\n\
                     bad:x\0\nlast::5:6::/l";
        std::fs::write(&path, lines).unwrap();
        let template = Template::literal(path.to_str().unwrap());
        let find = |user: &str| look_up(&template, user, &Values { user, ..Values::default() });
        let Answer::Found(joe) = find("joe") else { panic!() };
        let all: Vec<_> = joe.iter().collect();
        let want = [
            ("uid", "1000"),
            ("gid", "1001"),
            ("home", "/home/joe"),
            ("quota_rule", "*:storage=1G"),
            ("mail", "maildir:/home/joe/M"),
            ("x", "yes"),
        ];
        assert_eq!(all, want);
        assert_eq!(find("nobody"), Answer::Unknown);
        assert!(matches!(find("bad"), Answer::Temporary(_)));
        assert!(matches!(find("last"), Answer::Found(_)));
        std::fs::write(
            &path,
            format!(
                "x:{}\nlong::1:1::/:{}\nnext::7:8::/n\n",
                "joe:".repeat(LONGEST_LINE),
                "x".repeat(LONGEST_LINE)
            ),
        )
        .unwrap();
        assert_eq!(find("joe"), Answer::Unknown, "the rest of a line that is too long is no line");
        assert!(matches!(find("next"), Answer::Found(_)));
        let missing = Template::literal("/nonexistent/users");
        assert!(matches!(look_up(&missing, "x", &Values::default()), Answer::Temporary(_)));
        let by_domain = Template::parse("/nonexistent/%d/users").unwrap();
        assert_eq!(look_up(&by_domain, "x@../../etc", &Values::default()), Answer::Unknown);
    }
}
