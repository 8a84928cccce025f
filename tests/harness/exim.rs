//! A real Exim that asks an auth server, unpacked beside Postfix, with which Debian's package cannot be installed.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::auth::AuthServer;
use crate::ports::Port;
use crate::scratch::Scratch;
use crate::smtp_client::SmtpClient;
use crate::wait::{PATIENCE, output_within, wait_up_to};

/// A running Exim; it is ended when dropped.
#[derive(Debug)]
pub struct Exim {
    child: Child,
    folder: PathBuf,
    port: Port,
}

impl Exim {
    /// Starts an Exim whose authenticators PLAIN, LOGIN and CRAM-MD5 ask `server` (`driver = dovecot`).
    #[must_use]
    pub fn start(scratch: &Scratch, server: &AuthServer) -> Self {
        let folder = scratch.file("exim");
        let port = Port::new();
        fs::create_dir_all(folder.join("spool")).unwrap();
        for path in [folder.clone(), folder.join("spool")] {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        let socket = server.client_socket().display();
        let mut conf =
            CONF.replace("@FOLDER@", &folder.display().to_string()).replace("@PORT@", &port.to_string());
        for name in ["PLAIN", "LOGIN", "CRAM-MD5"] {
            let instance = name.to_lowercase().replace('-', "_");
            conf.push_str(&format!(
                "{instance}:\n  driver = dovecot\n  public_name = {name}\n  server_socket = {socket}\n  \
                 server_set_id = $auth1\n"
            ));
        }
        fs::write(folder.join("conf"), conf).unwrap();
        // Exim wants the user that its package makes, and only this Exim is to see it.
        for (file, line) in [("passwd", PASSWD), ("group", GROUP)] {
            let own = fs::read_to_string(Path::new("/etc").join(file)).unwrap() + line;
            fs::write(folder.join(file), own).unwrap();
        }
        let log = File::create(folder.join("output")).unwrap();
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["-m", "--propagation", "private", "/bin/sh", "-ec", ENTER, "sh"]);
        command.arg(&folder).arg(program()).arg("-C").arg(folder.join("conf")).args(["-bdf"]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        fs::write(folder.join("server.pid"), child.id().to_string()).unwrap();
        let exim = Self { child, folder, port };
        let listens = || TcpStream::connect(("127.0.0.1", exim.port.number())).is_ok().then_some(());
        assert!(wait_up_to(PATIENCE, listens).is_some(), "Exim does not listen:\n{}", exim.log());
        exim
    }

    /// Connects and says EHLO.
    #[must_use]
    pub fn smtp(&self) -> SmtpClient {
        SmtpClient::connect(self.port.number())
    }

    /// What it has logged and printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read(self.folder.join(name)).unwrap_or_default();
        ["output", "log-main", "log-reject", "log-panic"]
            .iter()
            .map(|name| String::from_utf8_lossy(&read(name)).into_owned())
            .collect()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of Exim in {}\n{}", self.folder.display(), self.log());
        }
    }
}

/// Exim's program, out of Debian's package, which is downloaded into the target folder once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = crate::milter::target_folder();
        let cache = target.parent().unwrap().join("exim4");
        let program = cache.join("usr/sbin/exim4");
        if !program.exists() {
            let folder = cache.with_extension(std::process::id().to_string());
            fs::create_dir_all(&folder).unwrap();
            let shell = "apt-get -q download exim4-daemon-heavy && dpkg-deb -x exim4-daemon-heavy_*.deb .";
            let mut command = Command::new("sh");
            command.args(["-ec", shell]).current_dir(&folder);
            let output = output_within(Duration::from_secs(600), &mut command, b"");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "exim4-daemon-heavy cannot be had: {said}");
            if fs::rename(&folder, &cache).is_err() {
                // Another test process was faster.
                fs::remove_dir_all(&folder).unwrap();
            }
        }
        program
    })
}

const USER: u32 = 64_000;
const PASSWD: &str = "Debian-exim:x:64000:64000::/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "Debian-exim:x:64000:\n";

/// `sh -c ENTER sh FOLDER PROGRAM ARGUMENTS…`
const ENTER: &str = r#"folder=$1; shift
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/group" /etc/group
cd "$folder"
exec "$@""#;

const CONF: &str = "log_file_path = @FOLDER@/log-%s
spool_directory = @FOLDER@/spool
pid_file_path = @FOLDER@/exim.pid
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = @PORT@
primary_hostname = mx.exim.example
tls_advertise_hosts =
acl_smtp_rcpt = acl_rcpt

begin acl
acl_rcpt:
  accept authenticated = *
  deny message = log in first

begin authenticators
";
