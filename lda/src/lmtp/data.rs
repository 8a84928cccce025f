//! What follows DATA and BDAT → the bytes of the message (RFC 5321 §4.5.2, RFC 3030). Pure.
//!
//! Only CR LF dot CR LF ends a message. A lone LF or CR is a byte of the message, so that no two servers can
//! disagree on where it ends.

use memchr::memchr;

/// Takes the dots out that the client has put in, and finds the end, however the stream is cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dots {
    at: At,
}

/// Where in a line the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// At the beginning of a line.
    #[default]
    Start,
    /// Behind a dot at the beginning, which is not handed on.
    Dot,
    /// Behind a dot and a CR, which is not handed on yet.
    DotCr,
    /// Somewhere else.
    Middle,
    /// Behind a CR, which has been handed on.
    Cr,
}

/// What [`Dots::next`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes of the message; may be empty.
    Bytes(&'a [u8]),
    /// The message is at its end.
    End,
}

impl Dots {
    /// Takes a piece from the beginning of `input`, which must not be empty, and tells how many bytes it used.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let first = input.first().copied().unwrap_or_default();
        match self.at {
            At::Start if first == b'.' => {
                self.at = At::Dot;
                (1, Piece::Bytes(b""))
            }
            At::Dot if first == b'\r' => {
                self.at = At::DotCr;
                (1, Piece::Bytes(b""))
            }
            At::DotCr if first == b'\n' => {
                *self = Self::default();
                (1, Piece::End)
            }
            At::DotCr => {
                self.at = At::Cr;
                (0, Piece::Bytes(b"\r"))
            }
            At::Start | At::Dot | At::Middle | At::Cr => {
                let length = self.plain(input);
                (length, Piece::Bytes(input.get(..length).unwrap_or_default()))
            }
        }
    }

    /// How much of `input` can be handed on as it is: up to the next dot that begins a line.
    fn plain(&mut self, input: &[u8]) -> usize {
        let is_line_start = |end: usize| match end {
            0 => false,
            1 => self.at == At::Cr && input.starts_with(b"\n"),
            _ => input.get(end - 2..end) == Some(b"\r\n"),
        };
        // Dots are rarer than line ends.
        let mut from = 1;
        let mut end = input.len();
        while let Some(found) = input.get(from..).and_then(|rest| memchr(b'.', rest)) {
            if is_line_start(from + found) {
                end = from + found;
                break;
            }
            from += found + 1;
        }
        self.at = match input.get(..end).and_then(<[u8]>::last) {
            Some(b'\r') => At::Cr,
            Some(b'\n') if is_line_start(end) => At::Start,
            _ => At::Middle,
        };
        end
    }
}

/// The octets of one BDAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    left: u64,
    /// Whether the message ends with it.
    pub last: bool,
}

impl Chunk {
    /// A chunk of `size` octets.
    #[must_use]
    pub fn new(size: u64, last: bool) -> Self {
        Self { left: size, last }
    }

    /// What of `input` belongs to it.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        // A length in memory fits in 64 bits.
        self.left -= length as u64;
        input.get(..length).unwrap_or_default()
    }

    /// Whether all octets have arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The message and what follows it; `None` when it has no end. `cuts` are the lengths of the pieces.
    fn read(input: &[u8], cuts: &[usize]) -> Option<(Vec<u8>, usize)> {
        let mut dots = Dots::default();
        let (mut message, mut used) = (Vec::new(), 0);
        let mut cuts = cuts.iter().copied();
        while used < input.len() {
            let length = cuts.next().unwrap_or(input.len()).clamp(1, input.len() - used);
            let mut piece = &input[used..used + length];
            while !piece.is_empty() {
                let (count, found) = dots.next(piece);
                piece = &piece[count..];
                used += count;
                match found {
                    Piece::Bytes(bytes) => message.extend_from_slice(bytes),
                    Piece::End => return Some((message, used)),
                }
            }
        }
        None
    }

    /// RFC 5321 §4.5.2, the other way round.
    fn stuffed(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at_start = true;
        for (index, &byte) in message.iter().enumerate() {
            if at_start && byte == b'.' {
                out.push(b'.');
            }
            out.push(byte);
            at_start = byte == b'\n' && index > 0 && message[index - 1] == b'\r';
        }
        if !at_start && !message.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    #[test]
    fn dots_and_ends() {
        for (input, message, used) in [
            (&b".\r\nQUIT"[..], &b""[..], 3),
            (b"\r\n.\r\n", b"\r\n", 5),
            (b"a\r\n.\r\n", b"a\r\n", 6),
            (b"..\r\n.\r\n", b".\r\n", 7),
            (b"..a\r\n...b\r\n.c\r\n.\r\n", b".a\r\n..b\r\nc\r\n", 18),
            (b"a\n.\r\n\r\n.\r\n", b"a\n.\r\n\r\n", 10),
            (b"a\r\n.\n\r\n.\r\n", b"a\r\n\n\r\n", 10),
            (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n", 11),
            (b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\r\n", 10),
            (b"a\r.\r\n.\r\n", b"a\r.\r\n", 8),
            (b"a\r\r\n.\r\n", b"a\r\r\n", 7),
            (b"\n.\r\n\r\n.\r\n", b"\n.\r\n\r\n", 9),
            (b"a\0b\r\n.\r\n", b"a\0b\r\n", 8),
        ] {
            let shown = String::from_utf8_lossy(input);
            assert_eq!(read(input, &[]), Some((message.to_vec(), used)), "{shown:?}");
            for cut in 1..input.len() {
                assert_eq!(read(input, &[cut]), Some((message.to_vec(), used)), "{shown:?} cut at {cut}");
            }
            assert_eq!(
                read(input, &vec![1; input.len()]),
                Some((message.to_vec(), used)),
                "{shown:?} byte by byte"
            );
        }
    }

    #[test]
    fn no_other_line_end_ends_a_message() {
        for input in ["\n.\n", "a\n.\n", "a\r\n.\n", "a\n.\r\n", "a\r.\r", "a\r\n.\r", "a\r\n..\r\n"] {
            assert_eq!(read(input.as_bytes(), &[]), None, "{input:?}");
        }
    }

    #[test]
    fn a_chunk_takes_its_octets() {
        let mut chunk = Chunk::new(5, true);
        assert_eq!(chunk.next(b"abc"), b"abc");
        assert!(!chunk.is_complete());
        assert_eq!(chunk.next(b"deQUIT"), b"de");
        assert!(chunk.is_complete());
        assert_eq!(chunk.next(b"QUIT"), b"");
        assert!(Chunk::new(0, false).is_complete());
    }

    proptest! {
        #[test]
        fn what_was_stuffed_comes_out(
            message in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cuts in proptest::collection::vec(1_usize..8, 0..60),
        ) {
            let stream = stuffed(&message);
            let used = stream.len();
            let mut wanted = message;
            if !wanted.is_empty() && !wanted.ends_with(b"\r\n") {
                wanted.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(read(&stream, &cuts), Some((wanted, used)));
        }

        #[test]
        fn every_cut_gives_the_same(
            input in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()], 1..80),
            cuts in proptest::collection::vec(1_usize..9, 0..80),
        ) {
            prop_assert_eq!(read(&input, &cuts), read(&input, &[]));
        }
    }
}
