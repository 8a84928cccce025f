//! The `postrider-policyd` program: from the command line to the running daemon, and its exit code.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use base::config::{Report, Severity, Source};
use base::exit;
use base::service::listen::{self, Access, Address, Listener};
use base::service::privileges::RunAs;
use base::service::signals::Signals;
use policyd::active::{Shared, sockets};
use policyd::cli::{self, Invocation, Task};
use policyd::client::Service;
use policyd::config::{self, Loaded, Settings};
use policyd::control::server::Admins;
use policyd::lists;
use policyd::server::{self, Listeners};
use policyd::tools;

/// The longest configuration that is read.
const LONGEST_CONFIG: u64 = 16 * 1024 * 1024;

/// An exit code and the sentence that goes with it.
type Failure = (u8, String);

fn main() -> ExitCode {
    let code = match cli::read(std::env::args_os().skip(1)) {
        Err(cli::Usage(text)) => {
            say(&text);
            exit::USAGE
        }
        Ok(invocation) => match run(&invocation) {
            Ok(code) => code,
            Err((code, text)) => {
                say(&format!("postrider-policyd: {text}\n"));
                // Standard error may be closed.
                log::error!("{text}");
                code
            }
        },
    };
    base::log::flush();
    ExitCode::from(code)
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
        Task::Check { postfix } => {
            let mut loaded = load(&invocation.config)?;
            loaded.check();
            if let (Some(settings), Some(folder)) = (&loaded.settings, postfix) {
                let found = tools::check_postfix(settings, folder.as_deref());
                loaded.report.append(found.map_err(|error| (exit::UNAVAILABLE, error))?);
            }
            show(&loaded.report);
            Ok(if loaded.report.has_errors() { exit::CONFIG } else { 0 })
        }
        Task::Ask { question, socket, json } => {
            // Who may ask need not be able to read the configuration.
            let named = || load(&invocation.config).ok()?.settings?.control.map(|control| control.socket);
            let socket = socket.clone().or_else(named).unwrap_or_else(|| tools::CONTROL.into());
            print(&tools::ask_service(&socket, question, *json)?)
        }
        Task::Import { from, path } => print(&tools::import_file(*from, path)?),
        Task::Run => {
            let loaded = load(&invocation.config)?;
            show(&loaded.report);
            let unusable =
                || (exit::CONFIG, format!("{} cannot be used as it is", invocation.config.display()));
            let settings = loaded.settings.ok_or_else(unusable)?;
            start(settings, &invocation.config).map(|()| 0)
        }
    }
}

fn print(text: &str) -> Result<u8, Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| (exit::OSERR, error.to_string()))?;
    Ok(0)
}

fn load(path: &Path) -> Result<Loaded, Failure> {
    let name = path.display().to_string();
    let source = Source::read(path, &name, LONGEST_CONFIG).map_err(|error| {
        let help = "name another file with -c, or copy the example from /usr/share/doc/postrider-policyd";
        (exit::CONFIG, format!("{name}: {error}; {help}"))
    })?;
    Ok(config::load(&source))
}

/// All mistakes and warnings on standard error, with colour where a person looks.
fn show(report: &Report) {
    say(&report.render(std::io::stderr().is_terminal()));
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // One thread serves all connections: a decision takes microseconds. Handing it to another processor
    // costs more than the work itself.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (exit::OSERR, format!("starting: {error}")))
}

/// Everything between a sound configuration and the daemon's end: sockets are opened with the rights that
/// the program was started with, then these are given up.
fn start(settings: Settings, config: &Path) -> Result<(), Failure> {
    let log = &settings.log;
    base::log::start_daemon(log.syslog, &log.facility, &log.tag, level(&settings));
    let user = settings.run_as.as_deref().map(RunAs::find).transpose();
    let user = user.map_err(|error| (exit::CONFIG, error.to_string()))?;
    let handed_over = listen::handed_over().map_err(|error| (exit::UNAVAILABLE, error.to_string()))?;
    let runtime = runtime()?;
    // Before there is a socket: whoever sees the daemon listen may already send it a signal.
    let signals = {
        let _in_runtime = runtime.enter();
        Signals::listen().map_err(|error| (exit::OSERR, format!("taking over signals: {error}")))?
    };
    let listeners = listeners(handed_over, &settings)?;
    if let Some(user) = &user {
        user.take_on().map_err(|error| (exit::NOPERM, format!("user {}: {error}", user.name)))?;
    }
    log::info!("Postrider policyd v{} starting", env!("CARGO_PKG_VERSION"));
    lists::read_all(&settings, None).map_err(|wrong| (exit::CONFIG, wrong.join("; ")))?;
    let result = runtime.block_on(async {
        lists::connect(&settings).await;
        let shared = Shared::new(settings).map_err(|error| (exit::UNAVAILABLE, error))?;
        let service = Arc::new(Service { shared, busy: AtomicUsize::new(0), answered: AtomicU64::new(0) });
        let followed = Arc::clone(&service);
        let mut following = follow_lists(&followed.shared.settings.load());
        let reload = || {
            if reload(config, &followed.shared) {
                following.abort_all();
                let settings = followed.shared.settings.load_full();
                following = follow_lists(&settings);
                following.spawn(async move { lists::connect(&settings).await });
            }
        };
        server::run(listeners, signals, Arc::clone(&service), reload)
            .await
            .map_err(|error| (exit::OSERR, error.to_string()))
    });
    log::info!("Postrider policyd v{} terminating", env!("CARGO_PKG_VERSION"));
    result
}

