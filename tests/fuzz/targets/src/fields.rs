//! Header fields that decide whom a message is from and what is forged.

use milter::address::first_address;
use milter::authres::could_be_ours;

/// A From field. An address that is found has no control character, is not longer than addresses
/// are, and is found again behind a display name.
pub fn address(bytes: &[u8]) {
    let Ok(found) = first_address(bytes) else { return };
    let whole = found.to_string();
    assert!(!whole.chars().any(char::is_control), "{whole:?}");
    assert!(found.domain.len() <= 253 && found.local.len() <= 512, "{whole:?}");
    assert_eq!(found.domain, found.domain.to_ascii_lowercase());
    assert!(!found.domain.is_empty(), "{whole:?}");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if found.local.split('.').all(|part| !part.is_empty() && part.chars().all(plain)) {
        let again = first_address(format!("A B (c) <{whole}>").as_bytes());
        assert_eq!(again.as_ref(), Ok(&found));
    }
}

/// An Authentication-Results field. What plainly begins with our id is ours; a comment before it
/// changes nothing, and what others write after their own id does not make it ours.
pub fn authres(bytes: &[u8]) {
    const OURS: &str = "mx.test";
    let ours = |value: &[u8]| {
        could_be_ours(value, |id| {
            assert_eq!(id, id.to_lowercase());
            assert!(!id.is_empty() && !id.ends_with('.'), "{id:?}");
            id == OURS
        })
    };
    let found = ours(bytes);
    assert_eq!(ours(&[b"(comment) ", bytes].concat()), found);
    let text = String::from_utf8_lossy(bytes);
    let first =
        text.split(|c: char| c.is_whitespace() || ";()\"\\".contains(c)).find(|word| !word.is_empty());
    let begins = text.trim_start().get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS));
    if begins && first.is_some_and(|word| word.eq_ignore_ascii_case(OURS)) {
        let behind = text.trim_start().get(OURS.len()..).and_then(|rest| rest.chars().next());
        if behind.is_none_or(|c| c == ';' || c.is_whitespace()) {
            assert!(found, "{text:?}");
        }
    }
    assert!(ours(&[b" mx.test; ", bytes].concat()));
    assert!(!ours(&[b" elsewhere.test; ", bytes].concat()));
}
