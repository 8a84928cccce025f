//! The story of one message: header complete, body passing, end. Read this first.

use std::sync::Arc;

use base::log::escaped;
use log::{error, info, warn};
use tokio::task::JoinSet;

use crate::active::Active;
use crate::config::Settings;
use crate::config::settings::{CanonicalizationKind, SignatureLimit};
use crate::dkim::{
    AuthResult, Canonicalization, KeyAnswer, KeyKind, ReadyToSign, Reason, SignError, SignatureResult,
    SignatureTemplate, SignedField, Signing, Verification, VerifyPolicy,
};
use crate::edits::{self, Edit};
use crate::judge::{self, Verdict};
use crate::keys::{KeyError, KeyErrorKind};
use crate::plan::{self, Facts, Plan};
use crate::report::{self, Style};
use crate::required;
use crate::session::{Reply, Session, Step};
use crate::table::SigningChoice;

/// RSA keys with more bits sign on the blocking pool: their signatures take milliseconds.
const INLINE_RSA_BITS: u32 = 2048;

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
    fn only(step: Step) -> Self {
        Self { edits: Vec::new(), quarantine: None, step }
    }
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
        Plan::Sign(choices) => begin_signing(session, &active, choices, now),
        Plan::Verify { author_domain, malformed } => {
            begin_verifying(session, &active, author_domain, malformed, now)
        }
        Plan::Leave => settle(session, Verdict::accept()),
        Plan::Defer => cannot_sign_now(),
    }
}

/// A piece of the body passes. False when no more of it is wanted.
pub fn body(session: &mut Session, chunk: &[u8]) -> bool {
    match &mut session.message.work {
        Work::Sign(signing) => {
            signing.body(chunk);
            true
        }
        Work::Verify(verifying) if verifying.verification.needs_body() => {
            verifying.verification.body(chunk);
            true
        }
        Work::Verify(_) | Work::Idle | Work::Hold => false,
    }
}

/// The message is complete: sign or judge it.
pub async fn end_of_message(session: &mut Session, _now: u64) -> Outcome {
    if session.message.failed {
        return Outcome::only(Step::Tempfail(None));
    }
    match std::mem::take(&mut session.message.work) {
        Work::Sign(signing) => finish_signing(session, signing.finish()).await,
        Work::Verify(mut verifying) => {
            while let Some(answered) = verifying.asked.join_next().await {
                // A look-up that failed by a mistake of ours has no answer: a temporary failure.
                if let Ok((query, answer)) = answered
                    && let Some(place) = verifying.keys.get_mut(query)
                {
                    *place = Some(answer);
                }
            }
            finish_verifying(session, *verifying)
        }
        Work::Idle => Outcome { edits: forged(session), quarantine: None, step: Step::Accept },
        Work::Hold => Outcome { edits: forged(session), quarantine: Some(QUARANTINE), step: Step::Accept },
    }
}

/// A verdict that is clear at the end of the header: given at once, unless there is something to
/// remove first or the message is to be held, which only the end of the message allows.
fn settle(session: &mut Session, verdict: Verdict) -> Step {
    if verdict.quarantine {
        session.message.work = Work::Hold;
        return Step::Continue;
    }
    match verdict.step {
        Step::Accept if !session.message.forged.is_empty() => Step::Continue,
        step => step,
    }
}

/// The answer when a message ought to be signed and cannot be; it stays in the queue.
fn cannot_sign_now() -> Step {
    let text = "DKIM signing is not possible at the moment, try again later".to_owned();
    Step::Tempfail(Some(Reply { code: "451", enhanced: "4.7.5", text }))
}

fn begin_signing(session: &mut Session, active: &Active, choices: Vec<SigningChoice>, now: u64) -> Step {
    let settings = &active.settings;
    let headers = &session.message.headers;
    let signed_fields: Vec<usize> = headers
        .iter()
        .enumerate()
        .filter(|(_, field)| settings.signing.headers.selects(field.bare_name()))
        .map(|(index, _)| index)
        .collect();
    let mut templates = Vec::with_capacity(choices.len());
    for SigningChoice { key: entry, identity } in choices {
        let key = match active.keys.load(&entry) {
            Ok(held) => {
                if let Some(warning) = &held.warning {
                    warn!("{}: {warning}", session.queue_id());
                }
                held.key
            }
            Err(problem) => {
                log_key_problem(session, &entry.name, &problem);
                return match problem.kind {
                    // OpenDKIM finds out when it signs, and calls it an internal error.
                    KeyErrorKind::Undecodable => settle(session, internal_error(settings)),
                    KeyErrorKind::Missing | KeyErrorKind::Unreadable | KeyErrorKind::Unsafe => {
                        cannot_sign_now()
                    }
                };
            }
        };
        templates.push(SignatureTemplate {
            key,
            domain: entry.domain,
            selector: entry.selector,
            identity,
            header_canonicalization: canonicalization(settings.signing.canonicalization.header),
            body_canonicalization: canonicalization(settings.signing.canonicalization.body),
            timestamp: now,
            expiration: settings.signing.ttl.map(|ttl| now.saturating_add(ttl.as_secs())),
            signed_fields: signed_fields.clone(),
            oversigned: settings.signing.headers.oversign().to_vec(),
        });
    }
    match Signing::begin(headers, templates, settings.signing.fix_crlf) {
        Ok(signing) => {
            session.message.work = Work::Sign(Box::new(signing));
            Step::Continue
        }
        Err(error) => {
            let verdict = signing_failed(session, active, error);
            settle(session, verdict)
        }
    }
}

