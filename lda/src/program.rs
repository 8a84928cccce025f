//! postrider-lda from its command line to its exit code: one message, one thread, no runtime.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::config::Source;
use base::exit;
use base::log::{Facility, Sink, Syslog};

use crate::bounce;
use crate::cli::{self, Deliver, Invocation, Task};
use crate::config::settings::Settings;
use crate::config::{self, DEFAULT_PATH, Loaded};
use crate::envelope::{self, Envelope};
use crate::maildir::{Incoming, Mailboxes, Message, StoreError};
use crate::message::{self, Header};
use crate::outcome::Outcome;
use crate::pipeline::{self, Delivery};
use crate::recipient::{self, NoUser, User};
use crate::report::{self, Facts};
use crate::sieve;
use crate::userdb::Fields;

/// The longest configuration that is read.
const LONGEST_CONFIG: u64 = 16 << 20;
/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// What ends a delivery early: the exit code, and a sentence for standard error and the log.
type Failure = (u8, String);

/// The environment that a delivery looks at, by name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Does what the command line asks for, and gives the exit code.
#[must_use]
pub fn run(arguments: Vec<OsString>, environment: Environment<'_>) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    if let Some(code) = sieve::tools::run(&arguments, base::clock::since_epoch(), &mut out, &mut err) {
        return code;
    }
    let invocation = match cli::read(arguments) {
        Ok(invocation) => invocation,
        Err(cli::Usage(text)) => {
            say(&text);
            return exit::USAGE;
        }
    };
    match &invocation.task {
        Task::Print(text) => {
            drop(std::io::stdout().write_all(text.as_bytes()));
            0
        }
        Task::Check => check(&invocation),
        Task::CheckUser { user, json } => check_user(&invocation, user, *json),
        Task::Deliver(options) => match deliver(&invocation, options, environment) {
            Ok(code) => code,
            Err((code, text)) => {
                say(&format!("postrider-lda: {text}\n"));
                log::error!("lda: {text}");
                code
            }
        },
    }
}

/// Standard error, which Postfix puts into its log or the bounce.
fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn check(invocation: &Invocation) -> u8 {
    match load(invocation) {
        Ok(mut loaded) => {
            loaded.check();
            say(&loaded.report.to_string());
            if loaded.report.has_errors() { exit::CONFIG } else { 0 }
        }
        Err(text) => {
            say(&format!("postrider-lda: {text}\n"));
            exit::CONFIG
        }
    }
}

fn check_user(invocation: &Invocation, user: &str, json: bool) -> u8 {
    let settings = match load(invocation) {
        Ok(Loaded { settings: Some(settings), .. }) => settings,
        Ok(loaded) => {
            say(&loaded.report.to_string());
            return exit::CONFIG;
        }
        Err(text) => {
            say(&format!("postrider-lda: {text}\n"));
            return exit::CONFIG;
        }
    };
    let findings = crate::check_user::walk(&settings, user, base::clock::since_epoch());
    let text = if json { findings.json() } else { findings.text() };
    drop(std::io::stdout().write_all(text.as_bytes()));
    findings.code()
}

/// Reads the configuration; the default one need not be there.
fn load(invocation: &Invocation) -> Result<Loaded, String> {
    let path = invocation.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    let name = path.display().to_string();
    let source: Arc<Source> = match Source::read(path, &name, LONGEST_CONFIG) {
        Ok(source) => source,
        Err(error) if invocation.config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Source::new(&name, "")
        }
        Err(error) => return Err(format!("{name}: {error}; name another file with -c")),
    };
    Ok(config::load_with(&source, &invocation.overrides))
}

/// The settings of a delivery. A mistake in them is no reason to bounce mail.
fn settings(invocation: &Invocation) -> Result<Settings, Failure> {
    let loaded = load(invocation).map_err(|text| (exit::TEMPFAIL, text))?;
    match loaded.settings {
        Some(settings) => Ok(settings),
        None => {
            say(&loaded.report.to_string());
            Err((exit::TEMPFAIL, "the configuration has mistakes; postrider-lda -n shows them".to_owned()))
        }
    }
}

