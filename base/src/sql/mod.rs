//! SQL databases: SQLite, PostgreSQL, MySQL and MariaDB, asked with bound parameters.
//!
//! `query` says how variables become parameters, `server` what a URL names. The files in this folder are the
//! only ones that know sqlx.

mod mysql;
mod postgres;
mod query;
mod scan;
mod server;
mod sqlite;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use crate::secret::Secret;
use crate::servers::Servers;

pub use query::{Dialect, Named, Piece, Query, QueryError};
use server::{Failure, Server};
pub use server::{SYSTEM_CA_FILE, Statement};

/// A database, at one or several servers.
pub struct Database {
    servers: Servers<Server>,
    dialect: Dialect,
}

/// Named values of a row; what was NULL is not in it. Values may be secrets: no `Debug`.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Row(Vec<(String, Vec<u8>)>);

impl Row {
    /// Adds a value. Names are as the database gives them, in its order.
    fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// All values with their columns' names, in the database's order.
    #[must_use]
    pub fn into_values(self) -> Vec<(String, Vec<u8>)> {
        self.0
    }
}

/// How a statement is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// So many rows at most.
    pub most: usize,
    /// How long it may take, connecting included.
    pub limit: Duration,
    /// Whether what the server says may quote a password: the error is then in other words.
    pub hidden: bool,
}

impl Database {
    /// Reads the URLs; connects to nothing yet. At most `connections` are in use at a time.
    ///
    /// # Errors
    /// What is wrong with a URL, for the admin; without the URL's password.
    pub fn new(urls: &[Secret], ca_file: Option<&Path>, connections: usize) -> Result<Self, String> {
        let mut servers = Vec::new();
        for (index, url) in urls.iter().enumerate() {
            let server = Server::parse(url, ca_file);
            servers.push(server.map_err(|error| format!("url {} {error}", index + 1))?);
        }
        let dialect = servers.first().ok_or("no url is given")?.dialect();
        if servers.iter().any(|server| server.dialect() != dialect) {
            return Err("the urls are of different kinds of database".into());
        }
        Ok(Self { servers: Servers::new(servers, connections.min(MOST_CONNECTIONS)), dialect })
    }

    /// Whose SQL it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The files of the SQLite databases among the URLs; those that no path can be read from are left out.
    #[must_use]
    pub fn files(urls: &[Secret]) -> Vec<PathBuf> {
        let text =
            |url: &Secret| url.expose_text().filter(|url| url.starts_with("sqlite:")).map(str::to_owned);
        urls.iter()
            .filter_map(text)
            .filter_map(|url| sqlite::File::parse(&url).ok())
            .map(|file| file.path())
            .collect()
    }

    /// Makes a connection for the questions to come.
    ///
    /// # Errors
    /// No server can be reached; with what each of them said.
    pub async fn connect(&self) -> Result<(), String> {
        self.servers.take(false).await?.keep();
        Ok(())
    }

    /// The rows of a statement. A kept connection that turns out to be dead is replaced by a fresh one once.
    ///
    /// # Errors
    /// No server answers in time, or the query fails; for the log, without passwords.
    pub async fn ask(
        &self,
        statement: &Statement,
        parameters: &[String],
        how: Ask,
    ) -> Result<Vec<Row>, String> {
        let hidden = how.hidden;
        let asking = async {
            let mut fresh = false;
            // One attempt on a kept connection, one on a fresh one to each server.
            for _ in 0..=self.servers.count() {
                let mut held = self.servers.take(fresh).await?;
                let Some(connection) = held.connection() else { break };
                match connection.ask(statement, parameters.to_vec(), how.most).await {
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
                        return Err(if hidden { HIDDEN.to_owned() } else { text });
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
                Ok(_) => "every connection is lost at once".to_owned(),
                Err(error) => error,
            })
        };
        match timeout(how.limit, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} s", how.limit.as_secs())),
        }
    }
}

/// Whether a URL has a password in it.
#[must_use]
pub fn holds_password(url: &Secret) -> bool {
    let text = url.expose_text().unwrap_or("");
    let (_, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || text.contains("password=")
}

/// What the log gets instead of the server's words when a query has the password in it.
const HIDDEN: &str = "the query failed; what the server says is not shown, since it may quote the password";

/// More connections than this are a mistake in the configuration.
const MOST_CONNECTIONS: usize = 1000;

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("servers", &self.servers).finish_non_exhaustive()
    }
}
