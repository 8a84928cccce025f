//! Our policy service for one test, and a client that asks it what Postfix would.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scratch::Scratch;
use crate::wait::{PATIENCE, settled, wait_for, wait_up_to};

/// A running `postrider-policyd` with its files in a folder of its own; it is ended when dropped, and the test fails
/// if it had died or panicked meanwhile.
#[derive(Debug)]
pub struct Policyd {
    folder: PathBuf,
    child: Option<Child>,
    /// Open files that it may have; the system's limit when `None`.
    files: Option<u32>,
}

impl Policyd {
    /// Starts it with a configuration and waits until it listens at `policy` in its folder, which is below `scratch` and
    /// has this name; `{dir}` in the text is that folder.
    #[must_use]
    pub fn start(scratch: &Scratch, name: &str, text: &str) -> Self {
        let mut policyd = Self::new(scratch, name, text);
        policyd.run();
        policyd
    }

    /// The same, with at most so many open files.
    #[must_use]
    pub fn start_short_of_files(scratch: &Scratch, name: &str, text: &str, files: u32) -> Self {
        let mut policyd = Self::new(scratch, name, text);
        policyd.files = Some(files);
        policyd.run();
        policyd
    }

    fn new(scratch: &Scratch, name: &str, text: &str) -> Self {
        let folder = scratch.file(name);
        fs::create_dir_all(&folder).unwrap();
        let policyd = Self { folder, child: None, files: None };
        policyd.configure(text);
        policyd
    }

    /// Writes another configuration; a running service does not know it yet.
    pub fn configure(&self, text: &str) {
        let text = text.replace("{dir}", &self.folder.display().to_string());
        fs::write(self.folder.join("conf"), text).unwrap();
    }

    /// SIGHUP, until the log says that the configuration was reloaded.
    pub fn reload(&self) {
        let before = self.log().matches("configuration reloaded").count();
        self.signal(Signal::SIGHUP);
        wait_for("a reload", || {
            (self.log().matches("configuration reloaded").count() > before).then_some(())
        });
    }

    /// Starts the ended service again.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let program = program();
        let mut command = match self.files {
            Some(files) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("ulimit -n {files}; exec \"$@\"")).arg("sh").arg(&program);
                shell
            }
            None => Command::new(&program),
        };
        command.arg("-c").arg(self.folder.join("conf")).env("POSTRIDER_LOG", "stderr");
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        fs::write(self.folder.join("policyd.pid"), child.id().to_string()).unwrap();
        self.child = Some(child);
        let socket = self.socket();
        let started = wait_up_to(PATIENCE, || {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some());
            // It makes the socket for nobody, listens, and then opens it: root could connect before.
            let opened = UnixStream::connect(&socket).is_ok()
                && fs::metadata(&socket).is_ok_and(|socket| socket.mode() & 0o777 != 0);
            (ended || opened).then_some(!ended)
        });
        assert!(started == Some(true), "it does not start:\n{}", self.log());
        // Postfix's smtpd runs as another user.
        fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("policy")
    }

    /// The endpoint, as main.cf writes it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        settled(&self.folder.join("log"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take().unwrap();
        wait_up_to(PATIENCE, || child.try_wait().unwrap()).unwrap_or_else(|| {
            let _ = child.kill();
            panic!("it does not end:\n{}", self.log())
        })
    }

    /// Connects as an smtpd does.
    #[must_use]
    pub fn connect(&self) -> PolicyClient {
        PolicyClient::connect(&self.socket())
    }

    /// Memory in use, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Policyd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of policyd in {}\n{}", self.folder.display(), self.log());
        }
        if let Some(mut child) = self.child.take() {
            let died = child.try_wait().unwrap();
            let _ = child.kill();
            let _ = child.wait();
            if !std::thread::panicking() {
                assert_eq!(died, None, "it died:\n{}", self.log());
                assert!(!self.log().contains("panic"), "it panicked:\n{}", self.log());
            }
        }
    }
}

/// `postrider-policyd` from the target folder or `$POSTRIDER_POLICYD_BIN`.
#[must_use]
pub fn program() -> PathBuf {
    std::env::var_os("POSTRIDER_POLICYD_BIN")
        .map_or_else(|| crate::milter::target_folder().join("postrider-policyd"), PathBuf::from)
}

/// A connection to a policy service.
#[derive(Debug)]
pub struct PolicyClient {
    stream: UnixStream,
}

/// What a request says; the rest is as Postfix sends it.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// `protocol_state`.
    pub state: &'a str,
    /// `instance`.
    pub instance: &'a str,
    /// `sasl_username`.
    pub user: &'a str,
    /// `recipient`.
    pub recipient: &'a str,
    /// `recipient_count`.
    pub count: u32,
}

impl Asked<'_> {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { state, instance, user, recipient, count } = self;
        format!(
            "request=smtpd_access_policy\nprotocol_state={state}\nprotocol_name=ESMTP\nclient_address=192.0.2.7\n\
             client_name=client.example\nclient_port=54720\nreverse_client_name=client.example\n\
             server_address=192.0.2.1\nserver_port=587\nhelo_name=client.example\nsender={user}\n\
             recipient={recipient}\nrecipient_count={count}\nqueue_id=\ninstance={instance}\nsize=0\netrn_domain=\n\
             stress=\nsasl_method=PLAIN\nsasl_username={user}\nsasl_sender=\nccert_subject=\nccert_issuer=\n\
             ccert_fingerprint=\nccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\n\
             encryption_cipher=TLS_AES_256_GCM_SHA384\nencryption_keysize=256\npolicy_context=\n\n"
        )
        .into_bytes()
    }
}

impl PolicyClient {
    /// Connects.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream = wait_up_to(PATIENCE, || UnixStream::connect(socket).ok())
            .unwrap_or_else(|| panic!("nobody listens at {}", socket.display()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// Asks, and returns the action.
    pub fn ask(&mut self, asked: &Asked<'_>) -> String {
        self.try_ask(asked).expect("an answer")
    }

    /// Asks; `None` when the connection ends without an answer.
    pub fn try_ask(&mut self, asked: &Asked<'_>) -> Option<String> {
        self.stream.write_all(&asked.to_bytes()).ok()?;
        self.reply()
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads one reply; `None` when the connection ends.
    pub fn reply(&mut self) -> Option<String> {
        let mut text = Vec::new();
        while !text.ends_with(b"\n\n") {
            let mut byte = [0; 1];
            match self.stream.read(&mut byte) {
                Ok(1) => text.push(byte[0]),
                _ => return None,
            }
        }
        let text = String::from_utf8(text).unwrap();
        Some(text.trim_end().strip_prefix("action=").expect("an action").to_owned())
    }
}
