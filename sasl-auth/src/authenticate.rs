//! From a name and a proof to an outcome: the walk along the passdbs.

mod compare;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock;
use base::secret::Secret;

use crate::active::{Active, Passdb, Shared, Sharing, lock};
use crate::cache::{self, Answer};
use crate::chain::{Flow, Said, Verdict, Walk};
use crate::fields::Fields;
use crate::mechanism::{CredentialKind, Credentials};
use crate::outcome::Why;
use crate::passdb::{self, Entry, Lookup};
use crate::password::Stored;
use crate::request::Request;

use compare::{Compared, Usable, compare, compare_slow, pretend, usable};

/// What is shown to a passdb.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// A clear-text password.
    Password(&'a Secret),
    /// The user is known already (certificate, token): he only has to exist.
    Known,
}

/// How a request is to be handled among others.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// When the answer must be there.
    pub deadline: Instant,
    /// The client's address has failed often; its slow checks wait for all others.
    pub suspect: bool,
    /// Slow checks take turns between lanes; one lane per address.
    pub lane: u64,
    /// Wrong passwords are counted.
    pub counts: bool,
    /// This password has let this user in before.
    pub was_good: bool,
}

impl Manners {
    /// When a hash must be done for the answer to be there in time.
    fn hashed_by(&self) -> Instant {
        self.deadline.checked_sub(Duration::from_millis(200)).unwrap_or(self.deadline)
    }
}

/// What a chain said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Yes, with the merged fields.
    Yes {
        /// Who said it.
        source: Arc<str>,
        /// What the passdbs know of the user.
        fields: Fields,
        /// The app password that opened.
        label: Option<String>,
    },
    /// No.
    No {
        /// Who knew the user, or was asked last.
        source: Arc<str>,
        /// Why not.
        why: Why,
        /// `nodelay` among the user's fields.
        at_once: bool,
    },
    /// Somebody who might have said yes could not answer.
    Unavailable {
        /// Who.
        source: Arc<str>,
        /// What happened, for the log.
        detail: String,
    },
}

/// One passdb's word.
enum Word {
    Yes(Fields, Opened),
    No(Why, bool),
    Unavailable(String),
}

/// Which stored password opened.
#[derive(Debug, Clone, Default)]
struct Opened {
    /// The app password's name.
    label: Option<String>,
    /// Its end.
    expires: Option<u64>,
}

/// Whether `request.user` is in a deny passdb. The end of the chain when he is, or when that cannot be
/// told.
pub async fn denied(active: &Active, request: &Request) -> Option<Found> {
    for passdb in active.denies.iter().filter(|passdb| passdb.serves(request)) {
        let source = Arc::clone(&passdb.name);
        let renamed = passdb.renamed(request);
        match look_up(passdb, renamed.as_deref().unwrap_or(request), None).await {
            Ok(Lookup::Unknown) => {}
            Ok(Lookup::Found(_)) => {
                let why = Why::Disabled("User found from deny passdb".to_owned());
                return Some(Found::No { source, why, at_once: false });
            }
            Ok(Lookup::OnlyVerifies) => {
                let detail = "this driver cannot tell whether a user exists; it cannot deny".to_owned();
                return Some(Found::Unavailable { source, detail });
            }
            Err(away) => return Some(Found::Unavailable { source, detail: away.detail }),
        }
    }
    None
}

