//! Watches the MTA's packets as they pass: sound ones go on, a broken one gets a reason in words.
//!
//! indymilter parses packets and drops a connection that sends nonsense without a word. This
//! watcher sees the same bytes first, so that the log tells what was wrong, and so that the
//! connection knows whether a message is in hand. It keeps a few numbers and no bytes.

use std::fmt;

/// Longest packet that is taken: indymilter refuses payloads of 1 MiB and more.
pub const LONGEST_PACKET: usize = 1024 * 1024;
/// Most strings in a packet: each costs far more memory than its bytes. Postfix sends two for a
/// macro and one for an ESMTP parameter.
pub const MOST_STRINGS: u32 = 4096;

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketError {
    /// The length field says 0; even an empty packet has its command byte.
    Empty,
    /// The length field says more than [`LONGEST_PACKET`].
    TooLong {
        /// The length that was announced, in bytes.
        announced: u32,
    },
    /// There are more than [`MOST_STRINGS`] strings in it.
    TooManyStrings {
        /// The command byte.
        command: u8,
    },
    /// No command of the milter protocol.
    UnknownCommand(u8),
    /// A command came before the option negotiation.
    NotNegotiated(u8),
    /// The payload lacks something that its command needs.
    Malformed {
        /// The command byte.
        command: u8,
        /// What is missing, in words.
        lacks: &'static str,
    },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "a packet of length 0"),
            Self::TooLong { announced } => {
                write!(f, "a packet of {announced} bytes (at most {LONGEST_PACKET} are taken)")
            }
            Self::TooManyStrings { command } => {
                write!(f, "command {} with more than {MOST_STRINGS} strings", name(command))
            }
            Self::UnknownCommand(byte) => {
                write!(f, "unknown command '{}'", byte.escape_ascii())
            }
            Self::NotNegotiated(byte) => {
                write!(f, "command {} before the option negotiation", name(byte))
            }
            Self::Malformed { command, lacks } => write!(f, "command {} without {lacks}", name(command)),
        }
    }
}

impl std::error::Error for PacketError {}

/// The protocol's name of a command byte, for log lines.
fn name(command: u8) -> &'static str {
    match command {
        b'A' => "ABORT",
        b'B' => "BODY",
        b'C' => "CONNECT",
        b'D' => "MACRO",
        b'E' => "BODYEOB",
        b'H' => "HELO",
        b'K' => "QUIT_NC",
        b'L' => "HEADER",
        b'M' => "MAIL",
        b'N' => "EOH",
        b'O' => "OPTNEG",
        b'Q' => "QUIT",
        b'R' => "RCPT",
        b'T' => "DATA",
        b'U' => "UNKNOWN",
        _ => "?",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Collecting the four bytes of the length.
    Length { have: u8, value: u32 },
    /// The next byte is the command; `left` counts the payload behind it.
    Command { left: u32 },
    /// Inside the payload.
    Payload { command: u8, left: u32 },
}

/// The state of one connection's packet stream.
#[derive(Debug)]
pub struct PacketWatch {
    part: Part,
    negotiated: bool,
    in_message: bool,
    last: u8,
    /// Of the current payload: length, strings ended so far, whether the first is empty, last byte.
    payload: Payload,
}

#[derive(Debug, Default, Clone, Copy)]
struct Payload {
    length: u32,
    strings: u32,
    first_is_empty: bool,
    last: u8,
}

impl Default for PacketWatch {
    fn default() -> Self {
        Self {
            part: Part::Length { have: 0, value: 0 },
            negotiated: false,
            in_message: false,
            last: b'O',
            payload: Payload::default(),
        }
    }
}

impl PacketWatch {
    /// Takes the next bytes that arrived, cut anywhere.
    ///
    /// # Errors
    /// At the first byte that shows a packet to be broken; the connection is of no use after that.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), PacketError> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.part {
                Part::Length { have, value } => {
                    bytes = rest;
                    let value = value << 8 | u32::from(first);
                    self.part = match have {
                        3 => Self::sound_length(value)?,
                        _ => Part::Length { have: have + 1, value },
                    };
                }
                Part::Command { left } => {
                    bytes = rest;
                    self.begin(first)?;
                    self.part = Part::Payload { command: first, left };
                    if left == 0 {
                        self.finish(first)?;
                    }
                }
                Part::Payload { command, left } => {
                    let take = bytes.len().min(left as usize);
                    let (here, after) = bytes.split_at_checked(take).unwrap_or((bytes, &[]));
                    self.look(command, here)?;
                    bytes = after;
                    // `take` is at most `left`, so it fits.
                    let left = left - u32::try_from(take).unwrap_or(left);
                    self.part = Part::Payload { command, left };
                    if left == 0 {
                        self.finish(command)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a message is in hand: from MAIL until its end or abort.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.in_message
    }

    /// The message in hand is over because of what was answered: nothing more of it will come.
    pub fn answered(&mut self) {
        self.in_message = false;
    }

    /// Whether the stream stands between two packets.
    #[must_use]
    pub fn between_packets(&self) -> bool {
        self.part == Part::Length { have: 0, value: 0 }
    }

    /// The name of the last command that arrived.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        name(self.last)
    }

