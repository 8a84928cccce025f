//! One reply → its bytes (RFC 5321 §4.2, enhanced codes of RFC 2034), in Dovecot's words where it has them. Pure.

use std::borrow::Cow;

/// A reply: the code, the enhanced status, the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// Such as `2.0.0`.
    pub status: Cow<'static, str>,
    /// What a person reads. Each line of it becomes a line of the reply; control characters become `?`.
    pub text: Cow<'static, str>,
}

/// The longest line of a reply, without its line end (RFC 5321 §4.5.3.1.5 has 512 with it).
const LONGEST_LINE: usize = 510;
/// The most lines of one reply; a rejection's reason may be long.
const MOST_LINES: usize = 50;

impl Reply {
    const fn fixed(code: u16, status: &'static str, text: &'static str) -> Self {
        Self { code, status: Cow::Borrowed(status), text: Cow::Borrowed(text) }
    }

    /// To NOOP and RSET.
    pub const OK: Self = Self::fixed(250, "2.0.0", "OK");
    /// To MAIL.
    pub const SENDER_OK: Self = Self::fixed(250, "2.1.0", "OK");
    /// To RCPT.
    pub const RECIPIENT_OK: Self = Self::fixed(250, "2.1.5", "OK");
    /// To QUIT.
    pub const BYE: Self = Self::fixed(221, "2.0.0", "Bye");
    /// To VRFY.
    pub const TRY_RCPT: Self = Self::fixed(252, "2.3.3", "Try RCPT instead");
    /// To a verb we do not know, HELO and EHLO among them (RFC 2033 §4.1).
    pub const UNKNOWN_COMMAND: Self = Self::fixed(500, "5.5.1", "Unknown command");
    /// To bytes that are no command at all.
    pub const INVALID_SYNTAX: Self = Self::fixed(500, "5.5.2", "Invalid command syntax");
    /// To a line that is too long.
    pub const LINE_TOO_LONG: Self = Self::fixed(500, "5.5.2", "Line too long");
    /// To parameters where none belong, or none where one belongs.
    pub const INVALID_PARAMETERS: Self = Self::fixed(501, "5.5.4", "Invalid parameters");
    /// To LHLO without a name.
    pub const NO_HOST_NAME: Self = Self::fixed(501, "5.5.4", "Missing hostname");
    /// To MAIL and RCPT with parameters we do not have.
    pub const UNSUPPORTED_PARAMETERS: Self = Self::fixed(555, "5.5.4", "Unsupported parameters");
    /// To `BODY=BINARYMIME` and others.
    pub const UNSUPPORTED_BODY: Self = Self::fixed(555, "5.5.4", "Unsupported mail BODY type");
    /// To `BODY` without a value.
    pub const MISSING_BODY: Self = Self::fixed(501, "5.5.4", "Missing BODY= parameter value");
    /// To a second `BODY=`.
    pub const DUPLICATE_BODY: Self = Self::fixed(501, "5.5.4", "Duplicate BODY= parameter");
    /// To `SIZE=` without a number.
    pub const INVALID_SIZE: Self = Self::fixed(501, "5.5.4", "Invalid SIZE= parameter value");
    /// To a second `SIZE=`.
    pub const DUPLICATE_SIZE: Self = Self::fixed(501, "5.5.4", "Duplicate SIZE= parameter");
    /// To BDAT without a number.
    pub const INVALID_CHUNK_SIZE: Self = Self::fixed(501, "5.5.4", "Invalid chunk size parameter");
    /// To BDAT with another word than LAST.
    pub const INVALID_CHUNK_END: Self = Self::fixed(501, "5.5.4", "Invalid end marker parameter");
    /// To a command that comes before MAIL.
    pub const NO_MAIL: Self = Self::fixed(503, "5.5.0", "MAIL needed first");
    /// To a second MAIL.
    pub const MAIL_ALREADY: Self = Self::fixed(503, "5.5.0", "MAIL already given");
    /// To DATA and BDAT when no recipient was taken.
    pub const NO_RECIPIENTS: Self = Self::fixed(503, "5.5.0", "No valid recipients");
    /// To DATA and RCPT between chunks (RFC 3030 §2).
    pub const IN_CHUNKS: Self =
        Self::fixed(503, "5.5.0", "The message has begun with BDAT; go on with it, or issue RSET");
    /// To what follows a chunk that failed (RFC 3030 §2).
    pub const CHUNK_FAILED: Self = Self::fixed(503, "5.5.0", "Previous data chunk failed, issue RSET first");
    /// To a message that is too big, by its `SIZE=` or as it arrived (RFC 1870 §6.2).
    pub const TOO_BIG: Self = Self::fixed(552, "5.3.4", "Message is larger than this server takes");
    /// To one recipient too many (RFC 5321 §4.5.3.1.10): the rest is sent again.
    pub const TOO_MANY_RECIPIENTS: Self = Self::fixed(452, "4.5.3", "Too many recipients");
    /// To an address that needs SMTPUTF8 in a transaction without it (RFC 6531 §3.5).
    pub const NOT_INTERNATIONALIZED: Self =
        Self::fixed(553, "5.6.7", "The address needs SMTPUTF8, which MAIL did not ask for");
    /// When something failed that is none of the client's business.
    pub const TEMPORARY: Self = Self::fixed(451, "4.3.0", "Temporary internal error");
    /// To a recipient with too many transactions at a time, in Dovecot's words.
    pub const TOO_MANY_DELIVERIES: Self =
        Self::fixed(451, "4.3.0", "Too many concurrent deliveries for user");