/// Walks `chain` until a passdb says yes, by each one's rules.
pub async fn walk(
    chain: &[Passdb],
    active: &Active,
    shared: &Shared,
    request: &Request,
    proof: Proof<'_>,
    manners: Manners,
) -> Found {
    let mut walk = Walk::default();
    let mut merged = Fields::new();
    let mut yes: Option<(Arc<str>, Option<String>)> = None;
    let mut no: Option<(Arc<str>, Why, bool)> = None;
    let mut away: Option<Box<(Arc<str>, String)>> = None;
    for passdb in chain {
        if walk.skips(passdb.settings.skip) || !passdb.serves(request) {
            continue;
        }
        let renamed = passdb.renamed(request);
        let request = renamed.as_deref().unwrap_or(request);
        let source = Arc::clone(&passdb.name);
        let proof = if walk.is_verified() { Proof::Known } else { proof };
        let said = match ask(passdb, active, shared, request, proof, manners).await {
            Word::Yes(mut fields, opened) => {
                passdb.complete(&mut fields, request);
                merge(&mut merged, fields);
                yes = Some((source, opened.label));
                Said::Yes
            }
            Word::No(why, at_once) => {
                // Who knew the user is worth more in the log than who did not.
                if no.is_none() || why != Why::UnknownUser {
                    no = Some((source, why, at_once));
                }
                Said::No
            }
            Word::Unavailable(detail) => {
                away = Some(Box::new((source, detail)));
                Said::Unavailable
            }
        };
        if walk.after(said, &passdb.settings.result) == Flow::Stop {
            break;
        }
    }
    if let Some((source, detail)) = away.as_deref()
        && walk.verdict() != Verdict::Unavailable
    {
        // The login goes on without it; otherwise its own line tells.
        log::error!("{}: {detail}", crate::report::subject(source, &request.user, request));
    }
    match walk.verdict() {
        Verdict::Yes => {
            let (source, label) = yes.unwrap_or_else(|| (Arc::from(OURSELVES), None));
            Found::Yes { source, fields: merged, label }
        }
        Verdict::No => {
            if matches!(&no, None | Some((_, Why::UnknownUser, _)))
                && let Err(detail) = Box::pin(pretend(chain, shared, request, proof, manners)).await
            {
                // A known user's check would have failed as well.
                return Found::Unavailable { source: Arc::from(OURSELVES), detail };
            }
            let (source, why, at_once) =
                no.unwrap_or_else(|| (Arc::from(OURSELVES), Why::UnknownUser, false));
            Found::No { source, why, at_once }
        }
        Verdict::Unavailable => {
            if manners.counts && matches!(&no, Some((_, Why::Mismatch(_), _))) {
                // The client hears nothing of it, but a right password would have opened: it was a guess.
                let now = clock::monotonic_now();
                lock(&shared.throttle).failed(request.remote_ip, &request.user, now);
            }
            let (source, detail) = away
                .map_or_else(|| (Arc::from(OURSELVES), "no passdb could answer".to_owned()), |away| *away);
            Found::Unavailable { source, detail }
        }
    }
}

/// What was found for a mechanism that works with a stored form of the password.
#[derive(Debug)]
pub enum Handed {
    /// The credentials, and what [`walk`] would have said of a right password.
    Credentials(Credentials, Found),
    /// None; why, for the log. `Found::No` or `Found::Unavailable`.
    Nothing(Found),
}

/// Finds the stored password of `request.user` in the form that `kind` names, by the chain's rules: a
/// passdb that has it says yes, one that has none or only a one-way hash says no.
pub async fn hand_out(
    active: &Active,
    shared: &Shared,
    request: &Request,
    kind: CredentialKind,
    manners: Manners,
) -> Handed {
    let mut walk = Walk::default();
    let mut merged = Fields::new();
    let mut yes: Option<(Arc<str>, Credentials, Option<String>)> = None;
    let mut no: Option<Found> = None;
    let mut away: Option<(Arc<str>, String)> = None;
    for passdb in &active.passdbs {
        if walk.skips(passdb.settings.skip) || !passdb.serves(request) {
            continue;
        }
        let renamed = passdb.renamed(request);
        let request = renamed.as_deref().unwrap_or(request);
        let source = Arc::clone(&passdb.name);
        let said = match look_up(passdb, request, None).await {
            Ok(Lookup::Unknown | Lookup::OnlyVerifies) => Said::No,
            Err(unavailable) => {
                away = Some((source, unavailable.detail));
                Said::Unavailable
            }
            Ok(Lookup::Found(entry)) if completed(passdb, &entry, request).has("noauthenticate") => Said::No,
            Ok(Lookup::Found(mut entry)) => {
                passdb.complete(&mut entry.fields, request);
                // Once somebody has the password, a later one only has to know the user.
                let suitable = if walk.is_verified() {
                    None
                } else {
                    Some(suitable(&entry, request, passdb, active, shared, kind, manners).await)
                };
                match suitable {
                    None => {
                        merge(&mut merged, entry.fields);
                        Said::Yes
                    }
                    Some(Suitable::Credentials(credentials, label)) => {
                        merge(&mut merged, entry.fields);
                        yes = Some((source, credentials, label));
                        Said::Yes
                    }
                    Some(Suitable::Unavailable(detail)) => {
                        away = Some((source, detail));
                        Said::Unavailable
                    }
                    Some(Suitable::None(detail)) => {
                        let at_once = entry.fields.has("nodelay");
                        no = Some(Found::No { source, why: Why::Mismatch(detail), at_once });
                        Said::No
                    }
                }
            }
        };
        if walk.after(said, &passdb.settings.result) == Flow::Stop {
            break;
        }
    }
    let verdict = walk.verdict();
    if let Some((source, detail)) = &away
        && verdict != Verdict::Unavailable
    {
        log::error!("{}: {detail}", crate::report::subject(source, &request.user, request));
    }
    match (verdict, yes, away) {
        (Verdict::Yes, Some((source, credentials, label)), _) => {
            Handed::Credentials(credentials, Found::Yes { source, fields: merged, label })
        }
        (Verdict::Unavailable, _, Some((source, detail))) => {
            Handed::Nothing(Found::Unavailable { source, detail })
        }
        _ => Handed::Nothing(no.unwrap_or_else(|| Found::No {
            source: Arc::from(OURSELVES),
            why: Why::UnknownUser,
            at_once: false,
        })),
    }
}

