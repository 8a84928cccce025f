//! A message as a milter sees it: header fields and body apart, and the changes that a milter asks for.

use std::io;

use crate::wire::protocol_error;

/// A message with CRLF line ends. Header values are raw: everything after the colon, folds included.
#[derive(Clone, Debug)]
pub struct Message {
    /// Name and value of each field, in order.
    pub header: Vec<(Vec<u8>, Vec<u8>)>,
    /// Everything after the empty line.
    pub body: Vec<u8>,
}

/// One change that a milter asks for at the end of a message.
#[derive(Debug)]
pub enum Edit {
    /// A new header field: ADDHEADER (no index) or INSHEADER.
    Insert { index: Option<u32>, name: Vec<u8>, value: Vec<u8> },
    /// Any other modification.
    Other,
}

impl Edit {
    /// Reads a modification packet.
    ///
    /// # Errors
    /// InvalidData when the packet ends too early.
    pub fn parse(code: u8, data: &[u8]) -> io::Result<Self> {
        let (index, text) = match code {
            b'h' => (None, data),
            b'i' => {
                let (index, text) = data
                    .split_first_chunk::<4>()
                    .ok_or_else(|| protocol_error("a short INSHEADER".into()))?;
                (Some(u32::from_be_bytes(*index)), text)
            }
            _ => return Ok(Self::Other),
        };
        let mut parts = text.split(|&byte| byte == 0);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(value), Some(_)) => {
                Ok(Self::Insert { index, name: name.to_vec(), value: value.to_vec() })
            }
            _ => Err(protocol_error("a header edit without its two strings".into())),
        }
    }

    /// True when this inserts field NAME whose value contains TEXT, after `NAME` or `NAME=TEXT`.
    pub fn satisfies(&self, expected: &str) -> bool {
        let (field, text) = expected.split_once('=').unwrap_or((expected, ""));
        matches!(self, Self::Insert { name, value, .. }
            if name.eq_ignore_ascii_case(field.as_bytes()) && contains(value, text.as_bytes()))
    }
}

