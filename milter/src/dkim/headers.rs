//! The header of one message, held in one piece of memory, and the choice of signed fields.

use std::cmp::Ordering;

/// A field of a header: the octets before the colon and those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// All that stands before the colon, blanks before the colon included.
    pub name: &'a [u8],
    /// All that stands after the colon, without the CRLF that ends the field.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The name without the blanks that may stand before the colon (RFC 5322 §4.5).
    #[must_use]
    pub fn bare_name(&self) -> &'a [u8] {
        bare(self.name)
    }

    /// Whether this is a field called `name`; case and blanks before the colon do not count.
    #[must_use]
    pub fn is_called(&self, name: &[u8]) -> bool {
        self.bare_name().eq_ignore_ascii_case(bare(name))
    }
}

/// The fields of a message in the order in which they came.
///
/// Names and values lie behind each other in one allocation, so that a session
/// can use the same block for one message after the other.
#[derive(Clone, Debug, Default)]
pub struct HeaderBlock {
    arena: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    colon: usize,
    end: usize,
}

impl HeaderBlock {
    /// An empty block that has not taken any memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field at the end.
    ///
    /// `value` is what follows the colon, the blank after it included, as a
    /// milter gets it when `SMFIP_HDR_LEADSPC` was agreed on. A milter gets folds
    /// as bare LF; they become CRLF here, because that is what is signed
    /// (RFC 6376 §3.4). No limit is set here: the caller stops at its own.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(name);
        let colon = self.arena.len();
        let mut rest = value;
        while let Some((line, after)) =
            memchr::memchr(b'\n', rest).and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?)))
        {
            self.arena.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            self.arena.extend_from_slice(b"\r\n");
            rest = after;
        }
        self.arena.extend_from_slice(rest);
        self.spans.push(Span { start, colon, end: self.arena.len() });
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The size of the header in the message, in octets: colons and line ends count too.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.arena.len() + 3 * self.spans.len()
    }

    /// The field at `index`, counted from 0 at the top.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Field<'_>> {
        self.spans.get(index).map(|span| self.field(*span))
    }

    /// The fields from the top down; from the bottom up with `rev()`.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator + '_ {
        self.spans.iter().map(|span| self.field(*span))
    }

    /// Forgets all fields and keeps the memory for the next message.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.spans.clear();
    }

    fn field(&self, span: Span) -> Field<'_> {
        Field {
            name: self.arena.get(span.start..span.colon).unwrap_or_default(),
            value: self.arena.get(span.colon..span.end).unwrap_or_default(),
        }
    }
}

/// Finds the field that each name of an `h=` list stands for (RFC 6376 §5.4.2).
///
/// The first mention of a name is its lowest instance, the next mention the one
/// above it, and so on; when there are no more, a mention stands for nothing.
/// One choice costs a binary search, so that a long `h=` over a long header
/// stays cheap.
pub(crate) struct Chooser<'h> {
    headers: &'h HeaderBlock,
    /// Field indices sorted by name, and from the bottom up within a name.
    order: Vec<usize>,
    /// How many of a name were given out; it stands where the name begins in `order`.
    taken: Vec<usize>,
}

impl<'h> Chooser<'h> {
    pub(crate) fn new(headers: &'h HeaderBlock) -> Self {
        let mut order: Vec<usize> = (0..headers.len()).collect();
        order.sort_unstable_by(|a, b| {
            let names = headers.get(*a).zip(headers.get(*b));
            names.map_or(Ordering::Equal, |(a, b)| compare(a.name, b.name)).then(b.cmp(a))
        });
        let taken = vec![0; order.len()];
        Self { headers, order, taken }
    }

    /// Begins a new list: every field can be chosen again.
    pub(crate) fn restart(&mut self) {
        self.taken.fill(0);
    }

    /// The field that the next mention of `name` stands for; never the one at `own`,
    /// which is the signature itself (RFC 6376 §3.5, `h=`).
    pub(crate) fn choose(&mut self, name: &[u8], own: Option<usize>) -> Option<Field<'h>> {
        let headers = self.headers;
        let begin = self.order.partition_point(|index| {
            headers.get(*index).is_some_and(|field| compare(field.name, name) == Ordering::Less)
        });
        let taken = self.taken.get_mut(begin)?;
        loop {
            let index = *self.order.get(begin + *taken)?;
            let field = headers.get(index)?;
            if !field.is_called(name) {
                return None;
            }
            *taken += 1;
            if own != Some(index) {
                return Some(field);
            }
        }
    }
}

fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let lower = |octet: &u8| octet.to_ascii_lowercase();
    bare(a).iter().map(lower).cmp(bare(b).iter().map(lower))
}

fn bare(name: &[u8]) -> &[u8] {
    let mut name = name;
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(&str, &str)]) -> HeaderBlock {
        let mut block = HeaderBlock::new();
        for (name, value) in fields {
            block.push(name.as_bytes(), value.as_bytes());
        }
        block
    }

    #[test]
    fn folds_become_crlf_once() {
        let block = block(&[("Subject", " a\n b\r\n c"), ("X", ""), ("Y", "\n")]);
        assert_eq!(block.get(0).unwrap().value, b" a\r\n b\r\n c");
        assert_eq!(block.get(1).unwrap(), Field { name: b"X", value: b"" });
        assert_eq!(block.get(2).unwrap().value, b"\r\n");
        assert_eq!(block.get(3), None);
        assert_eq!(
            block.byte_len(),
            "Subject: a\r\n b\r\n c\r\n".len() + "X:\r\n".len() + "Y:\r\n\r\n".len()
        );
    }

    #[test]
    fn clear_keeps_the_memory() {
        let mut block = block(&[("Subject", " hello"), ("To", " you")]);
        assert_eq!(block.iter().rev().map(|field| field.name).collect::<Vec<_>>(), [&b"To"[..], b"Subject"]);
        let capacity = block.arena.capacity();
        block.clear();
        assert!(block.is_empty());
        assert_eq!(block.byte_len(), 0);
        assert_eq!(block.arena.capacity(), capacity);
    }

    #[test]
    fn names_compare_without_case_and_trailing_blanks() {
        let block = block(&[("FROM \t", " x")]);
        let field = block.get(0).unwrap();
        assert!(field.is_called(b"from"));
        assert!(field.is_called(b"From "));
        assert!(!field.is_called(b"fro"));
        assert!(!field.is_called(b" from"));
    }

    #[test]
    fn fields_are_chosen_from_the_bottom_up() {
        let block = block(&[
            ("Received", "1"),
            ("DKIM-Signature", "2"),
            ("received ", "3"),
            ("From", "4"),
            ("DKIM-Signature", "5"),
        ]);
        let mut chooser = Chooser::new(&block);
        let mut values = |names: &[&str], own| -> Vec<Option<Vec<u8>>> {
            chooser.restart();
            names
                .iter()
                .map(|name| chooser.choose(name.as_bytes(), own).map(|field| field.value.to_vec()))
                .collect()
        };
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(
            values(&["RECEIVED", "from", "received", "Received", "from", "to", "zz"], None),
            [some("3"), some("4"), some("1"), None, None, None, None]
        );
        let twice = ["dkim-signature", "dkim-signature"];
        assert_eq!(values(&twice, Some(4)), [some("2"), None]);
        assert_eq!(values(&twice, Some(1)), [some("5"), None]);
        assert_eq!(values(&twice, None), [some("5"), some("2")]);
    }
}