/// What a mechanism can work with among the stored passwords of a user.
enum Suitable {
    /// The first that fits, and the app password's name.
    Credentials(Credentials, Option<String>),
    /// None fits; why, for the log.
    None(String),
    /// That cannot be told now.
    Unavailable(String),
}

async fn suitable(
    entry: &Entry,
    request: &Request,
    passdb: &Passdb,
    active: &Active,
    shared: &Shared,
    kind: CredentialKind,
    manners: Manners,
) -> Suitable {
    let stored: Vec<Usable> = usable(entry, request, passdb, active).collect();
    let mut schemes = Vec::new();
    for one in stored {
        match derived(&one.parsed, kind, &request.user, shared, manners).await {
            Ok(Some(credentials)) => {
                passdb.learn_scram(&one.parsed, kind);
                return Suitable::Credentials(credentials, one.opened.label);
            }
            Ok(None) => schemes.push(one.parsed.scheme_name().to_owned()),
            Err(detail) => return Suitable::Unavailable(detail),
        }
    }
    if schemes.is_empty() {
        return Suitable::None("there is no password that can be used".to_owned());
    }
    Suitable::None(format!("Requested {} scheme, but we have only {}", kind_name(kind), schemes.join(", ")))
}

/// Who speaks in the log and the metrics where no passdb does.
pub const OURSELVES: &str = "sasl";

fn kind_name(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::CramMd5 => "CRAM-MD5",
        CredentialKind::ScramSha1 => "SCRAM-SHA-1",
        CredentialKind::ScramSha256 => "SCRAM-SHA-256",
    }
}

/// SCRAM keys from a clear-text password take thousands of hashes: not on this thread, and not on more
/// threads than there are processors, however many ask at once.
///
/// # Errors
/// Why they could not be made now, for the log.
async fn derived(
    stored: &Stored,
    kind: CredentialKind,
    user: &str,
    shared: &Shared,
    manners: Manners,
) -> Result<Option<Credentials>, String> {
    let is_direct =
        stored.scheme_name().eq_ignore_ascii_case(kind_name(kind)) || kind == CredentialKind::CramMd5;
    if is_direct {
        return Ok(stored.credentials(kind, user));
    }
    let (stored, user) = (stored.clone(), user.to_owned());
    let made = shared
        .keys_pool
        .compute(manners.lane, manners.suspect, manners.hashed_by(), move || stored.credentials(kind, &user));
    made.await.map_err(|error| format!("making {} keys: {error}", kind_name(kind)))
}

