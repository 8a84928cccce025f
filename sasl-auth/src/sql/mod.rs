//! Users in an SQL database: SQLite, PostgreSQL, MySQL and MariaDB, asked by Dovecot's query conventions.
//!
//! A row's columns `password`, `user`, `username` and `domain` mean what they say, every other column is an
//! extra field of its name; NULL is absence. `query.rs` says how variables become parameters. The files in
//! this folder are the only ones that know sqlx.

mod app_password;
mod mysql;
mod postgres;
mod query;
mod scan;
mod server;
mod sqlite;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base::log::escaped;
use base::secret::Secret;
use tokio::time::timeout;

use crate::config::settings;
use crate::passdb::{Lookup, Unavailable};
use crate::record::Record;
use crate::request::Request;
use crate::servers::Servers;
use crate::tls;
use crate::userdb;
use crate::variables::Values;

use query::Query;
use server::{Failure, Server, Statement};

/// How long one query may take, connecting included, whatever the caller allows.
const ASK_LIMIT: Duration = Duration::from_secs(8);
/// How long listing all users may take.
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// App passwords of one user; who has more is refused, so that a wrong query cannot fill the memory.
const APP_PASSWORDS: usize = 256;
/// Users in one list.
const LISTED_USERS: usize = 1_000_000;

/// A database as a passdb or userdb.
pub struct Database {
    name: String,
    servers: Servers<Server>,
    query: Statement,
    app_passwords: Option<Statement>,
    iterate: Option<Statement>,
}

impl Database {
    /// Reads the URLs and queries; connects to nothing yet. `name` is what the log calls this database.
    ///
    /// # Errors
    /// What is wrong with a URL or a query, for the admin; without the URL's password.
    pub fn new(settings: &settings::Sql, name: &str) -> Result<Self, String> {
        let mut servers = Vec::new();
        for (index, url) in settings.urls.iter().enumerate() {
            let server = Server::parse(url, settings.tls_ca_file.as_deref());
            servers.push(server.map_err(|error| format!("url {} {error}", index + 1))?);
        }
        let dialect = servers.first().ok_or("no url is given")?.dialect();
        if servers.iter().any(|server| server.dialect() != dialect) {
            return Err("the urls are of different kinds of database".into());
        }
        if let Some(path) = &settings.tls_ca_file {
            tls::roots(Some(path)).map_err(|error| format!("tls_ca_file: {error}"))?;
        }
        let statement = |setting: &str, text: &str| match Query::parse(text, dialect) {
            Ok(query) => Ok(Statement::new(query)),
            Err(error) => Err(format!("{setting}: {error}")),
        };
        let optional = |setting: &str, text: &Option<String>| {
            text.as_deref().map(|text| statement(setting, text)).transpose()
        };
        let connections = usize::try_from(settings.connections).unwrap_or(usize::MAX);
        Ok(Self {
            name: name.to_owned(),
            query: statement("query", &settings.query)?,
            app_passwords: optional("app_password_query", &settings.app_password_query)?,
            iterate: optional("iterate_query", &settings.iterate_query)?,
            servers: Servers::new(servers, connections.min(MOST_CONNECTIONS)),
        })
    }

    /// The files of the SQLite databases among the URLs; those that no path can be read from are left out.
    pub(crate) fn files(urls: &[Secret]) -> Vec<PathBuf> {
        let text =
            |url: &Secret| url.expose_text().filter(|url| url.starts_with("sqlite:")).map(str::to_owned);
        urls.iter()
            .filter_map(text)
            .filter_map(|url| sqlite::File::parse(&url).ok())
            .map(|file| file.path())
            .collect()
    }

    /// The entry of `request.user` by `query` and `app_password_query`.
    ///
    /// # Errors
    /// [`Unavailable`] when no server answers, a query fails or gives more than one user.
    pub async fn lookup(&self, request: &Request, password: Option<&Secret>) -> Result<Lookup, Unavailable> {
        let values = Values { password, ..Values::of(request) };
        let Some(row) = self.single_row(&values).await? else { return Ok(Lookup::Unknown) };
        let mut entry = row.into_passdb_entry(request);
        if let Some(statement) = &self.app_passwords {
            let rows = self.ask(statement, &values, APP_PASSWORDS + 1, ASK_LIMIT).await?;
            if rows.len() > APP_PASSWORDS {
                return Err(self.unavailable(&format!("more than {APP_PASSWORDS} app passwords")));
            }
            for row in rows {
                match app_password::stored_password(&row) {
                    Ok(stored) => entry.passwords.extend(stored),
                    // It opens nothing; the others still do.
                    Err(error) => log::warn!("{}: {}", self.name, escaped(error.as_bytes(), 300)),
                }
            }
        }
        Ok(Lookup::Found(entry))
    }

