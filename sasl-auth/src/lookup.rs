//! Look-ups without a password: where a user's mailbox is (USER), what a passdb knows (PASS), who there is (LIST).

use crate::active::{Active, Passdb, Userdb};
use crate::chain::{self, Flow, Said, Verdict, Walk};
use crate::config::settings::UserdbDriver;
use crate::fields::Fields;
use crate::passdb::{Entry, Lookup, Unavailable};
use crate::request::Request;

/// Answer of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The user, by the name that the database gives him, with his fields.
    Found(String, Fields),
    /// There is no such user.
    Unknown,
    /// Somebody who might know him could not answer.
    Unavailable {
        /// Who.
        source: String,
        /// What happened, for the log.
        detail: String,
    },
}

/// Walks the userdbs for `request.user`.
pub async fn user(active: &Active, request: &Request) -> Answer {
    let mut walk = Walk::default();
    let mut name = request.user.clone();
    let mut merged = Fields::new();
    let mut away: Option<(String, String)> = None;
    for userdb in &active.userdbs {
        if walk.skips(userdb.settings.skip) {
            continue;
        }
        let renamed = userdb.renamed(request);
        let request = renamed.as_deref().unwrap_or(request);
        let said = match one(active, userdb, request).await {
            Ok(None) => Said::No,
            Ok(Some((user, mut fields))) => {
                userdb.complete(&mut fields, request);
                if let Some(user) = user {
                    name = user;
                }
                for (key, value) in fields.iter() {
                    merged.set(key, value.map(ToOwned::to_owned));
                }
                Said::Yes
            }
            Err(unavailable) => {
                away = Some((userdb.name.to_string(), unavailable.detail));
                Said::Unavailable
            }
        };
        if walk.after(said, &userdb.settings.result) == Flow::Stop {
            break;
        }
    }
    end(&walk, name, merged, away)
}

/// What the passdbs know of `request.user`, without any password.
pub async fn pass(active: &Active, request: &Request) -> Answer {
    let mut walk = Walk::default();
    let mut merged = Fields::new();
    let mut away: Option<(String, String)> = None;
    for passdb in active.denies.iter().filter(|passdb| passdb.serves(request)) {
        match from_passdb(passdb, request).await {
            Ok(None) => {}
            Ok(Some(_)) => return Answer::Unknown,
            Err(failed) => {
                return Answer::Unavailable { source: passdb.name.to_string(), detail: failed.detail };
            }
        }
    }
    for passdb in &active.passdbs {
        if walk.skips(passdb.settings.skip) || !passdb.serves(request) {
            continue;
        }
        let said = match from_passdb(passdb, request).await {
            Ok(None) => Said::No,
            Ok(Some(fields)) => {
                for (key, value) in fields.iter() {
                    merged.set(key, value.map(ToOwned::to_owned));
                }
                Said::Yes
            }
            Err(unavailable) => {
                away = Some((passdb.name.to_string(), unavailable.detail));
                Said::Unavailable
            }
        };
        if walk.after(said, &passdb.settings.result) == Flow::Stop {
            break;
        }
    }
    let name = ["user", "username"]
        .iter()
        .find_map(|key| merged.remove(key))
        .unwrap_or_else(|| request.user.clone());
    end(&walk, name, merged, away)
}

/// All users whose name matches `mask` (`*` and `?`), and whether all userdbs could tell.
///
/// A user in two userdbs is named once.
pub async fn list(active: &Active, mask: &str) -> (Vec<String>, Result<(), Unavailable>) {
    let mut users = Vec::new();
    let mut end = Ok(());
    for userdb in &active.userdbs {
        match userdb.driver.list().await {
            Ok(found) => {
                users.extend(found);
            }
            Err(unavailable) => end = Err(Unavailable::new(format!("{}: {unavailable}", userdb.name))),
        }
    }
    let mask = mask.to_owned();
    // There may be many: not on the thread that serves logins.
    let sorted_out = tokio::task::spawn_blocking(move || {
        let mut seen = std::collections::HashSet::new();
        users.retain(|user: &String| {
            chain::matches(mask.as_bytes(), user.as_bytes()) && seen.insert(user.clone())
        });
        users
    });
    match sorted_out.await {
        Ok(users) => (users, end),
        Err(error) => (Vec::new(), Err(Unavailable::new(error.to_string()))),
    }
}

