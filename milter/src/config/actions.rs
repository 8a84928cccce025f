//! What happens to a message in the cases that the On- parameters name.

/// What to tell the MTA about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Accept it.
    Accept,
    /// Accept it and throw it away.
    Discard,
    /// Put it on hold.
    Quarantine,
    /// Refuse it for good (5xx).
    Reject,
    /// Refuse it for now (4xx).
    Tempfail,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Accept, Self::Discard, Self::Quarantine, Self::Reject, Self::Tempfail];

    /// Reads the word or its first letter, in any case. OpenDKIM 2.11 takes other words for
    /// nothing at all; here they are a mistake.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| {
            let word = action.word();
            text.eq_ignore_ascii_case(word) || text.eq_ignore_ascii_case(word.get(..1).unwrap_or(word))
        })
    }

    /// The word that the configuration has for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Discard => "discard",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
            Self::Tempfail => "tempfail",
        }
    }
}

/// The actions of all cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    /// `On-BadSignature`: the signature or a body hash is wrong.
    pub bad_signature: Action,
    /// `On-KeyNotFound`: DNS has no key.
    pub key_not_found: Action,
    /// `On-NoSignature`: there is none.
    pub no_signature: Action,
    /// `On-DNSError`: DNS does not answer. `None`, when it is not set: accept, with the temporary
    /// error in the result field.
    pub dns_error: Option<Action>,
    /// `On-InternalError`: the service itself fails.
    pub internal_error: Action,
    /// `On-Security`: more header than `MaximumHeaders`.
    pub security: Action,
    /// `On-SignatureError`: a signature cannot be made.
    pub signature_error: Action,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_letters_are_read() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.word()), Some(action));
            assert_eq!(Action::parse(&action.word().to_uppercase()), Some(action));
            assert_eq!(Action::parse(&action.word()[..1]), Some(action));
            assert_eq!(Action::parse(&action.word()[..2]), None);
        }
        assert_eq!(Action::parse("bounce"), None);
        assert_eq!(Action::parse(""), None);
    }
}
