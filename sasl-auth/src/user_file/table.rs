//! A file's lines, found by the user's name: the bytes as they are, and eight bytes of index a line.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use base::passwd_file;
use base::secret::Secret;

use super::Kind;

/// A file in memory. Costs its own size and eight bytes a user.
pub(super) struct Table {
    bytes: Secret,
    hasher: RandomState,
    /// Hash of the name and offset of the line, sorted; lines of one user stay in the file's order.
    index: Vec<(u32, u32)>,
}

/// Something in the file that an admin should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Line number, from 1.
    pub(super) line: u32,
    /// What is wrong, without any content but user names.
    pub(super) text: String,
}

/// Complaints that are kept of one file; the others are counted.
const COMPLAINTS: usize = 10;

/// The complaints of one load.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    pub(super) first: Vec<Complaint>,
    pub(super) more: usize,
}

impl Complaints {
    fn add(&mut self, line: usize, text: impl FnOnce() -> String) {
        if self.first.len() < COMPLAINTS {
            self.first.push(Complaint { line: u32::try_from(line).unwrap_or(u32::MAX), text: text() });
        } else {
            self.more += 1;
        }
    }
}

impl Table {
    /// Indexes a file. Offsets have 32 bits: callers refuse larger files.
    pub(super) fn new(bytes: Secret, kind: &Kind) -> (Self, Complaints) {
        let mut complaints = Complaints::default();
        let hasher = RandomState::new();
        let mut index = Vec::new();
        let mut offset = 0;
        for (number, line) in lines(bytes.expose()).enumerate() {
            match (kind.check)(line) {
                Ok(false) => {}
                Err(reason) => complaints.add(number + 1, || reason.to_owned()),
                Ok(true) => {
                    if let Ok(offset) = u32::try_from(offset) {
                        index.push((hash(&hasher, passwd_file::user(line)), offset));
                    }
                }
            }
            offset += line.len() + 1;
        }
        index.sort_unstable();
        index.shrink_to_fit();
        let mut table = Self { bytes, hasher, index };
        if !kind.several {
            table.drop_duplicates(&mut complaints);
        }
        (table, complaints)
    }

