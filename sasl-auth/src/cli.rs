//! The command line: the daemon's flags, and the tools `test`, `lookup`, `password` and `import`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::DEFAULT_PATH;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Run the daemon.
    Run,
    /// Read everything that starting would read, and report (`-n`).
    Check,
    /// Check a password (`test USER`).
    Test {
        /// The user.
        user: String,
        /// `-x key=value`: what an AUTH line would tell, e.g. `rip=192.0.2.1`.
        told: Vec<String>,
        /// Machine-readable output.
        json: bool,
    },
    /// Show a user's userdb entry, or with a mask the users' names (`lookup USER`).
    Lookup {
        /// The user, or a mask with `*` and `?`.
        user: String,
        /// As in `Test`.
        told: Vec<String>,
        /// Machine-readable output.
        json: bool,
    },
    /// Hash a password (`password`).
    Password(Password),
    /// Translate a Dovecot configuration (`import`).
    Import {
        /// The output of `doveconf -n`; `-` is standard input.
        doveconf: PathBuf,
    },
    /// Check passwords by PAM for the daemon, on standard input and output.
    PamWorker,
    /// Print a text on standard output and end with 0 (`-V`, `--help`).
    Print(String),
}

/// `password`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Password {
    /// `-s`; default BLF-CRYPT.
    pub scheme: String,
    /// `-r`.
    pub rounds: Option<u32>,
    /// `-u`, which DIGEST-MD5 hashes along.
    pub user: String,
    /// `-t`: compare with this instead of making a new one.
    pub against: Option<String>,
    /// `-l`: list the schemes.
    pub list: bool,
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

fn told() -> Arg {
    Arg::new("told")
        .short('x')
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .value_parser(told_of_client)
        .help("what the client would tell: service=smtp, rip=192.0.2.1, secured ...")
}

fn command() -> Command {
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("print JSON");
    Command::new("postrider-sasl-auth")
        .about("Authenticates SMTP users for Postfix and Exim by the Dovecot auth protocol")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .after_help(
            "Exit codes: 0 in order, 64 usage, 65 bad data, 67 no such user, 69 socket not usable, 71 system,\n\
             75 try again later, 77 wrong password or missing rights, 78 configuration.",
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
        .subcommand(
            Command::new("test")
                .about("check a password, asked for or on standard input, as a login would")
                .arg(Arg::new("user").required(true).value_name("USER"))
                .arg(told())
                .arg(json()),
        )
        .subcommand(
            Command::new("lookup")
                .about("show where a user's mailbox is, or with a mask (*, ?) which users there are")
                .arg(Arg::new("user").required(true).value_name("USER|MASK"))
                .arg(told())
                .arg(json()),
        )
        .subcommand(
            Command::new("password")
                .about("hash a password, asked for or on standard input")
                .arg(Arg::new("scheme").short('s').value_name("SCHEME").default_value("BLF-CRYPT").help("scheme"))
                .arg(
                    Arg::new("rounds")
                        .short('r')
                        .value_name("ROUNDS")
                        .value_parser(value_parser!(u32))
                        .help("cost, where the scheme has one"),
                )
                .arg(Arg::new("user").short('u').value_name("USER").default_value("").help("user, for DIGEST-MD5"))
                .arg(
                    Arg::new("against")
                        .short('t')
                        .value_name("HASH")
                        .help("tell whether the password matches this hash instead"),
                )
                .arg(Arg::new("list").short('l').action(ArgAction::SetTrue).help("list the schemes")),
        )
        .subcommand(
            Command::new("import").about("translate a Dovecot configuration into ours, on standard output").arg(
                Arg::new("doveconf")
                    .long("doveconf")
                    .required(true)
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("the output of doveconf -n (2.3 or 2.4); - is standard input"),
            ),
        )
        .subcommand(Command::new("pam-worker").hide(true))
}

/// What `-x` may say, sorted by what the value is.
const ADDRESSES: [&str; 4] = ["rip", "lip", "real_rip", "real_lip"];
const PORTS: [&str; 2] = ["rport", "lport"];
const TEXTS: [&str; 5] = ["service", "local_name", "session", "client_id", "cert_username"];
const FLAGS: [&str; 2] = ["secured", "valid-client-cert"];

/// A word of `-x` as an AUTH line has it. There a server passes over what it does not know; here that would
/// hide a slip of the pen.
fn told_of_client(word: &str) -> Result<String, String> {
    let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
    let is_right = match value {
        _ if word.contains(char::is_control) => return Err("a control character is in it".to_owned()),
        Some(value) if ADDRESSES.contains(&key) => value.parse::<IpAddr>().is_ok(),
        Some(value) if PORTS.contains(&key) => value.parse::<u16>().is_ok(),
        Some(value) if TEXTS.contains(&key) => !value.is_empty(),
        None | Some("tls") if FLAGS.contains(&key) => true,
        _ => false,
    };
    if is_right {
        return Ok(word.to_owned());
    }
    Err(if ADDRESSES.contains(&key) {
        format!("{key} is an address, as in {key}=192.0.2.1")
    } else if PORTS.contains(&key) {
        format!("{key} is a port, as in {key}=587")
    } else if TEXTS.contains(&key) {
        format!("{key} has a value, as in {key}=smtp")
    } else if FLAGS.contains(&key) {
        format!("{key} has no value")
    } else {
        let known: Vec<&str> = [&ADDRESSES[..], &PORTS, &TEXTS, &FLAGS].concat();
        format!("{key} is not known; known are {}", known.join(", "))
    })
}

/// Reads a command line without the program's name.
///
/// # Errors
/// [`Usage`] when it cannot be followed.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    let program = std::iter::once(OsString::from("postrider-sasl-auth"));
    match command().try_get_matches_from(program.chain(arguments)) {
        Ok(matches) if matches.get_flag("check") && matches.subcommand_name().is_some() => {
            Err(Usage("error: -n stands alone, without a command\n".to_owned()))
        }
        Ok(matches) => Ok(invocation(&matches)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Invocation { task: Task::Print(error.to_string()), config: PathBuf::from(DEFAULT_PATH) })
        }
        Err(error) => Err(Usage(error.to_string())),
    }
}

