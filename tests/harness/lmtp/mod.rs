//! An LMTP server, ours or Debian's Dovecot as the reference, started for one test: users, mailboxes, log, signals.

mod client;

pub use client::LmtpClient;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::milter::Subject;
use crate::scratch::Scratch;
use crate::wait::{PATIENCE, wait_for, wait_up_to};

/// What a server is to be.
#[derive(Debug, Clone, Default)]
pub struct LmtpConf {
    users: Vec<(String, u32, String)>,
    ours: String,
    lmtp: String,
    dovecot: String,
}

/// The uid and gid that mailboxes belong to, unless a test says otherwise: nobody's.
pub const NOBODY: u32 = 65534;

impl LmtpConf {
    /// No users, and nothing but defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A user with a mailbox of their own.
    #[must_use]
    pub fn user(self, name: &str) -> Self {
        self.user_as(name, NOBODY, "")
    }

    /// A user whose mailbox belongs to `uid`, with further fields for the userdb (`userdb_quota_rule=…`).
    #[must_use]
    pub fn user_as(mut self, name: &str, uid: u32, fields: &str) -> Self {
        self.users.push((name.to_owned(), uid, fields.to_owned()));
        self
    }

    /// A line for our configuration, at its top.
    #[must_use]
    pub fn ours(mut self, line: &str) -> Self {
        self.ours.push_str(&format!("{line}\n"));
        self
    }

    /// A line under `[lmtp]` of our configuration.
    #[must_use]
    pub fn lmtp(mut self, line: &str) -> Self {
        self.lmtp.push_str(&format!("{line}\n"));
        self
    }

    /// A line for Dovecot's.
    #[must_use]
    pub fn dovecot(mut self, line: &str) -> Self {
        self.dovecot.push_str(&format!("{line}\n"));
        self
    }

    fn passwd_file(&self, folder: &Path) -> String {
        let line = |(name, uid, fields): &(String, u32, String)| {
            format!("{name}:{{PLAIN}}secret:{uid}:{uid}::{}/mail/{name}::{fields}\n", folder.display())
        };
        self.users.iter().map(line).collect()
    }

    fn to_toml(&self, folder: &Path, listen: bool) -> String {
        let folder = folder.display();
        let listen = if listen { format!("listen = [\"unix:{folder}/lmtp\"]\n") } else { String::new() };
        format!(
            "mail_location = \"maildir:~/Maildir\"\nhostname = \"mx.a.example\"\nfirst_valid_uid = 1\n{}\
             [[userdb]]\ndriver = \"passwd-file\"\npath = \"{folder}/users\"\n[lmtp]\n{listen}mode = 0o666\n{}\
             [log]\nsyslog = false\n",
            self.ours, self.lmtp
        )
    }

    /// Dovecot with LMTP and IMAP over the same mailboxes.
    fn to_dovecot(&self, folder: &Path) -> String {
        DOVECOT.replace("{dir}", &folder.display().to_string()) + &self.dovecot
    }
}

const DOVECOT: &str = "base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
protocols = lmtp
listen = 127.0.0.1
mail_location = maildir:~/Maildir
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
ssl = no
hostname = mx.a.example
postmaster_address = postmaster@a.example
recipient_delimiter = +
userdb {
  driver = passwd-file
  args = {dir}/users
}
passdb {
  driver = passwd-file
  args = {dir}/users
}
service lmtp {
  unix_listener {dir}/lmtp {
    mode = 0666
  }
}
service anvil {
  chroot =
}
";

/// A running LMTP server with its files in a folder of its own.
///
/// When dropped it is ended, and the test fails if ours had died or panicked meanwhile.
#[derive(Debug)]
pub struct LmtpServer {
    subject: Subject,
    folder: PathBuf,
    child: Option<Child>,
    /// A socket that outlives the server, as systemd holds it.
    held: Option<UnixListener>,
}

impl LmtpServer {
    /// Starts `subject` with `conf` and waits until it listens. Its files lie in `scratch` under `name`.
    #[must_use]
    pub fn start(scratch: &Scratch, name: &str, subject: Subject, conf: &LmtpConf) -> Self {
        let mut server = Self::prepare(scratch, name, subject, conf, true);
        server.run();
        server
    }

    /// Ours with a socket that is handed over as systemd does it, and that stays open between its runs.
    #[must_use]
    pub fn start_by_socket(scratch: &Scratch, name: &str, conf: &LmtpConf) -> Self {
        let mut server = Self::prepare(scratch, name, Subject::Ours, conf, false);
        let socket = UnixListener::bind(server.socket()).unwrap();
        fs::set_permissions(server.socket(), fs::Permissions::from_mode(0o666)).unwrap();
        server.held = Some(socket);
        server.run();
        server
    }

