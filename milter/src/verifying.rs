//! One message being verified: its signatures chosen, its keys asked for, its results told.

use std::sync::Arc;

use base::log::escaped;
use log::{info, warn};
use tokio::task::JoinSet;

use crate::active::Active;
use crate::config::settings::SignatureLimit;
use crate::dkim::record::RecordError;
use crate::dkim::{AuthResult, KeyAnswer, Reason, SignatureResult, Verification, VerifyPolicy};
use crate::edits::Edit;
use crate::judge::{self, Verdict};
use crate::outcome::{Outcome, forged, settle, software};
use crate::pipeline::Work;
use crate::report::{self, Style};
use crate::session::{Session, Step};

/// Signatures that are evaluated when only chosen domains count.
const MOST_OF_CHOSEN: usize = 8;

/// Signatures being verified.
#[derive(Debug)]
pub struct Verifying {
    verification: Verification,
    keys: Vec<Option<Arc<KeyAnswer>>>,
    /// Look-ups under way; dropped (and so ended) with the message.
    asked: JoinSet<(usize, Arc<KeyAnswer>)>,
    author_domain: Option<String>,
    malformed: bool,
}

/// The header is complete: reads the signatures, chooses those that count, asks for their keys.
pub(crate) fn begin(
    session: &mut Session,
    active: &Arc<Active>,
    author_domain: Option<String>,
    malformed: bool,
    now: u64,
) -> Step {
    let settings = &active.settings;
    let policy = VerifyPolicy {
        clock_drift_secs: settings.verifying.clock_drift.as_secs(),
        minimum_key_bits: settings.verifying.minimum_key_bits,
        max_signatures: match settings.verifying.signature_limit {
            SignatureLimit::AuthorAndTrusted => MOST_OF_CHOSEN,
            SignatureLimit::First(most) => most,
        },
        must_be_signed: settings.verifying.must_be_signed.clone(),
        fix_crlf: settings.signing.fix_crlf,
        ..VerifyPolicy::at(now)
    };
    let trusted = |domain: &str| settings.verifying.trusted.contains(domain);
    let verification =
        Verification::begin(&session.message.headers, author_domain.as_deref(), trusted, &policy);
    if verification.is_unsigned() && nothing_to_say(session, active, malformed) {
        let verdict = judge::message(&[], &settings.actions);
        tell_unsigned(session, &verdict);
        return settle(session, verdict);
    }
    let mut keys = Vec::new();
    let mut asked = JoinSet::new();
    for (query, name) in verification.queries() {
        let at_hand = active.dns.at_hand(name);
        if at_hand.is_none() {
            let (active, name) = (Arc::clone(active), name.to_owned());
            asked.spawn(async move { (query, active.dns.look_up(&name).await) });
        }
        keys.push(at_hand);
    }
    session.message.work =
        Work::Verify(Box::new(Verifying { verification, keys, asked, author_domain, malformed }));
    Step::Continue
}

impl Verifying {
    /// A piece of the body passes. False when no more of it is wanted.
    pub(crate) fn body(&mut self, chunk: &[u8]) -> bool {
        let wanted = self.verification.needs_body();
        if wanted {
            self.verification.body(chunk);
        }
        wanted
    }
}

/// The message is complete: waits for the keys that are still asked for, judges and tells.
pub(crate) async fn finish(session: &Session, mut verifying: Verifying) -> Outcome {
    while let Some(answered) = verifying.asked.join_next().await {
        // A look-up that failed by a mistake of ours has no answer: a temporary failure.
        if let Ok((query, answer)) = answered
            && let Some(place) = verifying.keys.get_mut(query)
        {
            *place = Some(answer);
        }
    }
    conclude(session, verifying)
}

/// A line for an unsigned message that `On-NoSignature` does something to, and with `LogWhy` for each.
fn tell_unsigned(session: &Session, verdict: &Verdict) {
    if *verdict != Verdict::accept() || session.active().settings.log.why {
        info!("{}: no signature data", session.queue_id());
    }
}

/// Whether an unsigned message gets no field from us.
fn nothing_to_say(session: &Session, active: &Active, malformed: bool) -> bool {
    let settings = &active.settings;
    session.message.forged.is_empty()
        && !settings.verifying.always_add_result
        && !settings.verifying.software_header
        && (!malformed || settings.verifying.ignore_malformed)
}

