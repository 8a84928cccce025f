//! Where a piece of configuration text stands: file, line, columns.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

/// One text that configuration was read from, with the name under which it is reported.
///
/// The text is never printed by `Debug`: it may hold keys.
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// The longest text that a source may hold: positions are 32 bit wide.
    pub const MAX_BYTES: u64 = 1 << 30;

    /// Takes a text that is already in memory. `name` is what reports call it.
    ///
    /// A text longer than [`Self::MAX_BYTES`] is cut there.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let mut text = text.into();
        let limit = usize::try_from(Self::MAX_BYTES).unwrap_or(usize::MAX);
        if text.len() > limit {
            let end = text.floor_char_boundary(limit);
            text.truncate(end);
        }
        Arc::new(Self { name: name.into(), text })
    }

    /// Reads a file of at most `limit` bytes; `name` is what reports call it.
    ///
    /// Bytes that are not UTF-8 become U+FFFD, so that a comment in Latin-1 does no harm.
    ///
    /// # Errors
    /// What the operating system says when the file cannot be opened or read, `IsADirectory` and
    /// `InvalidInput` when it is not a regular file, `FileTooLarge` when it is longer than `limit`.
    pub fn read(path: &Path, name: impl Into<String>, limit: u64) -> io::Result<Arc<Self>> {
        let limit = limit.min(Self::MAX_BYTES);
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
        }
        Self::from_reader(File::open(path)?, name, limit)
    }

    /// Reads at most `limit` bytes to the end of `reader` (standard input, for `-x -`).
    ///
    /// # Errors
    /// What `reader` says, and `FileTooLarge` when more than `limit` bytes come.
    pub fn from_reader(reader: impl Read, name: impl Into<String>, limit: u64) -> io::Result<Arc<Self>> {
        let mut bytes = Vec::new();
        reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            let text = format!("is longer than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        Ok(Self::new(name, text))
    }

    /// The name under which the text is reported, usually the path as the admin wrote it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines with their number, counted from 1, and the offset of their first byte.
    /// The line end is not part of a line.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut offset = 0;
        let mut number = 0;
        self.text.split_inclusive('\n').map(move |line| {
            let start = offset;
            offset += line.len();
            number += 1;
            Line { number, start, text: line.strip_suffix('\n').unwrap_or(line) }
        })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?}, {} bytes)", self.name, self.text.len())
    }
}

/// One line of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The number of the line, counted from 1.
    pub number: u32,
    /// The offset of the line's first byte in the source.
    pub start: usize,
    /// The text without its line feed.
    pub text: &'a str,
}

/// A range of bytes within one line of a [`Source`].
#[derive(Clone, Debug)]
pub struct Span {
    source: Arc<Source>,
    line: u32,
    start: u32,
    end: u32,
    private: bool,
}

impl Span {
    /// The bytes `start..end` of the source, which stand in line `line` (counted from 1).
    ///
    /// Offsets that lie outside the text or inside a character mark an empty place.
    #[must_use]
    pub fn new(source: &Arc<Source>, line: u32, start: usize, end: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset.min(source.text.len())).unwrap_or(u32::MAX);
        let (start, end) = (narrow(start), narrow(end));
        Self { source: Arc::clone(source), line, start, end: end.max(start), private: false }
    }

    /// The same place, of which a report shows the line only up to the end of the mark,
    /// because a key or a password may follow.
    #[must_use]
    pub fn into_private(mut self) -> Self {
        self.private = true;
        self
    }

    /// The part of this place that starts `from` bytes after its start and is `len` bytes long.
    #[must_use]
    pub fn part(&self, from: usize, len: usize) -> Self {
        let at = |offset: usize| {
            self.start.saturating_add(u32::try_from(offset).unwrap_or(u32::MAX)).min(self.end)
        };
        Self { source: Arc::clone(&self.source), start: at(from), end: at(from.saturating_add(len)), ..*self }
    }

    /// The text at this place.
    #[must_use]
    pub fn text(&self) -> &str {
        self.source.text.get(self.start_offset()..self.end_offset()).unwrap_or("")
    }

    /// The source that the place is in.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The number of the line, counted from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The first column of the place in characters, counted from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.source
            .text
            .get(self.line_start()..self.start_offset())
            .map_or(0, |before| before.chars().count())
            + 1
    }

    /// The whole line without its line end.
    #[must_use]
    pub fn line_text(&self) -> &str {
        let rest = self.source.text.get(self.line_start()..).unwrap_or("");
        let line = rest.split('\n').next().unwrap_or("");
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// Whether a report must not show what follows the place on its line.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// The offset of the place's first byte in the source.
    #[must_use]
    pub fn start_offset(&self) -> usize {
        usize::try_from(self.start).unwrap_or(usize::MAX)
    }

    /// The offset after the place's last byte in the source.
    #[must_use]
    pub fn end_offset(&self) -> usize {
        usize::try_from(self.end).unwrap_or(usize::MAX)
    }

    fn line_start(&self) -> usize {
        let before = self.source.text.get(..self.start_offset()).unwrap_or("");
        before.rfind('\n').map_or(0, |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_knows_its_line_and_column() {
        let source = Source::new("f", "one\ntwö three\r\nfour");
        let at = source.text().find("three").unwrap();
        let span = Span::new(&source, 2, at, at + 5);
        assert_eq!(span.text(), "three");
        assert_eq!((span.line(), span.column()), (2, 5));
        assert_eq!(span.line_text(), "twö three");
        assert_eq!(span.part(1, 2).text(), "hr");
        assert_eq!(span.part(3, 99).text(), "ee");
    }

    #[test]
    fn lines_are_numbered_and_located() {
        let source = Source::new("f", "a\n\nbc");
        let lines: Vec<_> = source.lines().map(|line| (line.number, line.start, line.text)).collect();
        assert_eq!(lines, [(1, 0, "a"), (2, 2, ""), (3, 3, "bc")]);
    }

    #[test]
    fn a_reader_is_bounded_and_foreign_bytes_do_no_harm() {
        assert_eq!(Source::from_reader(&b"a\xe4b"[..], "f", 10).unwrap().text(), "a\u{fffd}b");
        let error = Source::from_reader(&b"0123456789"[..], "f", 9).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(Source::from_reader(&b"0123456789"[..], "f", 10).is_ok());
    }

    #[test]
    fn debug_output_holds_no_text() {
        let source = Source::new("f", "secret");
        assert!(!format!("{:?}", Span::new(&source, 1, 0, 6)).contains("secret"));
    }
}
