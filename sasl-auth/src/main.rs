//! The `postrider-sasl-auth` program: from the command line to the running daemon, and its exit code.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::config::{Report, Severity, Source};
use base::exit;
use base::log::Sink;
use base::secret::Secret;
use base::service::descriptors;
use base::service::listen::{self, Access, Address, ListenError, Listener};
use base::service::privileges::RunAs;
use base::service::signals::Signals;
use sasl_auth::active::{Active, Shared};
use sasl_auth::cli::{self, Invocation, Task};
use sasl_auth::config::settings::{Listen, ListenKind};
use sasl_auth::config::{self, Loaded, Settings};
use sasl_auth::import;
use sasl_auth::server::{self, Listeners};
use sasl_auth::tools::{self, Said};
use sasl_auth::userdb_session::SocketFile;

/// The longest configuration that is read.
const LONGEST_CONFIG: u64 = 16 * 1024 * 1024;
/// The longest password that is read from standard input.
const LONGEST_PASSWORD: u64 = 64 * 1024;

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
                say(&format!("postrider-sasl-auth: {text}\n"));
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

fn print(said: &Said) -> u8 {
    drop(std::io::stdout().write_all(said.text.as_bytes()));
    said.code
}

fn run(invocation: &Invocation) -> Result<u8, Failure> {
    match &invocation.task {
        Task::Print(text) => Ok(print(&Said { text: text.clone(), code: 0 })),
        Task::Check => {
            let mut loaded = load(&invocation.config)?;
            loaded.check();
            show(&loaded.report);
            Ok(if loaded.report.has_errors() { exit::CONFIG } else { 0 })
        }
        Task::Test { user, told, json } => {
            let settings = settings(&invocation.config)?;
            start_tool_log();
            let password = ask_password(user)?;
            let said = runtime()?.block_on(tools::test(settings, user, told, &password, *json));
            said.map(|said| print(&said)).map_err(|error| (exit::CONFIG, error))
        }
        Task::Lookup { user, told, json } => {
            let settings = settings(&invocation.config)?;
            start_tool_log();
            let said = runtime()?.block_on(tools::lookup(settings, user, told, *json));
            said.map(|said| print(&said)).map_err(|error| (exit::CONFIG, error))
        }
        Task::Password(asked) if asked.list => Ok(print(&Said { text: tools::schemes(), code: 0 })),
        Task::Password(asked) => {
            let password = ask_new_password(asked.against.is_none())?;
            tools::password(asked, &password).map(|said| print(&said)).map_err(|error| (exit::DATAERR, error))
        }
        Task::Import { doveconf } => {
            let text = import::doveconf(&read_text(doveconf)?, &mut |path| read_text(path).ok())
                .map_err(|error| (exit::DATAERR, format!("{}: {error}", doveconf.display())))?;
            Ok(print(&Said { text, code: 0 }))
        }
        Task::PamWorker => {
            sasl_auth::passdb::pam::worker_main(std::io::stdin(), std::io::stdout())
                .map_err(|error| (exit::OSERR, error.to_string()))?;
            Ok(0)
        }
        Task::Run => {
            let settings = settings(&invocation.config)?;
            start(settings, &invocation.config).map(|()| 0)
        }
    }
}

fn load(path: &Path) -> Result<Loaded, Failure> {
    let name = path.display().to_string();
    let source = Source::read(path, &name, LONGEST_CONFIG).map_err(|error| {
        let help = "name another file with -c, or copy the example from /usr/share/doc/postrider-sasl-auth";
        (exit::CONFIG, format!("{name}: {error}; {help}"))
    })?;
    Ok(config::load(&source))
}

fn settings(path: &Path) -> Result<Settings, Failure> {
    let loaded = load(path)?;
    show(&loaded.report);
    loaded.settings.ok_or((exit::CONFIG, format!("{} cannot be used as it is", path.display())))
}

/// All mistakes and warnings on standard error, with colour where a person looks.
fn show(report: &Report) {
    say(&report.render(std::io::stderr().is_terminal()));
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // One thread serves all connections: a login takes microseconds, and what takes longer has threads
    // of its own. Handing each of them to another processor costs more than the work itself.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // For files, names of hosts and the system's users.
        .max_blocking_threads(64)
        .build()
        .map_err(|error| (exit::OSERR, format!("starting: {error}")))
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let source = if path == Path::new("-") {
        Source::from_reader(std::io::stdin().lock(), "standard input", LONGEST_CONFIG)
    } else {
        Source::read(path, path.display().to_string(), LONGEST_CONFIG)
    };
    source
        .map(|source| source.text().to_owned())
        .map_err(|error| (exit::DATAERR, format!("{}: {error}", path.display())))
}

