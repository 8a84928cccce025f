//! The story of one message: header complete, body passing, end. Read this first.

use std::sync::Arc;

use log::{info, warn};

use crate::dkim::Signing;
use crate::judge::{self, Verdict};
use crate::outcome::{Outcome, forged, settle};
use crate::plan::{self, Facts, Plan};
use crate::required;
use crate::session::{Reply, Session, Step};
use crate::signing;
use crate::verifying::{self, Verifying};

/// What is being done with the message in hand.
#[derive(Debug, Default)]
pub enum Work {
    /// Nothing, or not yet known.
    #[default]
    Idle,
    /// It is let through, but held at its end: only there can an MTA be told so.
    Hold,
    /// The body is hashed for these signatures.
    Sign(Box<Signing>),
    /// The body is hashed and the keys are being looked up.
    Verify(Box<Verifying>),
}

/// The header is complete: decide what to do and begin it.
pub fn end_of_headers<'m>(
    session: &mut Session,
    now: u64,
    macro_value: &'m dyn Fn(&str) -> Option<&'m str>,
) -> Step {
    let active = Arc::clone(session.active());
    let settings = &active.settings;
    if session.message.failed {
        return Step::Tempfail(None);
    }
    if session.message.ignored_fields > 0 {
        info!(
            "{}: {} header fields with a semicolon in their name are ignored",
            session.queue_id(),
            session.message.ignored_fields
        );
    }
    if session.message.header_too_large {
        warn!("{}: too much header data (the limit is MaximumHeaders)", session.queue_id());
        let verdict = judge::take(settings.actions.security, "5.7.0", "4.7.0", "too much header data");
        return settle(session, verdict);
    }
    if settings.required_headers
        && let Some(fault) = required::violation(&session.message.headers)
    {
        info!("{}: RFC5322 header requirement error: {fault}", session.queue_id());
        return Step::Reject(Some(Reply { code: "550", enhanced: "5.0.0", text: fault }));
    }
    let decision = plan::decide(
        &Facts {
            host: &session.client.host,
            address: session.address(),
            mta_host: &session.mta_host,
            daemon_name: &session.daemon_name,
            authenticated: session.message.authenticated,
            macro_value,
            headers: &session.message.headers,
            recipients: &session.message.recipients,
        },
        settings,
    );
    for (level, line) in decision.notes {
        log::log!(level, "{}: {line}", session.queue_id());
    }
    match decision.plan {
        Plan::Sign(choices) => signing::begin(session, &active, choices, now),
        Plan::Verify { author_domain, malformed } => {
            verifying::begin(session, &active, author_domain, malformed, now)
        }
        Plan::Leave => settle(session, Verdict::accept()),
        Plan::Defer => signing::cannot_sign_now(),
    }
}

/// A piece of the body passes. False when no more of it is wanted.
pub fn body(session: &mut Session, chunk: &[u8]) -> bool {
    match &mut session.message.work {
        Work::Sign(signing) => {
            signing.body(chunk);
            true
        }
        Work::Verify(verifying) => verifying.body(chunk),
        Work::Idle | Work::Hold => false,
    }
}

/// The message is complete: sign or judge it.
pub async fn end_of_message(session: &mut Session) -> Outcome {
    if session.message.failed {
        return Outcome::only(Step::Tempfail(None));
    }
    match std::mem::take(&mut session.message.work) {
        Work::Sign(signing) => signing::finish(session, *signing).await,
        Work::Verify(verifying) => verifying::finish(session, *verifying).await,
        Work::Idle => Outcome::judged(forged(session), Verdict::accept()),
        Work::Hold => Outcome::judged(forged(session), Verdict { quarantine: true, ..Verdict::accept() }),
    }
}