/// Keys that nothing matches, for a user without any: as long in the making as the keys of those who
/// have some, and the same each time. `None` leaves it to the mechanism.
///
/// # Errors
/// As those of a known user could not be made now.
pub async fn pretended(
    active: &Active,
    shared: &Shared,
    user: &str,
    kind: CredentialKind,
    manners: Manners,
) -> Result<Option<Credentials>, String> {
    match active.passdbs.iter().find_map(|passdb| passdb.scram_decoy(kind)) {
        Some(decoy) => derived(&decoy, kind, user, shared, manners).await,
        None => Ok(None),
    }
}

async fn ask(
    passdb: &Passdb,
    active: &Active,
    shared: &Shared,
    request: &Request,
    proof: Proof<'_>,
    manners: Manners,
) -> Word {
    let key = match (proof, passdb.sharing) {
        (Proof::Password(password), Sharing::User | Sharing::Connection) => {
            cache_key(passdb, active, shared, request, password)
        }
        _ => None,
    };
    if let Some(key) = key
        && let Some(answer) =
            lock(&shared.cache).as_mut().and_then(|cache| cache.fresh(key, clock::monotonic_now()))
        && !is_expired(&answer)
    {
        return match answer {
            Answer::Right(fields) => remembered(fields),
            Answer::Wrong => Word::No(Why::Mismatch("remembered".to_owned()), false),
            Answer::Unknown => Word::No(Why::UnknownUser, false),
        };
    }
    let word = ask_driver(passdb, active, shared, request, proof, manners).await;
    let Some(key) = key else { return word };
    let now = clock::monotonic_now();
    let mut cache = lock(&shared.cache);
    let Some(cache) = cache.as_mut() else { return word };
    match &word {
        Word::Yes(fields, opened) => {
            let mut fields = fields.clone();
            if let Some(label) = &opened.label {
                fields.set(LABEL, Some(label.clone()));
            }
            if let Some(end) = opened.expires {
                fields.set(EXPIRES, Some(end.to_string()));
            }
            cache.put(key, Answer::Right(fields), now);
        }
        Word::No(Why::Mismatch(_), _) => cache.put(key, Answer::Wrong, now),
        Word::No(Why::UnknownUser, _) => cache.put(key, Answer::Unknown, now),
        // Who is locked out now must not come back while the back end is away.
        Word::No(..) => cache.forget(key),
        Word::Unavailable(detail) => {
            if let Some(fields) =
                cache.stale(key, now).map(Answer::Right).filter(|answer| !is_expired(answer))
            {
                let subject = crate::report::subject(&passdb.name, &request.user, request);
                log::warn!("{subject}: {detail}; the password was right before and is believed");
                if let Answer::Right(fields) = fields {
                    return remembered(fields);
                }
            }
        }
    }
    word
}

/// Where the cache keeps an app password's name and end; no passdb can give such fields.
const LABEL: &str = "\0label";
const EXPIRES: &str = "\0expires";

/// Whether a remembered app password has come to its end meanwhile.
fn is_expired(answer: &Answer) -> bool {
    let Answer::Right(fields) = answer else { return false };
    fields.value(EXPIRES).and_then(|end| end.parse::<u64>().ok()).is_some_and(|end| clock::unix_now() >= end)
}

fn remembered(mut fields: Fields) -> Word {
    let label = fields.remove(LABEL);
    let expires = fields.remove(EXPIRES).and_then(|end| end.parse().ok());
    Word::Yes(fields, Opened { label, expires })
}

/// The cache's key of a question to this passdb.
fn cache_key(
    passdb: &Passdb,
    active: &Active,
    shared: &Shared,
    request: &Request,
    password: &Secret,
) -> Option<cache::Key> {
    let cache = lock(&shared.cache);
    let cache = cache.as_ref()?;
    let connection = match passdb.sharing {
        Sharing::OnlyHash | Sharing::User => String::new(),
        Sharing::Connection => format!(
            "{:?} {} {:?} {} {} {:?} {:?} {} {} {} {} {:?}",
            request.remote_ip,
            request.remote_port,
            request.local_ip,
            request.local_port,
            request.secured,
            request.real_remote_ip,
            (request.valid_client_cert, request.real_local_ip, &request.cert_username),
            request.local_name,
            request.client_id,
            request.session,
            request.mechanism,
            request.master_user,
        ),
    };
    Some(cache.key(&[
        // Answers that an old configuration gave are none of a new one's.
        &active.generation.to_be_bytes(),
        // Not the name, which others may have as well: one's word is none of another's.
        &passdb.number.to_be_bytes(),
        request.user.as_bytes(),
        request.original_user.as_bytes(),
        request.login_user.as_deref().unwrap_or_default().as_bytes(),
        request.service.as_bytes(),
        connection.as_bytes(),
        password.expose(),
    ]))
}