fn follow_lists(settings: &Settings) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for source in &settings.lists {
        tasks.spawn(lists::follow(source.clone()));
    }
    tasks
}

/// Sockets from the service manager, by their paths, and those that we open ourselves.
fn listeners(mut handed_over: Vec<Listener>, settings: &Settings) -> Result<Listeners, Failure> {
    let mut listeners = Listeners::default();
    for (place, address) in (0_u16..).zip(&settings.listen) {
        let given = handed_over.iter().position(|listener| is_for(listener, address));
        let listener = match given {
            Some(place) => handed_over.remove(place),
            None => {
                let socket = &settings.socket;
                let access = Access::named(socket.mode, socket.user.as_deref(), socket.group.as_deref())
                    .map_err(|error| (exit::CONFIG, format!("{address}: {error}")))?;
                listen::open_for(address, access)
                    .map_err(|error| (exit::UNAVAILABLE, format!("cannot listen: {error}")))?
            }
        };
        listeners.clients.push((place, listener));
    }
    for (place, listener) in (1000_u16..).zip(handed_over) {
        let name = listener.name();
        log::warn!("{name} came from the service manager and is not in listen; Postfix is served there");
        listeners.clients.push((place, listener));
    }
    if let Some(address) = &settings.metrics {
        let access = Access { mode: 0o660, uid: None, gid: None };
        listeners.metrics = Some(
            listen::open_for(address, access)
                .map_err(|error| (exit::UNAVAILABLE, format!("cannot listen for the metrics: {error}")))?,
        );
    }
    if let Some(control) = &settings.control {
        let mut names = control.admins.clone();
        names.extend(settings.run_as.as_deref().and_then(|user| user.split(':').next()).map(str::to_owned));
        let admins = Admins::named(&names).map_err(|error| (exit::CONFIG, error))?;
        // It must not matter whether others may connect: they are told by their user id.
        let mode = if control.admins.is_empty() { 0o660 } else { 0o666 };
        let address = Address::Unix(control.socket.clone());
        let listener = listen::open_for(&address, Access { mode, uid: None, gid: None });
        let listener = listener.map_err(|error| (exit::UNAVAILABLE, format!("control socket: {error}")))?;
        listeners.control = Some((listener, admins));
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

/// Reads the configuration again; counters stay. A broken one changes nothing: false.
fn reload(path: &Path, shared: &Shared) -> bool {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err((_, error)) => {
            log::error!("{error}; the old configuration stays in force");
            return false;
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
        return false;
    };
    if let Err(wrong) = lists::read_all(&settings, Some(&shared.settings.load())) {
        log::error!("{}; the old configuration stays in force", wrong.join("; "));
        return false;
    }
    for name in needs_restart(&shared.settings.load(), &settings) {
        log::warn!("{name} has changed; that comes into force at the next start only");
    }
    let level = level(&settings);
    match shared.reconfigure(settings) {
        Ok(()) => {
            base::log::set_level(level);
            log::info!("configuration reloaded from {}", path.display());
            true
        }
        Err(error) => {
            log::error!("{error}; the old configuration stays in force");
            false
        }
    }
}

/// Settings that a running daemon cannot take over.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let mut names = Vec::new();
    if (sockets(old), &old.socket) != (sockets(new), &new.socket) {
        names.push("listen or socket_mode, socket_user, socket_group");
    }
    if old.control != new.control {
        names.push("[control]");
    }
    if old.greylist.is_none() && new.greylist.is_some() {
        names.push("[greylist]");
    }
    if old.metrics != new.metrics {
        names.push("[metrics]");
    }
    if old.run_as != new.run_as {
        names.push("user or group");
    }
    if old.store.driver != new.store.driver {
        names.push("driver or path in [store]");
    }
    if old.server.connections != new.server.connections {
        names.push("connections in [server]");
    }
    if (&old.log.tag, &old.log.facility, old.log.syslog) != (&new.log.tag, &new.log.facility, new.log.syslog)
    {
        names.push("[log]");
    }
    names
}