    fn sound_length(value: u32) -> Result<Part, PacketError> {
        match value {
            0 => Err(PacketError::Empty),
            _ if value as usize > LONGEST_PACKET => Err(PacketError::TooLong { announced: value }),
            _ => Ok(Part::Command { left: value - 1 }),
        }
    }

    fn begin(&mut self, command: u8) -> Result<(), PacketError> {
        if name(command) == "?" {
            return Err(PacketError::UnknownCommand(command));
        }
        if !self.negotiated && !matches!(command, b'O' | b'Q' | b'K') {
            return Err(PacketError::NotNegotiated(command));
        }
        self.payload = Payload::default();
        Ok(())
    }

    fn look(&mut self, command: u8, bytes: &[u8]) -> Result<(), PacketError> {
        let seen = &mut self.payload;
        // Bodies are most of the traffic and have no strings.
        if command != b'B' && command != b'E' {
            if seen.length == 0 && bytes.first() == Some(&0) {
                seen.first_is_empty = true;
            }
            let ends = memchr::memchr_iter(0, bytes).count();
            seen.strings = seen.strings.saturating_add(u32::try_from(ends).unwrap_or(u32::MAX));
            if seen.strings > MOST_STRINGS {
                return Err(PacketError::TooManyStrings { command });
            }
        }
        seen.length = seen.length.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        seen.last = bytes.last().copied().unwrap_or(seen.last);
        Ok(())
    }

    fn finish(&mut self, command: u8) -> Result<(), PacketError> {
        self.part = Part::Length { have: 0, value: 0 };
        let seen = self.payload;
        let lacks = match command {
            b'O' if seen.length < 12 => Some("its twelve bytes"),
            b'C' if seen.strings == 0 => Some("a host name"),
            b'H' | b'L' if seen.length == 0 || seen.last != 0 => Some("the NUL at its end"),
            b'L' if seen.first_is_empty => Some("a header field name"),
            b'L' if seen.strings < 2 => Some("a header field value"),
            b'M' | b'R' if seen.strings == 0 => Some("an address"),
            b'B' if seen.length == 0 => Some("any bytes of the body"),
            b'D' if seen.length == 0 => Some("the command that it is for"),
            b'U' if seen.strings == 0 => Some("its text"),
            // Nobody sends these: a body that rides on the end-of-body packet would have to be
            // answered twice.
            b'E' if seen.length > 0 => Some("an end: it carries a piece of the body"),
            _ => None,
        };
        if let Some(lacks) = lacks {
            return Err(PacketError::Malformed { command, lacks });
        }
        match command {
            b'O' => self.negotiated = true,
            b'M' => self.in_message = true,
            b'A' | b'E' | b'Q' | b'K' => self.in_message = false,
            _ => {}
        }
        if command != b'D' {
            self.last = command;
        }
        Ok(())
    }
}

/// Watches our own replies on their way out, for those that end a message early.
#[derive(Debug, Default)]
pub struct ReplyWatch {
    /// Bytes of the length seen so far, and their value.
    have: u8,
    length: u32,
}

