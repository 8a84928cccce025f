//! The command line: OpenDKIM's flags, and the long forms that all Postrider daemons share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

/// Where the configuration is looked for when `-x` does not name it.
pub const DEFAULT_CONFIG: &str = "/etc/opendkim.conf";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Run the daemon.
    Run,
    /// Read everything that starting would read, and report (`-n`).
    Check,
    /// Print one effective setting (`-e NAME`).
    Effective(String),
    /// Print a text on standard output and end with 0 (`-V`, `--help`).
    Print(String),
}

/// The command line, read.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub task: Task,
    /// The file that `-x` names; `-` is standard input.
    pub config: Option<PathBuf>,
    /// Stay in the foreground whatever the file says (`-f`).
    pub foreground: bool,
    /// Settings that win over the file's, also after a reload.
    pub settings: Vec<(&'static str, String)>,
}

/// A command line that cannot be followed; the text is for standard error, the exit code is 64.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage(pub String);

/// Flags that stand for one parameter and take its value.
const VALUES: [(char, &str, &str); 13] = [
    ('b', "Mode", "s signs, v verifies"),
    ('c', "Canonicalization", "header[/body], each simple or relaxed"),
    ('d', "Domain", "domains to sign for (data set)"),
    ('k', "KeyFile", "private key"),
    ('L', "Minimum", "how much of a body must be signed"),
    ('o', "OmitHeaders", "header fields never signed"),
    ('p', "Socket", "where to listen"),
    ('P', "PidFile", "where the process id is written"),
    ('s', "Selector", "selector"),
    ('S', "SignatureAlgorithm", "signature algorithm"),
    ('T', "DNSTimeout", "seconds that a look-up may take"),
    ('u', "UserID", "user[:group] to run as"),
    ('g', "CheckSigningTable", "no: do not check the signing table at start"),
];

/// Flags that turn one parameter on.
const SWITCHES: [(char, &str, &str); 5] = [
    ('A', "AutoRestart", "restart after a crash (left to the service manager)"),
    ('D', "SubDomains", "sign for subdomains too"),
    ('l', "Syslog", "log to the system log"),
    ('r', "RequiredHeaders", "refuse messages that lack required header fields"),
    ('W', "LogWhy", "log why a message is not signed"),
];

fn command() -> Command {
    let mut command = Command::new("postrider-milter")
        .about("DKIM signing and verifying milter; reads OpenDKIM's configuration")
        .disable_version_flag(true)
        .disable_help_flag(true)
        .after_help("Exit codes: 0 ended in order, 64 usage, 69 socket not usable, 71 and 77 system, 78 configuration.")
        .arg(Arg::new("config").short('x').long("config").value_name("FILE").help("configuration file, - for standard input"))
        .arg(Arg::new("check").short('n').long("check").action(ArgAction::SetTrue).help("check the configuration and all it names, and end"))
        .arg(Arg::new("foreground").short('f').action(ArgAction::SetTrue).help("stay in the foreground"))
        .arg(Arg::new("effective").short('e').value_name("NAME").help("print the value of a parameter and end"))
        .arg(Arg::new("version").short('V').long("version").action(ArgAction::SetTrue).help("print the version and end"))
        .arg(Arg::new("help").short('?').long("help").action(ArgAction::SetTrue).help("print this and end"))
        .arg(Arg::new("tolerant").short('X').action(ArgAction::SetTrue).help("warn about unknown parameters instead of refusing them"))
        .arg(Arg::new("verbose").short('v').action(ArgAction::Count).help("accepted; the log has all of it"));
    for (flag, parameter, help) in VALUES {
        command = command
            .arg(Arg::new(parameter).short(flag).value_name("VALUE").help(format!("{parameter}: {help}")));
    }
    for (flag, parameter, help) in SWITCHES {
        command = command.arg(
            Arg::new(parameter).short(flag).action(ArgAction::SetTrue).help(format!("{parameter}: {help}")),
        );
    }
    command
}

