//! Database servers as their URLs name them, and connections to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::query::{Dialect, Named, Query, Text};
use super::{Row, mysql, postgres, sqlite};
use crate::secret::Secret;
use crate::servers::Connect;

/// One server, or one SQLite file.
pub(super) enum Server {
    Sqlite(sqlite::File),
    Postgres(postgres::Server),
    MySql(mysql::Server),
}

/// An open connection.
pub(super) enum Connection {
    Sqlite(sqlite::Connection),
    Postgres(postgres::Connection),
    MySql(mysql::Connection),
}

/// A query as it is asked: what stays from one look-up to the next.
#[derive(Debug)]
pub struct Statement {
    pub(super) query: Text,
    /// Its text with `?` for each parameter, for SQLite and MySQL.
    pub(super) text: Arc<str>,
    /// What PostgreSQL has said about the types of the query.
    pub(super) plan: postgres::PlanCell,
}

impl Statement {
    /// The statement of a query.
    #[must_use]
    pub fn new<V: Named>(query: &Query<V>) -> Self {
        let query = query.text().clone();
        let text = query.sql(|_| "?".to_owned()).into();
        Self { query, text, plan: postgres::PlanCell::default() }
    }
}

/// What came of a query. The text is for the log; it may quote values, so it is shown only where no password
/// is among them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection is lost; another one may do better.
    Dead(String),
    /// The server says no: another connection would hear the same.
    Answer(String),
}

/// Rows of a query, with whether there are more than were wanted.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// The connection still holds rows that nobody has read.
    pub(super) cut: bool,
}

/// What `sslmode` in the URL, or its absence, leaves to `tls_ca_file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TlsFiles<'a> {
    pub(super) ca_file: Option<&'a Path>,
    /// The URL does not say whether TLS is used.
    pub(super) is_open: bool,
}

impl Server {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it: it holds a password.
    pub(super) fn parse(url: &Secret, ca_file: Option<&Path>) -> Result<Self, String> {
        let text = url.expose_text().ok_or("is not UTF-8")?;
        let (scheme, rest) = text.split_once(':').ok_or("has no scheme such as postgres:// or sqlite://")?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "sqlite" {
            return sqlite::File::parse(text).map(Self::Sqlite);
        }
        let rest = rest.strip_prefix("//").ok_or("has no // after its scheme")?;
        // What is left of a password that was not percent-encoded would end up in names that are shown.
        let after_authority = rest.split_once(['/', '?', '#']).map_or("", |(_, after)| after);
        if after_authority.contains(['@', '#']) {
            return Err("has an @ or # after the server's name; percent-encode such characters \
                        (# is %23, / is %2F, ? is %3F, @ is %40) in its user and password"
                .into());
        }
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let keys = || query.split('&').filter(|pair| !pair.is_empty()).map(key);
        let is_open = !keys().any(|key| key == "sslmode" || key == "ssl-mode");
        let files = TlsFiles { ca_file, is_open };
        let known = match scheme.as_str() {
            "postgres" | "postgresql" => postgres::URL_KEYS,
            "mysql" | "mariadb" => mysql::URL_KEYS,
            _ => return Err("has an unknown scheme; postgres, mysql and sqlite are known".into()),
        };
        if let Some(unknown) = keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("has the unknown parameter {unknown}; known are {}", known.join(", ")));
        }
        if known == postgres::URL_KEYS {
            postgres::Server::parse(text, files).map(Self::Postgres)
        } else {
            mysql::Server::parse(text, files).map(Self::MySql)
        }
    }

    /// Whose SQL it speaks.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
        }
    }
}

/// The name in `name=value`, cut so that nothing secret can be long enough to matter.
fn key(pair: &str) -> String {
    let name = pair.split('=').next().unwrap_or("");
    name.chars().filter(|own| own.is_ascii_alphanumeric() || matches!(own, '-' | '_')).take(32).collect()
}

impl Connect for Server {
    type Connection = Connection;

