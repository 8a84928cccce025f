//! Every passdb driver behind one door.

use base::secret::Secret;

use super::constant::Constant;
use super::pam::Pam;
use super::passwd_file::PasswdFile;
use super::system::System;
use super::{Lookup, Unavailable, Verdict};
use crate::command::Command;
use crate::config::settings::{Passdb, PassdbDriver};
use crate::ldap::Directory;
use crate::request::Request;
use crate::sql::Database;

/// A passdb's driver, ready to be asked.
pub enum Driver {
    /// `passwd-file`.
    PasswdFile(PasswdFile),
    /// `pam`.
    Pam(Pam),
    /// `system`.
    System(System),
    /// `sql`.
    Sql(Box<Database>),
    /// `ldap`.
    Ldap {
        /// The directory.
        directory: Box<Directory>,
        /// Passwords are checked by binding as the user.
        binds: bool,
    },
    /// `static`.
    Static(Constant),
    /// `command`.
    Command(Command),
}

/// How a PAM worker is started: this very program with a hidden subcommand. The link outlives an
/// upgrade that replaces the program's file.
const PAM_WORKER: [&str; 2] = ["/proc/self/exe", "pam-worker"];

impl Driver {
    /// Makes the driver ready; no database is reached, no file read, no program started yet.
    ///
    /// # Errors
    /// What is wrong with the passdb's own settings.
    pub fn new(settings: &Passdb) -> Result<Self, String> {
        Ok(match &settings.driver {
            PassdbDriver::PasswdFile(own) => Self::PasswdFile(PasswdFile::new(own)?),
            PassdbDriver::Pam(own) => {
                Self::Pam(Pam::new(own, &PAM_WORKER.map(str::to_owned), settings.timeout)?)
            }
            PassdbDriver::System => Self::System(System::new()?),
            PassdbDriver::Sql(own) => Self::Sql(Box::new(Database::new(own, &settings.name)?)),
            PassdbDriver::Ldap(own) => Self::Ldap {
                directory: Box::new(Directory::new(own, &settings.name)?),
                binds: own.auth_bind || own.auth_bind_dn.is_some(),
            },
            PassdbDriver::Static { password, fields } => Self::Static(Constant::new(password, fields)?),
            PassdbDriver::Command(own) => Self::Command(Command::new(own, &settings.name, settings.timeout)?),
        })
    }

    /// Whether [`Self::lookup`] gives stored passwords, so that mechanisms other than PLAIN and LOGIN can
    /// be served. A command may: it says so in its answers.
    #[must_use]
    pub fn hands_out_passwords(&self) -> bool {
        match self {
            Self::PasswdFile(_) | Self::System(_) | Self::Sql(_) | Self::Static(_) | Self::Command(_) => true,
            Self::Ldap { binds, .. } => !binds,
            Self::Pam(_) => false,
        }
    }

    /// What is stored for the request's user. The password is only for templates that name it (`%w`).
    ///
    /// # Errors
    /// The back end could not answer. Commands and PAM keep the passdb's timeout; for the others the
    /// caller does.
    pub async fn lookup(&self, request: &Request, password: Option<&Secret>) -> Result<Lookup, Unavailable> {
        match self {
            Self::PasswdFile(file) => file.lookup(request, password).await,
            Self::Pam(_) => Ok(Lookup::OnlyVerifies),
            Self::System(system) => system.lookup(request, base::clock::unix_now()).await,
            Self::Sql(database) => database.lookup(request, password).await,
            Self::Ldap { directory, .. } => directory.lookup(request, password).await,
            Self::Static(constant) => Ok(constant.lookup(request, password)),
            Self::Command(command) => command.lookup(request, password).await,
        }
    }

    /// Whether the password is right, for drivers whose lookup says [`Lookup::OnlyVerifies`].
    ///
    /// # Errors
    /// The back end could not answer, or the driver cannot check passwords.
    pub async fn verify(&self, request: &Request, password: &Secret) -> Result<Verdict, Unavailable> {
        match self {
            Self::Pam(pam) => pam.verify(request, password).await,
            Self::Ldap { directory, .. } => directory.verify(request, password).await,
            Self::Command(command) => command.verify(request, password).await,
            Self::PasswdFile(_) | Self::System(_) | Self::Sql(_) | Self::Static(_) => {
                Err(Unavailable::new("this driver hands out passwords and checks none"))
            }
        }
    }
}
