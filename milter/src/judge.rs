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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::Claims;

    const QUIET: Actions = Actions {
        bad_signature: Action::Accept,
        key_not_found: Action::Accept,
        no_signature: Action::Accept,
        dns_error: None,
        internal_error: Action::Tempfail,
        security: Action::Tempfail,
        signature_error: Action::Reject,
    };

    fn result(reason: Reason, testing: bool) -> SignatureResult {
        let claims = Claims::default();
        SignatureResult {
            result: reason.result(),
            reason,
            claims,
            field: 0,
            key_bits: None,
            testing,
            body_length: None,
        }
    }

    fn word(verdict: &Verdict) -> String {
        let text = |reply: &Option<Reply>| {
            reply.as_ref().map(|it| format!("{} {} {}", it.code, it.enhanced, it.text)).unwrap_or_default()
        };
        match (&verdict.step, verdict.quarantine) {
            (Step::Accept, true) => "hold".to_owned(),
            (Step::Accept, false) => "accept".to_owned(),
            (Step::Discard, _) => "discard".to_owned(),
            (Step::Reject(reply) | Step::Tempfail(reply), _) => text(reply),
            (Step::Continue, _) => "continue".to_owned(),
        }
    }

    #[test]
    fn each_finding_has_its_action() {
        let down = || Reason::KeyLookupFailed("timeout".to_owned());
        let reject = Actions {
            bad_signature: Action::Reject,
            key_not_found: Action::Tempfail,
            no_signature: Action::Discard,
            dns_error: Some(Action::Tempfail),
            ..QUIET
        };
        let hold = Actions { bad_signature: Action::Quarantine, ..QUIET };
        let cases: [(Vec<SignatureResult>, Actions, &str); 13] = [
            (vec![], QUIET, "accept"),
            (vec![], reject, "discard"),
            (vec![result(Reason::Verified, false)], reject, "accept"),
            (vec![result(Reason::SignatureMismatch, false)], QUIET, "accept"),
            (vec![result(Reason::SignatureMismatch, false)], reject, "550 5.7.0 bad DKIM signature data"),
            (vec![result(Reason::BodyHashMismatch, false)], hold, "hold"),
            (
                vec![result(Reason::Record(RecordError::Revoked), false)],
                reject,
                "550 5.7.0 bad DKIM signature data",
            ),
            (vec![result(Reason::KeyNotFound, false)], reject, "451 4.7.5 DKIM key retrieval failed"),
            (vec![result(down(), false)], QUIET, "accept"),
            (vec![result(down(), false)], reject, "451 4.7.5 DKIM key retrieval failed"),
            // A key being tested, an expired signature, a passing one below a bad one.
            (vec![result(Reason::SignatureMismatch, true)], reject, "accept"),
            (vec![result(Reason::Expired, false)], reject, "accept"),
            (
                vec![result(Reason::SignatureMismatch, false), result(Reason::Verified, false)],
                reject,
                "accept",
            ),
        ];
        for (results, actions, want) in cases {
            assert_eq!(word(&message(&results, &actions)), want, "{results:?}");
        }
        // Signatures that nobody evaluated do not speak for the message.
        let both = [result(Reason::Ignored, false), result(Reason::SignatureMismatch, false)];
        assert_eq!(word(&message(&both, &reject)), "550 5.7.0 bad DKIM signature data");
    }
}
