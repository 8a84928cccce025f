//! One message being signed: its keys fetched, its fields chosen, its signatures inserted.

use base::log::escaped;
use log::{error, info, warn};

use crate::active::Active;
use crate::config::settings::CanonicalizationKind;
use crate::dkim::{
    Canonicalization, KeyKind, ReadyToSign, SignError, SignatureTemplate, SignedField, Signing,
};
use crate::edits::{self, Edit};
use crate::judge::{self, Verdict};
use crate::keys::{KeyError, KeyErrorKind};
use crate::outcome::{Outcome, forged, settle, software};
use crate::pipeline::Work;
use crate::session::{Reply, Session, Step};
use crate::table::SigningChoice;

/// RSA keys with more bits sign on the blocking pool: their signatures take milliseconds.
const INLINE_RSA_BITS: u32 = 2048;

/// The header is complete: fetches the keys and hashes the chosen fields. A message whose key is not
/// to be had is deferred.
pub(crate) fn begin(session: &mut Session, active: &Active, choices: Vec<SigningChoice>, now: u64) -> Step {
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
                    KeyErrorKind::Undecodable => settle(session, internal_error(active)),
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

/// The message is complete: makes the signatures and puts them on top, the last one first.
pub(crate) async fn finish(session: &Session, signing: Signing) -> Outcome {
    let active = session.active();
    let settings = &active.settings;
    let mut fields = Vec::new();
    for ready in signing.finish() {
        match sign(ready).await {
            Ok(field) => fields.push(field),
            Err(error) => {
                return Outcome::judged(forged(session), signing_failed(session, active, error));
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
    Outcome::judged(edits, Verdict::accept())
}

async fn sign(ready: ReadyToSign) -> Result<SignedField, SignError> {
    if ready.key_kind() == KeyKind::Rsa && ready.key_bits() > INLINE_RSA_BITS {
        // The only error of a join is a panic in the signature.
        tokio::task::spawn_blocking(|| ready.sign()).await.unwrap_or(Err(SignError::Key))
    } else {
        ready.sign()
    }
}

/// The answer when a message ought to be signed and cannot be; it stays in the queue.
pub(crate) fn cannot_sign_now() -> Step {
    let text = "DKIM signing is not possible at the moment, try again later".to_owned();
    Step::Tempfail(Some(Reply { code: "451", enhanced: "4.7.5", text }))
}

fn internal_error(active: &Active) -> Verdict {
    judge::take(active.settings.actions.internal_error, "5.7.0", "4.7.0", "internal DKIM error")
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
    if error == SignError::Key {
        // Nothing is wrong with the message: the library, or a panic, failed it.
        return internal_error(active);
    }
    judge::take(active.settings.actions.signature_error, "5.7.0", "4.7.0", "DKIM signing error")
}

fn canonicalization(kind: CanonicalizationKind) -> Canonicalization {
    match kind {
        CanonicalizationKind::Simple => Canonicalization::Simple,
        CanonicalizationKind::Relaxed => Canonicalization::Relaxed,
    }
}
