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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::settings::{self, Results, Rule, Skip};
    use crate::fields::Fields;

    fn driver(driver: UserdbDriver) -> Driver {
        let settings = Userdb {
            name: "test".into(),
            driver,
            result: Results {
                success: Rule::ReturnOk,
                failure: Rule::Continue,
                internalfail: Rule::Continue,
            },
            skip: Skip::Never,
            username_format: String::new(),
            default_fields: Fields::new(),
            override_fields: Fields::new(),
            timeout: Duration::from_secs(4),
        };
        Driver::new(&settings).unwrap()
    }

    #[tokio::test]
    async fn each_driver_says_what_it_needs() {
        let request = Request { user: "joe@x".into(), ..Request::default() };
        let prefetch = driver(UserdbDriver::Prefetch);
        assert!(prefetch.is_prefetch() && !prefetch.needs_passdb());
        assert_eq!(prefetch.lookup(&request).await, Ok(None));
        assert!(prefetch.list().await.is_err());
        let mut fields = Fields::new();
        fields.set("home", Some("/h/%n".into()));
        let asks = driver(UserdbDriver::Static { fields: fields.clone(), allow_all_users: false });
        assert!(asks.needs_passdb() && !asks.is_prefetch());
        assert_eq!(asks.lookup(&request).await.unwrap().unwrap().fields.value("home"), Some("/h/joe"));
        assert!(asks.list().await.is_err());
        assert!(!driver(UserdbDriver::Static { fields, allow_all_users: true }).needs_passdb());
    }

    #[tokio::test]
    async fn one_file_a_domain_cannot_be_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}/%d", folder.path().display());
        let files = driver(UserdbDriver::PasswdFile(settings::PasswdFile { path, app_passwords: None }));
        assert!(files.list().await.unwrap_err().detail.contains("variables in its path"));
        let request = Request { user: "joe@x".into(), ..Request::default() };
        assert_eq!(files.lookup(&request).await, Ok(None));
        let own = settings::PasswdFile { path: "/nonexistent/users".into(), app_passwords: None };
        assert!(driver(UserdbDriver::PasswdFile(own)).lookup(&request).await.is_err());
    }
}
