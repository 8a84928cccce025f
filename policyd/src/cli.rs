//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};

use crate::config::DEFAULT_PATH;
use crate::control::message::Question;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Run the daemon.
    Run,
    /// Read everything that starting would read, and report (`-n`).
    Check {
        /// Also compare it with Postfix' configuration (`--postfix`), in this folder if one is named.
        postfix: Option<Option<PathBuf>>,
    },
    /// Ask the running service (`status`, `top`, `reset`, `raise`, `explain`).
    Ask {
        /// What.
        question: Question,
        /// The control socket, if the command line names one.
        socket: Option<PathBuf>,
        /// Machine-readable output.
        json: bool,
    },
    /// Translate another program's configuration (`import`).
    Import {
        /// Of which program.
        from: Import,
        /// The file; `-` is standard input.
        path: PathBuf,
    },
    /// Print a text on standard output and end with 0 (`-V`, `--help`).
    Print(String),
}

/// Whose configuration is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import {
    /// policyd-rate-limit.yaml.
    PolicydRateLimit,
    /// A ruleset of postfwd.
    Postfwd,
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
        .arg(
            Arg::new("postfix")
                .long("postfix")
                .value_name("DIR")
                .num_args(0..=1)
                .requires("check")
                .value_parser(value_parser!(PathBuf))
                .help("with -n: also say whether Postfix asks this service, at the right stage and early enough"),
        )
        .arg(Arg::new("version").short('V').long("version").action(ArgAction::Version).help("print the version"))
        .subcommands(asking_commands())
        .subcommand(import_command())
}

/// Each command with its options, as they are written: for the manual page.
#[must_use]
pub fn commands() -> Vec<(String, Vec<String>)> {
    let option = |arg: &Arg| match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => Some(format!("--{long}")),
        (None, short) => short.map(|short| format!("-{short}")),
    };
    let options = |command: &Command| command.get_arguments().filter_map(option).collect();
    command().get_subcommands().map(|one| (one.get_name().to_owned(), options(one))).collect()
}

/// The commands that ask the running service.
fn asking_commands() -> [Command; 5] {
    [
        asking("status").about("show the limits, the store, and what is raised"),
        asking("top")
            .about("show who is nearest to a limit")
            .arg(Arg::new("limit").value_name("LIMIT").help("of this limit only"))
            .arg(
                Arg::new("count")
                    .short('n')
                    .value_name("COUNT")
                    .value_parser(value_parser!(u16).range(1..=1000))
                    .default_value("10")
                    .help("so many of each limit"),
            ),
        asking("reset")
            .about("forget what somebody has used")
            .arg(Arg::new("key").required(true).value_name("KEY").help("as top and the log show it"))
            .arg(Arg::new("limit").long("limit").value_name("LIMIT").help("at this limit only")),
        asking("raise")
            .about("let somebody have more of a limit, for a time")
            .arg(Arg::new("key").required(true).value_name("KEY").help("as top and the log show it"))
            .arg(Arg::new("limit").long("limit").value_name("LIMIT").required(true).help("of this limit"))
            .arg(
                Arg::new("times")
                    .long("times")
                    .value_name("FACTOR")
                    .value_parser(hundredths)
                    .help("so many times as much: 2, or 1.5"),
            )
            .arg(
                Arg::new("for")
                    .long("for")
                    .value_name("TIME")
                    .value_parser(secs)
                    .help("how long: 2d, 12h, 30min"),
            )
            .arg(
                Arg::new("end")
                    .long("end")
                    .action(ArgAction::SetTrue)
                    .conflicts_with_all(["times", "for"])
                    .help("end what was raised"),
            ),
        asking("explain")
            .about("say why somebody was refused, or what would be said to a request")
            .arg(Arg::new("who").value_name("WHO").help("a login, address, client or key"))
            .arg(
                Arg::new("attribute")
                    .short('x')
                    .value_name("NAME=VALUE")
                    .action(ArgAction::Append)
                    .value_parser(attribute)
                    .conflicts_with("who")
                    .help("an attribute of a request: sasl_username=joe, protocol_state=DATA ..."),
            ),
    ]
}

fn import_command() -> Command {
    Command::new("import")
        .about("translate another program's configuration into ours, on standard output")
        .arg(
            Arg::new("policyd-rate-limit")
                .long("policyd-rate-limit")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("policyd-rate-limit.yaml; - is standard input"),
        )
        .arg(
            Arg::new("postfwd")
                .long("postfwd")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("the rate rules of a postfwd ruleset; - is standard input"),
        )
        .group(ArgGroup::new("from").args(["policyd-rate-limit", "postfwd"]).required(true))
}

/// A command that asks the running service.
fn asking(name: &'static str) -> Command {
    Command::new(name).arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("print JSON")).arg(
        Arg::new("socket")
            .long("socket")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help("the control socket, when it is not the one of the configuration"),
    )
}

/// `2` or `1.5` in hundredths.
fn hundredths(text: &str) -> Result<u32, String> {
    let wrong = || "write a factor between 0.01 and 1000, as 2 or 1.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 2 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let part: u32 = format!("{part:0<2}").parse().unwrap_or(0);
    let whole: u32 = whole.parse().ok().filter(|whole| *whole <= 1000).ok_or_else(wrong)?;
    Some(whole * 100 + part).filter(|all| (1..=100_000).contains(all)).ok_or_else(wrong)
}