    /// Any other one.
    pub fn new(code: u16, status: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, status: status.into(), text: text.into() }
    }

    pub(super) fn invalid(name: &str, text: &str) -> Self {
        Self::new(501, "5.5.4", format!("Invalid {name}: {text}"))
    }

    pub(super) fn invalid_parameter(is_empty: bool) -> Self {
        let text = if is_empty { "Parameter is empty" } else { "Unexpected character in parameter keyword" };
        Self::new(501, "5.5.4", format!("Invalid MAIL parameter: {text}"))
    }

    /// The `421` that ends a connection (RFC 5321 §3.8); `why` follows the host's name.
    #[must_use]
    pub fn closing(status: &'static str, host: &str, why: &str) -> Self {
        Self::new(421, status, format!("{host} {why}"))
    }

    /// Whether it says yes.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// Appends the reply's lines.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.lines().take(MOST_LINES).peekable();
        if lines.peek().is_none() {
            self.line(out, b' ', "");
        }
        while let Some(line) = lines.next() {
            self.line(out, if lines.peek().is_some() { b'-' } else { b' ' }, line);
        }
    }

    fn line(&self, out: &mut Vec<u8>, separator: u8, text: &str) {
        let start = out.len();
        let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or_default();
        out.extend_from_slice(&[digit(self.code / 100), digit(self.code / 10), digit(self.code), separator]);
        if !self.status.is_empty() {
            out.extend_from_slice(self.status.as_bytes());
            out.push(b' ');
        }
        for letter in text.chars() {
            let letter = if letter.is_control() { '?' } else { letter };
            if out.len() + letter.len_utf8() > start + LONGEST_LINE {
                break;
            }
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the greeting of RFC 5321 §3.1.
pub fn greeting(out: &mut Vec<u8>, host: &str, text: &str) {
    Reply::new(220, "", format!("{host} {text}")).write(out);
}

/// Appends the reply to LHLO; `size` is the largest message in bytes, 0 for any (RFC 1870 §3).
pub fn extensions(out: &mut Vec<u8>, host: &str, size: u64) {
    out.extend_from_slice(b"250-");
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(
        b"\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-SIZE",
    );
    if size > 0 {
        out.extend_from_slice(format!(" {size}").as_bytes());
    }
    out.extend_from_slice(b"\r\n250 SMTPUTF8\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_and_several() {
        assert_eq!(text(&Reply::OK), "250 2.0.0 OK\r\n");
        assert_eq!(
            text(&Reply::new(552, "5.2.0", "No.\nNever.\r\n")),
            "552-5.2.0 No.\r\n552 5.2.0 Never.\r\n"
        );
        assert_eq!(text(&Reply::new(552, "5.2.0", "")), "552 5.2.0 \r\n");
        assert_eq!(text(&Reply::closing("4.4.2", "h", "Bye")), "421 4.4.2 h Bye\r\n");
    }

    #[test]
    fn a_text_forges_no_reply() {
        assert_eq!(text(&Reply::new(552, "5.2.0", "a\rb\0\u{85}c")), "552 5.2.0 a?b??c\r\n");
        let long = text(&Reply::new(552, "5.2.0", "ä".repeat(10_000)));
        assert!(long.len() <= 512 && long.ends_with("ä\r\n"));
        let lines = text(&Reply::new(552, "5.2.0", "x\n".repeat(1000)));
        assert_eq!(lines.lines().count(), MOST_LINES);
        assert!(lines.ends_with("552 5.2.0 x\r\n"));
    }

    #[test]
    fn what_lhlo_is_told() {
        let mut out = Vec::new();
        extensions(&mut out, "mx", 100);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("250-mx\r\n") && text.contains("\r\n250-SIZE 100\r\n"), "{text}");
        assert!(text.ends_with("\r\n250 SMTPUTF8\r\n"));
    }
}
