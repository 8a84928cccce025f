//! Domain names as they may stand in `d=`, `s=` and `i=` (RFC 6376 §3.5, RFC 8616).

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The longest domain name in its written form without the final dot (RFC 1035 §2.3.4).
pub const MAX_NAME_BYTES: usize = 253;

/// The longest label.
const MAX_LABEL_BYTES: usize = 63;

/// A domain name, or a selector, with valid syntax: lower case and with A-labels only.
///
/// It holds nothing but letters, digits, `-`, `_` and dots, so it can be put in
/// a DNS query, a header field or the log as it is. Names with anything else in
/// them never become a `Domain` (CVE-2020-12272 is about `d=a.example(.b.example`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Domain {
    ascii: String,
}

impl Domain {
    /// Reads a domain name of at least two labels; U-labels become A-labels (RFC 8616 §4).
    ///
    /// `None` when it is anything else: one label, an empty label, a dot at the
    /// end, other characters, longer than [`MAX_NAME_BYTES`]. Underscores are let
    /// through, because names with them are in use.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::labels(text).filter(|domain| domain.ascii.contains('.'))
    }

    /// Reads a selector: as a domain name, but one label is enough.
    #[must_use]
    pub fn parse_selector(text: &[u8]) -> Option<Self> {
        Self::labels(text)
    }

    fn labels(text: &[u8]) -> Option<Self> {
        // The longest name in UTF-8 has fewer octets than this; IDNA would take time over more.
        if text.is_empty() || text.len() > 4 * MAX_NAME_BYTES {
            return None;
        }
        let ascii = if text.is_ascii() {
            std::str::from_utf8(text).ok()?.to_ascii_lowercase()
        } else {
            let tables = Uts46::new();
            let converted =
                tables.to_ascii(text, AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore).ok()?;
            converted.into_owned()
        };
        let valid = ascii.len() <= MAX_NAME_BYTES && ascii.split('.').all(is_label);
        valid.then_some(Self { ascii })
    }

    /// The name in lower case and with A-labels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.ascii
    }

    /// Whether this is `parent` itself or a name below it.
    #[must_use]
    pub fn is_or_is_below(&self, parent: &Self) -> bool {
        self.ascii
            .strip_suffix(parent.as_str())
            .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Option<String> {
        Domain::parse(text.as_bytes()).map(|domain| domain.as_str().to_owned())
    }

    #[test]
    fn names_become_lower_case_a_labels() {
        assert_eq!(domain("Sender.EXAMPLE").as_deref(), Some("sender.example"));
        assert_eq!(domain("Bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(domain("xn--bcher-kva.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(domain("_a.b-c_d.example").as_deref(), Some("_a.b-c_d.example"));
        let selector = |text: &str| Domain::parse_selector(text.as_bytes()).map(|name| name.ascii);
        assert_eq!(selector("2023.nov.eu").as_deref(), Some("2023.nov.eu"));
        assert_eq!(selector("brisbane").as_deref(), Some("brisbane"));
        assert_eq!(selector("schlüssel").as_deref(), Some("xn--schlssel-95a"));
    }

    #[test]
    fn what_is_no_domain() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = ["a".repeat(49).as_str(); 6].join(".");
        for text in [
            "",
            "example",
            "example.",
            ".example.net",
            "a..example",
            "example.net(.example.com",
            "exa mple.net",
            "example.net\r\n .org",
            "example.net;",
            "a@b.example",
            "a/b.example",
            "\"a\".example",
            "192.0.2.1:25",
            "a\u{0}.example",
            "a.example\u{3002}(b",
            &long_label,
            &long_name,
        ] {
            assert_eq!(domain(text), None, "{text:?}");
        }
        assert_eq!(Domain::parse(b"caf\xe9.example"), None, "not UTF-8");
        assert_eq!(Domain::parse(&vec![0xc3; 5000]), None);
    }

    #[test]
    fn below_means_whole_labels() {
        let of = |text: &str| Domain::parse(text.as_bytes()).unwrap();
        assert!(of("a.example").is_or_is_below(&of("A.example")));
        assert!(of("mail.a.example").is_or_is_below(&of("a.example")));
        assert!(!of("evila.example").is_or_is_below(&of("a.example")));
        assert!(!of("a.example").is_or_is_below(&of("mail.a.example")));
        assert!(of("m.bücher.example").is_or_is_below(&of("xn--bcher-kva.example")));
    }
}