fn secs(text: &str) -> Result<u64, String> {
    crate::rate::period_secs(text)
        .filter(|secs| *secs > 0)
        .ok_or_else(|| "write a time, as 2d, 12h or 30min".to_owned())
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn question(matches: &ArgMatches) -> Option<Result<Task, Usage>> {
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned();
    let (name, own) = matches.subcommand()?;
    let question = match name {
        "status" => Question::Status,
        "top" => Question::Top {
            limit: text(own, "limit"),
            count: usize::from(own.get_one::<u16>("count").copied().unwrap_or(10)),
        },
        "reset" => Question::Reset { limit: text(own, "limit"), key: text(own, "key").unwrap_or_default() },
        "raise" => {
            let (limit, key) = (text(own, "limit").unwrap_or_default(), text(own, "key").unwrap_or_default());
            let (times, secs) = (own.get_one::<u32>("times").copied(), own.get_one::<u64>("for").copied());
            match (own.get_flag("end"), times, secs) {
                (true, ..) => Question::Raise { limit, key, hundredths: 100, secs: 0 },
                (false, Some(hundredths), Some(secs)) => Question::Raise { limit, key, hundredths, secs },
                _ => {
                    return Some(Err(Usage(
                        "error: raise needs --times FACTOR and --for TIME, or --end\n".into(),
                    )));
                }
            }
        }
        "explain" => {
            let attributes: Vec<(String, String)> =
                own.get_many("attribute").map(|all| all.cloned().collect()).unwrap_or_default();
            match text(own, "who") {
                Some(who) => Question::Explain { who },
                None if !attributes.is_empty() => Question::Try { attributes },
                None => {
                    return Some(Err(Usage(
                        "error: explain needs WHO, or -x NAME=VALUE of a request\n".into(),
                    )));
                }
            }
        }
        "import" => {
            let of = |name: &str| own.get_one::<PathBuf>(name).cloned();
            let (from, path) = match of("postfwd") {
                Some(path) => (Import::Postfwd, path),
                None => (Import::PolicydRateLimit, of("policyd-rate-limit").unwrap_or_default()),
            };
            return Some(Ok(Task::Import { from, path }));
        }
        _ => return None,
    };
    let socket = own.get_one::<PathBuf>("socket").cloned();
    Some(Ok(Task::Ask { question, socket, json: own.get_flag("json") }))
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
    let postfix = || {
        let asked = matches.value_source("postfix").is_some();
        asked.then(|| matches.get_one::<PathBuf>("postfix").cloned())
    };
    let task = match question(&matches) {
        Some(task) => task?,
        None if matches.get_flag("check") => Task::Check { postfix: postfix() },
        None => Task::Run,
    };
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
        assert_eq!(
            of(&["-n", "-c", "/x"]).unwrap(),
            Invocation { task: Task::Check { postfix: None }, config: "/x".into() }
        );
        assert_eq!(of(&["-n", "--postfix"]).unwrap().task, Task::Check { postfix: Some(None) });
        let named = Task::Check { postfix: Some(Some("/etc/postfix-2".into())) };
        assert_eq!(of(&["-n", "--postfix", "/etc/postfix-2"]).unwrap().task, named);
        assert!(of(&["--postfix"]).is_err());
        assert!(matches!(of(&["-V"]).unwrap().task, Task::Print(text) if text.contains("postrider-policyd")));
        assert!(of(&["--nonsense"]).is_err());
    }

    #[test]
    fn the_tools() {
        let asks = |words: &[&str]| match of(words).unwrap().task {
            Task::Ask { question, .. } => question,
            other => panic!("{other:?}"),
        };
        assert_eq!(asks(&["status"]), Question::Status);
        assert_eq!(asks(&["top"]), Question::Top { limit: None, count: 10 });
        assert_eq!(asks(&["top", "a", "-n", "3"]), Question::Top { limit: Some("a".into()), count: 3 });
        let raise =
            |hundredths, secs| Question::Raise { limit: "l".into(), key: "joe".into(), hundredths, secs };
        assert_eq!(
            asks(&["raise", "joe", "--limit", "l", "--times", "2.5", "--for", "2d"]),
            raise(250, 172_800)
        );
        assert_eq!(asks(&["raise", "joe", "--limit", "l", "--end"]), raise(100, 0));
        assert!(of(&["raise", "joe", "--limit", "l", "--times", "2"]).is_err());
        for times in ["0", "1001", "x", "1.234", "-1"] {
            assert!(
                of(&["raise", "joe", "--limit", "l", "--times", times, "--for", "1h"]).is_err(),
                "{times}"
            );
        }
        let request = vec![("sender".to_owned(), "a=b@a.example".to_owned())];
        assert_eq!(asks(&["explain", "-x", "sender=a=b@a.example"]), Question::Try { attributes: request });
        assert!(of(&["explain"]).is_err());
        let import = Task::Import { from: Import::Postfwd, path: "-".into() };
        assert_eq!(of(&["import", "--postfwd", "-"]).unwrap().task, import);
        assert!(of(&["import"]).is_err());
    }
}