fn end(walk: &Walk, name: String, fields: Fields, away: Option<(String, String)>) -> Answer {
    match walk.verdict() {
        Verdict::Yes => Answer::Found(name, fields),
        Verdict::No => Answer::Unknown,
        Verdict::Unavailable => {
            let (source, detail) = away.unwrap_or_default();
            Answer::Unavailable { source, detail }
        }
    }
}

/// One userdb's word: the name that it gives the user, and his fields.
async fn one(
    active: &Active,
    userdb: &Userdb,
    request: &Request,
) -> Result<Option<(Option<String>, Fields)>, Unavailable> {
    match &userdb.settings.driver {
        UserdbDriver::Prefetch => prefetched(active, request).await,
        UserdbDriver::Static { allow_all_users: false, .. } if !exists(active, request).await? => Ok(None),
        _ => {
            let limit = userdb.settings.timeout;
            let found = tokio::time::timeout(limit, userdb.driver.lookup(request)).await.unwrap_or_else(
                |_elapsed| Err(Unavailable::new(format!("no answer within {} s", limit.as_secs_f32()))),
            )?;
            Ok(found.map(|entry| (entry.user, entry.fields)))
        }
    }
}

/// The `userdb_` fields of the passdbs. Those that only check passwords have none to give; they know
/// as little of the user as Dovecot's prefetch does without a login.
async fn prefetched(
    active: &Active,
    request: &Request,
) -> Result<Option<(Option<String>, Fields)>, Unavailable> {
    for passdb in active.passdbs.iter().filter(|passdb| passdb.serves(request)) {
        let Lookup::Found(Entry { fields: known, .. }) = look_up(passdb, request).await? else { continue };
        let mut fields = Fields::new();
        for (name, value) in known.iter() {
            if let Some(name) = name.strip_prefix("userdb_") {
                fields.set(name, value.map(ToOwned::to_owned));
            }
        }
        if !fields.is_empty() {
            let user =
                ["user", "username"].into_iter().find_map(|key| known.value(key)).map(ToOwned::to_owned);
            return Ok(Some((user, fields)));
        }
    }
    Ok(None)
}

/// Whether a passdb knows the user.
async fn exists(active: &Active, request: &Request) -> Result<bool, Unavailable> {
    let mut silent = false;
    for passdb in active.passdbs.iter().filter(|passdb| passdb.serves(request)) {
        match look_up(passdb, request).await? {
            Lookup::Found(_) => return Ok(true),
            Lookup::Unknown => {}
            Lookup::OnlyVerifies => silent = true,
        }
    }
    if silent {
        return Err(Unavailable::new(
            "the passdbs cannot tell who exists; set allow_all_users = true in this userdb to take every name",
        ));
    }
    Ok(false)
}

/// One passdb's fields of the user.
async fn from_passdb(passdb: &Passdb, request: &Request) -> Result<Option<Fields>, Unavailable> {
    match look_up(passdb, request).await? {
        Lookup::Unknown => Ok(None),
        Lookup::Found(entry) => Ok(Some(entry.fields)),
        Lookup::OnlyVerifies => {
            Err(Unavailable::new("this driver cannot look up users without their password"))
        }
    }
}

/// One passdb's answer within its time, its fields complete.
async fn look_up(passdb: &Passdb, request: &Request) -> Result<Lookup, Unavailable> {
    let renamed = passdb.renamed(request);
    let request = renamed.as_deref().unwrap_or(request);
    let limit = passdb.settings.timeout;
    let mut found = tokio::time::timeout(limit, passdb.driver.lookup(request, None)).await.unwrap_or_else(
        |_elapsed| Err(Unavailable::new(format!("no answer within {} s", limit.as_secs_f32()))),
    )?;
    if let Lookup::Found(entry) = &mut found {
        passdb.complete(&mut entry.fields, request);
    }
    Ok(found)
}
