//! Names of folders ↔ names on disk: Maildir++ and nested directories, modified UTF-7 (pure).

use std::path::PathBuf;

use crate::location::{Layout, Place};

/// A folder of a mailbox: its name, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The name as users see it; `INBOX` for the INBOX.
    pub name: String,
    /// The directory that holds `cur`, `new` and `tmp`.
    pub path: PathBuf,
    /// The directory that holds `dovecot-keywords`.
    pub control: PathBuf,
    /// The name as it stands in `subscriptions`, parts separated by TAB.
    pub subscription: String,
}

impl Folder {
    /// Whether it is the INBOX.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.name == INBOX
    }
}

/// The folder that everybody has.
pub const INBOX: &str = "INBOX";

/// Longest part of a name on disk, which leaves room for a directory's name.
const LONGEST: usize = 250;

/// The folder of a name with parts between `separator`, behind `prefix`.
///
/// # Errors
/// A sentence: why no folder can have this name.
pub fn folder(place: &Place, separator: char, prefix: &str, name: &str) -> Result<Folder, String> {
    let everywhere = |path: PathBuf| {
        if place.directory_everywhere && !place.directory_name.is_empty() {
            path.join(&place.directory_name)
        } else {
            path
        }
    };
    // Elsewhere the INBOX has a directory like all folders (Dovecot 2.3.19).
    let inbox_control = |control: &PathBuf| match place.layout {
        Layout::MaildirPlusPlus => control.join(".INBOX"),
        Layout::Fs => everywhere(control.join("INBOX")),
    };
    let inbox = || Folder {
        name: INBOX.to_owned(),
        path: place.inbox.clone(),
        control: place.control.as_ref().map_or_else(|| place.inbox.clone(), inbox_control),
        subscription: INBOX.to_owned(),
    };
    if name.eq_ignore_ascii_case(INBOX) {
        return Ok(inbox());
    }
    let below = match name.strip_prefix(prefix) {
        Some(below) => below,
        // "INBOX.": the first part in any case.
        None if name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)) => {
            name.get(prefix.len()..).unwrap_or_default()
        }
        None => name,
    };
    let parts: Vec<&str> = below.split(separator).collect();
    let mut on_disk: Vec<String> = Vec::with_capacity(parts.len());
    for part in &parts {
        sound(part, place.layout)?;
        let encoded = if place.utf8 { (*part).to_owned() } else { to_utf7(part) };
        if encoded.len() > LONGEST {
            return Err("Mailbox name too long".to_owned());
        }
        on_disk.push(encoded);
    }
    let relative = match place.layout {
        Layout::MaildirPlusPlus => {
            let joined = format!(".{}", on_disk.join("."));
            if joined.len() > LONGEST {
                return Err("Mailbox name too long".to_owned());
            }
            PathBuf::from(joined)
        }
        Layout::Fs => {
            if on_disk.first().is_some_and(|first| ["cur", "new", "tmp"].contains(&first.as_str())) {
                return Err("Mailbox name is reserved".to_owned());
            }
            on_disk.iter().collect()
        }
    };
    let named = |path: PathBuf| {
        if place.directory_name.is_empty() { path } else { path.join(&place.directory_name) }
    };
    let path = named(place.root.join(&relative));
    Ok(Folder {
        name: name.to_owned(),
        control: match &place.control {
            Some(control) => everywhere(control.join(&relative)),
            None => path.clone(),
        },
        path,
        subscription: parts.join("\t"),
    })
}

/// Why a part of a name cannot be.
fn sound(part: &str, layout: Layout) -> Result<(), String> {
    if part.is_empty() {
        return Err("Invalid mailbox name: it has an empty part".to_owned());
    }
    if part.chars().any(char::is_control) {
        return Err("Invalid mailbox name: it has a control character".to_owned());
    }
    if part.contains('/') {
        return Err("Invalid mailbox name: it has a '/'".to_owned());
    }
    match layout {
        Layout::MaildirPlusPlus if part.contains('.') => Err("Invalid mailbox name: it has a '.'".to_owned()),
        Layout::Fs if part == "." || part == ".." || part.starts_with('.') => {
            Err("Invalid mailbox name: it begins with '.'".to_owned())
        }
        _ if part.starts_with('~') => Err("Invalid mailbox name: it begins with '~'".to_owned()),
        _ => Ok(()),
    }
}