fn invocation(matches: &ArgMatches) -> Invocation {
    let text =
        |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let many = |matches: &ArgMatches, name: &str| {
        matches.get_many::<String>(name).map(|all| all.cloned().collect()).unwrap_or_default()
    };
    let task = match matches.subcommand() {
        Some(("test", own)) => {
            Task::Test { user: text(own, "user"), told: many(own, "told"), json: own.get_flag("json") }
        }
        Some(("lookup", own)) => {
            Task::Lookup { user: text(own, "user"), told: many(own, "told"), json: own.get_flag("json") }
        }
        Some(("password", own)) => Task::Password(Password {
            scheme: text(own, "scheme"),
            rounds: own.get_one("rounds").copied(),
            user: text(own, "user"),
            against: own.get_one("against").cloned(),
            list: own.get_flag("list"),
        }),
        Some(("import", own)) => {
            Task::Import { doveconf: own.get_one("doveconf").cloned().unwrap_or_default() }
        }
        Some(("pam-worker", _)) => Task::PamWorker,
        _ if matches.get_flag("check") => Task::Check,
        _ => Task::Run,
    };
    let config = matches.get_one("config").cloned().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
    Invocation { task, config }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Invocation, Usage> {
        read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_daemon() {
        assert_eq!(of("").unwrap(), Invocation { task: Task::Run, config: DEFAULT_PATH.into() });
        assert_eq!(of("-c /x -n").unwrap(), Invocation { task: Task::Check, config: "/x".into() });
        assert!(
            matches!(of("-V").unwrap().task, Task::Print(text) if text.contains(env!("CARGO_PKG_VERSION")))
        );
        assert!(matches!(of("--help").unwrap().task, Task::Print(text) if !text.contains("pam-worker")));
        assert!(of("--nonsense").is_err());
        assert!(of("test").is_err());
        assert!(of("-n test bob").is_err());
    }

    #[test]
    fn the_tools() {
        let invocation = of("-c /x test bob -x service=smtp -x secured --json").unwrap();
        let told = vec!["service=smtp".to_owned(), "secured".to_owned()];
        assert_eq!(invocation.task, Task::Test { user: "bob".into(), told, json: true });
        assert_eq!(invocation.config, PathBuf::from("/x"));
        for wrong in [
            "foo=bar",
            "rip=999.1.1.1",
            "rip",
            "rport=x",
            "service=",
            "service",
            "secured=no",
            "rip=::1\u{7f}",
        ] {
            let Err(Usage(text)) = of(&format!("test bob -x {wrong}")) else { panic!("{wrong}") };
            assert!(text.contains("-x"), "{text}");
        }
        for right in
            ["rip=::1", "real_lip=192.0.2.1", "lport=25", "session=a=b", "secured=tls", "valid-client-cert"]
        {
            assert!(of(&format!("lookup bob -x {right}")).is_ok(), "{right}");
        }
        assert_eq!(of("lookup bob -c /y").unwrap().config, PathBuf::from("/y"));
        let Task::Password(password) = of("password -s ARGON2ID -r 4").unwrap().task else { panic!() };
        assert_eq!((password.scheme.as_str(), password.rounds), ("ARGON2ID", Some(4)));
        assert_eq!(of("import --doveconf -").unwrap().task, Task::Import { doveconf: "-".into() });
        assert_eq!(of("pam-worker").unwrap().task, Task::PamWorker);
    }
}
