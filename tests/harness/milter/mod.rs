//! A milter daemon, ours or the reference, started for one test: its socket, its log, its signals.

mod conf;
mod subject;

pub use conf::{Conf, SigningKey};
pub use subject::Subject;
pub use subject::target_folder;

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ports::Port;
use crate::scratch::Scratch;
use crate::syslog::Syslog;
use crate::wait::{PATIENCE, wait_for, wait_up_to};

/// A milter process with its configuration and log in a scratch folder.
///
/// When dropped it is ended with SIGTERM, and the test fails if it had died or panicked meanwhile.
#[derive(Debug)]
pub struct Milter {
    subject: Subject,
    name: String,
    conf: PathBuf,
    log: PathBuf,
    pid_file: PathBuf,
    socket: Socket,
    child: Option<Child>,
    syslog: Option<Syslog>,
}

/// Where a milter listens.
#[derive(Debug)]
pub enum Socket {
    /// A path; made accessible to everybody once the milter has made it.
    Unix(PathBuf),
    /// A port of 127.0.0.1.
    Inet(Port),
}

/// Why a milter did not start.
#[derive(Debug)]
pub struct NotStarted {
    /// How it ended; none if it still ran without listening.
    pub status: Option<ExitStatus>,
    /// Everything it said.
    pub log: String,
}

impl Milter {
    /// Starts `subject` with `conf` on a TCP port and waits until it listens. Files in `scratch` begin with `name`.
    #[must_use]
    pub fn start(scratch: &Scratch, name: &str, subject: Subject, conf: &Conf) -> Self {
        Self::try_start(scratch, name, subject, conf, Socket::Inet(Port::new()))
            .unwrap_or_else(|why| panic!("{name} did not start: {why:?}"))
    }

    /// Starts `subject` with `conf` on a unix socket in `scratch` and waits until it listens.
    #[must_use]
    pub fn start_unix(scratch: &Scratch, name: &str, subject: Subject, conf: &Conf) -> Self {
        let socket = Socket::Unix(scratch.file(&format!("{name}.sock")));
        Self::try_start(scratch, name, subject, conf, socket)
            .unwrap_or_else(|why| panic!("{name} did not start: {why:?}"))
    }

    /// Starts `subject` and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it ends, or does not listen in [`PATIENCE`]; it is killed then.
    pub fn try_start(
        scratch: &Scratch,
        name: &str,
        subject: Subject,
        conf: &Conf,
        socket: Socket,
    ) -> Result<Self, NotStarted> {
        let file = |end: &str| scratch.file(&format!("{name}.{end}"));
        let mut milter = Self {
            subject,
            name: name.to_owned(),
            conf: file("conf"),
            log: file("log"),
            pid_file: file("pid"),
            socket,
            child: None,
            syslog: None,
        };
        if subject == Subject::Reference {
            milter.syslog = Some(Syslog::listen(&scratch.file(&format!("{name}.dev")), &milter.log));
        }
        conf.write(&milter.conf);
        milter.run()?;
        Ok(milter)
    }

    /// Starts the ended process again, with the configuration as it is now.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} still runs", self.name);
        if let Err(why) = self.run() {
            panic!("{} did not start again: {why:?}", self.name);
        }
    }

    /// Replaces the configuration file; the milter does not know it yet.
    pub fn configure(&self, conf: &Conf) {
        conf.write(&self.conf);
    }

    /// Tells the milter to read its configuration again: SIGHUP, for OpenDKIM (which ends at SIGHUP) SIGUSR1.
    ///
    /// This does not wait for its effect.
    pub fn reload(&self) {
        self.signal(match self.subject {
            Subject::Ours => Signal::SIGHUP,
            Subject::Reference => Signal::SIGUSR1,
        });
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name));
        Pid::from_raw(child.id().cast_signed())
    }

    /// SIGTERM, and exit status 0 in [`PATIENCE`].
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_for_end();
        assert!(status.success(), "{} ended with {status} at SIGTERM:\n{}", self.name, self.log());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait_for_end().signal(), Some(Signal::SIGKILL as i32));
    }

    /// Waits for the process to end by itself or by a signal sent before.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let ended = wait_up_to(PATIENCE, || child.try_wait().unwrap());
        let Some(status) = ended else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{} did not end:\n{}", self.name, self.log());
        };
        let _ = fs::remove_file(&self.pid_file);
        status
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Everything logged so far, of all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for a line with `text` in the log and returns it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("{text:?} in the log of {}", self.name), || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// Where it listens, as Postfix's `smtpd_milters` wants it.
    #[must_use]
    pub fn for_postfix(&self) -> String {
        match &self.socket {
            Socket::Unix(path) => format!("unix:{}", path.display()),
            Socket::Inet(port) => format!("inet:127.0.0.1:{port}"),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The configuration file.
    #[must_use]
    pub fn conf_path(&self) -> &Path {
        &self.conf
    }

    fn run(&mut self) -> Result<(), NotStarted> {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let program = self.subject.program();
        assert!(program.exists(), "{} is missing: build or install it first", program.display());
        let mut command = match &self.syslog {
            Some(syslog) => syslog.command(&program),
            None => Command::new(&program),
        };
        let socket = match &self.socket {
            Socket::Unix(path) => format!("local:{}", path.display()),
            Socket::Inet(port) => format!("inet:{port}@127.0.0.1"),
        };
        command.arg("-f").arg("-x").arg(&self.conf).arg("-p").arg(socket);
        command.env("POSTRIDER_LOG", "stderr").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        fs::write(&self.pid_file, child.id().to_string()).unwrap();
        self.child = Some(child);
        let listens = wait_up_to(PATIENCE, || {
            let ended = self.child.as_mut()?.try_wait().unwrap();
            ended.map(Err).or_else(|| self.socket.accepts().then_some(Ok(())))
        });
        match listens {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => {
                self.child = None;
                Err(NotStarted { status: Some(status), log: self.log() })
            }
            None => {
                self.kill();
                Err(NotStarted { status: None, log: self.log() })
            }
        }
    }
}

impl Drop for Milter {
    fn drop(&mut self) {
        let mut complaint = None;
        if self.child.is_some() {
            if self.is_running() {
                // OpenDKIM takes up to five seconds to notice SIGTERM, and how it ends is no test of ours.
                let signal = match self.subject {
                    Subject::Ours => Signal::SIGTERM,
                    Subject::Reference => Signal::SIGKILL,
                };
                let _ = kill(self.pid(), signal);
            } else {
                complaint = Some("died before the end of the test");
            }
            if let Some(mut child) = self.child.take() {
                match wait_up_to(PATIENCE, || child.try_wait().ok().flatten()) {
                    Some(status) if status.success() || self.subject == Subject::Reference => {}
                    Some(_) => complaint = complaint.or(Some("did not end with status 0 at SIGTERM")),
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
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{log}", self.name);
        } else if let Some(complaint) = complaint {
            panic!("{} {complaint}:\n{log}", self.name);
        }
    }
}

impl Socket {
    /// Whether somebody listens; opens a unix socket to everybody on the way.
    fn accepts(&self) -> bool {
        match self {
            Self::Unix(path) => {
                let accepts = UnixStream::connect(path).is_ok();
                accepts && fs::set_permissions(path, fs::Permissions::from_mode(0o666)).is_ok()
            }
            Self::Inet(port) => TcpStream::connect(("127.0.0.1", port.number())).is_ok(),
        }
    }
}
