//! What becomes of a message: changes to its header, and the answer to the MTA.

use crate::edits::Edit;
use crate::judge::Verdict;
use crate::pipeline::Work;
use crate::report;
use crate::session::{Session, Step};

/// The reason that the MTA shows for a message on hold (OpenDKIM's).
const QUARANTINE: &str = "opendkim";

/// What becomes of a message at its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Changes to the header, in order.
    pub edits: Vec<Edit>,
    /// Hold the message, with this reason.
    pub quarantine: Option<&'static str>,
    /// The answer.
    pub step: Step,
}

impl Outcome {
    /// An answer without changes.
    pub fn only(step: Step) -> Self {
        Self { edits: Vec::new(), quarantine: None, step }
    }

    /// A verdict, after the changes.
    pub fn judged(edits: Vec<Edit>, verdict: Verdict) -> Self {
        Self { edits, quarantine: verdict.quarantine.then_some(QUARANTINE), step: verdict.step }
    }
}

/// A verdict that is clear at the end of the header: given at once, unless there is something to
/// remove first or the message is to be held, which only the end of the message allows.
pub(crate) fn settle(session: &mut Session, verdict: Verdict) -> Step {
    if verdict.quarantine {
        session.message.work = Work::Hold;
        return Step::Continue;
    }
    match verdict.step {
        Step::Accept if !session.message.forged.is_empty() => Step::Continue,
        step => step,
    }
}

/// Removal of Authentication-Results fields that claim to be ours, from the last to the first.
pub(crate) fn forged(session: &Session) -> Vec<Edit> {
    let name = report::FIELD_NAME;
    let delete = |occurrence: &u32| Edit::Delete { name: name.to_owned(), occurrence: *occurrence };
    session.message.forged.iter().rev().map(delete).collect()
}

/// The DKIM-Filter field, when asked for.
pub(crate) fn software(session: &Session) -> Option<Edit> {
    session.active().settings.verifying.software_header.then(|| Edit::Insert {
        name: "DKIM-Filter".to_owned(),
        value: format!(
            "Postrider v{} {} {}",
            env!("CARGO_PKG_VERSION"),
            session.authserv_id(),
            session.queue_id()
        ),
    })
}
