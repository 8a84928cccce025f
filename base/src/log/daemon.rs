//! Where a service's lines go by its `[log]` settings.

use std::path::Path;

use log::LevelFilter;

use super::{Facility, Sink, Syslog, escaped, start};

/// Starts a service's log: the system log when `syslog` is set, is there, and `POSTRIDER_LOG` is not `stderr`
/// (which the service manager of a container may set); else standard error, by a thread of its own. A
/// panic becomes a line as well. The program ends with [`super::flush`].
///
/// `facility` is a word as in [`Facility::by_name`]; any other means `mail`.
pub fn start_daemon(syslog: bool, facility: &str, tag: &str, level: LevelFilter) {
    #[allow(clippy::disallowed_methods, reason = "a program reads this at its door")]
    let forced = std::env::var("POSTRIDER_LOG").is_ok_and(|value| value == "stderr");
    let socket = Path::new(Syslog::SOCKET);
    let sink = if syslog && !forced && socket.exists() {
        Sink::Syslog(Syslog::new(socket, Facility::by_name(facility).unwrap_or(Facility::MAIL)))
    } else {
        Sink::StderrThread
    };
    start(sink, tag, level);
    std::panic::set_hook(Box::new(|panic| {
        // The text may quote what a peer sent.
        log::error!("panic: {}", escaped(panic.to_string().as_bytes(), 1000));
    }));
}
