//! Users in an SQL database: SQLite, PostgreSQL, MySQL and MariaDB, asked by Dovecot's query conventions.

use base::secret::Secret;

use crate::config::settings;
use crate::passdb::{Lookup, Unavailable};
use crate::request::Request;
use crate::userdb;

/// A database as a passdb or userdb.
#[derive(Debug)]
pub struct Database {
    name: String,
}

impl Database {
    /// Reads the URLs and queries; connects to nothing yet. `name` is what the log calls this database.
    ///
    /// # Errors
    /// What is wrong with a URL or a query, for the admin; without the URL's password.
    pub fn new(settings: &settings::Sql, name: &str) -> Result<Self, String> {
        if settings.urls.is_empty() {
            return Err(format!("{name}: no url"));
        }
        Ok(Self { name: name.to_owned() })
    }

    /// The entry of `request.user` by `query` and `app_password_query`.
    ///
    /// # Errors
    /// [`Unavailable`] when no server answers, a query fails or gives more than one user.
    #[allow(clippy::unused_async, reason = "first version of the interface")]
    pub async fn lookup(&self, _: &Request, _: Option<&Secret>) -> Result<Lookup, Unavailable> {
        Err(Unavailable::new(format!("{}: not connected", self.name)))
    }

    /// The userdb entry of `request.user` by `query`; `None` for an unknown user.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    #[allow(clippy::unused_async, reason = "first version of the interface")]
    pub async fn user(&self, _: &Request) -> Result<Option<userdb::Entry>, Unavailable> {
        Err(Unavailable::new(format!("{}: not connected", self.name)))
    }

    /// All users by `iterate_query`.
    ///
    /// # Errors
    /// As [`Self::lookup`], and when there is no `iterate_query`.
    #[allow(clippy::unused_async, reason = "first version of the interface")]
    pub async fn list(&self) -> Result<Vec<String>, Unavailable> {
        Err(Unavailable::new(format!("{}: not connected", self.name)))
    }
}
