//! What `test`, `lookup` and `password` do, apart from the terminal: configuration and words in, text out.

use std::sync::Arc;
use std::time::Duration;

use base::clock;
use base::exit;
use base::secret::Secret;

use crate::active::{Active, Shared};
use crate::cli;
use crate::config::Settings;
use crate::fields::Fields;
use crate::lookup;
use crate::outcome::{self, Answer};
use crate::password::{self, Scheme, Stored};
use crate::pipeline::Exchange;
use crate::request::{Options, Request, described};

/// What a tool says and ends with.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// For standard output.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Said {
    fn new(text: impl Into<String>, code: u8) -> Self {
        Self { text: text.into(), code }
    }
}

/// `test USER`: the whole way of a PLAIN login, without the delay of failures.
///
/// # Errors
/// What cannot be built from the settings.
pub async fn test(
    mut settings: Settings,
    user: &str,
    told: &[String],
    password: &Secret,
    json: bool,
) -> Result<Said, String> {
    settings.throttle.failure_delay = Duration::ZERO;
    settings.cache = None;
    let shared = Arc::new(Shared::new(&settings)?);
    let active = Arc::new(Active::new(settings)?);
    let (request, _) = described_by(told, "PLAIN");
    let mut initial = vec![0];
    initial.extend(user.as_bytes());
    initial.push(0);
    initial.extend(password.expose());
    let options = Options { final_resp_ok: true, no_penalty: true };
    let turn =
        Exchange::begin(active, shared, Box::new(request), options, Some(initial), clock::monotonic_now());
    let (answer, _) = turn.await;
    Ok(match answer {
        Answer::Ok(login, _) => {
            let mut fields = vec![("user".to_owned(), login.user.clone())];
            if login.original_user != login.user {
                fields.push(("original_user".to_owned(), login.original_user));
            }
            // What a client is told, as doveadm does: no userdb_ fields among them.
            fields.extend(shown(&login.fields).filter(|(name, _)| outcome::is_public(name)));
            Said::new(verdict("succeeded", user, &fields, json), 0)
        }
        Answer::Fail(rejection) => {
            let mut fields = vec![("reason".to_owned(), rejection.why.text())];
            if let Some(code) = rejection.why.code() {
                fields.push(("code".to_owned(), code.to_owned()));
            }
            Said::new(verdict("failed", user, &fields, json), exit::NOPERM)
        }
        Answer::TemporaryFailure { .. } | Answer::Challenge(_) => {
            Said::new(verdict("temporarily failed", user, &[], json), exit::TEMPFAIL)
        }
    })
}

fn verdict(word: &str, user: &str, fields: &[(String, String)], json: bool) -> String {
    if json {
        let fields: serde_json::Map<String, serde_json::Value> =
            fields.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        return format!("{}\n", serde_json::json!({"user": user, "result": word, "fields": fields}));
    }
    let mut text = format!("passdb: {user} auth {word}\n");
    if !fields.is_empty() {
        text.push_str("extra fields:\n");
    }
    for (name, value) in fields {
        text.push_str("  ");
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
        text.push('\n');
    }
    text
}

/// `lookup USER`, or `lookup MASK`.
///
/// # Errors
/// What cannot be built from the settings.
pub async fn lookup(settings: Settings, user: &str, told: &[String], json: bool) -> Result<Said, String> {
    let active = Active::new(settings)?;
    if user.contains(['*', '?']) {
        let (users, end) = lookup::list(&active, user).await;
        let code = match end {
            Ok(()) => 0,
            Err(unavailable) => {
                log::error!("{unavailable}");
                exit::TEMPFAIL
            }
        };
        let text = if json {
            format!("{}\n", serde_json::json!(users))
        } else {
            users.iter().fold(String::new(), |text, user| text + user + "\n")
        };
        return Ok(Said::new(text, code));
    }
    let (request, _) = described_by(told, "");
    let name = match active.usernames.normalise(user) {
        Ok(name) => name.user,
        Err(error) => return Ok(Said::new(format!("{user}: {error}\n"), exit::NOUSER)),
    };
    let request = Request { user: name, original_user: user.to_owned(), ..request };
    Ok(match lookup::user(&active, &request).await {
        lookup::Answer::Found(name, fields) => Said::new(entry(user, &name, &fields, json), 0),
        lookup::Answer::Unknown => {
            Said::new(format!("userdb lookup: user {user} doesn't exist\n"), exit::NOUSER)
        }
        lookup::Answer::Unavailable { source, detail } => {
            Said::new(format!("userdb lookup({user}) failed: {source}: {detail}\n"), exit::TEMPFAIL)
        }
    })
}

fn entry(asked: &str, name: &str, fields: &Fields, json: bool) -> String {
    let mut shown: Vec<(String, String)> = shown(fields).collect();
    if asked != name {
        shown.insert(0, ("user".to_owned(), name.to_owned()));
    }
    if json {
        let shown: serde_json::Map<String, serde_json::Value> =
            shown.into_iter().map(|(name, value)| (name, value.into())).collect();
        return format!("{}\n", serde_json::Value::Object(shown));
    }
    shown
        .into_iter()
        .fold("field\tvalue\n".to_owned(), |text, (name, value)| text + &name + "\t" + &value + "\n")
}

/// `password`: makes or compares a hash.
///
/// # Errors
/// A sentence when the scheme or the hash cannot be used, or DIGEST-MD5 is asked for without its user;
/// exit code 65.
pub fn password(asked: &cli::Password, password: &Secret) -> Result<Said, String> {
    let lacks_user = |scheme| asked.user.is_empty() && scheme == Scheme::DigestMd5;
    let without_user = || "DIGEST-MD5 hashes the user's name along; give it by -u user@realm".to_owned();
    if let Some(against) = &asked.against {
        let default = if asked.scheme.eq_ignore_ascii_case(password::YESCRYPT) {
            Scheme::Crypt.name()
        } else {
            &asked.scheme
        };
        let stored =
            Stored::parse(against.as_bytes(), default).map_err(|error| format!("{against}: {error}"))?;
        if Scheme::named(stored.scheme_name()).is_some_and(lacks_user) {
            return Err(without_user());
        }
        let right =
            stored.verify(&asked.user, password.expose()).map_err(|error| format!("{against}: {error}"))?;
        let (word, code) = if right { ("verified", 0) } else { ("does not match", exit::NOPERM) };
        return Ok(Said::new(format!("{against} ({word})\n"), code));
    }
    if Scheme::with_suffix(&asked.scheme).is_some_and(|(scheme, _)| lacks_user(scheme)) {
        return Err(without_user());
    }
    let made = password::generate(&asked.scheme, asked.rounds, &asked.user, password)
        .map_err(|error| error.to_string())?;
    Ok(Said::new(made + "\n", 0))
}

/// `password -l`.
#[must_use]
pub fn schemes() -> String {
    password::schemes().chain([password::YESCRYPT]).collect::<Vec<_>>().join(" ") + "\n"
}

fn shown(fields: &Fields) -> impl Iterator<Item = (String, String)> {
    fields
        .iter()
        .filter(|(name, _)| *name != "pass" && *name != "password")
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_owned()))
}

/// `-x key=value` as an AUTH line would have it.
fn described_by(told: &[String], mechanism: &'static str) -> (Request, Options) {
    let mut line = told.join("\t");
    if !told.iter().any(|one| one.starts_with("service=")) {
        line.push_str("\tservice=smtp");
    }
    described(base::dovecot::request::Parameters::new(line.as_bytes()), mechanism)
}