fn start_log(settings: &Settings, to_stderr: bool, environment: Environment<'_>) {
    let log = &settings.log;
    let forced = to_stderr || environment("POSTRIDER_LOG").is_some_and(|value| value == "stderr");
    let socket = Path::new(Syslog::SOCKET);
    let sink = if log.syslog && !forced {
        Sink::Syslog(Syslog::new(socket, Facility::by_name(&log.facility).unwrap_or(Facility::MAIL)))
    } else {
        Sink::Stderr
    };
    base::log::start_plain(sink, &log.tag, log.level.parse().unwrap_or(log::LevelFilter::Info));
}

fn deliver(invocation: &Invocation, options: &Deliver, environment: Environment<'_>) -> Result<u8, Failure> {
    let now = base::clock::since_epoch();
    // Modes of files and folders are what the mailbox's root says.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let settings = settings(invocation)?;
    start_log(&settings, options.log_to_stderr, environment);
    let temporary = |text: String| (exit::TEMPFAIL, text);
    let user = user(&settings, options, environment)?;
    user.identity.take_on().map_err(|text| temporary(format!("user {}: {text}", user.name)))?;
    let session = report::session(now, std::process::id());
    let boxes = user.mailboxes(&settings).map_err(|error| temporary(error.to_string()))?;
    let stored = receive(&settings, options, environment, &user, &boxes, now);
    let (mut message, envelope) = stored.map_err(|text| {
        let place = report::prefix("lda", &user.name, &session);
        temporary(format!("{place}{text}"))
    })?;
    let delivery = Delivery {
        settings: &settings,
        user: &user,
        envelope: &envelope,
        service: "lda",
        session: &session,
        mailbox: options.mailbox.as_deref(),
        now,
    };
    let outcome = pipeline::deliver(&delivery, &boxes, &mut message);
    if let Outcome::Rejected { reason, quota } = &outcome
        && settings.bounce
        && !options.reject_by_status
    {
        return bounced(&delivery, &message, reason, *quota);
    }
    Ok(end(&outcome))
}

/// Answers a rejection in Postfix's place (`lda_rejection = "bounce"`).
fn bounced(delivery: &Delivery<'_>, message: &Message, reason: &str, quota: bool) -> Result<u8, Failure> {
    let facts = Facts::of(message.head(), message.size(), message.virtual_size());
    if !bounce::may_be_answered(delivery.envelope, message.head()) {
        report::line(delivery, &facts, "rejected, but its sender is not to be answered: discarded");
        return Ok(0);
    }
    match bounce::send(delivery, message.head(), reason, quota) {
        Ok(()) => {
            report::line(
                delivery,
                &facts,
                &format!("rejected: {}", base::log::escaped(reason.as_bytes(), 500)),
            );
            Ok(0)
        }
        Err(text) => Err((exit::TEMPFAIL, text)),
    }
}

/// Tells Postfix what it cannot see from the exit code.
fn end(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Delivered => {}
        Outcome::Rejected { reason, .. } | Outcome::Temporary { reason, .. } => say(&format!("{reason}\n")),
    }
    outcome.status()
}

/// Who gets the message: `-d` by the userdb, otherwise whoever runs the program.
fn user(settings: &Settings, options: &Deliver, environment: Environment<'_>) -> Result<User, Failure> {
    let temporary = |text: String| (exit::TEMPFAIL, text);
    if let Some(name) = &options.user {
        return match find(settings, name) {
            Ok(user) => Ok(user),
            Err(NoUser::Unknown) => Err((exit::NOUSER, format!("user {name}: there is no such user"))),
            Err(NoUser::Temporary(text)) => Err(temporary(format!("user {name}: {text}"))),
        };
    }
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        let text = "destination user parameter (-d user) not given; as root the user must be named";
        return Err((exit::USAGE, text.to_owned()));
    }
    let mut fields = Fields::default();
    let name = match (environment("USER").filter(|name| !name.is_empty()), environment("HOME")) {
        (Some(name), Some(home)) => {
            fields.set("home", home);
            name
        }
        _ => {
            let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid.as_raw()));
            let found = found.map_err(|error| temporary(format!("getpwuid({}): {error}", uid.as_raw())))?;
            let Some(found) = found else {
                return Err((exit::NOUSER, format!("there is no user with the uid {}", uid.as_raw())));
            };
            fields.set("home", found.dir.to_string_lossy());
            found.name
        }
    };
    recipient::user(settings, &name, fields, "lda").map_err(|text| temporary(format!("user {name}: {text}")))
}

