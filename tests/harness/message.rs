//! Messages as tests write and read them: fields in order, and a body, byte for byte.

/// A message: header fields in order and a body, with CRLF line ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    fields: Vec<Field>,
    body: Vec<u8>,
}

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as it is spelled.
    pub name: String,
    /// Everything after the colon: the leading space, folds with CRLF; without the last CRLF.
    pub value: Vec<u8>,
}

impl Message {
    /// A plain message with From, To, Subject, Date and Message-ID, and this body.
    #[must_use]
    pub fn new(from: &str, to: &str, subject: &str, body: impl AsRef<[u8]>) -> Self {
        Self::default()
            .field("From", from)
            .field("To", to)
            .field("Subject", subject)
            .field("Date", "Sat, 21 Nov 2026 10:00:00 +0000")
            .field("Message-ID", &format!("<{}@test.example>", message_number()))
            .body(body)
    }

    /// Adds a field at the end of the header, with a space after its colon. LF and CRLF in `value` fold it.
    #[must_use]
    pub fn field(self, name: &str, value: &str) -> Self {
        self.raw_field(name, format!(" {value}").as_bytes())
    }

    /// Adds a field whose value is exactly what follows the colon; LF becomes CRLF.
    #[must_use]
    pub fn raw_field(mut self, name: &str, value: &[u8]) -> Self {
        self.fields.push(Field { name: name.to_owned(), value: crlf(value) });
        self
    }

    /// Sets the body; LF becomes CRLF.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = crlf(body.as_ref());
        self
    }

    /// Reads a message as it is stored (LF) or sent (CRLF).
    ///
    /// The header ends at an empty line or, as Postfix has it, before the first line that is no field.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = crlf(bytes);
        let mut message = Self::default();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let length = line_length(rest);
            let (line, after) = rest.split_at(length);
            let text = line.strip_suffix(b"\r\n").unwrap_or(line);
            if text.is_empty() {
                rest = after;
                break;
            }
            if text.starts_with(b" ") || text.starts_with(b"\t") {
                let Some(field) = message.fields.last_mut() else { break };
                field.value.extend_from_slice(b"\r\n");
                field.value.extend_from_slice(text);
            } else {
                let Some(colon) = text.iter().position(|&byte| byte == b':') else { break };
                let name = text[..colon].trim_ascii_end();
                if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                    break;
                }
                let name = String::from_utf8_lossy(name).into_owned();
                message.fields.push(Field { name, value: text[colon + 1..].to_vec() });
            }
            rest = after;
        }
        message.body = rest.to_vec();
        message
    }

    /// The whole message with CRLF.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 80 * self.fields.len());
        for field in &self.fields {
            bytes.extend_from_slice(field.name.as_bytes());
            bytes.push(b':');
            bytes.extend_from_slice(&field.value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The fields from top to bottom.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields, to change them.
    pub fn fields_mut(&mut self) -> &mut Vec<Field> {
        &mut self.fields
    }

    /// The body with CRLF.
    #[must_use]
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// All values of a field from top to bottom, unfolded and trimmed.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        self.raw_all(name).into_iter().map(unfold).collect()
    }

    /// The first value of a field, unfolded and trimmed; empty if the field is missing.
    #[must_use]
    pub fn first(&self, name: &str) -> String {
        self.all(name).into_iter().next().unwrap_or_default()
    }

    /// All values of a field from top to bottom, exactly as they follow the colon.
    #[must_use]
    pub fn raw_all(&self, name: &str) -> Vec<&[u8]> {
        let named = |field: &&Field| field.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|field| field.value.as_slice()).collect()
    }

    /// A copy without the fields of this name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut message = self.clone();
        message.fields.retain(|field| !field.name.eq_ignore_ascii_case(name));
        message
    }
}

/// The tags of a DKIM-Signature's value by name, blanks taken out of their values.
#[must_use]
pub fn tags(value: &str) -> Vec<(String, String)> {
    let tag = |text: &str| {
        let (name, value) = text.split_once('=')?;
        Some((name.trim().to_owned(), value.split_ascii_whitespace().collect()))
    };
    value.split(';').filter_map(tag).collect()
}

/// One tag of a DKIM-Signature's value; empty if it is missing.
#[must_use]
pub fn tag(value: &str, name: &str) -> String {
    tags(value).into_iter().find(|(tag, _)| tag == name).map_or_else(String::new, |(_, value)| value)
}

fn unfold(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace("\r\n", "").trim().to_owned()
}

fn line_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1)
}

/// Makes every line end CRLF.
fn crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 32);
    let mut before = 0;
    for &byte in bytes {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

fn message_number() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_written() {
        let text = b"A: 1\r\nb:\tx\r\n  y\r\nA:2\r\n\r\nbody\r\n\r\n.\r\n";
        let message = Message::parse(text);
        assert_eq!(message.all("a"), ["1", "2"]);
        assert_eq!(message.raw_all("B"), [b"\tx\r\n  y"]);
        assert_eq!(message.first("b"), "x  y");
        assert_eq!(message.body_bytes(), b"body\r\n\r\n.\r\n");
        assert_eq!(message.to_bytes(), text);
        assert_eq!(Message::parse(&text.to_vec().replace_crlf()), message);
    }

    #[test]
    fn a_header_ends_where_postfix_ends_it() {
        let message = Message::parse(b"A: 1\nnot a field\nB: 2\n");
        assert_eq!(message.fields().len(), 1);
        assert_eq!(message.body_bytes(), b"not a field\r\nB: 2\r\n");
        assert_eq!(Message::parse(b"").fields(), []);
    }

    #[test]
    fn tags_of_a_signature() {
        let value = "v=1; a=rsa-sha256; b=abc\r\n\t def; h=From:To";
        assert_eq!(tag(value, "b"), "abcdef");
        assert_eq!(tag(value, "x"), "");
        assert_eq!(tags(value).len(), 4);
    }

    trait ReplaceCrlf {
        fn replace_crlf(self) -> Vec<u8>;
    }

    impl ReplaceCrlf for Vec<u8> {
        fn replace_crlf(mut self) -> Vec<u8> {
            self.retain(|&byte| byte != b'\r');
            self
        }
    }
}
