//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::config::DEFAULT_PATH;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Run the daemon.
    Run,
    /// Read everything that starting would read, and report (`-n`).
    Check,
    /// Print a text on standard output and end with 0 (`-V`, `--help`).
    Print(String),
}

/// The command line, read.
#[derive(Debug, PartialEq, Eq)]
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
    Command::new("postrider-policyd")
        .about("Limits what may be sent, for Postfix, by its policy delegation protocol")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .after_help(
            "Exit codes: 0 in order, 64 usage, 65 bad data, 69 socket or store not usable, 71 system, 77 missing\n\
             rights, 78 configuration.",
        )
        .arg(
            Arg::new("config")
                .short('c')
                .long("config")
                .value_name("FILE")
                .global(true)
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
        .arg(Arg::new("version").short('V').long("version").action(ArgAction::Version).help("print the version"))
}

/// Reads the command line without its first word.
///
/// # Errors
/// [`Usage`], with what is wrong.
pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    let words = std::iter::once(OsString::from("postrider-policyd")).chain(words);
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Invocation {
                    task: Task::Print(error.to_string()),
                    config: PathBuf::from(DEFAULT_PATH),
                }),
                _ => Err(Usage(error.to_string())),
            };
        }
    };
    let config = matches.get_one::<PathBuf>("config").cloned().unwrap_or_else(|| DEFAULT_PATH.into());
    let task = if matches.get_flag("check") { Task::Check } else { Task::Run };
    Ok(Invocation { task, config })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Invocation, Usage> {
        read(words.iter().map(OsString::from))
    }

    #[test]
    fn flags_are_read() {
        assert_eq!(of(&[]).unwrap(), Invocation { task: Task::Run, config: DEFAULT_PATH.into() });
        assert_eq!(of(&["-n", "-c", "/x"]).unwrap(), Invocation { task: Task::Check, config: "/x".into() });
        assert!(matches!(of(&["-V"]).unwrap().task, Task::Print(text) if text.contains("postrider-policyd")));
        assert!(of(&["--nonsense"]).is_err());
    }
}
