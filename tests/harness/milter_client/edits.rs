//! What a milter changes in a message, and the message with the changes made, as Postfix makes them.

use super::wire::{Packet, split_strings};
use crate::message::{Field, Message};

/// One change that a milter asks for at the end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Add a field at the end of the header.
    AddHeader {
        /// Its name.
        name: String,
        /// Its value as it came.
        value: Vec<u8>,
    },
    /// Put a field before the one that has this index in the header the milter has seen.
    InsertHeader {
        /// 0 and 1: at the top.
        index: u32,
        /// Its name.
        name: String,
        /// Its value as it came.
        value: Vec<u8>,
    },
    /// Replace the index-th field of this name (from 1); an empty value removes it.
    ChangeHeader {
        /// Among the fields of this name, from 1.
        index: u32,
        /// Its name.
        name: String,
        /// Its new value as it came.
        value: Vec<u8>,
    },
    /// A part of a new body.
    ReplaceBody(Vec<u8>),
    /// Keep the message in the hold queue.
    Quarantine(String),
    /// A change of the envelope: its letter and arguments.
    Envelope(char, Vec<String>),
}

impl Edit {
    /// Reads the packet of a change; None if it is a reply.
    pub(super) fn parse(packet: &Packet) -> Option<Self> {
        let indexed = || {
            let (index, rest) = packet.data.split_first_chunk::<4>()?;
            let (name, value) = name_and_value(rest)?;
            Some((u32::from_be_bytes(*index), name, value))
        };
        match packet.letter {
            b'h' => name_and_value(&packet.data).map(|(name, value)| Self::AddHeader { name, value }),
            b'i' => indexed().map(|(index, name, value)| Self::InsertHeader { index, name, value }),
            b'm' => indexed().map(|(index, name, value)| Self::ChangeHeader { index, name, value }),
            b'b' => Some(Self::ReplaceBody(packet.data.clone())),
            b'q' => Some(Self::Quarantine(split_strings(&packet.data).iter().map(text).collect())),
            b'+' | b'2' | b'-' | b'e' => {
                let arguments = split_strings(&packet.data).iter().map(text).collect();
                Some(Self::Envelope(char::from(packet.letter), arguments))
            }
            _ => None,
        }
    }
}

/// The message with all changes made in the order they were asked for, with Postfix's meaning of indexes.
///
/// `leading_space` says whether values bring the space after their colon (`SMFIP_HDR_LEADSPC`); else one is put in.
#[must_use]
pub fn apply(edits: &[Edit], message: &Message, leading_space: bool) -> Message {
    let mut message = message.clone();
    let mut body: Option<Vec<u8>> = None;
    let space: &[u8] = if leading_space { b"" } else { b" " };
    let field = |name: &str, value: &[u8]| Message::default().raw_field(name, &[space, value].concat());
    for edit in edits {
        let fields = message.fields_mut();
        match edit {
            Edit::AddHeader { name, value } => fields.extend_from_slice(field(name, value).fields()),
            Edit::InsertHeader { index, name, value } => {
                let at = usize::try_from(index.saturating_sub(1)).unwrap().min(fields.len());
                fields.splice(at..at, field(name, value).fields().to_vec());
            }
            Edit::ChangeHeader { index, name, value } => {
                change(fields, *index, name, value, &field(name, value))
            }
            Edit::ReplaceBody(part) => body.get_or_insert_default().extend_from_slice(part),
            Edit::Quarantine(_) | Edit::Envelope(..) => {}
        }
    }
    match body {
        Some(body) => message.body(body),
        None => message,
    }
}

fn change(fields: &mut Vec<Field>, index: u32, name: &str, value: &[u8], new: &Message) {
    let mut count = 0;
    let found = fields.iter().position(|field| {
        count += u32::from(field.name.eq_ignore_ascii_case(name));
        field.name.eq_ignore_ascii_case(name) && count == index.max(1)
    });
    match (found, value.is_empty()) {
        (Some(at), true) => drop(fields.remove(at)),
        (Some(at), false) => fields[at] = new.fields()[0].clone(),
        (None, true) => {}
        (None, false) => fields.extend_from_slice(new.fields()),
    }
}

fn name_and_value(data: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut parts = split_strings(data).into_iter();
    Some((text(&parts.next()?), parts.next().unwrap_or_default()))
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(message: &Message) -> Vec<String> {
        let show = |field: &Field| format!("{}:{}", field.name, String::from_utf8_lossy(&field.value));
        message.fields().iter().map(show).collect()
    }

    #[test]
    fn indexes_mean_what_postfix_means() {
        let message = Message::parse(b"A: 1\r\nB: 2\r\na: 3\r\n\r\nbody\r\n");
        let insert =
            |index| Edit::InsertHeader { index, name: "X".into(), value: format!("{index}").into_bytes() };
        let edits = [insert(0), insert(1), insert(3), insert(99)];
        let changed = apply(&edits, &message, false);
        assert_eq!(names(&changed), ["X: 1", "X: 0", "X: 3", "A: 1", "B: 2", "a: 3", "X: 99"]);
        let change = |index, value: &str| Edit::ChangeHeader { index, name: "a".into(), value: value.into() };
        assert_eq!(names(&apply(&[change(2, "new")], &message, false)), ["A: 1", "B: 2", "a: new"]);
        assert_eq!(names(&apply(&[change(1, "")], &message, false)), ["B: 2", "a: 3"]);
        assert_eq!(names(&apply(&[change(7, "more")], &message, false)).len(), 4);
    }

    #[test]
    fn packets_of_changes_are_read() {
        let packet = Packet::new(b'i', b"\0\0\0\x02Name\0 a\n\tb\0".to_vec());
        let edit = Edit::parse(&packet).unwrap();
        assert_eq!(edit, Edit::InsertHeader { index: 2, name: "Name".into(), value: b" a\n\tb".to_vec() });
        let changed = apply(&[edit], &Message::parse(b"A: 1\n\n"), true);
        assert_eq!(names(&changed), ["A: 1", "Name: a\r\n\tb"]);
        assert_eq!(Edit::parse(&Packet::new(b'c', vec![])), None);
        let body = [Edit::ReplaceBody(b"a\r\n".to_vec()), Edit::ReplaceBody(b"b\r\n".to_vec())];
        assert_eq!(apply(&body, &changed, true).body_bytes(), b"a\r\nb\r\n");
    }
}
