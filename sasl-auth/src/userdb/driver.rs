//! Every userdb driver behind one door.

use super::Entry;
use super::constant::Constant;
use super::passwd_file::PasswdFile;
use super::system::System;
use crate::command::Command;
use crate::config::settings::{Userdb, UserdbDriver};
use crate::ldap::Directory;
use crate::passdb::Unavailable;
use crate::request::Request;
use crate::sql::Database;

/// A userdb's driver, ready to be asked.
pub struct Driver(Kind);

enum Kind {
    PasswdFile(PasswdFile),
    System(System),
    Sql(Box<Database>),
    Ldap(Box<Directory>),
    Static(Constant),
    Prefetch,
    Command(Command),
}

impl Driver {
    /// Makes the driver ready; no database is reached, no file read, no program started yet.
    ///
    /// # Errors
    /// What is wrong with the userdb's own settings.
    pub fn new(settings: &Userdb) -> Result<Self, String> {
        Ok(Self(match &settings.driver {
            UserdbDriver::PasswdFile(own) => Kind::PasswdFile(PasswdFile::new(own)?),
            UserdbDriver::System => Kind::System(System::new(settings.timeout)?),
            UserdbDriver::Sql(own) => Kind::Sql(Box::new(Database::new(own, &settings.name)?)),
            UserdbDriver::Ldap(own) => Kind::Ldap(Box::new(Directory::new(own, &settings.name)?)),
            UserdbDriver::Static { fields, allow_all_users } => {
                Kind::Static(Constant::new(fields, *allow_all_users)?)
            }
            UserdbDriver::Prefetch => Kind::Prefetch,
            UserdbDriver::Command(own) => Kind::Command(Command::new(own, &settings.name, settings.timeout)?),
        }))
    }

    /// Whether entries are the `userdb_` fields of a passdb, which the caller has and this driver has not.
    #[must_use]
    pub fn is_prefetch(&self) -> bool {
        matches!(self.0, Kind::Prefetch)
    }

    /// Whether an entry only counts if a passdb knows the user: [`Self::lookup`] of a static userdb
    /// without `allow_all_users` gives everybody one.
    #[must_use]
    pub fn needs_passdb(&self) -> bool {
        matches!(&self.0, Kind::Static(constant) if constant.needs_passdb())
    }

    /// The entry of the request's user, `None` if there is none. A prefetch userdb has none ever.
    ///
    /// # Errors
    /// The back end could not answer. Commands and system users keep the userdb's timeout; for the
    /// others the caller does.
    pub async fn lookup(&self, request: &Request) -> Result<Option<Entry>, Unavailable> {
        match &self.0 {
            Kind::PasswdFile(file) => file.lookup(request).await,
            Kind::System(system) => system.lookup(request).await,
            Kind::Sql(database) => database.user(request).await,
            Kind::Ldap(directory) => directory.user(request).await,
            Kind::Static(constant) => constant.lookup(request),
            Kind::Prefetch => Ok(None),
            Kind::Command(command) => command.user(request).await,
        }
    }

    /// All users that the driver can name.
    ///
    /// # Errors
    /// The back end could not answer, or cannot list users (static, prefetch, one file a domain).
    pub async fn list(&self) -> Result<Vec<String>, Unavailable> {
        match &self.0 {
            Kind::PasswdFile(file) => file.list().await,
            Kind::System(system) => system.list().await,
            Kind::Sql(database) => database.list().await,
            Kind::Ldap(directory) => directory.list().await,
            Kind::Static(_) => Err(Unavailable::new("a static userdb cannot list users")),
            Kind::Prefetch => Err(Unavailable::new("a prefetch userdb cannot list users")),
            Kind::Command(command) => command.list().await,
        }
    }
}
