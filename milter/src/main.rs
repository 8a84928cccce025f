//! The `postrider-milter` program: from the command line to the running daemon, and its exit code.

use std::ffi::OsStr;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::config::Report;
use base::exit;
use base::log::{Facility, Sink, Syslog};
use base::service::background::{self, PidFile, Side};
use base::service::listen::{self, Address, Listener};
use base::service::privileges::RunAs;
use base::service::signals::Signals;
use milter::active::{Active, PrivateKeys};
use milter::cli::{self, DEFAULT_CONFIG, Invocation, Task};
use milter::config::settings::{Process, UserSpec};
use milter::config::{self, Origin, Settings, Socket};
use milter::connection::Patience;
use milter::server::{self, Limits};
use tokio::runtime::Runtime;

/// Standard input is read up to this size as a configuration.
const LONGEST_CONFIG: u64 = 16 * 1024 * 1024;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program)
        .file_name()
        .map_or("postrider-milter".to_owned(), |name| name.to_string_lossy().into_owned());
    let code = match cli::read(&program, arguments) {
        Err(cli::Usage(text)) => {
            say(&text);
            exit::USAGE
        }
        Ok(Invocation { task: Task::Print(text), .. }) => {
            drop(std::io::stdout().write_all(text.as_bytes()));
            0
        }
        Ok(invocation) => Program { name: program, invocation }.run(),
    };
    ExitCode::from(code)
}

/// Standard error; a closed one must not keep a daemon from starting.
fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

struct Program {
    name: String,
    invocation: Invocation,
}

impl Program {
    fn run(&self) -> u8 {
        let origin = match self.origin() {
            Ok(origin) => origin,
            Err(error) => return self.fail(exit::CONFIG, &format!("standard input: {error}")),
        };
        let mut loaded = config::load(&origin, &self.settings());
        if let Task::Effective(name) = &self.invocation.task {
            return self.print_effective(name, &loaded.raw);
        }
        let Some(settings) = loaded.settings else {
            show(&loaded.report);
            return exit::CONFIG;
        };
        if self.invocation.task == Task::Check {
            config::check::<PrivateKeys>(&settings, &mut loaded.report);
            show(&loaded.report);
            return if loaded.report.has_errors() { exit::CONFIG } else { 0 };
        }
        show(&loaded.report);
        match self.start(settings, &origin) {
            Ok(()) => 0,
            Err((code, text)) => self.fail(code, &text),
        }
    }

    fn fail(&self, code: u8, text: &str) -> u8 {
        say(&format!("{}: {text}\n", self.name));
        // Standard error is gone once in the background.
        log::error!("{text}");
        code
    }

