//! An auth server, ours or Debian's Dovecot as the reference, started for one test: sockets, log, signals.

mod client;
mod conf;

pub use client::{Answer, AuthClient};
pub use conf::AuthConf;

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::milter::Subject;
use crate::scratch::Scratch;
use crate::syslog::Syslog;
use crate::wait::{PATIENCE, settled, wait_for, wait_up_to};

/// A running auth server with its files in a folder of its own.
///
/// When dropped it is ended, and the test fails if ours had died or panicked meanwhile, or has logged the password of
/// most users, "correct horse". It logs at the level debug.
#[derive(Debug)]
pub struct AuthServer {
    subject: Subject,
    folder: PathBuf,
    conf: PathBuf,
    log: PathBuf,
    client: PathBuf,
    userdb: PathBuf,
    child: Option<Child>,
    /// What the program says to syslog goes to `log`, too.
    syslog: Option<Syslog>,
}

impl AuthServer {
    /// Starts `subject` with `conf` and waits until it listens. Its files lie in `scratch` under `name`.
    #[must_use]
    pub fn start(scratch: &Scratch, name: &str, subject: Subject, conf: &AuthConf) -> Self {
        let folder = conf::folder(scratch, name);
        let file = |name: &str| folder.join(name);
        let mut server = Self {
            subject,
            conf: file("conf"),
            log: file("log"),
            client: file("client"),
            userdb: file("userdb"),
            folder,
            child: None,
            syslog: None,
        };
        if conf.logs_to_syslog() {
            server.syslog = Some(Syslog::listen(&server.folder.join("dev"), &server.log));
        }
        server.configure(conf);
        server.run();
        server
    }

    /// Writes the configuration and its files anew; a running server does not know it yet.
    pub fn configure(&self, conf: &AuthConf) {
        conf.write_files(&self.folder);
        let text = match self.subject {
            Subject::Reference => conf.to_dovecot(&self.folder),
            Subject::Ours => conf.to_toml(&self.folder),
        };
        fs::write(&self.conf, text).unwrap();
    }

    /// Starts the ended server again.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        self.run();
    }

    /// SIGTERM, and exit status 0 in [`PATIENCE`].
    pub fn stop(&mut self) {
        let processes = self.processes();
        self.signal(Signal::SIGTERM);
        let status = self.wait_for_end();
        // Dovecot's auth process outlives its parent by half a minute while it has clients.
        if self.subject == Subject::Reference {
            for pid in &processes {
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
        wait_for("all processes to end", || processes.iter().all(has_ended).then_some(()));
        assert!(status.success(), "ended with {status} at SIGTERM:\n{}", self.log());
    }

    /// SIGKILL for all processes of the server.
    pub fn kill(&mut self) {
        // The main process first, which would start others in their place.
        let processes = self.processes();
        for pid in &processes {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        self.wait_for_end();
        wait_for("all processes to end", || processes.iter().all(has_ended).then_some(()));
    }

    /// Sends a signal to the main process.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The main process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("the server runs");
        Pid::from_raw(child.id().cast_signed())
    }

    /// The main process and its children: Dovecot's auth, anvil, log, config and stats.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let mut found = vec![self.pid()];
        let mut next = 0;
        while let Some(&pid) = found.get(next) {
            next += 1;
            let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            found.extend(list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
        }
        found
    }

    /// Waits for the main process to end.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let Some(status) = wait_up_to(PATIENCE, || child.try_wait().unwrap()) else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not end:\n{}", self.log());
        };
        let _ = fs::remove_file(self.pid_file());
        status
    }

    /// Whether the main process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Which program it is.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// The auth-client socket.
    #[must_use]
    pub fn client_socket(&self) -> &Path {
        &self.client
    }

    /// The auth-userdb socket.
    #[must_use]
    pub fn userdb_socket(&self) -> &Path {
        &self.userdb
    }

    /// The folder with the server's files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The configuration file.
    #[must_use]
    pub fn conf_path(&self) -> &Path {
        &self.conf
    }

    /// Everything logged so far, of all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        settled(&self.log)
    }

    /// Waits for a line with `text` in the log and returns it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("{text:?} in the log"), || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("server.pid")
    }

    fn run(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let program = program(self.subject);
        assert!(program.exists(), "{} is missing: build or install it first", program.display());
        let mut command = match &self.syslog {
            Some(syslog) => syslog.command(&program),
            None => Command::new(&program),
        };
        if self.subject == Subject::Reference {
            command.arg("-F");
        }
        command.arg("-c").arg(&self.conf).current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        fs::write(self.pid_file(), child.id().to_string()).unwrap();
        self.child = Some(child);
        let listens = wait_up_to(PATIENCE, || {
            let ended = self.child.as_mut()?.try_wait().unwrap();
            let both = [&self.client, &self.userdb];
            ended
                .map(Err)
                .or_else(|| both.iter().all(|socket| UnixStream::connect(socket).is_ok()).then_some(Ok(())))
        });
        match listens {
            Some(Ok(())) => {}
            Some(Err(status)) => {
                self.child = None;
                panic!("{} ended with {status}:\n{}", program.display(), self.log());
            }
            None => panic!("{} does not listen:\n{}", program.display(), self.log()),
        }
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        let mut complaint = None;
        if self.child.is_some() {
            if !self.is_running() {
                complaint = Some("died before the end of the test");
                self.child = None;
            } else if self.subject == Subject::Reference {
                // How the reference ends is no test of ours.
                self.kill();
            } else {
                let _ = kill(self.pid(), Signal::SIGTERM);
                let mut child = self.child.take().unwrap();
                match wait_up_to(PATIENCE, || child.try_wait().ok().flatten()) {
                    Some(status) if status.success() => {}
                    Some(_) => complaint = Some("did not end with status 0 at SIGTERM"),
                    None => {
                        complaint = Some("did not end at SIGTERM");
                        let _ = child.kill();
                        let _ = child.wait();
                    }
                }
            }
        }
        let log = self.log();
        if log.contains("panicked at") {
            complaint = Some("panicked");
        }
        if self.subject == Subject::Ours && log.contains("correct horse") {
            complaint = Some("has the tests' password in its log");
        }
        if std::thread::panicking() {
            eprintln!("--- log of {:?} in {}\n{log}", self.subject, self.folder.display());
        } else if let Some(complaint) = complaint {
            panic!("{:?} {complaint}:\n{log}", self.subject);
        }
    }
}

/// Whether a process is gone, or would be if its parent asked how it ended.
fn has_ended(pid: &Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// The program: `postrider-sasl-auth` from the target folder or `$POSTRIDER_SASL_AUTH_BIN`, or Dovecot.
#[must_use]
pub fn program(subject: Subject) -> PathBuf {
    match subject {
        Subject::Reference => PathBuf::from("/usr/sbin/dovecot"),
        Subject::Ours => std::env::var_os("POSTRIDER_SASL_AUTH_BIN")
            .map_or_else(|| crate::milter::target_folder().join("postrider-sasl-auth"), PathBuf::from),
    }
}