    /// The userdb entry of `request.user` by `query`; `None` for an unknown user. `uid` and `gid` are as the
    /// database has them: numbers or names.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub async fn user(&self, request: &Request) -> Result<Option<userdb::Entry>, Unavailable> {
        let row = self.single_row(&Values::of(request)).await?;
        Ok(row.map(|row| row.into_userdb_entry(request)))
    }

    /// All users by `iterate_query`: its column `user`, or `username` and `domain`.
    ///
    /// # Errors
    /// As [`Self::lookup`], and when there is no `iterate_query`.
    pub async fn list(&self) -> Result<Vec<String>, Unavailable> {
        let Some(statement) = &self.iterate else { return Err(self.unavailable("no iterate_query is set")) };
        let request = Request::default();
        let rows = self.ask(statement, &Values::of(&request), LISTED_USERS, LIST_LIMIT).await?;
        let users: Vec<String> = rows.iter().filter_map(Record::listed_user).collect();
        if users.is_empty() && !rows.is_empty() {
            return Err(self.unavailable("iterate_query gives no column user, and none username"));
        }
        Ok(users)
    }

    async fn single_row(&self, values: &Values<'_>) -> Result<Option<Record>, Unavailable> {
        let mut rows = self.ask(&self.query, values, 2, ASK_LIMIT).await?;
        let first = rows.pop();
        if rows.is_empty() { Ok(first) } else { Err(self.unavailable("query returned multiple matches")) }
    }

    /// At most `most` rows. A kept connection that turns out to be dead is replaced by a fresh one once.
    async fn ask(
        &self,
        statement: &Statement,
        values: &Values<'_>,
        most: usize,
        limit: Duration,
    ) -> Result<Vec<Record>, Unavailable> {
        let parameters = statement.query.values(values);
        let hidden = statement.query.holds_password();
        let asking = async {
            let mut fresh = false;
            // One attempt on a kept connection, one on a fresh one to each server.
            for _ in 0..=self.servers.len() {
                let mut held =
                    self.servers.take(fresh).await.map_err(|error| self.unavailable(&error.detail))?;
                let Some(connection) = held.connection() else { break };
                match connection.ask(statement, parameters.clone(), most).await {
                    Ok(rows) => {
                        if rows.cut {
                            held.discard();
                        } else {
                            held.keep();
                        }
                        return Ok(rows.rows);
                    }
                    Err(Failure::Answer(text)) => {
                        let text = format!("{}: {text}", held.server_name());
                        held.keep();
                        return Err(self.unavailable(if hidden { HIDDEN } else { &text }));
                    }
                    Err(Failure::Dead(text)) if held.is_fresh() => {
                        held.lost(if hidden { HIDDEN } else { &text });
                    }
                    Err(Failure::Dead(_)) => held.discard(),
                }
                fresh = true;
            }
            // Every server is left alone now: this says why.
            Err(match self.servers.take(true).await {
                Ok(_) => self.unavailable("every connection is lost at once"),
                Err(error) => self.unavailable(&error.detail),
            })
        };
        match timeout(limit, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.unavailable(&format!("no answer within {} s", limit.as_secs()))),
        }
    }

    fn unavailable(&self, text: &str) -> Unavailable {
        Unavailable::new(format!("{}: {text}", self.name))
    }
}

/// What the log gets instead of the server's words when a query has the password in it.
const HIDDEN: &str = "the query failed; what the server says is not shown, since it may quote the password";

/// More connections than this are a mistake in the configuration.
const MOST_CONNECTIONS: usize = 1000;

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).field("servers", &self.servers).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(urls: &[&str], query: &str) -> settings::Sql {
        settings::Sql {
            urls: urls.iter().map(|url| Secret::from(*url)).collect(),
            query: query.into(),
            app_password_query: None,
            iterate_query: None,
            connections: 2,
            tls_ca_file: None,
        }
    }

    #[test]
    fn what_is_wrong_is_named_at_once() {
        let error =
            |urls: &[&str], query| Database::new(&settings(urls, query), "sql").expect_err("a mistake");
        for (error, part) in [
            (error(&[], "SELECT 1"), "no url"),
            (error(&["sqlite:///a", "nonsense"], "SELECT 1"), "url 2 has no scheme"),
            (error(&["sqlite:///a", "mysql://u:p@h/d"], "SELECT 1"), "different kinds"),
            (error(&["sqlite:relative.db"], "SELECT 1"), "absolute path"),
            (error(&["sqlite:///a"], "SELECT '%u"), "query: the query ends within a string literal"),
        ] {
            assert!(error.contains(part), "{error}");
        }
        let mut settings = settings(&["postgres://u@h/d"], "SELECT 1");
        settings.app_password_query = Some("SELECT \"%u\"".into());
        assert!(Database::new(&settings, "sql").unwrap_err().starts_with("app_password_query: "));
        settings.app_password_query = None;
        settings.tls_ca_file = Some("/nowhere/ca.pem".into());
        assert!(Database::new(&settings, "sql").unwrap_err().contains("/nowhere/ca.pem"));
    }

    #[tokio::test]
    async fn no_error_and_no_debug_text_shows_a_password() {
        let urls = ["postgres://u:sesame@127.0.0.1:1/d", "postgres://u:sesame@127.0.0.1:2/d?sslmode=require"];
        let database = Database::new(&settings(&urls, "SELECT '%w'"), "sql").unwrap();
        let password = Secret::from("sesame");
        let error = database.lookup(&Request::default(), Some(&password)).await.unwrap_err();
        assert!(error.detail.contains("127.0.0.1:1") && error.detail.contains("127.0.0.1:2"), "{error}");
        assert!(!format!("{error} {database:?}").contains("sesame"));
    }

    #[test]
    fn look_ups_can_be_spawned() {
        fn is_send(_: impl Send) {}
        let database = Database::new(&settings(&["sqlite:///a"], "SELECT 1"), "sql").unwrap();
        let request = Request::default();
        is_send(database.lookup(&request, None));
        is_send(database.user(&request));
        is_send(database.list());
    }
}