/// Modified UTF-7 (RFC 3501 §5.1.3).
#[must_use]
pub fn to_utf7(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '&' => out.push_str("&-"),
            ' '..='~' => out.push(letter),
            _ => {
                let mut units = Vec::new();
                let mut buffer = [0; 2];
                units.extend_from_slice(letter.encode_utf16(&mut buffer));
                while let Some(next) = letters.next_if(|next| !matches!(next, ' '..='~')) {
                    units.extend_from_slice(next.encode_utf16(&mut buffer));
                }
                out.push('&');
                base64(&units, &mut out);
                out.push('-');
            }
        }
    }
    out
}

/// Base 64 with `,` for `/` and without padding, of UTF-16 in big endian.
fn base64(units: &[u16], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    let (mut bits, mut count) = (0_u32, 0);
    let mut push = |value: u32| {
        out.push(char::from(DIGITS.get(usize::try_from(value & 63).unwrap_or(0)).copied().unwrap_or(b'A')));
    };
    for unit in units {
        bits = bits << 16 | u32::from(*unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            push(bits >> count);
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        push(bits << (6 - count));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::location::Location;
    use crate::variables::Values;

    fn place(text: &str) -> Place {
        Location::parse(text).unwrap().expand(&Values { home: "/h", ..Values::default() }).unwrap()
    }

    #[test]
    fn maildir_plus_plus() {
        let place = place("maildir:~/M:CONTROL=/c");
        let of = |name: &str| folder(&place, '/', "", name);
        assert_eq!(of("inbox").unwrap().path, Path::new("/h/M"));
        let sub = of("A/Bücher & x").unwrap();
        assert_eq!(sub.path, Path::new("/h/M/.A.B&APw-cher &- x"));
        assert_eq!(sub.control, Path::new("/c/.A.B&APw-cher &- x"));
        assert_eq!(sub.subscription, "A\tBücher & x");
        for bad in ["", "/A", "A/", "A//B", "a.b", "..", "A/../B", "~x", "a\nb", &"x".repeat(300)] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(folder(&place, '.', "INBOX.", "INBOX.Sent").unwrap().path, Path::new("/h/M/.Sent"));
        assert_eq!(folder(&place, '.', "INBOX.", "Inbox.Sent").unwrap().path, Path::new("/h/M/.Sent"));
    }

    #[test]
    fn nested_directories() {
        let plain = place("maildir:~/M:LAYOUT=fs");
        assert_eq!(folder(&plain, '/', "", "A/b.c").unwrap().path, Path::new("/h/M/A/b.c"));
        for bad in ["..", "A/..", ".x", "cur", "new/x", "a//b"] {
            assert!(folder(&plain, '/', "", bad).is_err(), "{bad}");
        }
        let named = place("maildir:~/M:LAYOUT=fs:DIRNAME=mail:UTF-8");
        assert_eq!(folder(&named, '/', "", "ü").unwrap().path, Path::new("/h/M/ü/mail"));
    }

    /// Where Dovecot 2.3.19 has its own files of a folder, and so the keywords.
    #[test]
    fn control_files() {
        for (options, inbox, folder_a) in [
            ("", "/h/M", "/h/M/.A"),
            (":CONTROL=/c", "/c/.INBOX", "/c/.A"),
            (":CONTROL=/c:INBOX=/in", "/c/.INBOX", "/c/.A"),
            (":LAYOUT=fs:CONTROL=/c", "/c/INBOX", "/c/A"),
            (":LAYOUT=fs:CONTROL=/c:INBOX=/in", "/c/INBOX", "/c/A"),
            (":LAYOUT=fs:DIRNAME=m:CONTROL=/c", "/c/INBOX", "/c/A"),
            (":LAYOUT=fs:FULLDIRNAME=m:CONTROL=/c", "/c/INBOX/m", "/c/A/m"),
            (":LAYOUT=fs:DIRNAME=m", "/h/M/INBOX/m", "/h/M/A/m"),
            (":LAYOUT=fs:FULLDIRNAME=m", "/h/M/INBOX/m", "/h/M/A/m"),
        ] {
            let place = place(&format!("maildir:~/M{options}"));
            let control = |name: &str| folder(&place, '/', "", name).unwrap().control;
            assert_eq!(control("INBOX"), Path::new(inbox), "{options}");
            assert_eq!(control("A"), Path::new(folder_a), "{options}");
        }
        assert!(Location::parse("maildir:~/M:DIRNAME=m").is_err());
    }

    #[test]
    fn utf7_is_rfc_3501s() {
        for (text, want) in [
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("&", "&-"),
            ("ü", "&APw-"),
            ("😀", "&2D3eAA-"),
            ("aéb", "a&AOk-b"),
        ] {
            assert_eq!(to_utf7(text), want);
        }
    }
}
