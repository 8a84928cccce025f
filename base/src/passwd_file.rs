//! One line of Dovecot's passwd-file: `user:password:uid:gid:gecos:home:shell:extra fields`.

use std::borrow::Cow;

/// A user's line, in pieces of the line itself. Nothing is decoded or expanded.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name, never empty.
    pub user: &'a [u8],
    /// `{SCHEME}data`, bare data in the default scheme, or empty. Secret: `Debug` does not print it.
    pub password: Cow<'a, [u8]>,
    /// Number or name; `None` when the line ends before it, empty when the field is.
    pub uid: Option<&'a [u8]>,
    /// As `uid`.
    pub gid: Option<&'a [u8]>,
    /// The home; `None` when the line ends before it.
    pub home: Option<&'a [u8]>,
    /// Everything behind the shell, colons included; see [`Entry::fields`].
    pub extra: &'a [u8],
    /// In the old form, with nothing behind the shell but a further field: that field, the mail location.
    pub mail: Option<&'a [u8]>,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// Blank, or a comment.
    Nothing,
    /// A user.
    User(Entry<'a>),
    /// Neither; passed over. The reason is for the log.
    Bad(&'static str),
}

/// Longest line that is read; longer ones are [`Line::Bad`].
pub const LONGEST_LINE: usize = 64 * 1024;

/// Reads a line without its end of line; a carriage return at the end goes.
///
/// Lines may stop after any field. `#` makes a comment only at the line's beginning, and a space
/// there belongs to the name (Dovecot 2.3.19 observed).
#[must_use]
pub fn line(line: &[u8]) -> Line<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.starts_with(b"#") {
        return Line::Nothing;
    }
    if line.len() > LONGEST_LINE {
        return Line::Bad("line is too long");
    }
    if line.contains(&0) {
        return Line::Bad("line holds a NUL byte");
    }
    let mut fields = Fields { rest: Some(line) };
    let user = fields.next().unwrap_or_default();
    if user.is_empty() {
        return Line::Bad("no user name before the first colon");
    }
    let password = password(fields.next().unwrap_or_default());
    let uid = fields.next();
    let gid = fields.next();
    let _gecos = fields.next();
    let home = fields.next();
    let _shell = fields.next();
    let extra = fields.rest.unwrap_or_default();
    let (extra, mail) = match extra.strip_prefix(b":") {
        Some(mail) => (&b""[..], Some(mail).filter(|mail| !mail.is_empty())),
        None => (extra, None),
    };
    Line::User(Entry { user, password, uid, gid, home, extra, mail })
}

/// The user's name of a line as [`line()`] would give it, without looking at the rest.
#[must_use]
pub fn user(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// `data[34]` and the like are libpam-pwdfile's notation, for passwords without `{SCHEME}` only.
fn password(field: &[u8]) -> Cow<'_, [u8]> {
    let bracketed = (!field.starts_with(b"{"))
        .then(|| {
            let inside = field.strip_suffix(b"]")?;
            let open = inside.iter().rposition(|byte| *byte == b'[')?;
            Some((inside.get(..open)?, inside.get(open + 1..)?))
        })
        .flatten();
    let (scheme, data): (&[u8], &[u8]) = match bracketed {
        Some((data, b"13")) => (b"{CRYPT}", data),
        Some((data, b"34")) => (b"{PLAIN-MD5}", data),
        Some((data, b"56")) => (b"{DIGEST-MD5}", data),
        _ => return Cow::Borrowed(field),
    };
    Cow::Owned([scheme, data].concat())
}

impl<'a> Entry<'a> {
    /// The extra fields in order: name, and the value if there is a `=`. Spaces separate them, so
    /// values hold none.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.extra.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).map(|field| {
            match field.iter().position(|byte| *byte == b'=') {
                Some(at) => (field.get(..at).unwrap_or_default(), field.get(at + 1..)),
                None => (field, None),
            }
        })
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("user", &String::from_utf8_lossy(self.user)).finish_non_exhaustive()
    }
}