    fn prepare(scratch: &Scratch, name: &str, subject: Subject, conf: &LmtpConf, listen: bool) -> Self {
        let folder = scratch.file(name);
        for sub in ["", "mail", "run", "state"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
            fs::set_permissions(folder.join(sub), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (user, uid, _) in &conf.users {
            let home = folder.join("mail").join(user);
            fs::create_dir_all(&home).unwrap();
            chown(&home, Some(*uid), Some(*uid)).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let server = Self { subject, folder, child: None, held: None };
        server.configure_for(conf, listen);
        server
    }

    /// Writes the configuration and the users anew; a running server does not know it yet.
    pub fn configure(&self, conf: &LmtpConf) {
        self.configure_for(conf, self.held.is_none());
    }

    fn configure_for(&self, conf: &LmtpConf, listen: bool) {
        fs::write(self.folder.join("users"), conf.passwd_file(&self.folder)).unwrap();
        let text = match self.subject {
            Subject::Reference => conf.to_dovecot(&self.folder),
            Subject::Ours => conf.to_toml(&self.folder, listen),
        };
        fs::write(self.conf_path(), text).unwrap();
    }

    /// Starts the ended server again.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        self.run();
    }

    /// SIGTERM, and exit status 0 in [`PATIENCE`].
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_for_end();
        assert!(status.success(), "ended with {status} at SIGTERM:\n{}", self.log());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_for_end();
    }

    /// Sends a signal to the main process.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The main process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().expect("the server runs").id().cast_signed())
    }

    /// Memory that the main process holds, in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits for the main process to end.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let Some(status) = wait_up_to(PATIENCE, || child.try_wait().unwrap()) else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not end:\n{}", self.log());
        };
        status
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("lmtp")
    }

    /// Postfix's name for it.
    #[must_use]
    pub fn for_postfix(&self) -> String {
        format!("lmtp:unix:{}", self.socket().display())
    }

    /// The configuration file.
    #[must_use]
    pub fn conf_path(&self) -> PathBuf {
        self.folder.join("conf")
    }

    /// A user's home.
    #[must_use]
    pub fn home(&self, user: &str) -> PathBuf {
        self.folder.join("mail").join(user)
    }

    /// The files in a folder of the user's Maildir: `new`, `cur`, `tmp`, `.Sub/new`; in the order of their names.
    #[must_use]
    pub fn files(&self, user: &str, folder: &str) -> Vec<PathBuf> {
        let path = self.home(user).join("Maildir").join(folder);
        let mut files: Vec<PathBuf> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        files
    }

    /// What is left in the INBOX's `tmp`. The server removes its file there just after its last reply, so this waits for
    /// a moment until there is nothing.
    #[must_use]
    pub fn left(&self, user: &str) -> Vec<PathBuf> {
        let files = || self.files(user, "tmp");
        let _empty = wait_up_to(Duration::from_secs(5), || files().is_empty().then_some(()));
        files()
    }

    /// The messages in `new` of the user's INBOX.
    #[must_use]
    pub fn messages(&self, user: &str) -> Vec<Vec<u8>> {
        self.files(user, "new").iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// Connects.
    #[must_use]
    pub fn connect(&self) -> LmtpClient {
        LmtpClient::connect(&self.socket())
    }

    /// Everything logged so far, of all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Waits for a line with `text` in the log and returns it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("{text:?} in the log"), || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let program = program(self.subject);
        assert!(program.exists(), "{} is missing: build or install it first", program.display());
        let mut command = Command::new(&program);
        let mut passed = None;
        if let Some(socket) = &self.held {
            // A copy that children inherit. The shell's own number is the one that LISTEN_PID has to name.
            let copy = nix::fcntl::fcntl(socket, nix::fcntl::FcntlArg::F_DUPFD(200)).unwrap();
            let script = format!("exec 3<&{copy} {copy}<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"");
            command = Command::new("/bin/bash");
            command.args(["-c", &script, "bash"]).arg(&program);
            passed = Some(copy);
        }
        if self.subject == Subject::Reference {
            command.arg("-F");
        }
        command.arg("-c").arg(self.conf_path()).current_dir(&self.folder).stdin(Stdio::null());
        command.env("POSTRIDER_LOG", "stderr").stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        if let Some(copy) = passed {
            nix::unistd::close(copy).unwrap();
        }
        fs::write(self.folder.join("server.pid"), child.id().to_string()).unwrap();
        self.child = Some(child);
        let listens = wait_up_to(PATIENCE, || {
            let ended = self.child.as_mut()?.try_wait().unwrap();
            ended.map(Err).or_else(|| answers(&self.socket()).then_some(Ok(())))
        });
        match listens {
            Some(Ok(())) => {}
            Some(Err(status)) => {
                self.child = None;
                panic!("it ended with {status}:\n{}", self.log());
            }
            None => panic!("it does not listen:\n{}", self.log()),
        }
    }
}

impl Drop for LmtpServer {
    fn drop(&mut self) {
        let mut died = None;
        if let Some(mut child) = self.child.take() {
            died = child.try_wait().unwrap();
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            if wait_up_to(PATIENCE, || child.try_wait().unwrap()).is_none() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!("--- log of the LMTP server in {}\n{}", self.folder.display(), self.log());
        } else if self.subject == Subject::Ours {
            assert!(died.is_none(), "the server had ended with {died:?}:\n{}", self.log());
            assert!(!self.log().contains("panic"), "the server panicked:\n{}", self.log());
        }
    }
}

/// Whether somebody greets at the socket.
fn answers(socket: &Path) -> bool {
    use std::io::Read as _;
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).is_ok() && greeting == *b"220 "
}

/// The server's program: `postrider-lmtp` from the target folder, or `$POSTRIDER_LMTP_BIN`; for the reference Dovecot.
#[must_use]
pub fn program(subject: Subject) -> PathBuf {
    match subject {
        Subject::Reference => PathBuf::from("/usr/sbin/dovecot"),
        Subject::Ours => std::env::var_os("POSTRIDER_LMTP_BIN")
            .map_or_else(|| crate::milter::target_folder().join("postrider-lmtp"), PathBuf::from),
    }
}