fn ask_password(user: &str) -> Result<Secret, Failure> {
    if !std::io::stdin().is_terminal() {
        return first_line();
    }
    rpassword::prompt_password(format!("Password for {user}: "))
        .map(Secret::from)
        .map_err(|error| (exit::OSERR, format!("asking for the password: {error}")))
}

fn ask_new_password(twice: bool) -> Result<Secret, Failure> {
    if !std::io::stdin().is_terminal() {
        return first_line();
    }
    let ask = |text: &str| {
        rpassword::prompt_password(text)
            .map(Secret::from)
            .map_err(|error| (exit::OSERR, format!("asking for the password: {error}")))
    };
    let first = ask("Enter password: ")?;
    if twice && ask("Retype password: ")? != first {
        return Err((exit::DATAERR, "the passwords are not the same".to_owned()));
    }
    Ok(first)
}

/// The first line of standard input, without its line end.
fn first_line() -> Result<Secret, Failure> {
    let mut line = Vec::new();
    std::io::stdin()
        .lock()
        .take(LONGEST_PASSWORD)
        .read_until(b'\n', &mut line)
        .map_err(|error| (exit::OSERR, format!("standard input: {error}")))?;
    while line.last().is_some_and(|byte| *byte == b'\n' || *byte == b'\r') {
        line.pop();
    }
    Ok(Secret::new(line))
}

/// The tools say on standard error what the daemon would log.
fn start_tool_log() {
    base::log::start(Sink::Stderr, "postrider-sasl-auth", log::LevelFilter::Info);
}

/// Everything between a sound configuration and the daemon's end: sockets are opened and secrets read
/// with the rights that the program was started with, then these are given up.
fn start(settings: Settings, config: &Path) -> Result<(), Failure> {
    let log = &settings.log;
    base::log::start_daemon(log.syslog, &log.facility, &log.tag, level(&settings));
    let user = settings.run_as.as_deref().map(RunAs::find).transpose();
    let user = user.map_err(|error| (exit::CONFIG, error.to_string()))?;
    descriptors::allow(descriptors_of(&settings));
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
    log::info!("Postrider sasl-auth v{} starting", env!("CARGO_PKG_VERSION"));
    let result = runtime.block_on(async {
        let shared = Arc::new(Shared::new(&settings).map_err(|error| (exit::CONFIG, error))?);
        let active = Active::new(settings).map_err(|error| (exit::CONFIG, error))?;
        let active = Arc::new(ArcSwap::from_pointee(active));
        let (reloaded, kept) = (Arc::clone(&active), Arc::clone(&shared));
        server::run(listeners, signals, active, shared, move || reload(config, &reloaded, &kept))
            .await
            .map_err(|error| (exit::OSERR, error.to_string()))
    });
    log::info!("Postrider sasl-auth v{} terminating", env!("CARGO_PKG_VERSION"));
    result
}

/// How many descriptors all connections together need, and what else there is.
fn descriptors_of(settings: &Settings) -> u64 {
    let userdb = settings.listen.iter().filter(|listen| listen.kind == ListenKind::Userdb).count();
    // Databases, programs, files of users.
    const OTHERS: usize = 1024;
    let needed = settings.limits.connections.saturating_mul(1 + userdb).saturating_add(OTHERS);
    u64::try_from(needed).unwrap_or(u64::MAX)
}

/// Sockets from the service manager, by their paths, and those that we open ourselves.
fn listeners(mut handed_over: Vec<Listener>, settings: &Settings) -> Result<Listeners, Failure> {
    let mut listeners = Listeners::default();
    for listen in &settings.listen {
        let given = handed_over.iter().position(|listener| is_for(listener, &listen.address));
        let listener = match given {
            Some(place) => handed_over.remove(place),
            None => {
                let access = Access::named(listen.mode, listen.user.as_deref(), listen.group.as_deref())
                    .map_err(|error| (exit::CONFIG, format!("{}: {error}", listen.address)))?;
                listen::open_for(&listen.address, access).map_err(|error| {
                    (exit::UNAVAILABLE, format!("cannot listen: {error}{}", instead(&error, &handed_over)))
                })?
            }
        };
        add(&mut listeners, listener, listen);
    }
    for listener in handed_over {
        let name = listener.name();
        if name.contains("userdb") {
            log::warn!("{name} came from the service manager without a [[listen]]; userdb is spoken there");
            let file = listener.path().and_then(|path| file_of(&path));
            listeners.userdb.push((listener, file));
        } else {
            log::warn!("{name} came from the service manager without a [[listen]]; clients are served there");
            listeners.clients.push(listener);
        }
    }
    if let Some(address) = &settings.metrics {
        let access = Access { mode: 0o660, uid: None, gid: None };
        listeners.metrics = Some(
            listen::open_for(address, access)
                .map_err(|error| (exit::UNAVAILABLE, format!("cannot listen for the metrics: {error}")))?,
        );
    }
    if listeners.clients.is_empty() && listeners.userdb.is_empty() {
        let text = "there is no socket to listen at: write a [[listen]], or use the socket unit";
        return Err((exit::CONFIG, text.to_owned()));
    }
    Ok(listeners)
}