    /// The file that is named, else the usual one if it can be read, else nothing but defaults.
    fn origin(&self) -> std::io::Result<Origin> {
        match self.invocation.config.as_deref() {
            Some(path) if path.as_os_str() == OsStr::new("-") => {
                let mut text = String::new();
                std::io::stdin().lock().take(LONGEST_CONFIG).read_to_string(&mut text)?;
                Ok(Origin::Text { name: "standard input".to_owned(), text })
            }
            Some(path) => Ok(Origin::File(path.to_owned())),
            None if std::fs::File::open(DEFAULT_CONFIG).is_ok() => {
                Ok(Origin::File(PathBuf::from(DEFAULT_CONFIG)))
            }
            None => Ok(Origin::Nothing),
        }
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.invocation.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    /// `-e`: 0 and the values that were set, 78 for a parameter that is not set, 65 for an unknown
    /// one.
    fn print_effective(&self, name: &str, raw: &config::Raw) -> u8 {
        if config::directives::find(name).is_none() {
            return self.fail(exit::DATAERR, &format!("{name}: unknown parameter"));
        }
        let values = raw.printed(name);
        if values.is_empty() {
            return exit::CONFIG;
        }
        drop(writeln!(std::io::stdout(), "{}", values.join("\n")));
        0
    }

    /// Everything between a sound configuration and the daemon's end. The order is OpenDKIM's:
    /// files are read with the rights that the program was started with, the pid file is written,
    /// then rights are given up, then the socket is made.
    fn start(&self, settings: Settings, origin: &Origin) -> Result<(), (u8, String)> {
        let process = settings.process.clone();
        let user = match &process.user {
            Some(spec) => {
                Some(RunAs::find(&user_spec(spec)).map_err(|error| (exit::DATAERR, error.to_string()))?)
            }
            None => None,
        };
        let handed_over = listen::handed_over().map_err(|error| (exit::UNAVAILABLE, error.to_string()))?;
        if handed_over.is_empty() && process.socket.is_none() {
            let text = "milter socket must be specified (Socket in the configuration, -p, or a socket unit)";
            return Err((exit::CONFIG, text.to_owned()));
        }
        if process.background && !self.invocation.foreground {
            match background::detach() {
                Ok(Side::Parent) => return Ok(()),
                Ok(Side::Daemon) => {}
                Err(error) => return Err((exit::OSERR, format!("going into the background: {error}"))),
            }
        }
        self.start_log(&settings);
        let _pid_file = process.pid_file.as_deref().and_then(|path| {
            PidFile::write(path)
                .map_err(|error| log::error!("can't write pid to {}: {error}", path.display()))
                .ok()
        });
        if let Some(user) = &user {
            user.take_on().map_err(|error| (exit::NOPERM, format!("UserID: {error}")))?;
        }
        if let Some(mask) = process.umask {
            listen::set_umask(mask);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| (exit::OSERR, format!("starting threads: {error}")))?;
        // Before there is a socket: whoever sees the daemon listen may already send it a signal.
        let signals = {
            let _in_runtime = runtime.enter();
            Signals::listen().map_err(|error| (exit::OSERR, format!("taking over signals: {error}")))?
        };
        let listeners = self.listeners(handed_over, &process)?;
        self.serve(&runtime, settings, origin.clone(), listeners, signals)
    }

    fn listeners(
        &self,
        handed_over: Vec<Listener>,
        process: &Process,
    ) -> Result<Vec<Listener>, (u8, String)> {
        match &process.socket {
            // With sockets from the service manager its unit decides where they are.
            _ if !handed_over.is_empty() => Ok(handed_over),
            Some(socket) => listen::open(&address(socket))
                .map(|listener| vec![listener])
                .map_err(|error| (exit::UNAVAILABLE, format!("cannot listen: {error}"))),
            None => Ok(handed_over),
        }
    }

    /// To the system log when the configuration asks for it, else to standard error in the
    /// foreground, where without `Syslog` only what an admin must see appears.
    fn start_log(&self, settings: &Settings) {
        let log = &settings.log;
        let ident = log.name.as_deref().unwrap_or(&self.name);
        #[allow(clippy::disallowed_methods, reason = "main reads the environment for the whole program")]
        let forced = std::env::var("POSTRIDER_LOG").is_ok_and(|value| value == "stderr");
        let to_terminal = std::io::stderr().is_terminal() && self.invocation.foreground;
        let socket = Path::new(Syslog::SOCKET);
        let sink = if log.syslog && !forced && !to_terminal && socket.exists() {
            let facility = Facility::by_name(&log.facility).unwrap_or(Facility::MAIL);
            Sink::Syslog(Syslog::new(socket, facility))
        } else {
            Sink::Stderr
        };
        base::log::start(sink, ident, level(settings));
        std::panic::set_hook(Box::new(|panic| {
            // The text may quote what a peer sent.
            log::error!("panic: {}", base::log::escaped(panic.to_string().as_bytes(), 1000));
        }));
    }

    fn serve(
        &self,
        runtime: &Runtime,
        settings: Settings,
        origin: Origin,
        listeners: Vec<Listener>,
        signals: Signals,
    ) -> Result<(), (u8, String)> {
        let command_line = self.settings();
        let limits = Limits {
            connections: settings.limits.connections,
            patience: Patience {
                idle: settings.limits.idle_timeout,
                in_message: settings.limits.message_timeout,
            },
            drain: settings.limits.drain_timeout,
        };
        log::info!("Postrider milter v{} starting", env!("CARGO_PKG_VERSION"));
        let result = runtime.block_on(async {
            let active = Active::new(settings).map_err(|error| (exit::CONFIG, error))?;
            let active = Arc::new(ArcSwap::from_pointee(active));
            let reloaded = Arc::clone(&active);
            server::run(listeners, signals, active, limits, move || reload(&origin, &command_line, &reloaded))
                .await
                .map_err(|error| (exit::OSERR, error.to_string()))
        });
        log::info!("Postrider milter v{} terminating", env!("CARGO_PKG_VERSION"));
        result
    }
}

/// Reads the configuration again. A broken one changes nothing.
fn reload(origin: &Origin, command_line: &[(String, String)], active: &ArcSwap<Active>) {
    let name = match origin {
        Origin::File(path) => path.display().to_string(),
        Origin::Text { .. } | Origin::Nothing => {
            log::warn!("there is no configuration file that could be read again; nothing has changed");
            return;
        }
    };
    let loaded = config::load(origin, command_line);
    for note in loaded.report.notes() {
        match note.severity() {
            base::config::Severity::Error => log::error!("{}", note.one_line()),
            base::config::Severity::Warning => log::warn!("{}", note.one_line()),
            base::config::Severity::Info => log::info!("{}", note.one_line()),
        }
    }
    let Some(settings) = loaded.settings else {
        log::error!("{name} has mistakes; the old configuration stays in force");
        return;
    };
    for parameter in active.load().settings.needs_restart(&settings) {
        log::warn!("{parameter} has changed; that comes into force at the next start only");
    }
    let level = level(&settings);
    match Active::new(settings) {
        Ok(new) => {
            active.store(Arc::new(new));
            base::log::set_level(level);
            log::info!("configuration reloaded from {name}");
        }
        Err(error) => log::error!("{error}; the old configuration stays in force"),
    }
}

/// Without `Syslog` only what an admin must act on is said, on standard error.
fn level(settings: &Settings) -> log::LevelFilter {
    if settings.log.syslog { log::LevelFilter::Info } else { log::LevelFilter::Warn }
}

/// All mistakes and warnings on standard error, with colour where a person looks.
fn show(report: &Report) {
    let colour = std::io::stderr().is_terminal();
    say(&report.render(colour));
}

fn user_spec(spec: &UserSpec) -> String {
    match &spec.group {
        Some(group) => format!("{}:{group}", spec.user),
        None => spec.user.clone(),
    }
}

fn address(socket: &Socket) -> Address {
    match socket {
        Socket::Unix(path) => Address::Unix(path.clone()),
        Socket::Inet { port, host, ipv6 } => {
            Address::Inet { host: host.clone(), port: *port, only_v6: *ipv6 }
        }
    }
}
