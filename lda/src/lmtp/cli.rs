//! The command line of postrider-lmtp.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::config::DEFAULT_PATH;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Run the daemon.
    Run,
    /// Read everything that starting would read, and report (`-n`).
    Check,
    /// Print a text on standard output and end with 0 (`-V`, `--help`).
    Print(String),
}

/// The command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub task: Task,
    /// The configuration file.
    pub config: PathBuf,
}

/// A command line that cannot be followed; the text is for standard error, the exit code is 64.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage(pub String);

fn command() -> Command {
    Command::new("postrider-lmtp")
        .about("Takes mail from Postfix by LMTP and delivers it into Maildir")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .after_help(
            "Exit codes: 0 in order, 64 usage, 69 socket not usable, 71 system, 77 missing rights, 78 configuration.",
        )
        .arg(
            Arg::new("config")
                .short('c')
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .default_value(DEFAULT_PATH)
                .help("configuration file"),
        )
        .arg(
            Arg::new("check")
                .short('n')
                .long("check")
                .action(ArgAction::SetTrue)
                .help("check the configuration and all it names, and end"),
        )
        .arg(
            Arg::new("version").short('V').long("version").action(ArgAction::Version).help("print the version"),
        )
}

/// Reads a command line without the program's name.
///
/// # Errors
/// [`Usage`] when it cannot be followed.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    let program = std::iter::once(OsString::from("postrider-lmtp"));
    match command().try_get_matches_from(program.chain(arguments)) {
        Ok(matches) => {
            let task = if matches.get_flag("check") { Task::Check } else { Task::Run };
            let config = matches.get_one("config").cloned().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
            Ok(Invocation { task, config })
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Invocation { task: Task::Print(error.to_string()), config: PathBuf::from(DEFAULT_PATH) })
        }
        Err(error) => Err(Usage(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Invocation, Usage> {
        read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags() {
        assert_eq!(of("").unwrap(), Invocation { task: Task::Run, config: DEFAULT_PATH.into() });
        assert_eq!(of("-c /x -n").unwrap(), Invocation { task: Task::Check, config: "/x".into() });
        assert!(
            matches!(of("-V").unwrap().task, Task::Print(text) if text.contains(env!("CARGO_PKG_VERSION")))
        );
        assert!(of("--nonsense").is_err() && of("x").is_err());
    }
}