/// What to do where a socket cannot be opened.
fn instead(error: &ListenError, handed_over: &[Listener]) -> String {
    if let Some(listener) = handed_over.first() {
        return format!(
            "; the service manager has opened {}: write that as address in [[listen]], or change its socket unit",
            listener.name()
        );
    }
    match error {
        ListenError::Io(_, error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            "; let the service manager open it (a socket unit), or start as root, with user in the configuration"
                .to_owned()
        }
        _ => String::new(),
    }
}

fn add(listeners: &mut Listeners, listener: Listener, listen: &Listen) {
    match listen.kind {
        ListenKind::Client => listeners.clients.push(listener),
        ListenKind::Userdb => {
            if let Address::Inet { .. } = &listen.address {
                log::warn!("{}: whoever reaches this port may list and look up all users", listen.address);
            }
            let file = listener.path().and_then(|path| file_of(&path));
            listeners.userdb.push((listener, file));
        }
    }
}

/// Owner and mode of a socket, which decide who may ask for what (Dovecot's rule of mode 0666). Where
/// they cannot be seen, everybody but root is a stranger.
fn file_of(path: &Path) -> Option<SocketFile> {
    Some(match std::fs::metadata(path) {
        Ok(metadata) => {
            SocketFile { mode: metadata.mode() & 0o777, uid: metadata.uid(), gid: metadata.gid() }
        }
        Err(error) => {
            log::warn!("{}: {error}; every peer may look up itself only", path.display());
            SocketFile { mode: 0o666, uid: u32::MAX, gid: u32::MAX }
        }
    })
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
fn reload(path: &Path, active: &ArcSwap<Active>, shared: &Shared) {
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
    let old = active.load();
    for name in needs_restart(&old.settings, &settings) {
        log::warn!("{name} has changed; that comes into force at the next start only");
    }
    let level = level(&settings);
    match Active::new(settings) {
        Ok(new) => {
            shared.reconfigure(&new.settings);
            active.store(Arc::new(new));
            base::log::set_level(level);
            log::info!("configuration reloaded from {}", path.display());
        }
        Err(error) => log::error!("{error}; the old configuration stays in force"),
    }
}

/// Settings that a running daemon cannot take over.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let sockets = |settings: &Settings| -> Vec<String> {
        let of = |listen: &Listen| {
            format!(
                "{} {:?} {:o} {:?} {:?}",
                listen.address, listen.kind, listen.mode, listen.user, listen.group
            )
        };
        settings.listen.iter().map(of).collect()
    };
    let mut names = Vec::new();
    if sockets(old) != sockets(new) {
        names.push("[[listen]]");
    }
    if old.metrics != new.metrics {
        names.push("[metrics]");
    }
    if old.run_as != new.run_as {
        names.push("user or group");
    }
    if old.hashing != new.hashing {
        names.push("[hashing]");
    }
    if old.networks != new.networks {
        names.push("[networks]");
    }
    if old.limits.connections != new.limits.connections {
        names.push("connections in [limits]");
    }
    if (&old.log.tag, &old.log.facility, old.log.syslog) != (&new.log.tag, &new.log.facility, new.log.syslog)
    {
        names.push("[log]");
    }
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_a_socket_is_said() {
        let refused = |kind| ListenError::Io("unix:/x/auth".to_owned(), std::io::Error::from(kind));
        let denied = refused(std::io::ErrorKind::PermissionDenied);
        assert!(instead(&denied, &[]).contains("socket unit"));
        assert_eq!(instead(&refused(std::io::ErrorKind::AddrInUse), &[]), "");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postrider-auth");
        let socket = Listener::Unix(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let text = instead(&denied, &[socket]);
        assert!(text.contains(&format!("has opened unix:{}: write that", path.display())), "{text}");
    }
}
