//! Users in an SQL database: SQLite, PostgreSQL, MySQL and MariaDB, asked by Dovecot's query conventions.
//!
//! A row's columns `password`, `user`, `username` and `domain` mean what they say, every other column is an
//! extra field of its name; NULL is absence. `base::sql` asks, and says how variables become parameters.

mod app_password;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base::log::escaped;
use base::secret::Secret;
use base::sql::{self, Dialect, Named, Query, Statement};

use crate::config::settings;
use crate::passdb::{Lookup, Unavailable};
use crate::record::Record;
use crate::request::Request;
use crate::tls;
use crate::userdb;
use crate::variables::{Piece, Template, Values, Variable};

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
    database: sql::Database,
    query: Asked,
    app_passwords: Option<Asked>,
    iterate: Option<Asked>,
}

/// A query, with the statement that it is asked by.
struct Asked {
    query: Query<Variable>,
    statement: Statement,
}

impl Named for Variable {
    fn name(&self) -> Cow<'_, str> {
        Self::name(self)
    }
}

impl Asked {
    fn parse(text: &str, dialect: Dialect) -> Result<Self, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => sql::Piece::Literal(text.clone()),
            Piece::Variable(variable) => sql::Piece::Variable(variable.clone()),
        };
        let pieces: Vec<sql::Piece<Variable>> = template.pieces().iter().map(piece).collect();
        let query = Query::parse(&pieces, dialect).map_err(|error| error.to_string())?;
        let statement = Statement::new(&query);
        Ok(Self { query, statement })
    }
}

impl Database {
    /// Reads the URLs and queries; connects to nothing yet. `name` is what the log calls this database.
    ///
    /// # Errors
    /// What is wrong with a URL or a query, for the admin; without the URL's password.
    pub fn new(settings: &settings::Sql, name: &str) -> Result<Self, String> {
        let connections = usize::try_from(settings.connections).unwrap_or(usize::MAX);
        let ca_file = settings.tls_ca_file.as_deref();
        let database = sql::Database::new(&settings.urls, ca_file, connections)?;
        if let Some(path) = ca_file {
            tls::roots(Some(path)).map_err(|error| format!("tls_ca_file: {error}"))?;
        }
        let dialect = database.dialect();
        let asked = |setting: &str, text: &str| {
            Asked::parse(text, dialect).map_err(|error| format!("{setting}: {error}"))
        };
        let optional = |setting: &str, text: &Option<String>| {
            text.as_deref().map(|text| asked(setting, text)).transpose()
        };
        Ok(Self {
            name: name.to_owned(),
            query: asked("query", &settings.query)?,
            app_passwords: optional("app_password_query", &settings.app_password_query)?,
            iterate: optional("iterate_query", &settings.iterate_query)?,
            database,
        })
    }

    /// The files of the SQLite databases among the URLs; those that no path can be read from are left out.
    pub(crate) fn files(urls: &[Secret]) -> Vec<PathBuf> {
        sql::Database::files(urls)
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

    async fn ask(
        &self,
        query: &Asked,
        values: &Values<'_>,
        most: usize,
        limit: Duration,
    ) -> Result<Vec<Record>, Unavailable> {
        let parameters = query.query.values(|variable| variable.value(values));
        let hidden = query.query.variables().any(Variable::is_password);
        let how = sql::Ask { most, limit, hidden };
        let rows = self.database.ask(&query.statement, &parameters, how).await;
        let rows = rows.map_err(|error| self.unavailable(&error))?;
        Ok(rows.into_iter().map(|row| Record::from(row.into_values())).collect())
    }

    fn unavailable(&self, text: &str) -> Unavailable {
        Unavailable::new(format!("{}: {text}", self.name))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).field("database", &self.database).finish()
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