fn conclude(session: &Session, verifying: Verifying) -> Outcome {
    let active = session.active();
    let settings = &active.settings;
    let Verifying { verification, keys, author_domain, malformed, .. } = verifying;
    let unread = verification.unread();
    let mut results = verification.finish(|query| keys.get(query).and_then(Option::as_deref));
    if settings.verifying.signature_limit == SignatureLimit::AuthorAndTrusted {
        for result in &mut results {
            leave_out_strangers(result, author_domain.as_deref(), |domain| {
                settings.verifying.trusted.contains(domain)
            });
        }
    }
    log_results(session, &results, unread);
    let verdict = judge::message(&results, &settings.actions);
    if results.is_empty() {
        tell_unsigned(session, &verdict);
    }
    let style = Style {
        authserv_id: session.authserv_id(),
        job: settings.verifying.authserv_id_with_job_id.then(|| session.queue_id()),
        header_b: !settings.verifying.no_header_b,
    };
    let mut edits = forged(session);
    let value = if malformed && results.is_empty() && !settings.verifying.ignore_malformed {
        Some(report::malformed(style))
    } else if !results.is_empty() || settings.verifying.always_add_result {
        Some(report::authentication_results(style, &results))
    } else {
        None
    };
    edits.extend(value.map(|value| Edit::Insert { name: report::FIELD_NAME.to_owned(), value }));
    edits.extend(software(session));
    Outcome::judged(edits, verdict)
}

/// With `MaximumSignaturesToVerify 0` only the author's and trusted domains count.
fn leave_out_strangers(result: &mut SignatureResult, author: Option<&str>, trusted: impl Fn(&str) -> bool) {
    let counts =
        result.claims.domain.as_deref().is_some_and(|domain| Some(domain) == author || trusted(domain));
    if !counts {
        result.result = AuthResult::Neutral;
        result.reason = Reason::Ignored;
    }
}

fn log_results(session: &Session, results: &[SignatureResult], unread: usize) {
    let settings = &session.active().settings;
    let queue_id = session.queue_id();
    if unread > 0 {
        info!("{queue_id}: ignoring {unread} signatures");
    }
    for result in results {
        let selector = result.claims.selector.as_deref().unwrap_or("?");
        let domain = result.claims.domain.as_deref().unwrap_or("?");
        match &result.reason {
            Reason::KeyLookupFailed(why) => warn!(
                "{queue_id}: key retrieval failed (s={selector}, d={domain}): {}",
                escaped(why.as_bytes(), 200)
            ),
            // These are what monitoring looks for, word by word (OpenDKIM 2.11 observed).
            Reason::KeyNotFound => info!(
                "{queue_id}: key retrieval failed (s={selector}, d={domain}): '{selector}._domainkey.{domain}' \
                 record not found"
            ),
            Reason::Record(RecordError::Revoked) => info!(
                "{queue_id}: key revoked (s={selector}, d={domain}, a={})",
                result.claims.algorithm.as_deref().unwrap_or("?")
            ),
            Reason::Verified | Reason::Ignored => {}
            Reason::BodyHashMismatch | Reason::SignatureMismatch => {
                info!("{queue_id}: bad signature data (s={selector}, d={domain}): {}", result.reason);
            }
            other => info!(
                "{queue_id}: signature not good (s={selector}, d={domain}): {}",
                escaped(other.to_string().as_bytes(), 200)
            ),
        }
    }
    if settings.log.success
        && let Some(good) = results.iter().find(|result| result.result == AuthResult::Pass)
    {
        info!("{queue_id}: DKIM verification successful");
        let claims = &good.claims;
        info!(
            "{queue_id}: s={} d={} a={} SSL ",
            claims.selector.as_deref().unwrap_or_default(),
            claims.domain.as_deref().unwrap_or_default(),
            claims.algorithm.as_deref().unwrap_or_default()
        );
    }
    if settings.log.results && !results.is_empty() {
        let all: Vec<String> = results
            .iter()
            .map(|result| {
                let claims = &result.claims;
                format!(
                    "signature={} domain={} selector={} result=\"{}\"",
                    claims.signature_base64.get(..8).unwrap_or(&claims.signature_base64),
                    claims.domain.as_deref().unwrap_or("?"),
                    claims.selector.as_deref().unwrap_or("?"),
                    escaped(result.reason.to_string().as_bytes(), 200)
                )
            })
            .collect();
        info!("{queue_id}: {}", all.join("; "));
    }
}
