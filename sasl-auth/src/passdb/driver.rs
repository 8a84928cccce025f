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

    /// What the configuration calls this driver.
    #[must_use]
    pub fn word(driver: &PassdbDriver) -> &'static str {
        match driver {
            PassdbDriver::PasswdFile(_) => "passwd-file",
            PassdbDriver::Pam(_) => "pam",
            PassdbDriver::System => "system",
            PassdbDriver::Sql(_) => "sql",
            PassdbDriver::Ldap(_) => "ldap",
            PassdbDriver::Static { .. } => "static",
            PassdbDriver::Command(_) => "command",
        }
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
        // What waits for others is boxed: every login carries this future about.
        match self {
            Self::PasswdFile(file) => file.lookup(request, password).await,
            Self::Pam(_) => Ok(Lookup::OnlyVerifies),
            Self::System(system) => Box::pin(system.lookup(request, base::clock::unix_now())).await,
            Self::Sql(database) => Box::pin(database.lookup(request, password)).await,
            Self::Ldap { directory, .. } => Box::pin(directory.lookup(request, password)).await,
            Self::Static(constant) => Ok(constant.lookup(request, password)),
            Self::Command(command) => Box::pin(command.lookup(request, password)).await,
        }
    }

    /// Whether the password is right, for drivers whose lookup says [`Lookup::OnlyVerifies`].
    ///
    /// # Errors
    /// The back end could not answer, or the driver cannot check passwords.
    pub async fn verify(&self, request: &Request, password: &Secret) -> Result<Verdict, Unavailable> {
        match self {
            Self::Pam(pam) => Box::pin(pam.verify(request, password)).await,
            Self::Ldap { directory, .. } => Box::pin(directory.verify(request, password)).await,
            Self::Command(command) => Box::pin(command.verify(request, password)).await,
            Self::PasswdFile(_) | Self::System(_) | Self::Sql(_) | Self::Static(_) => {
                Err(Unavailable::new("this driver hands out passwords and checks none"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::config::settings::{self, Results, Rule, Skip};
    use crate::fields::Fields;

    fn passdb(driver: PassdbDriver) -> Passdb {
        Passdb {
            name: "test".into(),
            driver,
            default_scheme: "PLAIN".into(),
            result: Results {
                success: Rule::ReturnOk,
                failure: Rule::Continue,
                internalfail: Rule::Continue,
            },
            skip: Skip::Never,
            deny: false,
            master: false,
            mechanisms: Vec::new(),
            services: Vec::new(),
            username_filter: Vec::new(),
            username_format: String::new(),
            default_fields: Fields::new(),
            override_fields: Fields::new(),
            timeout: Duration::from_secs(4),
        }
    }

    fn users(path: &std::path::Path) -> PassdbDriver {
        PassdbDriver::PasswdFile(settings::PasswdFile {
            path: path.display().to_string(),
            app_passwords: None,
        })
    }

    #[tokio::test]
    async fn a_passwd_file_that_has_not_changed_is_asked_without_suspending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::fs::write(&path, "joe:{PLAIN}x\n").unwrap();
        let driver = Driver::new(&passdb(users(&path))).unwrap();
        assert!(driver.hands_out_passwords());
        let request = Request { user: "joe".into(), ..Request::default() };
        let first = driver.lookup(&request, None).await;
        let mut future = std::pin::pin!(driver.lookup(&request, None));
        assert_eq!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(first));
        assert!(driver.verify(&request, &Secret::from("x")).await.is_err());
    }

    #[tokio::test]
    async fn commands_look_up_or_verify() {
        let script = r#"read q; case $q in *lookup*) echo '{"result":"unknown"}';; *) echo '{"result":"mismatch"}';; esac"#;
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let driver =
            Driver::new(&passdb(PassdbDriver::Command(settings::Command { command, processes: 1 }))).unwrap();
        let request = Request { user: "joe".into(), ..Request::default() };
        let password = Secret::from("x");
        assert_eq!(driver.lookup(&request, None).await, Ok(Lookup::Unknown));
        assert_eq!(driver.lookup(&request, Some(&password)).await, Ok(Lookup::OnlyVerifies));
        assert_eq!(driver.verify(&request, &password).await, Ok(Verdict::Wrong(String::new())));
    }

    #[tokio::test]
    async fn pam_only_verifies() {
        let own = settings::Pam { service: "smtp-%s".into(), session: false, setcred: false, processes: 1 };
        let driver = Driver::new(&passdb(PassdbDriver::Pam(own))).unwrap();
        assert!(!driver.hands_out_passwords());
        assert_eq!(driver.lookup(&Request::default(), None).await, Ok(Lookup::OnlyVerifies));
    }

    #[test]
    fn mistakes_are_found_at_the_start() {
        for driver in [
            users(std::path::Path::new("/etc/%{domian}")),
            PassdbDriver::Pam(settings::Pam {
                service: "%q".into(),
                session: false,
                setcred: false,
                processes: 1,
            }),
            PassdbDriver::Pam(settings::Pam {
                service: "*".into(),
                session: false,
                setcred: false,
                processes: 0,
            }),
            PassdbDriver::Static { password: Secret::default(), fields: Fields::new() },
            PassdbDriver::Command(settings::Command { command: vec!["relative".into()], processes: 1 }),
        ] {
            let passdb = passdb(driver);
            assert!(Driver::new(&passdb).is_err(), "{passdb:?}");
        }
    }
}
