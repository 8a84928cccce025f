//! Who a message is from and for (pure).

use std::borrow::Cow;

/// The envelope of one delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's address, without brackets; empty for `<>`.
    pub sender: String,
    /// The recipient's address as it is delivered to (RCPT, `-r`).
    pub recipient: String,
    /// The recipient's address as it was before aliases (ORCPT, `-a`, X-Original-To).
    pub original_recipient: Option<String>,
}

impl Envelope {
    /// The original recipient, or else the final one.
    #[must_use]
    pub fn original(&self) -> &str {
        self.original_recipient.as_deref().filter(|address| !address.is_empty()).unwrap_or(&self.recipient)
    }
}

/// An address of the command line or the environment: brackets and space go, and what cannot be an address
/// (a control character, one that is too long) stands for `<>`, as with dovecot-lda.
#[must_use]
pub fn address(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
    if text.len() > LONGEST
        || text.chars().any(|letter| letter.is_control() || letter == ' ' || letter == '<' || letter == '>')
    {
        return "";
    }
    // Postfix hands the empty sender over as this.
    if text == "MAILER-DAEMON" { "" } else { text }
}

/// The parts of a recipient: the user's name, and the detail behind a delimiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The address without the detail: `user@domain`, or `user`.
    pub user: Cow<'a, str>,
    /// What stands behind the first delimiter of the local part.
    pub detail: Option<&'a str>,
}

/// Takes an address apart; a delimiter as its first character does not count.
#[must_use]
pub fn parts<'a>(address: &'a str, delimiters: &str) -> Parts<'a> {
    let (local, domain) = match address.rsplit_once('@') {
        Some((local, domain)) => (local, Some(domain)),
        None => (address, None),
    };
    let found = local.char_indices().skip(1).find(|(_, letter)| delimiters.contains(*letter));
    let Some((at, delimiter)) = found else { return Parts { user: Cow::Borrowed(address), detail: None } };
    let user = local.get(..at).unwrap_or_default();
    let user = match domain {
        Some(domain) => Cow::Owned(format!("{user}@{domain}")),
        None => Cow::Borrowed(user),
    };
    Parts { user, detail: local.get(at + delimiter.len_utf8()..) }
}

const LONGEST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details() {
        let of = |text| parts(text, "+-");
        assert_eq!(of("joe+a+b@x"), Parts { user: "joe@x".into(), detail: Some("a+b") });
        assert_eq!(of("joe-a"), Parts { user: "joe".into(), detail: Some("a") });
        assert_eq!(of("joe@x-y"), Parts { user: "joe@x-y".into(), detail: None });
        assert_eq!(of("+joe@x"), Parts { user: "+joe@x".into(), detail: None });
        assert_eq!(parts("joe+a@x", ""), Parts { user: "joe+a@x".into(), detail: None });
        assert_eq!(of("joe+@x"), Parts { user: "joe@x".into(), detail: Some("") });
    }

    #[test]
    fn addresses() {
        assert_eq!(address(" <joe@x> "), "joe@x");
        assert_eq!(address("a b"), "");
        assert_eq!(address("a\nb"), "");
        assert_eq!(address("MAILER-DAEMON"), "");
        assert_eq!(address("<>"), "");
    }
}