    fn name(&self) -> String {
        match self {
            Self::Sqlite(file) => file.name(),
            Self::Postgres(server) => server.name(),
            Self::MySql(server) => server.name(),
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        match self {
            Self::Sqlite(file) => file.open().await.map(Connection::Sqlite),
            Self::Postgres(server) => server.connect().await.map(Connection::Postgres),
            Self::MySql(server) => server.connect().await.map(Connection::MySql),
        }
    }

    fn is_usable(&self, connection: &mut Connection) -> bool {
        match (self, connection) {
            (Self::Sqlite(file), Connection::Sqlite(connection)) => file.is_same(connection),
            _ => true,
        }
    }
}

impl Connection {
    /// Asks, and takes at most `most` rows.
    pub(super) async fn ask(
        &mut self,
        statement: &Statement,
        values: Vec<String>,
        most: usize,
    ) -> Result<Rows, Failure> {
        match self {
            Self::Sqlite(connection) => connection.ask(&statement.text, values, most).await,
            Self::Postgres(connection) => connection.ask(statement, values, most).await,
            Self::MySql(connection) => connection.ask(&statement.text, values, most).await,
        }
    }
}

/// What an error of sqlx means: `lost` are the server's codes that mean the end of the connection.
pub(super) fn failure(error: &sqlx::Error, lost: impl Fn(&str) -> bool) -> Failure {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let text = format!("{} (code {code})", database.message());
            if lost(&code) { Failure::Dead(text) } else { Failure::Answer(text) }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolClosed => Failure::Dead(error.to_string()),
        _ => Failure::Answer(error.to_string()),
    }
}

/// The text of an error while connecting, with what to do where that is known.
pub(super) fn connect_text(error: &sqlx::Error, ca_file: Option<&Path>) -> String {
    match error {
        sqlx::Error::Database(database) => {
            format!("{} (code {})", database.message(), database.code().unwrap_or_default())
        }
        sqlx::Error::Io(io) if io.to_string().contains("certificate") => tls_text(&io.to_string(), ca_file),
        sqlx::Error::Io(io) => io.to_string(),
        sqlx::Error::Tls(own) => tls_text(&own.to_string(), ca_file),
        other => other.to_string(),
    }
}

fn tls_text(error: &str, ca_file: Option<&Path>) -> String {
    let checked = ca_file.map_or_else(
        || "the system's CA certificates; name others by tls_ca_file".to_owned(),
        |path| format!("the CA certificates in {} (tls_ca_file)", path.display()),
    );
    format!("TLS: {error}; checked against {checked}")
}

/// Where Debian keeps the CA certificates that the system trusts.
pub const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The file of CA certificates to check against when none is configured.
pub(super) fn system_ca_file() -> Option<PathBuf> {
    Some(PathBuf::from(SYSTEM_CA_FILE)).filter(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<String, String> {
        Server::parse(&Secret::from(url), None).map(|server| server.name())
    }

    #[test]
    fn urls_name_servers() {
        for (url, name) in [
            ("postgres://u:pa%40ss@db.example:5433/mail", "db.example:5433"),
            ("postgresql://u@h/mail?sslmode=verify-full", "h:5432"),
            ("postgres:///mail?user=u&password=p&host=/run/postgresql", "/run/postgresql"),
            ("postgres://u:p@%2Frun%2Fpostgresql/mail", "/run/postgresql"),
            ("mysql://u:p@db.example/mail", "db.example:3306"),
            ("mariadb://u@localhost/mail?socket=/run/mysqld/mysqld.sock", "/run/mysqld/mysqld.sock"),
            ("sqlite:///var/mail/users.db", "/var/mail/users.db"),
            ("sqlite:/var/mail/users.db", "/var/mail/users.db"),
        ] {
            assert_eq!(parse(url).as_deref(), Ok(name), "{url}");
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for url in [
            "postgres://u:open/sesame@h/mail",
            "postgres://u:12/sesame@h/mail",
            "mysql://u:12?sesame@h/mail",
            "postgres://u:12#sesame@h/mail",
            "mysql://u:sesame@h:port/mail",
            "mysql://u:sesame@h/mail?ssl-mode=sesame",
            "mysql://u:p@h/mail?passwd=sesame",
            "postgres://u:p@h/mail?sslmode=sesame",
            "postgres://u:p@h:99999/sesame",
            "oracle://u:sesame@h/mail",
            "postgres:u:sesame@h",
            "sesame",
            "sqlite:///a?mode=sesame",
        ] {
            let error = parse(url).expect_err(url);
            assert!(!error.contains("sesame") && !error.contains("12"), "{url}: {error}");
        }
    }
}
