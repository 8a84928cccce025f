//! The Dovecot auth protocol's lines: bytes ↔ typed messages, without a socket.
//!
//! A line is a command and its fields, separated by TAB and ended by LF. Observed on Dovecot 2.3.19
//! and 2.4; the protocol's versions 1.0 to 1.2 are spoken here.

pub mod reply;
pub mod request;

use std::borrow::Cow;

/// Longest line from a client, the LF included (Dovecot's `AUTH_CLIENT_MAX_LINE_LENGTH`).
pub const LONGEST_CLIENT_LINE: usize = 16_384;
/// Longest line on a userdb socket, the LF included.
pub const LONGEST_USERDB_LINE: usize = 1_024;
/// The protocol's major version; another one cannot be talked to.
pub const MAJOR: u32 = 1;
/// The minor version that we announce to clients.
pub const CLIENT_MINOR: u32 = 2;
/// The minor version that we announce on a userdb socket.
pub const USERDB_MINOR: u32 = 1;

/// Takes the escapes out of a value: `\x01` and `0 1 t r n`; another character stands for itself.
#[must_use]
pub fn unescaped(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&1) {
        return Cow::Borrowed(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            1 => match bytes.next() {
                Some(b'0') => 0,
                Some(b'1') => 1,
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                // Dovecot 2.3.19 and later write n (observed).
                Some(b'n') => b'\n',
                Some(&other) => other,
                None => break,
            },
            other => other,
        });
    }
    Cow::Owned(plain)
}

/// Appends `value` with NUL, 0x01, TAB, CR and LF escaped.
pub fn escape_into(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        let letter = match byte {
            0 => b'0',
            1 => b'1',
            b'\t' => b't',
            b'\r' => b'r',
            b'\n' => b'n',
            other => {
                out.push(other);
                continue;
            }
        };
        out.extend([1, letter]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_both_ways() {
        let all = b"a\0b\x01c\td\re\nf\xff".as_slice();
        let mut escaped = Vec::new();
        escape_into(all, &mut escaped);
        assert_eq!(escaped, b"a\x010b\x011c\x01td\x01re\x01nf\xff");
        assert_eq!(&*unescaped(&escaped), all);
    }

    #[test]
    fn odd_escapes_do_no_harm() {
        assert_eq!(&*unescaped(b"a\x01xb"), b"axb");
        assert_eq!(&*unescaped(b"a\x01"), b"a");
        assert!(matches!(unescaped(b"plain"), Cow::Borrowed(b"plain")));
    }
}
