//! Tag lists, the `name=value; name=value` text of signatures and key records (RFC 6376 §3.2).

use std::fmt;
use std::ops::Range;

/// The longest tag list that is looked at, in octets. A milter gets no longer field either.
pub const MAX_LIST_BYTES: usize = 65_536;

/// The largest number of tags in a list. The RFCs define 15 for signatures.
pub const MAX_TAGS: usize = 64;

/// One tag of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// The name as written; names are case-sensitive.
    pub name: &'a [u8],
    /// The value without the white space around it.
    pub value: &'a [u8],
    /// Where in the list everything between `=` and the next `;` lies, white space included.
    pub span: Range<usize>,
}

/// What is wrong with a tag list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagError {
    /// It is longer than [`MAX_LIST_BYTES`].
    TooLong,
    /// It has more than [`MAX_TAGS`] tags.
    TooMany,
    /// There is no tag in it.
    Empty,
    /// A control character, or a line end that does not belong to folding white space.
    Octet,
    /// A piece between two semicolons has no `=`, or no proper name before it.
    Name,
    /// A name stands in it twice (RFC 6376 §3.2: the whole list is then invalid).
    Duplicate,
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "tag list too long",
            Self::TooMany => "too many tags",
            Self::Empty => "empty tag list",
            Self::Octet => "character not allowed in a tag list",
            Self::Name => "tag without a valid name",
            Self::Duplicate => "duplicate tag",
        })
    }
}

/// A tag list that keeps to the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagList<'a> {
    tags: Vec<Tag<'a>>,
}

impl<'a> TagList<'a> {
    /// Reads a list. Octets above 127 are let through (RFC 8616); each tag checks its own.
    ///
    /// # Errors
    /// [`TagError`] when the list is not one of RFC 6376 §3.2 or goes beyond a limit.
    pub fn parse(text: &'a [u8]) -> Result<Self, TagError> {
        if text.len() > MAX_LIST_BYTES {
            return Err(TagError::TooLong);
        }
        check_octets(text)?;
        let mut tags: Vec<Tag<'a>> = Vec::with_capacity(12);
        let mut begin = 0;
        loop {
            let rest = text.get(begin..).unwrap_or_default();
            let semicolon = memchr::memchr(b';', rest);
            let piece = rest.get(..semicolon.unwrap_or(rest.len())).unwrap_or_default();
            if semicolon.is_none() && trim(piece).is_empty() {
                break;
            }
            if tags.len() == MAX_TAGS {
                return Err(TagError::TooMany);
            }
            let equals = memchr::memchr(b'=', piece).ok_or(TagError::Name)?;
            let name = trim(piece.get(..equals).unwrap_or_default());
            let raw = piece.get(equals + 1..).unwrap_or_default();
            if !is_tag_name(name) {
                return Err(TagError::Name);
            }
            if tags.iter().any(|tag| tag.name == name) {
                return Err(TagError::Duplicate);
            }
            tags.push(Tag { name, value: trim(raw), span: begin + equals + 1..begin + piece.len() });
            match semicolon {
                Some(at) => begin += at + 1,
                None => break,
            }
        }
        if tags.is_empty() { Err(TagError::Empty) } else { Ok(Self { tags }) }
    }

    /// The tag called `name`.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&Tag<'a>> {
        self.tags.iter().find(|tag| tag.name == name.as_bytes())
    }

    /// The value of the tag called `name`, without white space around it.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.tag(name).map(|tag| tag.value)
    }

    /// The tag that stands first.
    #[must_use]
    pub fn first(&self) -> Option<&Tag<'a>> {
        self.tags.first()
    }
}

/// The items of a value that is a list with colons, without the white space around each.
pub(crate) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|octet| *octet == b':').map(trim)
}

/// The value without any white space, as it does not count in base64 (RFC 6376 §3.5 `b=`).
pub(crate) fn without_white_space(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|octet| !is_white(*octet)).collect()
}

/// Without white space at both ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [first, rest @ ..] = text
        && is_white(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_white(*last)
    {
        text = rest;
    }
    text
}

