//! The two servers that are compared: the same configuration, keys and socket for both.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Debian's opendkim or our milter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Debian's `opendkim`.
    OpenDkim,
    /// Our `postrider-milter`.
    Postrider,
}

/// What a server is set up to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// RSA with 2048 bits.
    Rsa,
    /// Ed25519.
    Ed25519,
}

/// The files that all runs share.
pub struct Bench {
    /// Scratch folder, removed at the end.
    pub folder: PathBuf,
    /// Port of the bench's name server on 127.0.0.1.
    pub dns_port: u16,
    /// Program of each subject.
    pub opendkim: PathBuf,
    /// See there.
    pub postrider: PathBuf,
}

/// A running server, ended when dropped.
pub struct Running {
    child: Child,
    /// Its socket.
    pub socket: PathBuf,
}

impl Key {
    /// The selector under which its record stands.
    pub fn selector(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl Subject {
    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenDkim => "opendkim",
            Self::Postrider => "postrider-milter",
        }
    }
}

impl Bench {
    fn program(&self, subject: Subject) -> &Path {
        match subject {
            Subject::OpenDkim => &self.opendkim,
            Subject::Postrider => &self.postrider,
        }
    }

    /// What the program says of its version.
    pub fn version(&self, subject: Subject) -> String {
        let flag = if subject == Subject::OpenDkim { "-V" } else { "--version" };
        let output = Command::new(self.program(subject)).arg(flag).output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("no version told").trim().to_owned()
    }

    /// The configuration. Clients on 127.0.0.1 get their mail signed, all others verified. Both servers
    /// hold the key in memory: with a KeyTable opendkim would read it again for each message.
    fn configuration(&self, key: Key) -> String {
        let folder = self.folder.display();
        let selector = key.selector();
        let algorithm = match key {
            Key::Rsa => "rsa-sha256",
            Key::Ed25519 => "ed25519-sha256",
        };
        format!(
            "Syslog no\n\
             Mode sv\n\
             Canonicalization relaxed/relaxed\n\
             Domain bench.example\n\
             Selector {selector}\n\
             KeyFile {folder}/{selector}.pem\n\
             SignatureAlgorithm {algorithm}\n\
             SignHeaders From,To,Subject,Date,Message-ID,MIME-Version,Content-Type,Content-Transfer-Encoding\n\
             OversignHeaders From\n\
             RequireSafeKeys no\n\
             InternalHosts 127.0.0.1/32\n\
             AuthservID mx.bench.example\n\
             Nameservers 127.0.0.1@{}\n",
            self.dns_port
        )
    }

    /// Starts a server and waits until its socket answers.
    ///
    /// # Errors
    /// When it does not start within ten seconds; its own words are part of the text.
    pub fn start(&self, subject: Subject, key: Key) -> io::Result<Running> {
        let configuration = self.folder.join(format!("{}-{}.conf", subject.name(), key.selector()));
        fs::write(&configuration, self.configuration(key))?;
        let socket = self.folder.join("milter.sock");
        fs::remove_file(&socket)
            .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
        let log = self.folder.join("server.log");
        let mut child = Command::new(self.program(subject))
            .arg("-f")
            .arg("-x")
            .arg(&configuration)
            .arg("-p")
            .arg(format!("local:{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .map_err(|e| io::Error::other(format!("{}: {e}", self.program(subject).display())))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(&socket).is_err() {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                child.kill().ok();
                child.wait()?;
                let said = fs::read_to_string(&log)?;
                return Err(io::Error::other(format!("{} did not start: {said}", subject.name())));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Running { child, socket })
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                self.child.kill().ok();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
