//! Lines for the system log, written to its datagram socket without ever waiting for it.
//!
//! syslog(3) blocks its caller while the log daemon is stuck; a mail filter that stands still
//! because of its log is worse than one that loses a line and says so.

use std::fmt::Arguments;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use log::Level;

/// Longest line that is sent; what is longer is cut.
const LONGEST_LINE: usize = 4096;

/// A syslog facility by its number (syslog(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// The facility of mail programs, and OpenDKIM's default.
    pub const MAIL: Self = Self(2);

    /// Finds a facility by the name that syslog.conf(5) and OpenDKIM's `SyslogFacility` use;
    /// `None` for any other word. Case does not matter.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        const NAMES: [(&str, u8); 20] = [
            ("user", 1),
            ("mail", 2),
            ("daemon", 3),
            ("auth", 4),
            ("security", 4),
            ("syslog", 5),
            ("lpr", 6),
            ("news", 7),
            ("uucp", 8),
            ("cron", 9),
            ("authpriv", 10),
            ("ftp", 11),
            ("local0", 16),
            ("local1", 17),
            ("local2", 18),
            ("local3", 19),
            ("local4", 20),
            ("local5", 21),
            ("local6", 22),
            ("local7", 23),
        ];
        if name.eq_ignore_ascii_case("kern") {
            // Only the kernel may use facility 0; syslog(3) turns it into `user` as well.
            return Some(Self(1));
        }
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, number)| Self(number))
    }
}

/// An open way to the system log.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    facility: Facility,
    socket: Mutex<Option<UnixDatagram>>,
    lost: AtomicU64,
}

impl Syslog {
    /// The usual socket of syslogd and journald.
    pub const SOCKET: &'static str = "/dev/log";

    /// Prepares to log to the datagram socket at `path`; it need not exist yet.
    #[must_use]
    pub fn new(path: &Path, facility: Facility) -> Self {
        Self { path: path.to_owned(), facility, socket: Mutex::new(None), lost: AtomicU64::new(0) }
    }

    /// Sends one line, or counts it as lost when the log does not take it at once. The first
    /// line that gets through again is preceded by one that tells how many were lost.
    pub(super) fn write(&self, tag: &str, level: Level, text: &Arguments<'_>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let told = self.send(
                tag,
                Level::Warn,
                &format_args!("{lost} log lines were lost: the system log did not take them"),
            );
            if !told {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        if !self.send(tag, level, text) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(&self, tag: &str, level: Level, text: &Arguments<'_>) -> bool {
        let severity = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        let mut line = format!("<{}>{tag}: {text}", self.facility.0 * 8 + severity).into_bytes();
        line.truncate(LONGEST_LINE);
        let mut socket = match self.socket.lock() {
            Ok(socket) => socket,
            Err(poisoned) => poisoned.into_inner(),
        };
        // Once more with a new socket: the log daemon may have been restarted.
        for _ in 0..2 {
            if socket.is_none() {
                *socket = connect(&self.path).ok();
            }
            match socket.as_ref().map(|open| open.send(&line)) {
                Some(Ok(_)) => return true,
                Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Some(Err(_)) => *socket = None,
                None => return false,
            }
        }
        false
    }
}

fn connect(path: &Path) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 8192];
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    #[test]
    fn a_line_has_facility_severity_ident_and_pid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let log = Syslog::new(&path, Facility::MAIL);
        log.write("opendkim[7]", Level::Info, &format_args!("hello"));
        assert_eq!(receive(&daemon), "<22>opendkim[7]: hello");
    }

    #[test]
    fn a_stuck_log_costs_lines_not_time_and_says_so_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let log = Syslog::new(&path, Facility::MAIL);
        for _ in 0..5000 {
            log.write("x", Level::Info, &format_args!("line"));
        }
        let lost = log.lost.load(Ordering::Relaxed);
        assert!(lost > 0, "a socket that nobody reads must fill up");
        daemon.set_nonblocking(true).unwrap();
        let mut buffer = [0; 100];
        while daemon.recv(&mut buffer).is_ok() {}
        log.write("x", Level::Info, &format_args!("again"));
        assert!(
            receive(&daemon)
                .ends_with(&format!("{lost} log lines were lost: the system log did not take them"))
        );
        assert!(receive(&daemon).ends_with("again"));
    }

    #[test]
    fn a_restarted_log_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Syslog::new(&path, Facility::MAIL);
        log.write("x", Level::Info, &format_args!("nobody listens"));
        let first = UnixDatagram::bind(&path).unwrap();
        log.write("x", Level::Info, &format_args!("one"));
        assert!(receive(&first).contains("1 log lines were lost"));
        assert!(receive(&first).ends_with("one"));
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        log.write("x", Level::Info, &format_args!("two"));
        assert!(receive(&second).ends_with("two"));
    }

    #[test]
    fn facilities_have_the_numbers_of_syslog() {
        assert_eq!(Facility::by_name("mail"), Some(Facility::MAIL));
        assert_eq!(Facility::by_name("LOCAL7"), Some(Facility(23)));
        assert_eq!(Facility::by_name("nosuch"), None);
    }
}