    /// Keeps the first line of each user.
    fn drop_duplicates(&mut self, complaints: &mut Complaints) {
        let mut later = Vec::new();
        for run in self.index.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            // Nearly always one user; several when hashes collide.
            let mut seen: Vec<&[u8]> = Vec::new();
            for (_, offset) in run {
                let user = passwd_file::user(self.line_at(*offset));
                if seen.contains(&user) {
                    later.push(*offset);
                } else {
                    seen.push(user);
                }
            }
        }
        if later.is_empty() {
            return;
        }
        later.sort_unstable();
        // Line numbers are only known by counting; once, over the whole file.
        let mut offset = 0;
        let mut wanted = later.iter().peekable();
        for (number, line) in lines(self.bytes.expose()).enumerate() {
            if wanted.next_if(|later| **later as usize == offset).is_some() {
                complaints.add(number + 1, || {
                    let user = String::from_utf8_lossy(passwd_file::user(line)).into_owned();
                    format!("user {user:?} exists more than once; the first line counts")
                });
            }
            offset += line.len() + 1;
        }
        self.index.retain(|(_, offset)| later.binary_search(offset).is_err());
    }

    /// Whether it was made of these bytes.
    pub(super) fn holds(&self, bytes: &Secret) -> bool {
        self.bytes == *bytes
    }

    /// The lines of a user, in the file's order.
    pub(super) fn lines<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let wanted = hash(&self.hasher, user.as_bytes());
        let start = self.index.partition_point(|(hash, _)| *hash < wanted);
        self.index
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(move |(hash, _)| *hash == wanted)
            .map(|(_, offset)| self.line_at(*offset))
            .filter(move |line| passwd_file::user(line) == user.as_bytes())
    }

    /// All users' lines, sorted by where they are in the file.
    pub(super) fn all(&self) -> impl Iterator<Item = &[u8]> {
        let mut offsets: Vec<u32> = self.index.iter().map(|(_, offset)| *offset).collect();
        offsets.sort_unstable();
        offsets.into_iter().map(|offset| self.line_at(offset))
    }

    /// The line number of a line that [`Self::lines`] gave, from 1; counts from the file's beginning.
    pub(super) fn number(&self, line: &[u8]) -> usize {
        let offset = (line.as_ptr() as usize).saturating_sub(self.bytes.expose().as_ptr() as usize);
        memchr::memchr_iter(b'\n', self.bytes.expose().get(..offset).unwrap_or_default()).count() + 1
    }

    fn line_at(&self, offset: u32) -> &[u8] {
        let rest = self.bytes.expose().get(offset as usize..).unwrap_or_default();
        rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default()
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

#[allow(clippy::cast_possible_truncation, reason = "any 32 bits of the hash do")]
fn hash(hasher: &RandomState, user: &[u8]) -> u32 {
    hasher.hash_one(user) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str, several: bool) -> (Table, Complaints) {
        Table::new(Secret::from(text), &Kind { several, ..Kind::USERS })
    }

    fn texts<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<&'a str> {
        lines.map(|line| std::str::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn lines_are_found_by_user() {
        let (table, complaints) = table("# x\na:1\n\nab:2\na:3\n:4\nb:5\nA:6", false);
        assert_eq!(texts(table.lines("a")), ["a:1"]);
        assert_eq!(texts(table.lines("ab")), ["ab:2"]);
        assert_eq!(texts(table.lines("A")), ["A:6"]);
        assert_eq!(texts(table.lines("# x")), [""; 0]);
        assert_eq!(texts(table.lines("")), [""; 0]);
        assert_eq!(texts(table.all()), ["a:1", "ab:2", "b:5", "A:6"]);
        assert_eq!(table.number(table.lines("A").next().unwrap()), 8);
        let mut lines: Vec<u32> = complaints.first.iter().map(|complaint| complaint.line).collect();
        lines.sort_unstable();
        assert_eq!(lines, [5, 6]);
    }

    #[test]
    fn several_lines_of_a_user_keep_their_order() {
        let (table, complaints) = table("a:1\nb:x\na:2\na:3\n", true);
        assert_eq!(texts(table.lines("a")), ["a:1", "a:2", "a:3"]);
        assert!(complaints.first.is_empty());
    }

    #[test]
    fn complaints_are_bounded() {
        let (table, complaints) = table(&"a:1\n".repeat(1000), false);
        assert_eq!(texts(table.all()), ["a:1"]);
        assert_eq!((complaints.first.len(), complaints.more), (COMPLAINTS, 989));
    }

    #[test]
    fn the_index_takes_eight_bytes_a_user() {
        let text: String = (0..5000).map(|number| format!("user{number}@example.com:{{PLAIN}}x\n")).collect();
        let (table, _) = table(&text, false);
        assert_eq!(table.index.capacity() * size_of::<(u32, u32)>(), 5000 * 8);
        assert!((0..5000).all(|number| table.lines(&format!("user{number}@example.com")).count() == 1));
    }

    proptest::proptest! {
        #[test]
        fn both_readers_of_a_line_agree(line in "[a:\\[\\]{}0-9 =#%\r\0-]{0,40}") {
            if let passwd_file::Line::User(entry) = passwd_file::line(line.as_bytes()) {
                proptest::prop_assert_eq!(entry.user, passwd_file::user(line.as_bytes()));
                proptest::prop_assert!(entry.fields().all(|(name, _)| !name.contains(&b' ')));
                proptest::prop_assert!(entry.fields().count() <= entry.extra.len());
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), several: bool) {
            let (table, _) = Table::new(Secret::new(bytes), &Kind { several, ..Kind::USERS });
            for line in table.all() {
                let user = passwd_file::user(line);
                if let Ok(user) = std::str::from_utf8(user) {
                    proptest::prop_assert!(table.lines(user).any(|found| found == line));
                }
            }
        }
    }
}
