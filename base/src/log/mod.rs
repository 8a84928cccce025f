//! Where log lines go, and what each level means.
//!
//! Policy: `error` = mail or a service is held up and an admin must act; `warn` = an admin should
//! look; `info` = one line per message, decision or change of state; `debug` = one line per step;
//! `trace` = libraries. A peer's text only enters a line through [`escaped`]; keys and passwords
//! never do.

mod daemon;
mod escape;
mod syslog;
mod writer;

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use log::{LevelFilter, Log, Metadata, Record};

pub use daemon::start_daemon;
pub use escape::{Escaped, escaped};
pub use syslog::{Facility, Syslog};
use writer::Writer;

/// Where the lines go.
#[derive(Debug)]
pub enum Sink {
    /// Standard error, `ident[pid]: text`, with the level in front when it is `warn` or worse.
    Stderr,
    /// The same by a thread of its own, for a daemon without threads of other rights: a reader who is stuck
    /// holds nobody up. The program ends with [`flush`].
    StderrThread,
    /// The system log's datagram socket, in the form that syslog(3) writes.
    Syslog(Syslog),
}

#[derive(Debug)]
struct Logger {
    sink: Sink,
    /// For [`Sink::StderrThread`]; without it each line is written where it arises.
    writer: Option<Writer>,
    /// `ident[pid]`, made once: asking for the pid is a system call.
    tag: String,
    colour: bool,
}

/// Beginnings of the names of our own crates.
const OURS: [&str; 6] = ["base", "lda", "milter", "policyd", "postrider", "sasl_auth"];

/// Room for a line of the usual length: it is not moved while it grows.
const USUAL_LINE: usize = 256;

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts logging for the process. Lines above `level` are dropped before they are formatted.
///
/// Only the first call in a process has an effect; later ones change the level alone, which is
/// what a reload needs.
pub fn start(sink: Sink, ident: &str, level: LevelFilter) {
    start_plain(sink, &format!("{ident}[{}]", std::process::id()), level);
}

/// As [`start`], with a tag that is written as it is: the program's own lines hold the process.
pub fn start_plain(sink: Sink, tag: &str, level: LevelFilter) {
    let colour = !matches!(sink, Sink::Syslog(_)) && std::io::stderr().is_terminal();
    let logger = LOGGER.get_or_init(|| {
        let writer = match sink {
            Sink::StderrThread => Writer::start(std::io::stderr()).ok(),
            Sink::Stderr | Sink::Syslog(_) => None,
        };
        Logger { sink, writer, tag: tag.to_owned(), colour }
    });
    // A second logger is refused by the facade; the first one goes on working.
    drop(log::set_logger(logger));
    set_level(level);
}

/// Changes how much is logged, for instance after a reload.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Waits until what was logged is written, at most a second. The last act of a program that logs to
/// [`Sink::StderrThread`].
pub fn flush() {
    log::logger().flush();
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries speak at warn and above only: their debug output is not for admins.
        let target = metadata.target();
        let ours = OURS.iter().any(|name| target.starts_with(name));
        metadata.level() <= if ours { log::max_level() } else { LevelFilter::Warn.min(log::max_level()) }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match &self.sink {
            Sink::Syslog(syslog) => syslog.write(&self.tag, record.level(), record.args()),
            Sink::Stderr | Sink::StderrThread => {
                let (before, after) = match (self.colour, record.level()) {
                    (true, log::Level::Error) => ("\x1b[31m", "\x1b[0m"),
                    (true, log::Level::Warn) => ("\x1b[33m", "\x1b[0m"),
                    _ => ("", ""),
                };
                let word = match record.level() {
                    log::Level::Error => "error: ",
                    log::Level::Warn => "warning: ",
                    log::Level::Info | log::Level::Debug | log::Level::Trace => "",
                };
                // One write(2) a line, or lines of several processes would mix.
                let mut line = Vec::with_capacity(USUAL_LINE);
                for part in [&self.tag, ": ", before, word] {
                    line.extend_from_slice(part.as_bytes());
                }
                // Into memory: it cannot fail.
                drop(line.write_fmt(*record.args()));
                for part in [after, "\n"] {
                    line.extend_from_slice(part.as_bytes());
                }
                match &self.writer {
                    Some(writer) => writer.push(&self.tag, &line),
                    // A closed stderr must not end a daemon that delivers mail.
                    None => drop(std::io::stderr().lock().write_all(&line)),
                }
            }
        }
    }

    fn flush(&self) {
        if let Some(writer) = &self.writer {
            writer.flush();
        }
    }
}