/// The fields between colons.
struct Fields<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let Some(at) = rest.iter().position(|byte| *byte == b':') else {
            self.rest = None;
            return Some(rest);
        };
        self.rest = rest.get(at + 1..);
        rest.get(..at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry<'_> {
        match line(text.as_bytes()) {
            Line::User(entry) => entry,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn fields<'a>(entry: &Entry<'a>) -> Vec<(&'a str, Option<&'a str>)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        entry.fields().map(|(name, value)| (text(name), value.map(text))).collect()
    }

    #[test]
    fn all_fields() {
        let entry =
            entry("joe@x:{PLAIN}correct horse:1000:mail:Joe:/home/joe:/bin/sh:a=b  c=d:e f nologin=\r");
        assert_eq!(entry.user, b"joe@x");
        assert_eq!(&*entry.password, b"{PLAIN}correct horse");
        assert_eq!(entry.uid, Some(&b"1000"[..]));
        assert_eq!(entry.gid, Some(&b"mail"[..]));
        assert_eq!(entry.home, Some(&b"/home/joe"[..]));
        assert_eq!(
            fields(&entry),
            [("a", Some("b")), ("c", Some("d:e")), ("f", None), ("nologin", Some(""))]
        );
        assert_eq!(format!("{entry:?}"), r#"Entry { user: "joe@x", .. }"#);
    }

    #[test]
    fn a_line_may_stop_anywhere() {
        assert_eq!(entry("joe").password.as_ref(), b"");
        assert_eq!(entry("joe:x").uid, None);
        assert_eq!(entry("joe:x:").uid, Some(&b""[..]));
        assert_eq!(entry("joe:x:1:2").home, None);
        assert_eq!(entry("joe:x:1:2::/h").home, Some(&b"/h"[..]));
        assert_eq!(entry(" joe:x").user, b" joe");
        assert_eq!(entry("j#e:x").user, b"j#e");
    }

    #[test]
    fn the_old_form_ends_with_a_mail_location() {
        let old = entry("old:x:1:1::/home/o:/bin/sh::/var/mail/old:x");
        assert_eq!(old.mail, Some(&b"/var/mail/old:x"[..]));
        assert_eq!(fields(&old), []);
        assert_eq!(entry("old:x:1:1::/home/o:/bin/sh::").mail, None);
        assert_eq!(entry("old:x:1:1::/home/o:/bin/sh:").mail, None);
    }

    #[test]
    fn pwdfile_notation_is_for_bare_passwords() {
        assert_eq!(&*entry("a:0123[34]").password, b"{PLAIN-MD5}0123");
        assert_eq!(&*entry("a:rr1[13]").password, b"{CRYPT}rr1");
        assert_eq!(&*entry("a:00[56]").password, b"{DIGEST-MD5}00");
        assert_eq!(&*entry("a:{PLAIN}a[34]").password, b"{PLAIN}a[34]");
        assert_eq!(&*entry("a:a[b]c").password, b"a[b]c");
        assert_eq!(&*entry("a:x[99]").password, b"x[99]");
    }

    #[test]
    fn what_is_no_user() {
        assert_eq!(line(b""), Line::Nothing);
        assert_eq!(line(b"\r"), Line::Nothing);
        assert_eq!(line(b"#joe:x"), Line::Nothing);
        assert!(matches!(line(b":x"), Line::Bad(_)));
        assert!(matches!(line(b"joe:x\0y"), Line::Bad(_)));
        assert!(matches!(line(&vec![b'a'; LONGEST_LINE + 1]), Line::Bad(_)));
    }

    #[test]
    fn both_readers_agree_on_the_name() {
        for text in ["joe:x:1", "joe", "joe\r", "a b:c", "j\u{e9}:x"] {
            assert_eq!(user(text.as_bytes()), entry(text).user, "{text:?}");
        }
    }
}
