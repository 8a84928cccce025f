//! Postfix's policy delegation protocol: bytes ↔ requests and replies (SMTPD_POLICY_README).
//!
//! A request is lines of `name=value` and an empty line; a reply is `action=...` and an empty line. Nothing
//! here knows a socket. A request borrows from the bytes it was read from, so reading one allocates nothing
//! unless it arrives in pieces.

use std::fmt;
use std::ops::ControlFlow;

use memchr::{memchr, memmem};

/// The longest request, in bytes: some forty attributes, each as long as Postfix can make it.
pub const LONGEST_REQUEST: usize = 256 * 1024;
/// The longest line of a reply that Postfix reads (4 × `line_length_limit`), with room for `action=`.
pub const LONGEST_ACTION: usize = 8000;

macro_rules! attributes {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// The attributes that Postfix sends, up to 3.12. Others are passed over.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Attribute {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant
            ),*
        }

        impl Attribute {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),*
                }
            }

            /// The attribute of this name.
            #[must_use]
            pub fn of(name: &[u8]) -> Option<Self> {
                $(
                    const $variant: &[u8] = $name.as_bytes();
                )*
                match name {
                    $($variant => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        const COUNT: usize = [$($name),*].len();
    };
}

#[allow(non_upper_case_globals, reason = "the names of the variants serve as patterns of a match")]
mod table {
    attributes! {
        Request = "request",
        ProtocolState = "protocol_state",
        ProtocolName = "protocol_name",
        ClientAddress = "client_address",
        ClientName = "client_name",
        ClientPort = "client_port",
        ReverseClientName = "reverse_client_name",
        ServerAddress = "server_address",
        ServerPort = "server_port",
        HeloName = "helo_name",
        Sender = "sender",
        Recipient = "recipient",
        RecipientCount = "recipient_count",
        QueueId = "queue_id",
        Instance = "instance",
        Size = "size",
        EtrnDomain = "etrn_domain",
        Stress = "stress",
        SaslMethod = "sasl_method",
        SaslUsername = "sasl_username",
        SaslSender = "sasl_sender",
        CcertSubject = "ccert_subject",
        CcertIssuer = "ccert_issuer",
        CcertFingerprint = "ccert_fingerprint",
        CcertPubkeyFingerprint = "ccert_pubkey_fingerprint",
        EncryptionProtocol = "encryption_protocol",
        EncryptionCipher = "encryption_cipher",
        EncryptionKeysize = "encryption_keysize",
        TlsSni = "tls_sni",
        PolicyContext = "policy_context",
        CompatibilityLevel = "compatibility_level",
        MailVersion = "mail_version",
    }

    /// One request. What it does not have is empty.
    #[derive(Clone, Copy)]
    pub struct Request<'a> {
        pub(super) values: [&'a [u8]; COUNT],
    }

    impl Default for Request<'_> {
        fn default() -> Self {
            Self { values: [b""; COUNT] }
        }
    }
}

pub use table::{Attribute, Request};

/// Where in the SMTP dialogue a request was made (`protocol_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A recipient was named.
    Rcpt,
    /// All recipients are known; the message has not been sent yet. BDAT is reported so, too.
    Data,
    /// The message is there.
    EndOfMessage,
    /// CONNECT, EHLO, HELO, MAIL, VRFY, ETRN and what may come.
    Other,
}

/// Why bytes are no request. The connection cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A line without `=`.
    NotAnAttribute,
    /// Lines end in CR LF, or something else follows than Postfix sends.
    CarriageReturn,
    /// No `request=smtpd_access_policy`.
    NotAPolicyRequest,
    /// Longer than [`LONGEST_REQUEST`].
    TooLong,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnAttribute => "sent a line that is no attribute (name=value)",
            Self::CarriageReturn => "ends its lines with CR LF; the policy protocol has LF alone",
            Self::NotAPolicyRequest => "sent no request=smtpd_access_policy",
            Self::TooLong => "sent a request of more than 256 KiB",
        })
    }
}

