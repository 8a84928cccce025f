//! Users in an LDAP directory: found by a search, checked by their stored password or by binding as them.

use base::secret::Secret;

use crate::config::settings;
use crate::passdb::{Lookup, Unavailable, Verdict};
use crate::request::Request;
use crate::userdb;

/// A directory as a passdb or userdb.
#[derive(Debug)]
pub struct Directory {
    name: String,
}

impl Directory {
    /// Reads the URIs, names and filters; connects to nothing yet. `name` is what the log calls this directory.
    ///
    /// # Errors
    /// What is wrong with a URI, a filter or a certificate, for the admin.
    pub fn new(settings: &settings::Ldap, name: &str) -> Result<Self, String> {
        if settings.uris.is_empty() {
            return Err(format!("{name}: no uri"));
        }
        Ok(Self { name: name.to_owned() })
    }

    /// The entry of `request.user` by `filter`, with the password that its attributes hold.
    ///
    /// # Errors
    /// [`Unavailable`] when no server answers, a search fails or finds more than one entry.
    #[allow(clippy::unused_async, reason = "first version of the interface")]
    pub async fn lookup(&self, _: &Request, _: Option<&Secret>) -> Result<Lookup, Unavailable> {
        Err(Unavailable::new(format!("{}: not connected", self.name)))
    }

    /// Whether `password` is right, by a bind.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    #[allow(clippy::unused_async, reason = "first version of the interface")]
    pub async fn verify(&self, _: &Request, _: &Secret) -> Result<Verdict, Unavailable> {
        Err(Unavailable::new(format!("{}: not connected", self.name)))
    }

    /// The userdb entry of `request.user` by `filter`; `None` for an unknown user.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    #[allow(clippy::unused_async, reason = "first version of the interface")]
    pub async fn user(&self, _: &Request) -> Result<Option<userdb::Entry>, Unavailable> {
        Err(Unavailable::new(format!("{}: not connected", self.name)))
    }

    /// All users by `iterate_filter`.
    ///
    /// # Errors
    /// As [`Self::lookup`], and when there is no `iterate_filter`.
    #[allow(clippy::unused_async, reason = "first version of the interface")]
    pub async fn list(&self) -> Result<Vec<String>, Unavailable> {
        Err(Unavailable::new(format!("{}: not connected", self.name)))
    }
}
