//! The command line of postrider-lda: dovecot-lda's options, and our own tools.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::DEFAULT_PATH;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Deliver a message.
    Deliver(Box<Deliver>),
    /// Read the configuration and report (`-n`).
    Check,
    /// Walk through what a delivery to a user would touch (`--check-user`).
    CheckUser {
        /// The user.
        user: String,
        /// Machine-readable output.
        json: bool,
    },
    /// Print a text on standard output and end with 0.
    Print(String),
}

/// The options of a delivery.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Deliver {
    /// `-d`: who gets it.
    pub user: Option<String>,
    /// `-f`: the envelope sender; may be empty.
    pub sender: Option<String>,
    /// `-a`: the original envelope recipient.
    pub original_recipient: Option<String>,
    /// `-r`: the final envelope recipient.
    pub recipient: Option<String>,
    /// `-m`: the folder; an empty one is none.
    pub mailbox: Option<String>,
    /// `-e`: a rejection is told by exit status 77, whatever the configuration says.
    pub reject_by_status: bool,
    /// `-p`: the file that holds the message.
    pub path: Option<PathBuf>,
    /// `-L`: log to standard error.
    pub log_to_stderr: bool,
}

/// The command line, read.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub task: Task,
    /// The configuration file; `None`: the default one, which need not exist.
    pub config: Option<PathBuf>,
    /// `-o name=value`.
    pub overrides: Vec<(String, String)>,
}

/// A command line that cannot be followed; the text is for standard error, the exit code is 64.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage(pub String);

fn command() -> Command {
    let option = |name: &'static str, short: char, value: &'static str, help: &'static str| {
        Arg::new(name).short(short).value_name(value).allow_hyphen_values(true).help(help)
    };
    let flag = |name: &'static str, help: &'static str| Arg::new(name).action(ArgAction::SetTrue).help(help);
    Command::new("postrider-lda")
        .about("Delivers a message from standard input into a Maildir, in place of dovecot-lda, maildrop and procmail")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .args_override_self(true)
        .after_help(
            "Without any option, as mailbox_command of Postfix, the environment of local(8) says who the message is from\n\
             and for. postrider-lda sieve-check and sieve-test have help of their own.\n\n\
             Exit codes: 0 delivered, 64 usage, 67 no such user, 75 try again later, 77 rejected (the reason is on\n\
             standard error), 78 configuration (-n and --check-user only).",
        )
        .args([
            option("user", 'd', "USER", "deliver to this user, who is looked up in the userdb"),
            option("sender", 'f', "ADDRESS", "envelope sender; may be empty"),
            option("original", 'a', "ADDRESS", "original envelope recipient"),
            option("recipient", 'r', "ADDRESS", "final envelope recipient"),
            option("mailbox", 'm', "FOLDER", "deliver into this folder; empty: INBOX"),
            option("path", 'p', "FILE", "read the message from this file").value_parser(value_parser!(PathBuf)),
            flag("status", "tell rejections by exit status 77, never by a bounce").short('e'),
            flag("keep", "taken for dovecot-lda's sake: programs that are started get a clean environment all the same").short('k'),
            flag("stderr", "log to standard error").short('L'),
            option("set", 'o', "NAME=VALUE", "set this, whatever the configuration says").action(ArgAction::Append),
            Arg::new("config")
                .short('c')
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(format!("configuration file [default: {DEFAULT_PATH}, if there is one]")),
            flag("check", "check the configuration, and end").short('n').long("check"),
            Arg::new("check-user")
                .long("check-user")
                .value_name("USER")
                .help("walk through all that a delivery to this user would touch, and say what stands in its way"),
            flag("json", "with --check-user: print JSON").long("json").requires("check-user"),
            Arg::new("version").short('V').long("version").action(ArgAction::Version).help("print the version"),
        ])
}

/// Reads a command line without the program's name.
///
/// # Errors
/// [`Usage`] when it cannot be followed.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.peek().is_none() {
        // The usual way from local(8): there is nothing to read.
        let task = Task::Deliver(Box::default());
        return Ok(Invocation { task, config: None, overrides: Vec::new() });
    }
    let program = std::iter::once(OsString::from("postrider-lda"));
    match command().try_get_matches_from(program.chain(arguments)) {
        Ok(matches) => invocation(&matches),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Invocation { task: Task::Print(error.to_string()), config: None, overrides: Vec::new() })
        }
        Err(error) => Err(Usage(error.to_string())),
    }
}

fn invocation(matches: &ArgMatches) -> Result<Invocation, Usage> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let mut overrides = Vec::new();
    for set in matches.get_many::<String>("set").into_iter().flatten() {
        let Some((name, value)) = set.split_once('=') else {
            return Err(Usage(format!("postrider-lda: -o {set}: write it as -o name=value\n")));
        };
        overrides.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let task = if matches.get_flag("check") {
        Task::Check
    } else if let Some(user) = text("check-user") {
        Task::CheckUser { user, json: matches.get_flag("json") }
    } else {
        Task::Deliver(Box::new(Deliver {
            user: text("user"),
            sender: text("sender"),
            original_recipient: text("original"),
            recipient: text("recipient"),
            mailbox: text("mailbox").filter(|name| !name.is_empty()),
            reject_by_status: matches.get_flag("status"),
            path: matches.get_one("path").cloned(),
            log_to_stderr: matches.get_flag("stderr"),
        }))
    };
    Ok(Invocation { task, config: matches.get_one("config").cloned(), overrides })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Invocation, Usage> {
        read(words.iter().map(OsString::from))
    }

    fn delivery(words: &[&str]) -> Deliver {
        match of(words).unwrap().task {
            Task::Deliver(deliver) => *deliver,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn dovecots_options() {
        assert_eq!(delivery(&[]), Deliver::default());
        let all = delivery(&[
            "-d", "joe", "-f", "", "-a", "a@x", "-r", "-r@x", "-m", "Sub", "-e", "-p", "/f", "-k",
        ]);
        assert_eq!((all.user.as_deref(), all.sender.as_deref()), (Some("joe"), Some("")));
        assert_eq!(
            (all.recipient.as_deref(), all.original_recipient.as_deref()),
            (Some("-r@x"), Some("a@x"))
        );
        assert!(all.reject_by_status);
        assert_eq!(all.path, Some("/f".into()));
        assert_eq!(delivery(&["-m", ""]).mailbox, None);
        assert_eq!(delivery(&["-f", "a", "-f", "b"]).sender.as_deref(), Some("b"));
        assert_eq!(delivery(&["-dejoe"]).user.as_deref(), Some("ejoe"));
        let set = of(&["-c", "/x", "-o", "plugin/quota_rule=*:storage=1G"]).unwrap();
        assert_eq!(set.overrides, [("plugin/quota_rule".to_owned(), "*:storage=1G".to_owned())]);
        assert_eq!(set.config, Some("/x".into()));
    }

    #[test]
    fn what_cannot_be_followed() {
        for words in [&["joe"][..], &["-s"], &["-d"], &["-o", "x"], &["--json"], &["-i", "x"]] {
            assert!(of(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn tools() {
        assert_eq!(of(&["-n"]).unwrap().task, Task::Check);
        assert_eq!(
            of(&["--check-user", "joe"]).unwrap().task,
            Task::CheckUser { user: "joe".into(), json: false }
        );
        assert!(
            matches!(of(&["--version"]).unwrap().task, Task::Print(text) if text.contains(env!("CARGO_PKG_VERSION")))
        );
    }
}
