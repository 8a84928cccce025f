//! The header fields that every message must have once, and those it may have only once
//! (RFC 5322 §3.6; `RequiredHeaders`).

use crate::dkim::HeaderBlock;

/// Fields that must occur exactly once.
const ONCE: [&str; 2] = ["From", "Date"];
/// Fields that may occur at most once.
const AT_MOST_ONCE: [&str; 8] =
    ["Reply-To", "To", "Cc", "Bcc", "Message-Id", "In-Reply-To", "References", "Subject"];

/// What is wrong with the set of fields, in the words that OpenDKIM replies and logs; `None` when
/// nothing is. Of several faults the last one is named (OpenDKIM 2.11 observed).
#[must_use]
pub fn violation(headers: &HeaderBlock) -> Option<String> {
    let count = |name: &str| headers.iter().filter(|field| field.is_called(name.as_bytes())).count();
    let must = ONCE
        .iter()
        .filter(|name| count(name) != 1)
        .map(|name| format!("message does not have exactly one {name} field"));
    let may = AT_MOST_ONCE
        .iter()
        .filter(|name| count(name) > 1)
        .map(|name| format!("message has multiple {name} fields"));
    must.chain(may).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        let cases: [(&[&str], Option<&str>); 5] = [
            (&["From", "Date"], None),
            (&["from", "DATE", "Subject", "To"], None),
            (&["Date"], Some("message does not have exactly one From field")),
            (&["From", "Date", "Date"], Some("message does not have exactly one Date field")),
            (&["From", "To", "to"], Some("message has multiple To fields")),
        ];
        for (names, want) in cases {
            let mut headers = HeaderBlock::new();
            for name in names {
                headers.push(name.as_bytes(), b" x");
            }
            assert_eq!(violation(&headers).as_deref(), want, "{names:?}");
        }
    }
}
