//! A daemon in the foreground: started, ended and started again with the same arguments.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};

use crate::wait::{PATIENCE, output, wait_up_to};

/// A daemon and how it is started; it is ended when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    user: Option<User>,
    /// What ends it in an orderly way, without waiting for its clients.
    end: Signal,
    child: Option<Child>,
}

impl Daemon {
    /// Describes a daemon that works in `folder`, where its log and its pid file get its name.
    pub(crate) fn new(name: &'static str, program: impl Into<PathBuf>, folder: &Path, end: Signal) -> Self {
        let (program, folder) = (program.into(), folder.to_owned());
        Self { name, program, arguments: Vec::new(), folder, user: None, end, child: None }
    }

    /// Adds arguments.
    pub(crate) fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it as `user`, for daemons that refuse to run as root.
    pub(crate) fn user(mut self, user: &User) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// Starts it and waits until `is_ready` says yes.
    #[track_caller]
    pub(crate) fn start(&mut self, mut is_ready: impl FnMut() -> bool) {
        let log = self.folder.join(format!("{}.log", self.name));
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        as_user(&mut command, self.user.as_ref());
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        fs::write(self.folder.join(format!("{}.pid", self.name)), child.id().to_string()).unwrap();
        self.child = Some(child);
        let started = wait_up_to(PATIENCE, || {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some());
            (ended || is_ready()).then_some(!ended)
        });
        assert!(started == Some(true), "{} does not start:\n{}", self.name, self.log());
    }

    /// Ends it and waits for its end; all connections to it are closed.
    pub(crate) fn stop(&mut self) {
        self.signal(self.end);
    }

    /// Holds it (SIGSTOP), as a machine that hangs: connections stay and nobody answers.
    pub(crate) fn freeze(&self) {
        let child = self.child.as_ref().unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGSTOP).unwrap();
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        let child = self.child.as_ref().unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGCONT).unwrap();
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        let log = self.folder.join(format!("{}.log", self.name));
        String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
    }

    fn signal(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_raw(child.id().cast_signed());
        let _ = kill(pid, Signal::SIGCONT);
        let _ = kill(pid, signal);
        if wait_up_to(PATIENCE, || child.try_wait().unwrap()).is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(self.end);
    }
}

/// The account that a Debian package has made for its daemon.
#[track_caller]
pub(crate) fn account(name: &str, package: &str) -> User {
    User::from_name(name).unwrap().unwrap_or_else(|| panic!("there is no user {name}: install {package}"))
}

/// Runs a command to its end, as `user` if one is given, and returns what it printed.
#[track_caller]
pub(crate) fn run(mut command: Command, user: Option<&User>) -> String {
    as_user(&mut command, user);
    let output = output(&mut command, b"");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}{complaint}", output.status);
    printed
}

fn as_user(command: &mut Command, user: Option<&User>) {
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}