async fn ask_driver(
    passdb: &Passdb,
    active: &Active,
    shared: &Shared,
    request: &Request,
    proof: Proof<'_>,
    manners: Manners,
) -> Word {
    let password = match proof {
        Proof::Password(password) => Some(password),
        Proof::Known => None,
    };
    match look_up(passdb, request, password).await {
        Err(away) => Word::Unavailable(away.detail),
        Ok(Lookup::Unknown) => Word::No(Why::UnknownUser, false),
        Ok(Lookup::Found(entry)) => match proof {
            _ if completed(passdb, &entry, request).has("noauthenticate") => {
                Word::No(Why::UnknownUser, false)
            }
            Proof::Known => Word::Yes(entry.fields, Opened::default()),
            Proof::Password(password) => match compare(passdb, active, request, entry, password) {
                Compared::Word(word) => word,
                Compared::Slow(slow) => {
                    Box::pin(compare_slow(passdb, shared, request, slow, password, manners)).await
                }
            },
        },
        Ok(Lookup::OnlyVerifies) => match proof {
            Proof::Known => Word::No(Why::UnknownUser, false),
            Proof::Password(password) => Box::pin(verify(passdb, request, password)).await,
        },
    }
}

/// An entry's fields with what the passdb's settings add.
fn completed(passdb: &Passdb, entry: &Entry, request: &Request) -> Fields {
    let mut fields = entry.fields.clone();
    passdb.complete(&mut fields, request);
    fields
}

async fn look_up(
    passdb: &Passdb,
    request: &Request,
    password: Option<&Secret>,
) -> Result<Lookup, passdb::Unavailable> {
    if !passdb.driver.hands_out_passwords() && password.is_some() {
        return Ok(Lookup::OnlyVerifies);
    }
    if passdb.sharing == Sharing::OnlyHash {
        // A local file: the login's own deadline is enough.
        return passdb.driver.lookup(request, password).await;
    }
    let limit = passdb.settings.timeout;
    let lookup = Box::pin(passdb.driver.lookup(request, password));
    tokio::time::timeout(limit, lookup).await.unwrap_or_else(|_elapsed| {
        Err(passdb::Unavailable::new(format!("no answer within {} s", limit.as_secs_f32())))
    })
}

async fn verify(passdb: &Passdb, request: &Request, password: &Secret) -> Word {
    if password.is_empty() {
        // An LDAP server takes a bind without a password for an anonymous one, and says yes.
        return Word::No(Why::Mismatch("empty password".to_owned()), false);
    }
    let limit = passdb.settings.timeout;
    match tokio::time::timeout(limit, passdb.driver.verify(request, password)).await {
        Err(_elapsed) => Word::Unavailable(format!("no answer within {} s", limit.as_secs_f32())),
        Ok(Err(away)) => Word::Unavailable(away.detail),
        Ok(Ok(passdb::Verdict::Right(fields))) => Word::Yes(fields, Opened::default()),
        Ok(Ok(passdb::Verdict::Wrong(detail))) => Word::No(Why::Mismatch(detail), false),
        Ok(Ok(passdb::Verdict::Unknown)) => Word::No(Why::UnknownUser, false),
        Ok(Ok(passdb::Verdict::Refused(detail))) => Word::No(Why::Disabled(detail), false),
        Ok(Ok(passdb::Verdict::Expired(detail))) => Word::No(Why::Expired(detail), false),
    }
}

fn merge(into: &mut Fields, fields: Fields) {
    if into.is_empty() {
        *into = fields;
    } else {
        into.merge(fields);
    }
}
