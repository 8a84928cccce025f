//! What is done to a message's header, as a list: deletions first, from the last to the first.

use crate::dkim::HeaderBlock;

/// One change to the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Removes the `occurrence`th field of that name, counted from 1 at the top.
    Delete {
        /// The field's name.
        name: String,
        /// Which one of that name.
        occurrence: u32,
    },
    /// Puts a field at the top of the message. The value has no leading blank; its folds are LF
    /// and a tab, as a milter hands them to the MTA.
    Insert {
        /// The field's name.
        name: String,
        /// The field's value.
        value: String,
    },
}

/// Deletions of all fields of a name for whose value `is_unwanted` says yes, from the last to the
/// first: the MTA counts anew after each one (CVE-2022-48521 was the other order).
#[must_use]
pub fn deletions(headers: &HeaderBlock, name: &str, is_unwanted: impl Fn(&[u8]) -> bool) -> Vec<Edit> {
    let mut edits: Vec<Edit> = headers
        .iter()
        .filter(|field| field.is_called(name.as_bytes()))
        .zip(1_u32..)
        .filter(|(field, _)| is_unwanted(field.value))
        .map(|(_, occurrence)| Edit::Delete { name: name.to_owned(), occurrence })
        .collect();
    edits.reverse();
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_go_from_the_last_to_the_first() {
        let mut headers = HeaderBlock::new();
        for (name, value) in [("A-R", " ours"), ("X", " ours"), ("a-r", " theirs"), ("A-R", " ours")] {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let edits = deletions(&headers, "A-R", |value| value == b" ours");
        let want = [3, 1].map(|occurrence| Edit::Delete { name: "A-R".to_owned(), occurrence });
        assert_eq!(edits, want);
    }
}
