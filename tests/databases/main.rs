//! SQL and LDAP look-ups of sasl-auth against real servers, which are stopped, restarted and silenced.
//!
//! One test per kind of server, since starting one takes longer than asking it.

mod ldap;
mod mariadb;
mod postgres;
mod sqlite;

use std::time::{Duration, Instant};

use base::secret::Secret;
use sasl_auth::config::settings;
use sasl_auth::fields::Fields;
use sasl_auth::passdb::{Entry, Lookup, Unavailable};
use sasl_auth::request::Request;
use sasl_auth::sql::Database;

/// A request of a user.
fn request(user: &str) -> Request {
    Request { user: user.into(), original_user: user.into(), service: "smtp".into(), ..Request::default() }
}

/// Settings of one URL and one query.
fn sql(url: &str, query: &str) -> settings::Sql {
    settings::Sql {
        urls: vec![Secret::from(url)],
        query: query.into(),
        app_password_query: None,
        iterate_query: None,
        connections: 2,
        tls_ca_file: None,
    }
}

#[track_caller]
fn database(settings: &settings::Sql) -> Database {
    Database::new(settings, "sql").unwrap()
}

/// The entry of a user who must be there.
#[track_caller]
fn found(lookup: Result<Lookup, Unavailable>) -> Entry {
    match lookup {
        Ok(Lookup::Found(entry)) => entry,
        other => panic!("not found: {other:?}"),
    }
}

/// `name=value` of all fields.
fn fields(fields: &Fields) -> Vec<String> {
    fields.iter().map(|(name, value)| format!("{name}={}", value.unwrap_or(""))).collect()
}

/// The texts of the stored passwords.
fn passwords(entry: &Entry) -> Vec<&str> {
    entry.passwords.iter().map(|password| password.text.expose_text().unwrap()).collect()
}

/// Waits as long as a server that is back may take to be noticed, and returns the answer.
async fn once_back<T>(mut ask: impl AsyncFnMut() -> Result<T, Unavailable>) -> T {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if Instant::now() > end => panic!("still away: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What a look-up on a server that is away says, which must be soon.
#[track_caller]
fn soon<T: std::fmt::Debug>(began: Instant, outcome: Result<T, Unavailable>) -> String {
    let error = outcome.expect_err("the server is away").detail;
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}: {error}", began.elapsed());
    error
}

/// Names that would be something else if they were pasted into a statement or a filter.
const HOSTILE: [&str; 16] = [
    "o'brien",
    "' OR '1'='1",
    "'; DELETE FROM users; --",
    "\\",
    "\\' OR 1=1 -- ",
    "a\\",
    "\"; DROP TABLE users; --",
    "%",
    "_",
    "*",
    ")(uid=*",
    "$1",
    "?",
    "ünïcödé",
    "日本語",
    "🦀/*",
];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
