//! Results and the admin's actions in, one verdict out.

use crate::config::{Action, Actions};
use crate::dkim::record::RecordError;
use crate::dkim::{AuthResult, Reason, SignatureResult};
use crate::session::{Reply, Step};

/// What becomes of a message after it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The answer to the MTA.
    pub step: Step,
    /// Whether the MTA is to hold the message.
    pub quarantine: bool,
}

impl Verdict {
    /// Lets the message through.
    pub fn accept() -> Self {
        Self { step: Step::Accept, quarantine: false }
    }
}

/// Judges a message by its signatures. The first passing signature speaks for the message, else
/// the first one that was evaluated (OpenDKIM 2.11 observed). A key that is only being tested
/// (`t=y`) never costs a message.
pub fn message(results: &[SignatureResult], actions: &Actions) -> Verdict {
    if results.iter().any(|result| result.result == AuthResult::Pass) {
        return Verdict::accept();
    }
    let Some(speaks) = results.iter().find(|result| result.reason != Reason::Ignored) else {
        return if results.is_empty() {
            take(actions.no_signature, "5.7.0", "4.7.0", "no DKIM signature data")
        } else {
            Verdict::accept()
        };
    };
    if speaks.testing {
        return Verdict::accept();
    }
    match &speaks.reason {
        Reason::BodyHashMismatch | Reason::SignatureMismatch => {
            take(actions.bad_signature, "5.7.0", "4.7.0", "bad DKIM signature data")
        }
        Reason::Record(RecordError::Revoked) => {
            take(actions.bad_signature, "5.7.0", "4.7.0", "bad DKIM signature data")
        }
        Reason::KeyNotFound => take(actions.key_not_found, "5.7.0", "4.7.5", "DKIM key retrieval failed"),
        // What cannot be looked up now is recorded and let through, unless the admin says otherwise.
        Reason::KeyLookupFailed(_) => {
            take(actions.dns_error.unwrap_or(Action::Accept), "5.7.0", "4.7.5", "DKIM key retrieval failed")
        }
        Reason::Verified
        | Reason::WeakAlgorithm
        | Reason::KeyTooSmall
        | Reason::KeyTooLarge
        | Reason::UnsignedTail
        | Reason::UnprotectedField(_)
        | Reason::Ignored
        | Reason::Signature(_)
        | Reason::Expired
        | Reason::FromTheFuture
        | Reason::LengthExceedsBody
        | Reason::Record(_)
        | Reason::KeyTypeMismatch
        | Reason::KeyCorrupt
        | Reason::UnauthorizedSubdomain => Verdict::accept(),
    }
}

/// Turns an action into a verdict with the replies that OpenDKIM gives: `550` or `451`, an enhanced
/// code and a text.
pub fn take(action: Action, permanent: &'static str, temporary: &'static str, text: &str) -> Verdict {
    let reply = |code, enhanced| Some(Reply { code, enhanced, text: text.to_owned() });
    let step = match action {
        Action::Accept | Action::Quarantine => Step::Accept,
        Action::Discard => Step::Discard,
        Action::Reject => Step::Reject(reply("550", permanent)),
        Action::Tempfail => Step::Tempfail(reply("451", temporary)),
    };
    Verdict { step, quarantine: action == Action::Quarantine }
}
