//! Start, sockets, signals, pid file and background.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::milter::Subject;
use harness::ports::Port;
use harness::scratch::Scratch;
use harness::wait::{ended, wait_for, wait_up_to};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case::subjects;

/// A daemon that is started by hand, and ended when dropped.
struct Daemon {
    child: Child,
}

impl Daemon {
    fn start(subject: Subject, scratch: &Scratch, conf: &str, arguments: &[&str]) -> Self {
        let mut command = Self::command(subject, scratch, conf);
        command.arg("-f").args(arguments);
        Self { child: command.spawn().unwrap() }
    }

    fn command(subject: Subject, scratch: &Scratch, conf: &str) -> Command {
        let file = scratch.write("conf", conf.replace("{dir}", scratch.path().to_str().unwrap()));
        let mut command = Command::new(subject.program());
        command.arg("-x").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir(scratch.path());
        command
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// The exit code, when it ends in time.
    fn end(&mut self) -> Option<i32> {
        wait_up_to(Duration::from_secs(20), || self.child.try_wait().unwrap())?.code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_socket(path: &Path) {
    wait_for("the socket", || UnixStream::connect(path).ok());
}

#[test]
fn sockets_have_the_mode_that_umask_leaves() {
    for subject in subjects() {
        for (conf, mode) in [("UMask 007\n", 0o770), ("UMask 0002\n", 0o775), ("UMask 0117\n", 0o660)] {
            let scratch = Scratch::new("mode");
            let socket = scratch.file("s");
            let _daemon = Daemon::start(subject, &scratch, &format!("Socket local:{{dir}}/s\n{conf}"), &[]);
            wait_for_socket(&socket);
            assert_eq!(
                fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
                mode,
                "{subject:?} {conf}"
            );
        }
    }
}

#[test]
fn a_socket_that_nobody_listens_at_is_replaced() {
    for subject in subjects() {
        let scratch = Scratch::new("stale");
        let socket = scratch.file("s");
        drop(UnixListener::bind(&socket).unwrap());
        assert!(UnixStream::connect(&socket).is_err());
        let _daemon = Daemon::start(subject, &scratch, "", &["-p", &format!("local:{}", socket.display())]);
        wait_for_socket(&socket);
    }
}

#[test]
fn a_socket_in_use_is_left_alone() {
    for subject in subjects() {
        let scratch = Scratch::new("busy");
        let socket = scratch.file("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut daemon = Daemon::start(subject, &scratch, "", &["-p", &format!("unix:{}", socket.display())]);
        assert_eq!(daemon.end(), Some(69), "{subject:?}: a unix socket");
        let port = Port::new();
        let _listener = std::net::TcpListener::bind(("127.0.0.1", port.number())).unwrap();
        let mut daemon = Daemon::start(subject, &scratch, "", &["-p", &format!("inet:{port}@127.0.0.1")]);
        assert_eq!(daemon.end(), Some(69), "{subject:?}: a port");
        let mut daemon = Daemon::start(subject, &scratch, "", &["-p", "local:/no/such/folder/s"]);
        assert_eq!(daemon.end(), Some(69), "{subject:?}: a folder that is not there");
    }
}

/// Difference D54.
#[test]
fn a_plain_file_in_place_of_the_socket() {
    for subject in subjects() {
        let scratch = Scratch::new("plain");
        let socket = scratch.write("s", "letters\n");
        let mut daemon =
            Daemon::start(subject, &scratch, "", &["-p", &format!("local:{}", socket.display())]);
        match subject {
            Subject::Reference => {
                wait_for_socket(&socket);
                assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
            }
            Subject::Ours => {
                assert_eq!(daemon.end(), Some(69));
                assert_eq!(fs::read_to_string(&socket).unwrap(), "letters\n");
            }
        }
    }
}

#[test]
fn notations_of_sockets() {
    for subject in subjects() {
        for host in ["@127.0.0.1", "@localhost", "", "@[127.0.0.1]"] {
            let scratch = Scratch::new("note");
            let port = Port::new();
            let _daemon = Daemon::start(subject, &scratch, &format!("Socket inet:{port}{host}\n"), &[]);
            wait_for(&format!("{subject:?} at inet:{port}{host}"), || {
                std::net::TcpStream::connect(("127.0.0.1", port.number())).ok()
            });
        }
        for host in ["@::1", "@[::1]"] {
            let scratch = Scratch::new("note");
            let port = Port::new();
            let _daemon = Daemon::start(subject, &scratch, &format!("Socket inet6:{port}{host}\n"), &[]);
            wait_for(&format!("{subject:?} at inet6:{port}{host}"), || {
                std::net::TcpStream::connect(("::1", port.number())).ok()
            });
        }
    }
}

#[test]
fn sigterm_ends_in_order() {
    for subject in subjects() {
        let scratch = Scratch::new("term");
        let socket = scratch.file("s");
        let conf = "Socket local:{dir}/s\nPidFile {dir}/pid\nBackground yes\n";
        let mut daemon = Daemon::start(subject, &scratch, conf, &[]);
        wait_for_socket(&socket);
        let pid = wait_for("the pid file", || {
            fs::read_to_string(scratch.file("pid")).ok().filter(|it| it.ends_with('\n'))
        });
        assert_eq!(pid, format!("{}\n", daemon.child.id()), "{subject:?}: -f wins over Background");
        if subject == Subject::Reference {
            // It listens before it is ready for signals.
            std::thread::sleep(Duration::from_secs(1));
        }
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.end(), Some(0), "{subject:?}");
        assert!(!scratch.file("pid").exists(), "{subject:?}: the pid file is removed");
    }
}

/// Difference D6.
#[test]
fn sighup() {
    for subject in subjects() {
        let scratch = Scratch::new("hup");
        let socket = scratch.file("s");
        let mut daemon = Daemon::start(subject, &scratch, "Socket local:{dir}/s\n", &[]);
        wait_for_socket(&socket);
        if subject == Subject::Reference {
            std::thread::sleep(Duration::from_secs(1));
        }
        daemon.signal(Signal::SIGHUP);
        match subject {
            Subject::Reference => assert_eq!(daemon.end(), Some(0)),
            Subject::Ours => {
                std::thread::sleep(Duration::from_millis(300));
                wait_for_socket(&socket);
                assert_eq!(daemon.child.try_wait().unwrap(), None);
            }
        }
    }
}

#[test]
fn in_the_background() {
    for subject in subjects() {
        let scratch = Scratch::new("back");
        let socket = scratch.file("s");
        let pid_file = scratch.file("pid");
        let conf = "Socket local:{dir}/s\nPidFile {dir}/pid\n";
        // Background is the default.
        let mut command = Daemon::command(subject, &scratch, conf);
        let status = ended(&mut command.spawn().unwrap(), &command);
        assert_eq!(status.code(), Some(0), "{subject:?}: the parent");
        wait_for_socket(&socket);
        let pid = Background::of(&pid_file);
        let link = |what: &str| fs::read_link(format!("/proc/{}/{what}", pid.0)).unwrap();
        assert_eq!(link("fd/0"), PathBuf::from("/dev/null"), "{subject:?}");
        assert_eq!(link("cwd"), scratch.path(), "{subject:?}: the folder is kept");
        kill(pid.0, Signal::SIGTERM).unwrap();
        wait_for("the daemon's end", || (!pid_file.exists()).then_some(()));
    }
}

#[test]
fn a_socket_that_cannot_be_had_in_the_background() {
    for subject in subjects() {
        let scratch = Scratch::new("back");
        let conf = "Socket local:/no/such/folder/s\nPidFile {dir}/pid\nBackground yes\n";
        let conf_path = scratch.file("conf");
        let mut command = Daemon::command(subject, &scratch, conf);
        let status = ended(&mut command.spawn().unwrap(), &command);
        assert_eq!(status.code(), Some(0), "{subject:?}: the parent has gone by then");
        wait_for("the daemon's end", || (!runs_with(&conf_path)).then_some(()));
    }
}

#[test]
fn a_pid_file_that_cannot_be_written_is_no_reason_to_stay_away() {
    for subject in subjects() {
        let scratch = Scratch::new("pid");
        let socket = scratch.file("s");
        let mut daemon =
            Daemon::start(subject, &scratch, "Socket local:{dir}/s\nPidFile /no/such/folder/pid\n", &[]);
        wait_for_socket(&socket);
        assert_eq!(daemon.child.try_wait().unwrap(), None, "{subject:?}");
    }
}

/// Whether a process has this file in its command line.
fn runs_with(conf: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(conf.to_str().unwrap()))
}

/// A daemon known by its pid file; killed when dropped.
struct Background(Pid);

impl Background {
    fn of(pid_file: &Path) -> Self {
        let text =
            wait_for("the pid file", || fs::read_to_string(pid_file).ok().filter(|it| it.ends_with('\n')));
        Self(Pid::from_raw(text.trim().parse().unwrap()))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

/// Differences D51 and D53: the steps and replies that are agreed on, with Postfix's own offer.
#[test]
fn negotiation() {
    use harness::milter::{Conf, Milter};
    use harness::milter_client::{MilterClient, Options, wire::no_reply};
    for subject in subjects() {
        let scratch = Scratch::new("nego");
        let milter = Milter::start(&scratch, "m", subject, &Conf::new());
        let agreed = |offer: Options| MilterClient::open(&milter).negotiate(offer).unwrap();
        let postfix = agreed(Options::POSTFIX);
        assert_eq!(postfix.version, 6, "{subject:?}");
        // ADDHDRS, CHGHDRS, SETSYMLIST.
        assert_eq!(postfix.actions, 0x111, "{subject:?}");
        let silent = postfix.protocol & (no_reply::HEADERS | no_reply::BODY) != 0;
        assert_eq!(silent, subject == Subject::Ours, "{subject:?}: {:#x}", postfix.protocol);
        let old = agreed(Options { version: 2, actions: 0x3f, protocol: 0x7f });
        assert_eq!((old.version, old.actions, old.protocol & !0x7f), (2, 0x11, 0), "{subject:?}");
    }
}