impl<'a> Request<'a> {
    /// Reads the lines of one request, without the empty line at its end. The last of a repeated attribute
    /// counts.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(mut lines: &'a [u8]) -> Result<Self, Malformed> {
        let mut request = Self::default();
        while !lines.is_empty() {
            let (line, rest) = match memchr(b'\n', lines) {
                Some(end) => {
                    let (line, rest) = lines.split_at(end);
                    (line, rest.get(1..).unwrap_or_default())
                }
                None => (lines, [].as_slice()),
            };
            lines = rest;
            let Some(equals) = memchr(b'=', line) else {
                let cr = line.last() == Some(&b'\r');
                return Err(if cr { Malformed::CarriageReturn } else { Malformed::NotAnAttribute });
            };
            let (name, value) = line.split_at(equals);
            if let Some(attribute) = Attribute::of(name) {
                request.set(attribute, value.get(1..).unwrap_or_default());
            }
        }
        match request.value(Attribute::Request) {
            b"smtpd_access_policy" => Ok(request),
            b"smtpd_access_policy\r" => Err(Malformed::CarriageReturn),
            _ => Err(Malformed::NotAPolicyRequest),
        }
    }

    /// An attribute's value; empty when it was not sent.
    #[must_use]
    pub fn value(&self, attribute: Attribute) -> &'a [u8] {
        self.values.get(attribute as usize).copied().unwrap_or_default()
    }

    /// Sets an attribute, as if it had been sent.
    pub fn set(&mut self, attribute: Attribute, value: &'a [u8]) {
        if let Some(place) = self.values.get_mut(attribute as usize) {
            *place = value;
        }
    }

    /// An attribute's value as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self, attribute: Attribute) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.value(attribute))
    }

    /// An attribute that is a number; 0 when it is none.
    #[must_use]
    pub fn number(&self, attribute: Attribute) -> u64 {
        let digits = self.value(attribute);
        digits
            .iter()
            .try_fold(0_u64, |number, &digit| match digit {
                b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
                _ => None,
            })
            .unwrap_or(0)
    }

    /// Where in the dialogue it was made.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.value(Attribute::ProtocolState) {
            b"RCPT" => Stage::Rcpt,
            b"DATA" | b"BDAT" => Stage::Data,
            b"END-OF-MESSAGE" => Stage::EndOfMessage,
            _ => Stage::Other,
        }
    }

    /// The lines on the wire, with the empty line at the end: what Postfix would send.
    pub fn write(&self, out: &mut Vec<u8>) {
        for &attribute in Attribute::ALL {
            out.extend_from_slice(attribute.name().as_bytes());
            out.push(b'=');
            out.extend_from_slice(self.value(attribute));
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Attribute::ALL.iter().filter(|attribute| !self.value(**attribute).is_empty());
        f.debug_map().entries(set.map(|attribute| (attribute.name(), self.text(*attribute)))).finish()
    }
}

/// Cuts a stream of bytes into requests. Between requests it holds nothing.
#[derive(Debug, Default)]
pub struct Requests {
    rest: Vec<u8>,
    /// So much of the rest holds no end of a request.
    searched: usize,
}

impl Requests {
    /// Hands each request that `bytes` completes to `each`, until it breaks. A request that cannot be read
    /// is handed on as the mistake it is, and nothing after it.
    ///
    /// After a break the rest of `bytes` is kept for the next call, which may bring no bytes.
    pub fn feed<B>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Result<Request<'_>, Malformed>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let (taken, flow) = if self.rest.is_empty() {
            let (taken, flow) = requests(bytes, 0, &mut each);
            self.rest.extend_from_slice(bytes.get(taken..).unwrap_or_default());
            (taken, flow)
        } else {
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(bytes);
            let (taken, flow) = requests(&whole, self.searched, &mut each);
            if taken < whole.len() {
                whole.drain(..taken);
                self.rest = whole;
            }
            (taken, flow)
        };
        // The last byte may begin an empty line; after a break nobody has looked.
        let searched = if flow.is_break() { 0 } else { self.rest.len().saturating_sub(1) };
        self.searched = if taken == 0 || flow.is_continue() { searched } else { 0 };
        flow
    }

    /// How many bytes of an unfinished request are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.rest.len()
    }
}