impl Message {
    /// Reads a message; bare LF is taken as CRLF.
    pub fn parse(raw: &[u8]) -> Self {
        let mut text = Vec::with_capacity(raw.len() + raw.len() / 32);
        for &byte in raw {
            if byte == b'\n' && text.last() != Some(&b'\r') {
                text.push(b'\r');
            }
            text.push(byte);
        }
        let mut header: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let end = text[at..].windows(2).position(|w| w == b"\r\n").map_or(text.len(), |n| at + n);
            let line = &text[at..end];
            let next = (end + 2).min(text.len());
            if line.is_empty() {
                at = next;
                break;
            }
            match (header.last_mut(), line.iter().position(|&b| b == b':')) {
                (Some((_, value)), _) if matches!(line[0], b' ' | b'\t') => {
                    value.extend_from_slice(b"\r\n");
                    value.extend_from_slice(line);
                }
                (_, Some(colon)) => header.push((line[..colon].to_vec(), line[colon + 1..].to_vec())),
                (_, None) => break,
            }
            at = next;
        }
        Self { header, body: text[at..].to_vec() }
    }

    /// A made-up message of about `bytes` bytes in all, as a mail client and one relay would leave it.
    /// The text is pseudo-random words, the same for the same size.
    pub fn made_up(bytes: usize, sender: &str) -> Self {
        let mut raw = format!(
            "Received: from laptop.client.example (laptop.client.example [198.51.100.7])\r\n\
             \t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n\
             \tby relay.bench.example (Postfix) with ESMTPSA id 4bX7Qk2nZbz1\r\n\
             \tfor <reader@elsewhere.example>; Fri, 20 Nov 2026 09:15:02 +0000 (UTC)\r\n\
             Message-ID: <20261120091502.4bX7Qk2nZbz1@bench.example>\r\n\
             Date: Fri, 20 Nov 2026 10:15:02 +0100\r\n\
             MIME-Version: 1.0\r\n\
             User-Agent: Mozilla Thunderbird\r\n\
             Content-Language: en-GB\r\n\
             To: A Reader <reader@elsewhere.example>\r\n\
             From: The Bench <{sender}>\r\n\
             Subject: {bytes} bytes of words, folded over\r\n two lines\r\n\
             Content-Type: text/plain; charset=UTF-8; format=flowed\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n"
        )
        .into_bytes();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut column = 0_u64;
        while raw.len() + 2 < bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dice = state >> 33;
            if column > 64 + dice % 9 {
                raw.extend_from_slice(b"\r\n");
                column = 0;
                continue;
            }
            let letter = dice / 9 % 32;
            raw.push(if letter > 26 && column > 0 {
                b' '
            } else {
                b'a' + u8::try_from(letter % 26).unwrap_or(0)
            });
            column += 1;
        }
        raw.extend_from_slice(b"\r\n");
        Self::parse(&raw)
    }

    /// The message with the header fields that a milter inserted, as Postfix would queue it.
    /// `leading_space` says that values come with the blank after the colon (SMFIP_HDR_LEADSPC).
    pub fn with_inserted(&self, edits: &[Edit], leading_space: bool) -> Self {
        let mut changed = self.clone();
        for edit in edits {
            let Edit::Insert { index, name, value } = edit else { continue };
            let mut raw = if leading_space { Vec::new() } else { b" ".to_vec() };
            for &byte in value {
                if byte == b'\n' && raw.last() != Some(&b'\r') {
                    raw.push(b'\r');
                }
                raw.push(byte);
            }
            let end = changed.header.len();
            // Index 0 and 1 both mean the top.
            let at = index.map_or(end, |index| (index.saturating_sub(1) as usize).min(end));
            changed.header.insert(at, (name.clone(), raw));
        }
        changed
    }

    /// The message's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        for (name, value) in &self.header {
            for part in [name.as_slice(), b":", value, b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The message's length in bytes.
    pub fn size(&self) -> usize {
        self.header.iter().map(|(name, value)| name.len() + value.len() + 3).sum::<usize>()
            + 2
            + self.body.len()
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_message_has_the_size_asked_for_and_reads_back_the_same() {
        for bytes in [1500, 4096, 1 << 20] {
            let message = Message::made_up(bytes, "a@bench.example");
            assert_eq!(message.size(), bytes, "{bytes}");
            let again = Message::parse(&message.to_bytes());
            assert_eq!((again.header, again.body), (message.header, message.body));
        }
    }

    #[test]
    fn an_inserted_field_stands_where_postfix_would_put_it() {
        let message = Message::parse(b"A: 1\nB: 2\n two\n\nbody\n");
        let top = Edit::parse(b'i', b"\0\0\0\x00X\0one\n\ttwo\0").unwrap();
        let second = Edit::parse(b'i', b"\0\0\0\x02Y\0y\0").unwrap();
        let last = Edit::parse(b'h', b"Z\0z\0").unwrap();
        let changed = message.with_inserted(&[top, second, last], false);
        assert_eq!(
            String::from_utf8(changed.to_bytes()).unwrap(),
            "X: one\r\n\ttwo\r\nY: y\r\nA: 1\r\nB: 2\r\n two\r\nZ: z\r\n\r\nbody\r\n"
        );
    }

    #[test]
    fn an_expectation_names_the_field_and_may_name_its_text() {
        let edit = Edit::parse(b'i', b"\0\0\0\x01Authentication-Results\0mx; dkim=pass\0").unwrap();
        assert!(edit.satisfies("authentication-results"));
        assert!(edit.satisfies("Authentication-Results=dkim=pass"));
        assert!(!edit.satisfies("Authentication-Results=dkim=fail"));
        assert!(!edit.satisfies("DKIM-Signature"));
    }

    #[test]
    fn a_cut_off_edit_is_an_error() {
        assert!(Edit::parse(b'i', b"\0\0").is_err());
        assert!(Edit::parse(b'h', b"Name only").is_err());
    }
}