fn internal_error(settings: &Settings) -> Verdict {
    judge::take(settings.actions.internal_error, "5.7.0", "4.7.0", "internal DKIM error")
}

/// One clear line with the way out when the problem is new; each deferred message names its key.
fn log_key_problem(session: &Session, name: &str, problem: &KeyError) {
    if problem.news {
        match &problem.help {
            Some(help) => error!("{problem} ({help})"),
            None => error!("{problem}"),
        }
    }
    error!("{}: error loading key '{}'", session.queue_id(), escaped(name.as_bytes(), 200));
}

fn signing_failed(session: &Session, active: &Active, error: SignError) -> Verdict {
    error!("{}: signature generation error: {error}", session.queue_id());
    judge::take(active.settings.actions.signature_error, "5.7.0", "4.7.0", "DKIM signing error")
}

async fn finish_signing(session: &Session, ready: Vec<ReadyToSign>) -> Outcome {
    let active = session.active();
    let settings = &active.settings;
    let mut fields = Vec::with_capacity(ready.len());
    for one in ready {
        match sign(one).await {
            Ok(field) => fields.push(field),
            Err(error) => {
                let Verdict { step, quarantine } = signing_failed(session, active, error);
                let quarantine = quarantine.then_some(QUARANTINE);
                return Outcome { edits: forged(session), quarantine, step };
            }
        }
    }
    let mut edits = forged(session);
    if settings.signing.remove_old_signatures {
        edits.extend(edits::deletions(&session.message.headers, "DKIM-Signature", |_| true));
    }
    for SignedField { value, domain, selector, .. } in fields {
        if settings.log.success {
            info!("{}: DKIM-Signature field added (s={selector}, d={domain})", session.queue_id());
        }
        let value = value.strip_prefix(' ').map_or(value.clone(), str::to_owned);
        edits.push(Edit::Insert { name: "DKIM-Signature".to_owned(), value });
    }
    edits.extend(software(session));
    Outcome { edits, ..Outcome::only(Step::Accept) }
}

async fn sign(ready: ReadyToSign) -> Result<SignedField, SignError> {
    if ready.key_kind() == KeyKind::Rsa && ready.key_bits() > INLINE_RSA_BITS {
        // The only error of a join is a panic in the signature.
        tokio::task::spawn_blocking(|| ready.sign()).await.unwrap_or(Err(SignError::Key))
    } else {
        ready.sign()
    }
}

fn begin_verifying(
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
        if !verdict.quarantine {
            return settle(session, verdict);
        }
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

/// Whether an unsigned message gets no field from us.
fn nothing_to_say(session: &Session, active: &Active, malformed: bool) -> bool {
    let settings = &active.settings;
    session.message.forged.is_empty()
        && !settings.verifying.always_add_result
        && !settings.verifying.software_header
        && (!malformed || settings.verifying.ignore_malformed)
}

fn finish_verifying(session: &Session, verifying: Verifying) -> Outcome {
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
    Outcome { edits, quarantine: verdict.quarantine.then_some(QUARANTINE), step: verdict.step }
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

fn canonicalization(kind: CanonicalizationKind) -> Canonicalization {
    match kind {
        CanonicalizationKind::Simple => Canonicalization::Simple,
        CanonicalizationKind::Relaxed => Canonicalization::Relaxed,
    }
}

/// Signatures that are evaluated when only chosen domains count.
const MOST_OF_CHOSEN: usize = 8;
/// The reason that the MTA shows for a message on hold (OpenDKIM's).
const QUARANTINE: &str = "opendkim";

/// Removal of Authentication-Results fields that claim to be ours, from the last to the first.
fn forged(session: &Session) -> Vec<Edit> {
    let name = report::FIELD_NAME;
    let delete = |occurrence: &u32| Edit::Delete { name: name.to_owned(), occurrence: *occurrence };
    session.message.forged.iter().rev().map(delete).collect()
}

/// The DKIM-Filter field, when asked for.
fn software(session: &Session) -> Option<Edit> {
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