fn is_white(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_tag_name(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
}

/// FWS is blanks, or CRLF with a blank behind it; no other control character may occur.
fn check_octets(text: &[u8]) -> Result<(), TagError> {
    let mut rest = text;
    loop {
        match rest {
            [] => return Ok(()),
            [b'\r', b'\n', b' ' | b'\t', after @ ..] => rest = after,
            [b' '..=b'~' | b'\t' | 0x80.., after @ ..] => rest = after,
            _ => return Err(TagError::Octet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn white_space_around_names_and_values_does_not_count() {
        let text = b" v = 1 ;\r\n\ta\t=\trsa-sha256; b=\r\n abc def ;x=;\r\n ";
        let list = TagList::parse(text).unwrap();
        assert_eq!(list.value("v"), Some(&b"1"[..]));
        assert_eq!(list.value("a"), Some(&b"rsa-sha256"[..]));
        assert_eq!(list.value("b"), Some(&b"abc def"[..]));
        assert_eq!(list.value("x"), Some(&b""[..]));
        assert_eq!(list.value("V"), None);
        assert_eq!(list.first().unwrap().name, b"v");
        let span = list.tag("b").unwrap().span.clone();
        assert_eq!(&text[span], b"\r\n abc def ");
    }

    #[test]
    fn the_last_semicolon_may_be_missing() {
        assert_eq!(TagList::parse(b"a=b"), TagList::parse(b"a=b;"));
        assert_eq!(TagList::parse(b"a=b=c").unwrap().value("a"), Some(&b"b=c"[..]));
    }

    #[test]
    fn what_is_no_tag_list() {
        for (text, error) in [
            (&b""[..], TagError::Empty),
            (b" \r\n ", TagError::Empty),
            (b";", TagError::Name),
            (b"a=1;;b=2", TagError::Name),
            (b"a=1; ;", TagError::Name),
            (b"a", TagError::Name),
            (b"a=1; nonsense", TagError::Name),
            (b"=1", TagError::Name),
            (b"1a=1", TagError::Name),
            (b"_a=1", TagError::Name),
            (b"a-b=1", TagError::Name),
            (b"a b=1", TagError::Name),
            (b"a=1; a=1", TagError::Duplicate),
            (b"a=1; b=2; a =", TagError::Duplicate),
            (b"a=1\r\nb=2", TagError::Octet),
            (b"a=1\r\n", TagError::Octet),
            (b"a=1\n b", TagError::Octet),
            (b"a=1\r b", TagError::Octet),
            (b"a=\x00", TagError::Octet),
            (b"a=\x0b", TagError::Octet),
            (b"a=\x7f", TagError::Octet),
        ] {
            assert_eq!(TagList::parse(text).err(), Some(error), "{:?}", text.escape_ascii().to_string());
        }
    }

    #[test]
    fn case_makes_another_tag() {
        let list = TagList::parse(b"a=1; A=2; a_2=\xc3\xbc").unwrap();
        assert_eq!(list.value("a"), Some(&b"1"[..]));
        assert_eq!(list.value("A"), Some(&b"2"[..]));
        assert_eq!(list.value("a_2"), Some("ü".as_bytes()));
    }

    #[test]
    fn limits() {
        let many = |count: usize| (0..count).map(|n| format!("t{n}=1")).collect::<Vec<_>>().join(";");
        assert!(TagList::parse(many(MAX_TAGS).as_bytes()).is_ok());
        assert!(TagList::parse((many(MAX_TAGS) + ";").as_bytes()).is_ok());
        assert_eq!(TagList::parse(many(MAX_TAGS + 1).as_bytes()), Err(TagError::TooMany));
        let long = |size: usize| [b"a=".to_vec(), vec![b'x'; size - 2]].concat();
        assert!(TagList::parse(&long(MAX_LIST_BYTES)).is_ok());
        assert_eq!(TagList::parse(&long(MAX_LIST_BYTES + 1)), Err(TagError::TooLong));
    }

    #[test]
    fn colon_lists() {
        assert_eq!(items(b"from : to\r\n :x").collect::<Vec<_>>(), [&b"from"[..], b"to", b"x"]);
        assert_eq!(items(b"a::").collect::<Vec<_>>(), [&b"a"[..], b"", b""]);
    }

    proptest! {
        #[test]
        fn never_panics_and_spans_hold_the_values(text in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b';'), Just(b'='), Just(b' '), Just(b'a')], 0..60)) {
            if let Ok(list) = TagList::parse(&text) {
                for tag in &list.tags {
                    prop_assert_eq!(trim(&text[tag.span.clone()]), tag.value);
                }
            }
        }
    }
}
