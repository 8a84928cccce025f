//! The milter protocol's packets, option bits and letters, as Postfix and libmilter have them (mfdef.h).

/// A packet: a length of four bytes (big endian), a letter and its data; the length counts the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The command or reply.
    pub letter: u8,
    /// What follows it.
    pub data: Vec<u8>,
}

impl Packet {
    /// A packet of this letter with this data.
    #[must_use]
    pub fn new(letter: u8, data: impl Into<Vec<u8>>) -> Self {
        Self { letter, data: data.into() }
    }

    /// Its bytes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.data.len() + 1).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.push(self.letter);
        bytes.extend_from_slice(&self.data);
        bytes
    }
}

/// A version, the actions and the protocol steps, as offered by the MTA or wanted by the milter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Protocol version.
    pub version: u32,
    /// `SMFIF_*` bits: what a milter may do.
    pub actions: u32,
    /// `SMFIP_*` bits: steps that may be left out, and extensions.
    pub protocol: u32,
}

impl Options {
    /// What Postfix offers: version 6 and everything it knows.
    pub const POSTFIX: Self = Self { version: 6, actions: 0x1ff, protocol: 0x1f_ffff };

    /// The data of an `O` packet.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [self.version, self.actions, self.protocol].iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Reads an `O` packet's data; what follows the twelve bytes is returned too.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<(Self, &[u8])> {
        let word = |at: usize| Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?));
        Some((Self { version: word(0)?, actions: word(4)?, protocol: word(8)? }, &data[12..]))
    }

    /// Whether a `SMFIP_*` bit is set.
    #[must_use]
    pub fn has(self, bit: u32) -> bool {
        self.protocol & bit != 0
    }
}

/// Strings ending in NUL, one after the other.
#[must_use]
pub fn strings(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.iter().copied().chain([0])).collect()
}

/// The strings that end in NUL in `data`; a rest without NUL counts as one.
#[must_use]
pub fn split_strings(data: &[u8]) -> Vec<Vec<u8>> {
    let data = data.strip_suffix(b"\0").unwrap_or(data);
    data.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

/// `SMFIP_*`: steps that a milter does not want.
pub mod no {
    /// No `C`.
    pub const CONNECT: u32 = 0x1;
    /// No `H`.
    pub const HELO: u32 = 0x2;
    /// No `M`.
    pub const MAIL: u32 = 0x4;
    /// No `R`.
    pub const RCPT: u32 = 0x8;
    /// No `B`.
    pub const BODY: u32 = 0x10;
    /// No `L`.
    pub const HEADERS: u32 = 0x20;
    /// No `N`.
    pub const EOH: u32 = 0x40;
    /// No `T`.
    pub const DATA: u32 = 0x200;
}

/// `SMFIP_NR_*`: steps that a milter does not answer.
pub mod no_reply {
    /// To `L`.
    pub const HEADERS: u32 = 0x80;
    /// To `C`.
    pub const CONNECT: u32 = 0x1000;
    /// To `H`.
    pub const HELO: u32 = 0x2000;
    /// To `M`.
    pub const MAIL: u32 = 0x4000;
    /// To `R`.
    pub const RCPT: u32 = 0x8000;
    /// To `T`.
    pub const DATA: u32 = 0x1_0000;
    /// To `N`.
    pub const EOH: u32 = 0x4_0000;
    /// To `B`.
    pub const BODY: u32 = 0x8_0000;
}

/// `SMFIP_HDR_LEADSPC`: header values come and go with the space that follows their colon.
pub const HEADER_LEADING_SPACE: u32 = 0x10_0000;
