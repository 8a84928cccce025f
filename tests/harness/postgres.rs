//! A PostgreSQL server of its own, with TLS, on a free port and a socket in the scratch folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::certificates::Certificates;
use crate::daemon::{Daemon, account, run};
use crate::ports::Port;
use crate::scratch::Scratch;
use crate::wait::output;

/// A running server with the database `mail`; it is ended when dropped.
#[derive(Debug)]
pub struct Postgres {
    daemon: Daemon,
    folder: PathBuf,
    port: Port,
    certificates: Certificates,
}

impl Postgres {
    /// The password of every user; as it stands in [`Self::url`].
    pub const PASSWORD: &'static str = "pa@ss/wo#rd";

    /// Makes a database cluster in `scratch` and starts the server. The user `reader` may read all tables.
    #[must_use]
    pub fn start(scratch: &Scratch) -> Self {
        let user = account("postgres", "postgresql");
        let folder = scratch.file("postgres");
        fs::create_dir(&folder).unwrap();
        let certificates = Certificates::new(&folder);
        fs::set_permissions(certificates.key(), fs::Permissions::from_mode(0o600)).unwrap();
        for path in [folder.clone(), certificates.key()] {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        let data = folder.join("data");
        let programs = programs();
        let mut init = Command::new(programs.join("initdb"));
        init.args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]);
        init.args(["--encoding=UTF8", "--locale=C.UTF-8", "-D"]).arg(&data);
        init.current_dir(&folder);
        run(init, Some(&user));
        let port = Port::new();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={}", folder.display()),
            "fsync=off".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificates.certificate().display()),
            format!("ssl_key_file={}", certificates.key().display()),
        ];
        let daemon = Daemon::new("postgres", programs.join("postgres"), &folder, Signal::SIGINT)
            .arguments(["-D".to_owned(), data.display().to_string()])
            .arguments(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]))
            .user(&user);
        let mut server = Self { daemon, folder, port, certificates };
        server.start_again();
        server.psql("postgres", "CREATE DATABASE mail;");
        server.execute(&format!(
            "CREATE ROLE reader LOGIN PASSWORD '{}';
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader;",
            Self::PASSWORD
        ));
        server
    }

    /// Ends the server at once (fast shutdown).
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// Starts it again, with its data and on its port.
    pub fn start_again(&mut self) {
        let Self { daemon, folder, port, .. } = self;
        daemon.start(|| {
            let mut ready = Command::new(programs().join("pg_isready"));
            ready.arg("-q").arg("-h").arg(&*folder).args(["-p", &port.to_string()]);
            output(&mut ready, b"").status.success()
        });
    }

    /// Runs SQL in the database `mail` as its owner.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.psql("mail", sql);
    }

    /// The URL of the database over TCP for `user`, with the password.
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        format!("postgres://{user}:pa%40ss%2Fwo%23rd@127.0.0.1:{}/mail", self.port)
    }

    /// The URL over the UNIX socket.
    #[must_use]
    pub fn socket_url(&self, user: &str) -> String {
        format!("postgres:///mail?user={user}&host={}&port={}", self.folder.display(), self.port)
    }

    /// The CA that has signed the server's certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.certificates.ca()
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    #[track_caller]
    fn psql(&self, database: &str, sql: &str) {
        let mut psql = Command::new(programs().join("psql"));
        psql.args(["-q", "-X", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        psql.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string()]);
        let done = output(&mut psql, sql.as_bytes());
        assert!(done.status.success(), "psql refuses: {sql}\n{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// The folder of the newest installed version's programs; Debian keeps them out of the path.
fn programs() -> PathBuf {
    let root = Path::new("/usr/lib/postgresql");
    let versions = fs::read_dir(root).expect("install postgresql").flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.expect("install postgresql").path().join("bin")
}