/// The requests at the beginning of `bytes`; how many bytes they take. The first `searched` bytes hold no
/// end of a request.
fn requests<B>(
    bytes: &[u8],
    searched: usize,
    each: &mut impl FnMut(Result<Request<'_>, Malformed>) -> ControlFlow<B>,
) -> (usize, ControlFlow<B>) {
    let (mut taken, mut from) = (0, searched);
    while let Some(end) = empty_line(bytes, from) {
        let lines = bytes.get(taken..end).unwrap_or_default();
        let request =
            if lines.len() > LONGEST_REQUEST { Err(Malformed::TooLong) } else { Request::parse(lines) };
        let broken = request.is_err();
        // The LF of the last line and that of the empty one.
        taken = end + 2;
        from = taken;
        let flow = each(request);
        if flow.is_break() || broken {
            return (if broken { bytes.len() } else { taken }, flow);
        }
    }
    let rest = bytes.get(taken..).unwrap_or_default();
    let mistake = if rest.len() > LONGEST_REQUEST {
        Malformed::TooLong
    } else if rest.ends_with(b"\r\n\r\n") || rest == b"\r\n" {
        Malformed::CarriageReturn
    } else if rest.first() == Some(&b'\n') {
        Malformed::NotAPolicyRequest
    } else {
        return (taken, ControlFlow::Continue(()));
    };
    (bytes.len(), each(Err(mistake)))
}

/// Where the last line of a request ends: at an LF that is followed by another.
fn empty_line(bytes: &[u8], from: usize) -> Option<usize> {
    Some(from + memmem::find(bytes.get(from..)?, b"\n\n")?)
}

/// Writes a reply. Whatever the action holds, the reply is one line of printable UTF-8 that is not too long
/// and never empty: Postfix takes an empty action for OK.
pub fn reply(action: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"action=");
    let action = action.trim();
    let action = if action.is_empty() { "DUNNO" } else { action };
    let start = out.len();
    for c in action.chars() {
        if out.len() - start + c.len_utf8() > LONGEST_ACTION {
            break;
        }
        let c = if c.is_control() { ' ' } else { c };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=a=b@a.example\nnew_one=x\n\
        recipient=\nsize=12345\nsize=347\n\n";

    fn all(pieces: &[&[u8]]) -> Vec<Result<(String, u64), Malformed>> {
        let mut requests = Requests::default();
        let mut found = Vec::new();
        for piece in pieces {
            let flow = requests.feed(piece, |request| {
                let broken = request.is_err();
                found.push(request.map(|request| {
                    (request.text(Attribute::Sender).into_owned(), request.number(Attribute::Size))
                }));
                if broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if flow.is_break() {
                break;
            }
        }
        found
    }

    #[test]
    fn requests_are_the_same_however_they_are_split() {
        let one = Ok(("a=b@a.example".to_owned(), 347));
        let two = [TEXT, TEXT].concat();
        for at in 0..two.len() {
            let (a, b) = two.split_at(at);
            assert_eq!(all(&[a, b]), [one.clone(), one.clone()], "split at {at}");
        }
        let bytes: Vec<&[u8]> = two.chunks(1).collect();
        assert_eq!(all(&bytes), [one.clone(), one]);
    }

    #[test]
    fn what_is_no_request_is_said() {
        for (text, want) in [
            (&b"hello\n\n"[..], Malformed::NotAnAttribute),
            (b"\n", Malformed::NotAPolicyRequest),
            (b"\n\n", Malformed::NotAPolicyRequest),
            (b"a=b\n\n", Malformed::NotAPolicyRequest),
            (b"request=junk\n\n", Malformed::NotAPolicyRequest),
            (b"request=smtpd_access_policy\r\n\r\n", Malformed::CarriageReturn),
            (b"request=smtpd_access_policy\r\nsender=x\r\n\r\n", Malformed::CarriageReturn),
        ] {
            assert_eq!(all(&[text]), [Err(want)], "{}", text.escape_ascii());
        }
    }

    #[test]
    fn long_values_are_taken_and_endless_ones_are_not() {
        let long =
            [b"request=smtpd_access_policy\nhelo_name=", &[b'h'; 8192][..], b"\nsender=s\n\n"].concat();
        assert_eq!(all(&[&long]), [Ok(("s".to_owned(), 0))]);
        let endless = vec![b'x'; LONGEST_REQUEST + 1];
        assert_eq!(all(&[b"helo_name=", &endless]), [Err(Malformed::TooLong)]);
    }

    #[test]
    fn nothing_is_held_between_requests() {
        let mut requests = Requests::default();
        for piece in [&TEXT[..20], &TEXT[20..]] {
            assert!(requests.feed(piece, |_| ControlFlow::<()>::Continue(())).is_continue());
        }
        assert_eq!((requests.held(), requests.rest.capacity()), (0, 0));
    }

    #[test]
    fn names_are_what_postfix_sends() {
        for &attribute in Attribute::ALL {
            assert_eq!(Attribute::of(attribute.name().as_bytes()), Some(attribute));
        }
        assert_eq!(Attribute::of(b"sasl_user"), None);
    }

    #[test]
    fn a_reply_is_one_line_and_never_empty() {
        for (action, want) in [
            ("DUNNO", "action=DUNNO\n\n"),
            ("", "action=DUNNO\n\n"),
            (" \n ", "action=DUNNO\n\n"),
            ("DEFER a\r\nb", "action=DEFER a  b\n\n"),
        ] {
            let mut out = Vec::new();
            reply(action, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        let mut out = Vec::new();
        reply(&"ü".repeat(10_000), &mut out);
        assert!(out.len() <= 8192 && String::from_utf8(out).is_ok());
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let request = Request::parse(TEXT.strip_suffix(b"\n\n").unwrap()).unwrap();
        let mut out = Vec::new();
        request.write(&mut out);
        assert_eq!(all(&[&out]), [Ok(("a=b@a.example".to_owned(), 347))]);
    }
}
