//! A peer's text, made safe for one log line.

use std::fmt::{self, Display, Write};

/// Bytes from a peer, shown escaped and cut; made by [`escaped`].
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    most: usize,
}

/// Shows at most `most` bytes of `bytes`: printable text stays as it is, control characters,
/// backslashes and what is no UTF-8 become `\xNN`, and a cut is marked by `…`.
#[must_use]
pub fn escaped(bytes: &[u8], most: usize) -> Escaped<'_> {
    Escaped { bytes, most }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.bytes.get(..self.most).unwrap_or(self.bytes);
        for chunk in shown.utf8_chunks() {
            for c in chunk.valid().chars() {
                // Direction marks and the like can make a terminal show another text.
                let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
                if c.is_control() || c == '\\' || hidden {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\x{byte:02x}")?;
                    }
                } else {
                    f.write_char(c)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if shown.len() < self.bytes.len() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_forge_a_line_is_escaped() {
        let cases: [(&[u8], &str); 5] = [
            (b"plain <a@b>", "plain <a@b>"),
            (b"a\r\nmail: forged", "a\\x0d\\x0amail: forged"),
            (b"back\\slash", "back\\x5cslash"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("Grüße\u{202e}".as_bytes(), "Grüße\\xe2\\x80\\xae"),
        ];
        for (input, want) in cases {
            assert_eq!(escaped(input, 100).to_string(), want);
        }
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(escaped(&[b'x'; 500], 10).to_string(), "xxxxxxxxxx…");
        // A cut in the middle of a character shows the bytes that are left of it.
        assert_eq!(escaped("aü".as_bytes(), 2).to_string(), "a\\xc3…");
    }
}
