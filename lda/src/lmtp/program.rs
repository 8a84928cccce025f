//! The `postrider-lmtp` program: from the command line to the running daemon, and its exit code.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use base::config::{Report, Severity, Source};
use base::exit;
use base::log::Sink;
use base::service::listen::{self, Access, Address, Listener};
use base::service::signals::Signals;

use super::cli::{self, Invocation, Task};
use super::server::{self, Listeners};
use super::service::Service;
use crate::config::{self, Loaded, Settings};

/// The longest configuration that is read.
const LONGEST_CONFIG: u64 = 16 * 1024 * 1024;

/// An exit code and the sentence that goes with it.
type Failure = (u8, String);

/// Runs the program; the arguments come without its name. Gives the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    match cli::read(arguments) {
        Err(cli::Usage(text)) => {
            say(&text);
            exit::USAGE
        }
        Ok(invocation) => match run(&invocation) {
            Ok(code) => code,
            Err((code, text)) => {
                say(&format!("postrider-lmtp: {text}\n"));
                // Standard error may be closed.
                log::error!("{text}");
                code
            }
        },
    }
}

/// Standard error; a closed one must not keep a daemon from starting.
fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn run(invocation: &Invocation) -> Result<u8, Failure> {
    match &invocation.task {
        Task::Print(text) => {
            drop(std::io::stdout().write_all(text.as_bytes()));
            Ok(0)
        }
        Task::Check => {
            let loaded = load(&invocation.config)?;
            show(&loaded.report);
            Ok(if loaded.report.has_errors() { exit::CONFIG } else { 0 })
        }
        Task::Run => {
            let loaded = load(&invocation.config)?;
            show(&loaded.report);
            let settings = loaded.settings.ok_or_else(|| {
                (exit::CONFIG, format!("{} cannot be used as it is", invocation.config.display()))
            })?;
            start(settings, &invocation.config).map(|()| 0)
        }
    }
}

fn load(path: &Path) -> Result<Loaded, Failure> {
    let name = path.display().to_string();
    let source = Source::read(path, &name, LONGEST_CONFIG).map_err(|error| {
        let help = "name another file with -c, or copy the example from /usr/share/doc/postrider-lda";
        (exit::CONFIG, format!("{name}: {error}; {help}"))
    })?;
    Ok(config::load(&source))
}

/// All mistakes and warnings on standard error, with colour where a person looks.
fn show(report: &Report) {
    say(&report.render(std::io::stderr().is_terminal()));
}

/// Everything between a sound configuration and the daemon's end.
fn start(settings: Settings, config: &Path) -> Result<(), Failure> {
    let log = &settings.log;
    base::log::start_daemon(log.syslog, &log.facility, Sink::Stderr, &log.tag, level(&settings));
    // Modes of files and folders are what the mailbox's root says, not what whoever started us had.
    listen::set_umask(0);
    let handed_over = listen::handed_over().map_err(|error| (exit::UNAVAILABLE, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (exit::OSERR, format!("starting: {error}")))?;
    // Before there is a socket: whoever sees the daemon listen may already send it a signal.
    let signals = {
        let _in_runtime = runtime.enter();
        Signals::listen().map_err(|error| (exit::OSERR, format!("taking over signals: {error}")))?
    };
    let listeners = listeners(handed_over, &settings)?;
    log::info!("Postrider lmtp v{} starting", env!("CARGO_PKG_VERSION"));
    let service = Arc::new(Service::new(settings));
    let reloaded = Arc::clone(&service);
    let result =
        runtime.block_on(server::run(listeners, signals, service, move || reload(config, &reloaded)));
    log::info!("Postrider lmtp v{} terminating", env!("CARGO_PKG_VERSION"));
    result.map_err(|error| (exit::OSERR, error.to_string()))
}

/// Sockets from the service manager, and those of `listen` that are not among them.
fn listeners(handed_over: Vec<Listener>, settings: &Settings) -> Result<Listeners, Failure> {
    let lmtp = &settings.lmtp;
    let mut listeners = Listeners { clients: handed_over, metrics: None };
    for address in &lmtp.listen {
        if listeners.clients.iter().any(|listener| is_for(listener, address)) {
            continue;
        }
        let access = Access::named(lmtp.mode, lmtp.user.as_deref(), lmtp.group.as_deref())
            .map_err(|error| (exit::CONFIG, format!("{address}: {error}")))?;
        let listener = listen::open_for(address, access)
            .map_err(|error| (exit::UNAVAILABLE, format!("cannot listen: {error}")))?;
        listeners.clients.push(listener);
    }
    if let Some(address) = &settings.metrics {
        let access = Access { mode: 0o660, uid: None, gid: None };
        let listener = listen::open_for(address, access)
            .map_err(|error| (exit::UNAVAILABLE, format!("cannot listen for the metrics: {error}")))?;
        listeners.metrics = Some(listener);
    }
    if listeners.clients.is_empty() {
        let text = "there is no socket to listen at: write listen = [\"unix:/path\"] under [lmtp], or use the socket unit";
        return Err((exit::CONFIG, text.to_owned()));
    }
    Ok(listeners)
}

fn is_for(listener: &Listener, address: &Address) -> bool {
    match (listener, address) {
        (Listener::Unix(_), Address::Unix(path)) => listener.path().is_some_and(|own| own == *path),
        (Listener::Tcp(socket), Address::Inet { port, .. }) => {
            socket.local_addr().is_ok_and(|own| own.port() == *port)
        }
        _ => false,
    }
}

fn level(settings: &Settings) -> log::LevelFilter {
    settings.log.level.parse().unwrap_or(log::LevelFilter::Info)
}

/// Reads the configuration again. A broken one changes nothing.
fn reload(path: &Path, service: &Service) {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err((_, error)) => {
            log::error!("{error}; the old configuration stays in force");
            return;
        }
    };
    for note in loaded.report.notes() {
        match note.severity() {
            Severity::Error => log::error!("{}", note.one_line()),
            Severity::Warning => log::warn!("{}", note.one_line()),
            Severity::Info => log::info!("{}", note.one_line()),
        }
    }
    let Some(settings) = loaded.settings else {
        log::error!("{} has mistakes; the old configuration stays in force", path.display());
        return;
    };
    for name in needs_restart(&service.settings(), &settings) {
        log::warn!("{name} has changed; that comes into force at the next start only");
    }
    base::log::set_level(level(&settings));
    service.replace(settings);
    log::info!("configuration reloaded from {}", path.display());
}

/// Settings that a running daemon cannot take over.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let (was, is) = (&old.lmtp, &new.lmtp);
    let mut names = Vec::new();
    let mut compare = |changed: bool, name| {
        if changed {
            names.push(name);
        }
    };
    compare(
        was.listen != is.listen || was.mode != is.mode || was.user != is.user || was.group != is.group,
        "where the service listens",
    );
    compare(was.connections != is.connections, "connections");
    compare(old.metrics != new.metrics, "[metrics] listen");
    let log = |settings: &Settings| {
        let log = &settings.log;
        (log.syslog, log.facility.clone(), log.tag.clone())
    };
    compare(log(old) != log(new), "where the log goes");
    names
}
