//! The text of the Authentication-Results field (RFC 8601) that tells what was found.

use crate::dkim::{AuthResult, Reason, SignatureResult};

/// The name of the field.
pub const FIELD_NAME: &str = "Authentication-Results";

/// A line is folded before it would pass this column (OpenDKIM 2.11 observed).
const LINE: usize = 75;
/// Characters of `b=` that are shown at least (RFC 6008 §4).
const SHORTEST_B: usize = 8;

/// How the field is written.
#[derive(Debug, Clone, Copy)]
pub struct Style<'a> {
    /// Who says so: the authserv-id.
    pub authserv_id: &'a str,
    /// The queue id that follows it after a slash, when asked for.
    pub job: Option<&'a str>,
    /// Whether `header.b` is shown.
    pub header_b: bool,
}

/// The value of the field, folded by LF and tab, without a leading blank. `results` is empty for a
/// message without signatures.
#[must_use]
pub fn authentication_results(style: Style<'_>, results: &[SignatureResult]) -> String {
    let mut value = style.authserv_id.to_owned();
    if let Some(job) = style.job {
        value.push('/');
        value.push_str(job);
    }
    if results.is_empty() {
        value.push_str("; dkim=none");
        return value;
    }
    for result in results {
        value.push(';');
        let mut line = Line { text: &mut value, column: 0 };
        line.begin();
        line.word(&format!("dkim={}", result.result));
        if result.result != AuthResult::Pass {
            line.word(&format!("reason=\"{}\"", reason(&result.reason)));
        }
        if let Some(bits) = result.key_bits {
            line.word(&format!("({bits}-bit key)"));
        }
        let claims = &result.claims;
        let b = style.header_b.then(|| b_prefix(result, results)).filter(|b| !b.is_empty());
        for (property, shown) in [
            ("header.d", claims.domain.as_deref().map(str::to_owned)),
            ("header.i", claims.identity.as_deref().and_then(property_value)),
            ("header.a", claims.algorithm.as_deref().and_then(property_value)),
            ("header.s", claims.selector.as_deref().map(str::to_owned)),
            ("header.b", b.map(|b| if b.contains(['/', '=']) { format!("\"{b}\"") } else { b.to_owned() })),
        ] {
            if let Some(shown) = shown {
                line.word(&format!("{property}={shown}"));
            }
        }
    }
    value
}

/// The field for a message whose header cannot be used at all (OpenDKIM's wording).
#[must_use]
pub fn malformed(style: Style<'_>) -> String {
    let job = style.job.map(|job| format!("/{job}")).unwrap_or_default();
    format!("{}{job}; dkim=permerror (bad message/signature format)", style.authserv_id)
}

/// A reason as the text of a quoted string.
fn reason(reason: &Reason) -> String {
    let text = match reason {
        // What a resolver says is for the log; the field's readers learn that it failed.
        Reason::KeyLookupFailed(_) => "key DNS query failed".to_owned(),
        other => other.to_string(),
    };
    text.chars().filter(|c| !c.is_control() && *c != '"' && *c != '\\').collect()
}

/// A value as RFC 8601 §2.2 allows it: as it is when it is a token or an address made of plain
/// characters, else quoted; `None` when it cannot stand in a header field at all.
fn property_value(value: &str) -> Option<String> {
    let is_plain = |c: char| c.is_alphanumeric() || "@.-_+=/!#$%&'*?^`{|}~:".contains(c);
    if value.chars().all(is_plain) {
        return Some(value.to_owned());
    }
    if value.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return None;
    }
    Some(format!("\"{value}\""))
}

/// The first characters of `b=`, as many as it takes to tell it from all others.
fn b_prefix<'a>(result: &'a SignatureResult, all: &[SignatureResult]) -> &'a str {
    let b = &result.claims.signature_base64;
    let same = |other: &SignatureResult| {
        let pairs = b.bytes().zip(other.claims.signature_base64.bytes());
        pairs.take_while(|(one, two)| one == two).count()
    };
    let longest = all.iter().filter(|other| other.field != result.field).map(same).max().unwrap_or(0);
    b.get(..(longest + 1).max(SHORTEST_B)).unwrap_or(b)
}

struct Line<'a> {
    text: &'a mut String,
    column: usize,
}

impl Line<'_> {
    fn begin(&mut self) {
        self.text.push_str("\n\t");
        // A tab counts as eight columns.
        self.column = 8;
    }

    fn word(&mut self, word: &str) {
        let length = word.chars().count();
        let first = self.text.ends_with("\n\t");
        if !first && self.column + 1 + length > LINE {
            self.begin();
        } else if !first {
            self.text.push(' ');
            self.column += 1;
        }
        self.text.push_str(word);
        self.column += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::Claims;

    fn result(reason: Reason, b: &str, field: usize) -> SignatureResult {
        SignatureResult {
            result: reason.result(),
            reason,
            claims: Claims {
                domain: Some("example.com".to_owned()),
                selector: Some("sel".to_owned()),
                identity: Some("@example.com".to_owned()),
                algorithm: Some("rsa-sha256".to_owned()),
                signature_base64: b.to_owned(),
            },
            field,
            key_bits: Some(2048),
            testing: false,
            body_length: None,
        }
    }

    const STYLE: Style<'static> = Style { authserv_id: "mx.test", job: None, header_b: true };

    #[test]
    fn a_pass_reads_as_opendkims() {
        let got = authentication_results(STYLE, &[result(Reason::Verified, "IWOxhAVZabc", 0)]);
        assert_eq!(
            got,
            "mx.test;\n\tdkim=pass (2048-bit key) header.d=example.com header.i=@example.com\n\t\
             header.a=rsa-sha256 header.s=sel header.b=IWOxhAVZ"
        );
        assert!(got.split('\n').all(|line| line.len() <= LINE));
    }

    #[test]
    fn several_signatures_stand_in_one_field_and_are_told_apart() {
        let results = [
            result(Reason::SignatureMismatch, "AAAAAAAAAAAA1", 0),
            result(Reason::Verified, "AAAAAAAAAAAA2", 3),
        ];
        let got = authentication_results(STYLE, &results);
        assert!(got.contains("dkim=fail reason=\"signature verification failed\""), "{got}");
        assert!(got.contains("header.b=AAAAAAAAAAAA1;") && got.ends_with("header.b=AAAAAAAAAAAA2"), "{got}");
    }

    #[test]
    fn nothing_found_is_said_in_one_line() {
        assert_eq!(authentication_results(STYLE, &[]), "mx.test; dkim=none");
        assert_eq!(
            malformed(Style { job: Some("4Xq"), ..STYLE }),
            "mx.test/4Xq; dkim=permerror (bad message/signature format)"
        );
    }

    #[test]
    fn nothing_a_sender_writes_breaks_out_of_its_place() {
        let mut hostile = result(Reason::KeyLookupFailed("\"; dkim=pass".to_owned()), "a/b=c+d/e", 0);
        hostile.claims.identity = Some("a b;c=d@example.com".to_owned());
        let got = authentication_results(STYLE, &[hostile.clone()]);
        assert!(got.contains("reason=\"key DNS query failed\""), "{got}");
        assert!(
            got.contains("header.i=\"a b;c=d@example.com\"") && got.contains("header.b=\"a/b=c+d/\""),
            "{got}"
        );
        hostile.claims.identity = Some("\"x\" dkim=pass@example.com".to_owned());
        hostile.claims.domain = None;
        let got = authentication_results(STYLE, &[hostile]);
        assert!(!got.contains("dkim=pass") && !got.contains("header.d="), "{got}");
    }
}
