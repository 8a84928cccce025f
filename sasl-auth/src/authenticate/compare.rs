//! A clear-text password beside the stored ones: cheap forms at once, slow ones on the pool.

use std::sync::Arc;

use base::clock;
use base::secret::Secret;

use super::{Manners, Opened, Proof, Word};
use crate::active::{Active, Passdb, Shared, lock};
use crate::cache::Answer;
use crate::fields::Fields;
use crate::hashing::Job;
use crate::outcome::Why;
use crate::passdb::Entry;
use crate::password::{Cost, Stored};
use crate::request::Request;

/// A stored password that this request may use.
pub(super) struct Usable {
    pub(super) parsed: Stored,
    text: Secret,
    pub(super) opened: Opened,
}

/// The stored passwords that open for this service, now, in a scheme that is allowed.
pub(super) fn usable<'a>(
    entry: &'a Entry,
    request: &'a Request,
    passdb: &'a Passdb,
    active: &'a Active,
) -> impl Iterator<Item = Usable> + use<'a> {
    let now = clock::unix_now();
    entry.passwords.iter().filter_map(move |one| {
        let services = &one.services;
        if !services.is_empty()
            && !services.iter().any(|service| service.eq_ignore_ascii_case(&request.service))
        {
            return None;
        }
        if one.expires.is_some_and(|end| now >= end) {
            return None;
        }
        let subject = || crate::report::subject(&passdb.name, &request.user, request);
        match Stored::parse(one.text.expose(), &passdb.settings.default_scheme) {
            Err(error) => {
                log::error!("{}: the stored password cannot be used: {error}", subject());
                None
            }
            Ok(parsed) if parsed.is_weak() && !active.settings.allow_weak_schemes => {
                log::warn!(
                    "{}: scheme {} is weak and refused; give the user a new password, or set \
                     allow_weak_schemes = true",
                    subject(),
                    parsed.scheme_name()
                );
                None
            }
            Ok(parsed) => {
                if parsed.is_weak() && passdb.is_first_warning(&request.user) {
                    log::warn!(
                        "{}: scheme {} is weak; give the user a new password",
                        subject(),
                        parsed.scheme_name()
                    );
                }
                let opened = Opened { label: one.label.clone(), expires: one.expires };
                Some(Usable { parsed, text: one.text.clone(), opened })
            }
        }
    })
}

/// What comes of the stored passwords that are compared at once.
pub(super) enum Compared {
    Word(Word),
    /// These take their time.
    Slow(Box<Slow>),
}

/// Stored passwords for the pool.
pub(super) struct Slow {
    entry: Entry,
    hashes: Vec<Usable>,
    /// What kept a cheap one from being compared.
    failure: Option<String>,
}

/// Compares the clear-text password with the stored ones that are cheap.
pub(super) fn compare(
    passdb: &Passdb,
    active: &Active,
    request: &Request,
    entry: Entry,
    password: &Secret,
) -> Compared {
    if entry.fields.has("nopassword") {
        if entry.passwords.iter().all(|one| one.text.is_empty()) {
            return Compared::Word(Word::Yes(entry.fields, Opened::default()));
        }
        let subject = crate::report::subject(&passdb.name, &request.user, request);
        log::error!(
            "{subject}: nopassword is set, but there is a password, which counts; take one of them away"
        );
    }
    let mut failure: Option<String> = None;
    let mut hashes = Vec::new();
    let mut opened: Option<Opened> = None;
    for one in usable(&entry, request, passdb, active) {
        if one.parsed.cost() != Cost::Cheap {
            hashes.push(one);
            continue;
        }
        match one.parsed.verify(&request.user, password.expose()) {
            Ok(true) => {
                opened = Some(one.opened);
                break;
            }
            Ok(false) => {}
            Err(error) => failure = Some(error.to_string()),
        }
    }
    if let Some(opened) = opened {
        return Compared::Word(Word::Yes(entry.fields, opened));
    }
    if hashes.is_empty() {
        return Compared::Word(no_match(failure, &entry));
    }
    Compared::Slow(Box::new(Slow { entry, hashes, failure }))
}

/// Compares with the slow ones, on the pool.
pub(super) async fn compare_slow(
    passdb: &Passdb,
    shared: &Shared,
    request: &Request,
    slow: Box<Slow>,
    password: &Secret,
    manners: Manners,
) -> Word {
    let Slow { entry, hashes, mut failure } = *slow;
    for one in hashes {
        passdb.learn_cost(&one.parsed);
        let key = lock(&shared.cache).as_ref().map(|cache| {
            cache.key(&[b"hash", one.text.expose(), request.user.as_bytes(), password.expose()])
        });
        let known = key.and_then(|key| {
            lock(&shared.cache).as_mut().and_then(|cache| cache.fresh(key, clock::monotonic_now()))
        });
        let right = match known {
            Some(Answer::Right(_)) => Ok(true),
            Some(Answer::Wrong | Answer::Unknown) => Ok(false),
            None => {
                let right = hash(shared, Arc::new(one.parsed), &request.user, password, manners).await;
                if let (Some(key), Ok(right)) = (key, &right)
                    && let Some(cache) = lock(&shared.cache).as_mut()
                {
                    let answer = if *right { Answer::Right(Fields::new()) } else { Answer::Wrong };
                    cache.put(key, answer, clock::monotonic_now());
                }
                right
            }
        };
        match right {
            Ok(true) => return Word::Yes(entry.fields, one.opened),
            Ok(false) => {}
            Err(error) => failure = Some(error),
        }
    }
    no_match(failure, &entry)
}

/// Nothing has opened.
fn no_match(failure: Option<String>, entry: &Entry) -> Word {
    match failure {
        Some(detail) => Word::Unavailable(detail),
        None => Word::No(Why::Mismatch(String::new()), entry.fields.has("nodelay")),
    }
}

async fn hash(
    shared: &Shared,
    stored: Arc<Stored>,
    user: &str,
    password: &Secret,
    manners: Manners,
) -> Result<bool, String> {
    let job = Job {
        stored: vec![stored.as_ref().clone()],
        user: user.to_owned(),
        password: password.clone(),
        lane: manners.lane,
        suspect: manners.suspect,
        deadline: manners.hashed_by(),
    };
    shared.pool.verify(job).await.map_err(|error| error.to_string())
}

/// An unknown user costs what a known one costs.
pub(super) async fn pretend(
    chain: &[Passdb],
    shared: &Shared,
    request: &Request,
    proof: Proof<'_>,
    manners: Manners,
) -> Result<(), String> {
    let Proof::Password(password) = proof else { return Ok(()) };
    match chain.iter().filter(|passdb| passdb.serves(request)).find_map(Passdb::decoy) {
        Some(decoy) => hash(shared, decoy, &request.user, password, manners).await.map(|_never| ()),
        None => Ok(()),
    }
}