/// The user of a name; where there is none, of the name without its detail.
fn find(settings: &Settings, name: &str) -> Result<User, NoUser> {
    match recipient::find(settings, name, "lda") {
        Err(NoUser::Unknown) => {
            let parts = envelope::parts(name, &settings.recipient_delimiter);
            if parts.detail.is_none() {
                return Err(NoUser::Unknown);
            }
            recipient::find(settings, &parts.user, "lda")
        }
        other => other,
    }
}

/// Reads the message into `tmp`, and finds out its envelope.
fn receive(
    settings: &Settings,
    options: &Deliver,
    environment: Environment<'_>,
    user: &User,
    boxes: &Mailboxes,
    now: Duration,
) -> Result<(Message, Envelope), String> {
    let mut input: Box<dyn Read> = match &options.path {
        Some(path) => {
            Box::new(File::open(path).map_err(|error| format!("open({}) failed: {error}", path.display()))?)
        }
        None => Box::new(std::io::stdin().lock()),
    };
    let mut piece = vec![0; PIECE];
    let first = fill(input.as_mut(), &mut piece)?;
    let bytes = piece.get(..first).unwrap_or_default();
    // A line that does not end here is none of mbox.
    let line = message::from_line(bytes).filter(|(length, _)| *length < PIECE || bytes.ends_with(b"\n"));
    let (skipped, from) = line.unwrap_or((0, b""));
    let bytes = bytes.get(skipped..).unwrap_or_default();
    let envelope = envelope(settings, options, environment, user, bytes, from);
    // Whatever tells two deliveries of one message apart.
    let [asked_user, asked_mailbox] =
        [&options.user, &options.mailbox].map(|option| option.as_deref().unwrap_or_default().as_bytes());
    let key = [
        user.name.as_bytes(),
        asked_user,
        asked_mailbox,
        envelope.recipient.as_bytes(),
        envelope.original().as_bytes(),
    ];
    let text = |error: StoreError| error.to_string();
    let mut incoming = Incoming::begin(boxes, b"", &key, settings.save_crlf, now);
    incoming.write(boxes, bytes).map_err(text)?;
    let mut length = first;
    while length > 0 {
        length = fill(input.as_mut(), &mut piece)?;
        incoming.write(boxes, piece.get(..length).unwrap_or_default()).map_err(text)?;
    }
    let message = incoming.finish(boxes).map_err(text)?;
    Ok((message, envelope))
}

/// Reads until the piece is full or the input ends.
fn fill(input: &mut dyn Read, piece: &mut [u8]) -> Result<usize, String> {
    let mut filled = 0;
    while let Some(room) = piece.get_mut(filled..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("reading the message failed: {error}")),
        }
    }
    Ok(filled)
}

/// The envelope from the options, or else from local(8)'s environment, or else from the message and the user.
fn envelope(
    settings: &Settings,
    options: &Deliver,
    environment: Environment<'_>,
    user: &User,
    head: &[u8],
    from: &[u8],
) -> Envelope {
    let of_local = |name: &str| environment(name).filter(|address| !address.is_empty());
    let sender = match &options.sender {
        Some(sender) => sender.clone(),
        None if !from.is_empty() => String::from_utf8_lossy(from).into_owned(),
        None => of_local("SENDER").unwrap_or_default(),
    };
    let header = match settings.original_recipient_header.as_str() {
        "" => None,
        name => Header::new(head).text(name).map(|text| text.into_owned()),
    };
    // With -d the environment may be that of another delivery altogether.
    let local = |name: &str| if options.user.is_none() { of_local(name) } else { None };
    let original = options.original_recipient.clone().or_else(|| local("ORIGINAL_RECIPIENT")).or(header);
    let recipient = options.recipient.clone().or_else(|| local("RECIPIENT")).or_else(|| original.clone());
    let recipient = recipient.unwrap_or_else(|| {
        if user.name.contains('@') {
            user.name.clone()
        } else {
            format!("{}@{}", user.name, settings.hostname)
        }
    });
    Envelope {
        sender: envelope::address(&sender).to_owned(),
        recipient: envelope::address(&recipient).to_owned(),
        original_recipient: original.map(|original| envelope::address(&original).to_owned()),
    }
}