/// Flags of OpenDKIM that this version does not have yet, and what they would do.
const NOT_YET: [(&str, &str); 3] =
    [("-t", "verifying message files"), ("-Q", "querying data sets"), ("-F", "a fixed time for -t")];

/// Reads the command line; `program` is the name it was called by.
///
/// # Errors
/// A [`Usage`] with the text to print when a flag is unknown, lacks its value, or is one of
/// OpenDKIM's that is not there yet.
pub fn read(program: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    for (flag, what) in NOT_YET {
        if arguments.iter().any(|argument| argument == flag) {
            return Err(Usage(format!("{program}: {flag} ({what}) is not there yet in this version\n")));
        }
    }
    let mut command = command().no_binary_name(true).bin_name(program.to_owned());
    let matches = command.try_get_matches_from_mut(arguments).map_err(|error| {
        let text = error.to_string();
        Usage(format!("{program}: {}\n", text.trim_start_matches("error: ").trim_end()))
    })?;
    let task = if matches.get_flag("help") {
        Task::Print(command.render_help().to_string())
    } else if matches.get_flag("version") {
        Task::Print(version(program))
    } else if let Some(name) = matches.get_one::<String>("effective") {
        Task::Effective(name.clone())
    } else if matches.get_flag("check") {
        Task::Check
    } else {
        Task::Run
    };
    Ok(Invocation {
        task,
        config: matches.get_one::<String>("config").map(PathBuf::from),
        foreground: matches.get_flag("foreground"),
        settings: settings(&matches),
    })
}

fn settings(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    for (_, parameter, _) in VALUES {
        if let Some(value) = matches.get_one::<String>(parameter) {
            settings.push((parameter, value.clone()));
        }
    }
    for (_, parameter, _) in SWITCHES {
        if matches.get_flag(parameter) {
            settings.push((parameter, "yes".to_owned()));
        }
    }
    if matches.get_flag("tolerant") {
        settings.push(("UnknownParameters", "warn".to_owned()));
    }
    settings
}

fn version(program: &str) -> String {
    format!(
        "{program}: Postrider {}\n\
         \tsignature algorithms: rsa-sha256 ed25519-sha256\n\
         \tcanonicalizations: simple relaxed\n\
         \tmilter protocol: version 6\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Result<Invocation, Usage> {
        read("opendkim", words.iter().map(OsString::from))
    }

    #[test]
    fn flags_of_opendkim_become_settings() {
        let read =
            line(&["-f", "-x", "a.conf", "-p", "inet:8891@localhost", "-W", "-b", "sv", "-u", "opendkim"])
                .unwrap();
        assert_eq!(read.task, Task::Run);
        assert!(read.foreground);
        assert_eq!(read.config, Some(PathBuf::from("a.conf")));
        let want =
            [("Mode", "sv"), ("Socket", "inet:8891@localhost"), ("UserID", "opendkim"), ("LogWhy", "yes")];
        assert_eq!(read.settings, want.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn what_cannot_be_followed_is_said() {
        assert!(line(&["-q"]).unwrap_err().0.starts_with("opendkim: unexpected argument '-q'"));
        assert!(line(&["extra"]).unwrap_err().0.contains("unexpected argument 'extra'"));
        assert!(line(&["-p"]).unwrap_err().0.contains("-p"));
        assert!(line(&["-t", "file"]).unwrap_err().0.contains("not there yet"));
    }

    #[test]
    fn tasks_are_told_apart() {
        assert_eq!(line(&["-n"]).unwrap().task, Task::Check);
        assert_eq!(line(&["--check", "--config", "x"]).unwrap().config, Some(PathBuf::from("x")));
        assert_eq!(line(&["-e", "Mode"]).unwrap().task, Task::Effective("Mode".to_owned()));
        assert!(matches!(line(&["-V"]).unwrap().task, Task::Print(text) if text.contains("Postrider")));
        assert!(matches!(line(&["--help"]).unwrap().task, Task::Print(text) if text.contains("-x")));
    }
}