impl ReplyWatch {
    /// Takes the next bytes that were written, cut anywhere. True when among them is the command
    /// byte of a reply after which the MTA sends nothing more of the message: accept, reject,
    /// tempfail, discard or a reply code.
    pub fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut over = false;
        while let Some((&first, rest)) = bytes.split_first() {
            bytes = rest;
            match self.have {
                0..=3 => {
                    self.length = self.length << 8 | u32::from(first);
                    self.have += 1;
                }
                4 => {
                    over |= matches!(first, b'a' | b'r' | b't' | b'd' | b'y');
                    self.have = 5;
                    self.length = self.length.saturating_sub(1);
                }
                _ => {
                    // One byte of the payload is taken already; take what is here of the rest.
                    let more = bytes.len().min(self.length.saturating_sub(1) as usize);
                    bytes = bytes.get(more..).unwrap_or_default();
                    self.length = self.length.saturating_sub(u32::try_from(more + 1).unwrap_or(u32::MAX));
                }
            }
            if self.have == 5 && self.length == 0 {
                *self = Self::default();
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn packet(command: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 1).unwrap();
        [&length.to_be_bytes(), &[command][..], payload].concat()
    }

    fn negotiation() -> Vec<u8> {
        packet(b'O', &[0, 0, 0, 6, 0, 0, 1, 255, 0, 31, 255, 255])
    }

    fn dialogue() -> Vec<u8> {
        [
            negotiation(),
            packet(b'D', b"Cj\0mx\0"),
            packet(b'C', b"host\x004\x00\x19127.0.0.1\0"),
            packet(b'M', b"<a@b>\0"),
            packet(b'R', b"<c@d>\0"),
            packet(b'L', b"From\0 a@b\0"),
            packet(b'N', b""),
            packet(b'B', b"body\r\n"),
        ]
        .concat()
    }

    #[test]
    fn a_sound_dialogue_passes_however_it_is_cut() {
        let bytes = dialogue();
        for size in [1, 2, 3, 7, bytes.len()] {
            let mut watch = PacketWatch::default();
            for chunk in bytes.chunks(size) {
                watch.feed(chunk).unwrap();
            }
            assert!(watch.in_message() && watch.between_packets());
            assert_eq!(watch.stage(), "BODY");
            watch.feed(&packet(b'E', b"")).unwrap();
            assert!(!watch.in_message());
        }
    }

    #[test]
    fn broken_packets_are_named() {
        let many = MOST_STRINGS as usize + 1;
        let cases: [(Vec<u8>, &str); 14] = [
            (
                packet(b'D', &[&b"C"[..], &[0].repeat(many)].concat()),
                "command MACRO with more than 4096 strings",
            ),
            (packet(b'M', &[0].repeat(many)), "command MAIL with more than 4096 strings"),
            (vec![0, 0, 0, 0], "a packet of length 0"),
            (vec![255, 255, 255, 255], "a packet of 4294967295 bytes (at most 1048576 are taken)"),
            (packet(b'Z', b""), "unknown command 'Z'"),
            (packet(0, b""), "unknown command '\\x00'"),
            (packet(b'O', b"short"), "command OPTNEG without its twelve bytes"),
            (packet(b'L', b"From"), "command HEADER without the NUL at its end"),
            (packet(b'L', b"\0value\0"), "command HEADER without a header field name"),
            (packet(b'L', b"Name\0"), "command HEADER without a header field value"),
            (packet(b'M', b"<a@b>"), "command MAIL without an address"),
            (packet(b'B', b""), "command BODY without any bytes of the body"),
            (packet(b'E', b"x"), "command BODYEOB without an end: it carries a piece of the body"),
            (packet(b'C', b"host"), "command CONNECT without a host name"),
        ];
        for (bytes, want) in cases {
            let mut watch = PacketWatch::default();
            watch.feed(&negotiation()).unwrap();
            assert_eq!(watch.feed(&bytes).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn nothing_comes_before_the_negotiation() {
        let mut watch = PacketWatch::default();
        let error = watch.feed(&packet(b'M', b"<>\0")).unwrap_err();
        assert_eq!(error.to_string(), "command MAIL before the option negotiation");
    }

    #[test]
    fn replies_that_end_a_message_are_seen_however_they_are_cut() {
        let insert = packet(b'i', b"\0\0\0\0DKIM-Signature\0 a=rsa; t=1; d=y\0");
        let bytes = [packet(b'c', b""), insert, packet(b'a', b""), packet(b'c', b"")].concat();
        for size in [1, 2, 3, 5, 7, bytes.len()] {
            let mut watch = ReplyWatch::default();
            let ends = bytes.chunks(size).filter(|chunk| watch.feed(chunk)).count();
            assert_eq!(ends, 1, "cut every {size} bytes");
        }
        let mut watch = ReplyWatch::default();
        assert!(!watch.feed(&packet(b'c', b"")));
        assert!(watch.feed(&packet(b'y', b"451 4.7.0 later\0")));
        assert!(watch.feed(&packet(b't', b"")));
    }

    #[test]
    fn a_message_is_in_hand_from_mail_to_its_end_or_abort() {
        let mut watch = PacketWatch::default();
        watch.feed(&negotiation()).unwrap();
        assert!(!watch.in_message());
        watch.feed(&packet(b'M', b"<>\0")).unwrap();
        assert!(watch.in_message());
        watch.feed(&packet(b'A', b"")).unwrap();
        assert!(!watch.in_message());
    }
}
