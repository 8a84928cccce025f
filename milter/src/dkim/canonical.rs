//! Header canonicalization (RFC 6376 §3.4.1 and §3.4.2) into the hash of a signature.

use std::fmt;
use std::ops::Range;

use super::crypto::Sha256;
use super::headers::Field;

/// How header or body are put in order before they are hashed (RFC 6376 §3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Canonicalization {
    /// Nothing changes but blank lines at the end of the body. What is not named means this.
    #[default]
    Simple,
    /// White space and the case of field names do not count.
    Relaxed,
}

impl fmt::Display for Canonicalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        })
    }
}

/// Something that takes canonical text piece by piece.
pub(crate) trait Sink {
    fn take(&mut self, text: &[u8]);
}

impl Sink for Sha256 {
    fn take(&mut self, text: &[u8]) {
        self.update(text);
    }
}

/// Gives a field and the CRLF that ends it, as it is hashed when `h=` names it.
pub(crate) fn signed_field(how: Canonicalization, field: Field<'_>, out: &mut impl Sink) {
    canonical_field(how, field.name, &[field.value], out);
    out.take(b"\r\n");
}

/// Gives the signature's own field: last, without the value of `b=` and without CRLF (RFC 6376 §3.7).
///
/// `b_value` is where in the value everything between `b=` and the next `;` lies.
pub(crate) fn signature_field(
    how: Canonicalization,
    field: Field<'_>,
    b_value: &Range<usize>,
    out: &mut impl Sink,
) {
    let before = field.value.get(..b_value.start).unwrap_or_default();
    let after = field.value.get(b_value.end..).unwrap_or_default();
    canonical_field(how, field.name, &[before, after], out);
}

fn canonical_field(how: Canonicalization, name: &[u8], value: &[&[u8]], out: &mut impl Sink) {
    match how {
        Canonicalization::Simple => {
            out.take(name);
            out.take(b":");
            value.iter().for_each(|piece| out.take(piece));
        }
        Canonicalization::Relaxed => {
            let bare = Field { name, value: b"" }.bare_name();
            out.take(&bare.to_ascii_lowercase());
            out.take(b":");
            let mut relaxed = RelaxedValue::default();
            value.iter().for_each(|piece| relaxed.take(piece, out));
        }
    }
}

/// A value whose folds are gone, whose runs of blanks are one space, and whose ends are bare.
#[derive(Default)]
struct RelaxedValue {
    begun: bool,
    blank: bool,
}

impl RelaxedValue {
    fn take(&mut self, piece: &[u8], out: &mut impl Sink) {
        let mut rest = piece;
        loop {
            rest = match rest {
                [] => return,
                [b' ' | b'\t', after @ ..] => {
                    self.blank = true;
                    after
                }
                [b'\r', b'\n', after @ ..] => after,
                [_, after @ ..] => {
                    if self.blank && self.begun {
                        out.take(b" ");
                    }
                    (self.blank, self.begun) = (false, true);
                    let stop = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r');
                    let word = 1 + after.iter().position(stop).unwrap_or(after.len());
                    out.take(rest.get(..word).unwrap_or_default());
                    rest.get(word..).unwrap_or_default()
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Sink for Vec<u8> {
        fn take(&mut self, text: &[u8]) {
            self.extend_from_slice(text);
        }
    }

    fn canonical(how: Canonicalization, name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        signed_field(how, Field { name, value }, &mut out);
        out
    }

    #[test]
    fn relaxed() {
        for (name, value, want) in [
            // The example of RFC 6376 §3.4.5.
            (&b"A"[..], &b" X"[..], &b"a:X\r\n"[..]),
            (b"B ", b" Y\t\r\n\tZ  ", b"b:Y Z\r\n"),
            (b"Subject\t ", b"", b"subject:\r\n"),
            (b"X", b" \t \r\n ", b"x:\r\n"),
            (b"X", b"\r\n a", b"x:a\r\n"),
            (b"X", b" a\x0bb\x0cc ", b"x:a\x0bb\x0cc\r\n"),
            (b"X", b"a \r b", b"x:a \r b\r\n"),
            (b"X", b"\r", b"x:\r\r\n"),
            (b"X", b"a\r\nb", b"x:ab\r\n"),
            (
                "\u{dc}X".as_bytes(),
                "\u{a0}\u{fc}  \u{2003}".as_bytes(),
                "\u{dc}x:\u{a0}\u{fc} \u{2003}\r\n".as_bytes(),
            ),
        ] {
            let got = canonical(Canonicalization::Relaxed, name, value);
            assert_eq!(got.escape_ascii().to_string(), want.escape_ascii().to_string());
        }
    }

    #[test]
    fn simple_changes_nothing() {
        assert_eq!(canonical(Canonicalization::Simple, b"B ", b" Y\t\r\n\tZ  "), b"B : Y\t\r\n\tZ  \r\n");
        assert_eq!(canonical(Canonicalization::Simple, b"b", b""), b"b:\r\n");
    }

    #[test]
    fn the_value_of_b_goes_and_the_blanks_round_it() {
        let value = b" v=1; b = \r\n abc \t; x=1";
        let tags = crate::dkim::tags::TagList::parse(value).unwrap();
        let field = Field { name: b"DKIM-Signature", value };
        let mut out = Vec::new();
        signature_field(Canonicalization::Simple, field, &tags.tag("b").unwrap().span, &mut out);
        assert_eq!(out, b"DKIM-Signature: v=1; b =; x=1");
        out.clear();
        signature_field(Canonicalization::Relaxed, field, &tags.tag("b").unwrap().span, &mut out);
        assert_eq!(out, b"dkim-signature:v=1; b =; x=1");
    }

    /// RFC 6376 §3.4.2 read word by word, with copies as it likes.
    fn naive_relaxed(name: &[u8], value: &[u8]) -> Vec<u8> {
        let lower = String::from_utf8(name.to_ascii_lowercase()).unwrap();
        let unfolded = String::from_utf8(value.to_vec()).unwrap().replace("\r\n", "");
        let words: Vec<&str> = unfolded.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        format!("{}:{}\r\n", lower.trim_end_matches([' ', '\t']), words.join(" ")).into_bytes()
    }

    proptest! {
        #[test]
        fn relaxed_is_what_the_rfc_says(
            name in "[A-Za-z-]{1,9}[ \t]{0,2}",
            pieces in proptest::collection::vec(
                prop_oneof![Just(" "), Just("\t"), Just("\r\n "), Just("ab"), Just("\r"), Just("\u{fc}")], 0..20),
        ) {
            let value = pieces.concat();
            prop_assert_eq!(
                canonical(Canonicalization::Relaxed, name.as_bytes(), value.as_bytes()),
                naive_relaxed(name.as_bytes(), value.as_bytes())
            );
        }
    }
}
