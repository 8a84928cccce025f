//! A MariaDB server of its own, with TLS, on a free port and a socket in the scratch folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::certificates::Certificates;
use crate::daemon::{Daemon, account, run};
use crate::ports::Port;
use crate::scratch::Scratch;
use crate::wait::output;

/// A running server with the database `mail`; it is ended when dropped.
#[derive(Debug)]
pub struct MariaDb {
    daemon: Daemon,
    folder: PathBuf,
    port: Port,
    certificates: Certificates,
}

impl MariaDb {
    /// The password of every user; as it stands in [`Self::url`].
    pub const PASSWORD: &'static str = "pa@ss/wo#rd";

    /// Makes a data folder in `scratch` and starts the server. The user `reader` may read the database.
    #[must_use]
    pub fn start(scratch: &Scratch) -> Self {
        let user = account("mysql", "mariadb-server");
        let folder = scratch.file("mariadb");
        fs::create_dir(&folder).unwrap();
        let certificates = Certificates::new(&folder);
        fs::set_permissions(certificates.key(), fs::Permissions::from_mode(0o600)).unwrap();
        let data = folder.join("data");
        fs::create_dir(&data).unwrap();
        for path in [folder.clone(), data.clone(), certificates.key()] {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.args([
            "--skip-name-resolve",
            "--innodb-log-file-size=4M",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
        install.arg(format!("--datadir={}", data.display())).current_dir(&folder);
        run(install, Some(&user));
        let port = Port::new();
        let daemon = Daemon::new("mariadb", "/usr/sbin/mariadbd", &folder, Signal::SIGTERM)
            .arguments([
                "--no-defaults",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=16M",
                "--innodb-log-file-size=4M",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-fast-shutdown=2",
            ])
            .arguments([
                format!("--datadir={}", data.display()),
                format!("--port={port}"),
                format!("--socket={}", folder.join("socket").display()),
                format!("--pid-file={}", folder.join("mariadbd.pid").display()),
                format!("--ssl-cert={}", certificates.certificate().display()),
                format!("--ssl-key={}", certificates.key().display()),
            ])
            .user(&user);
        let mut server = Self { daemon, folder, port, certificates };
        server.start_again();
        server.client("", "CREATE DATABASE mail CHARACTER SET utf8mb4;");
        server.execute(&format!(
            "CREATE USER reader@'%' IDENTIFIED BY '{}'; GRANT SELECT ON mail.* TO reader@'%';",
            Self::PASSWORD
        ));
        server
    }

    /// Ends the server at once.
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// Starts it again, with its data and on its port.
    pub fn start_again(&mut self) {
        let Self { daemon, folder, port, .. } = self;
        let address = (std::net::Ipv4Addr::LOCALHOST, port.number());
        let socket = folder.join("socket");
        daemon.start(|| socket.exists() && std::net::TcpStream::connect(address).is_ok());
    }

    /// Runs SQL in the database `mail` as root.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.client("mail", sql);
    }

    /// The URL of the database over TCP for `user`, with the password.
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        format!("mysql://{user}:pa%40ss%2Fwo%23rd@127.0.0.1:{}/mail", self.port)
    }

    /// The URL over the UNIX socket.
    #[must_use]
    pub fn socket_url(&self, user: &str) -> String {
        let socket = self.folder.join("socket");
        format!("mysql://{user}:pa%40ss%2Fwo%23rd@localhost/mail?socket={}", socket.display())
    }

    /// The CA that has signed the server's certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.certificates.ca()
    }

    #[track_caller]
    fn client(&self, database: &str, sql: &str) {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user=root", "--default-character-set=utf8mb4"]);
        client.arg(format!("--socket={}", self.folder.join("socket").display())).arg(database);
        let done = output(&mut client, sql.as_bytes());
        assert!(done.status.success(), "mariadb refuses: {sql}\n{}", String::from_utf8_lossy(&done.stderr));
    }
}
