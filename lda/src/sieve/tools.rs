//! `postrider-lda sieve-check` and `sieve-test`: what a script is worth, without delivering anything.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::exit;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::evaluate::{World, evaluate};
use super::extensions::Extensions;
use super::interpreter::{Facts, Limits};
use super::library::{Library, Places, Unusable};
use super::plan::{Policy, Step};
use super::rewrite::Circumstances;
use super::syntax::Mistake;
use super::{display, user_log, zone};
use crate::location::Location;
use crate::maildir::Mailboxes;
use crate::variables::Values;

/// Runs a tool when `arguments` (without the program's name) begin with its name: what it prints on standard output
/// and standard error goes to `out` and `err`. `None`: it is no tool.
pub fn run(arguments: &[OsString], now: Duration, out: &mut dyn Write, err: &mut dyn Write) -> Option<u8> {
    let tool = arguments.first()?.to_str()?;
    let command = match tool {
        "sieve-check" => check_command(),
        "sieve-test" => test_command(),
        _ => return None,
    };
    let matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp) => {
            tell(out, &error.to_string());
            return Some(0);
        }
        Err(error) => {
            tell(err, &error.to_string());
            return Some(exit::USAGE);
        }
    };
    let result = if tool == "sieve-check" { check(&matches, out) } else { test(&matches, now, out, err) };
    Some(result.unwrap_or_else(|(code, text)| {
        tell(err, &format!("{tool}: {text}\n"));
        code
    }))
}

type Failure = (u8, String);

fn tell(to: &mut dyn Write, text: &str) {
    // A reader that has gone away wants nothing more.
    drop(to.write_all(text.as_bytes()));
}

fn extensions_argument() -> Arg {
    Arg::new("extensions")
        .short('x')
        .value_name("EXTENSIONS")
        .allow_hyphen_values(true)
        .default_value("+editheader +ereject +vacation-seconds")
        .help("extensions, in the notation of sieve_extensions")
}

fn script_argument() -> Arg {
    Arg::new("script")
        .value_name("SCRIPT")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("the script")
}

fn global_argument() -> Arg {
    Arg::new("global")
        .short('g')
        .value_name("DIRECTORY")
        .value_parser(value_parser!(PathBuf))
        .help("where include :global looks; include :personal looks beside the script")
}

fn json_argument() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("print JSON")
}

fn check_command() -> Command {
    Command::new("postrider-lda sieve-check")
        .about("Compiles a Sieve script and tells what is wrong with it")
        .after_help("Exit codes: 0 it is sound, 64 usage, 65 it is not, or cannot be read.")
        .args([script_argument(), extensions_argument(), global_argument(), json_argument()])
}

fn test_command() -> Command {
    let address = |name: &'static str, short: char, help: &'static str| {
        Arg::new(name).short(short).value_name("ADDRESS").default_value("").help(help)
    };
    Command::new("postrider-lda sieve-test")
        .about("Shows what a Sieve script would do with a message; nothing is delivered or sent")
        .after_help("Exit codes: 0 it ran, 1 it failed and the message is kept, 64 usage, 65 the script is not sound or a file cannot be read.")
        .args([
            script_argument(),
            Arg::new("message")
                .value_name("MESSAGE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("the message"),
            address("sender", 'f', "envelope sender"),
            address("recipient", 'r', "envelope recipient"),
            address("original", 'a', "original envelope recipient"),
            Arg::new("mailbox").short('m').value_name("FOLDER").default_value("INBOX").help("the folder of keep"),
            Arg::new("location")
                .short('l')
                .value_name("LOCATION")
                .help("mail location, whose folders exist for mailboxexists: maildir:/path"),
            extensions_argument(),
            global_argument(),
            json_argument(),
        ])
}

struct Asked<'a> {
    script: &'a Path,
    places: Places,
    extensions: Extensions,
    json: bool,
}

fn asked(matches: &ArgMatches) -> Result<Asked<'_>, Failure> {
    let path = |name: &str| matches.get_one::<PathBuf>(name);
    let script = path("script").map(PathBuf::as_path).ok_or((exit::USAGE, "no script".to_owned()))?;
    let beside = script.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let places = Places {
        active: Some(script.to_owned()),
        personal: Some(beside.to_owned()),
        global: path("global").cloned(),
        ..Places::default()
    };
    let text = matches.get_one::<String>("extensions").map_or("", String::as_str);
    let extensions = Extensions::parse(text).map_err(|why| (exit::USAGE, why))?;
    Ok(Asked { script, places, extensions, json: matches.get_flag("json") })
}

/// The largest script that the tools read, as Pigeonhole's limit.
const MAX_SCRIPT: u64 = 1 << 20;

fn library(asked: &Asked<'_>, now: Duration) -> Library {
    let circumstances = Circumstances { zone_minutes: zone::minutes_east(now.as_secs()), size: None };
    Library::new(&asked.places, asked.extensions.clone(), Limits::default(), MAX_SCRIPT, circumstances)
}

fn check(matches: &ArgMatches, out: &mut dyn Write) -> Result<u8, Failure> {
    let asked = asked(matches)?;
    let (mistakes, warnings) = match library(&asked, Duration::ZERO).load(asked.script) {
        Ok(Some((_, warnings))) => (Vec::new(), warnings),
        Ok(None) => return Err((exit::DATAERR, format!("{}: no such file", asked.script.display()))),
        Err(Unusable::Unreadable(why)) => return Err((exit::DATAERR, why)),
        Err(Unusable::Mistakes(mistakes)) => (mistakes, Vec::new()),
    };
    if asked.json {
        let listed = |list: &[Mistake]| {
            let entries: Vec<_> = list
                .iter()
                .map(|found| format!("{{\"line\":{},\"text\":{}}}", found.line, display::string(&found.text)))
                .collect();
            entries.join(",")
        };
        tell(out, &format!("{{\"errors\":[{}],\"warnings\":[{}]}}\n", listed(&mistakes), listed(&warnings)));
    } else {
        for (list, word) in [(&mistakes, "error"), (&warnings, "warning")] {
            for found in list {
                tell(out, &format!("{}\n", complaint(asked.script, found, word)));
            }
        }
    }
    Ok(if mistakes.is_empty() { 0 } else { exit::DATAERR })
}

fn complaint(script: &Path, mistake: &Mistake, word: &str) -> String {
    let name = script.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let text = base::log::escaped(mistake.text.as_bytes(), 1000);
    format!("{name}: line {}: {word}: {text}", mistake.line)
}

struct Folders(Option<Mailboxes>);

impl World for Folders {
    fn mailbox_exists(&mut self, name: &str) -> bool {
        match &self.0 {
            Some(boxes) => boxes.folder(name).and_then(|folder| boxes.exists(&folder)).unwrap_or(false),
            None => name.eq_ignore_ascii_case("INBOX"),
        }
    }

    fn is_duplicate(&mut self, _id: &str) -> bool {
        false
    }
}

fn test(
    matches: &ArgMatches,
    now: Duration,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8, Failure> {
    let asked = asked(matches)?;
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let message = matches
        .get_one::<PathBuf>("message")
        .ok_or_else(|| (exit::USAGE, "no message".to_owned()))
        .and_then(|path| {
            std::fs::read(path).map_err(|error| (exit::DATAERR, format!("{}: {error}", path.display())))
        })?;
    let boxes = matches.get_one::<String>("location").map(|location| folders(location)).transpose()?;
    let facts = Facts {
        sender: crate::envelope::address(&text("sender")).to_owned(),
        recipient: crate::envelope::address(&text("recipient")).to_owned(),
        hostname: hostname(),
    };
    let mut library = library(&asked, now);
    match library.load(asked.script) {
        Ok(Some(_)) => {}
        Ok(None) => return Err((exit::DATAERR, format!("{}: no such file", asked.script.display()))),
        Err(Unusable::Unreadable(why)) => return Err((exit::DATAERR, why)),
        Err(Unusable::Mistakes(mistakes)) => {
            for mistake in &mistakes {
                tell(err, &format!("{}\n", complaint(asked.script, mistake, "error")));
            }
            return Err((exit::DATAERR, "failed to compile sieve script".to_owned()));
        }
    }
    let evaluation =
        evaluate(&asked.places, &mut library, &message, &facts, Policy::default(), &mut Folders(boxes))
            .map_err(|why| (exit::DATAERR, why))?;
    if let Some(failed) = &evaluation.failed {
        for line in user_log::lines(failed) {
            tell(err, &format!("{line}\n"));
        }
        tell(err, "final result: failed; resolved with successful implicit keep\n");
    }
    let mut plan = evaluation.plan;
    let mailbox = text("mailbox");
    let keeps = plan.steps.iter_mut().filter_map(|step| match step {
        Step::Store(store) if store.keep => Some(store),
        _ => None,
    });
    for keep in keeps.chain(&mut plan.implicit_keep) {
        keep.mailbox.clone_from(&mailbox);
    }
    for step in &plan.steps {
        if let Step::Debug(text) = step {
            tell(err, &format!("info: DEBUG: {}\n", base::log::escaped(text.as_bytes(), 1000)));
        }
    }
    tell(out, &if asked.json { display::json(&plan) } else { display::text(&plan) });
    Ok(u8::from(evaluation.failed.is_some()))
}

fn folders(location: &str) -> Result<Mailboxes, Failure> {
    let usage = |why: String| (exit::USAGE, format!("-l {location}: {why}"));
    let place =
        Location::parse(location).and_then(|found| found.expand(&Values::default())).map_err(usage)?;
    Mailboxes::open(place, None, "", false, &hostname()).map_err(|error| usage(error.to_string()))
}

fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ran(arguments: &[&str], script: &str) -> (u8, String, String) {
        let home = tempfile::tempdir().unwrap();
        let (file, message) = (home.path().join("s.sieve"), home.path().join("m.eml"));
        fs::write(&file, script).unwrap();
        fs::write(&message, "From: a\nSubject: b\n\nbody\n").unwrap();
        let mut all: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        all.push(file.into());
        if arguments[0] == "sieve-test" {
            all.push(message.into());
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&all, Duration::ZERO, &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn checking() {
        assert_eq!(ran(&["sieve-check"], "keep;"), (0, String::new(), String::new()));
        let (code, out, _) = ran(&["sieve-check"], "keep;\nbroken;");
        assert_eq!(
            (code, out.as_str()),
            (65, "s: line 2: error: unknown command 'broken' (only reported once at first occurrence).\n")
        );
        let (code, out, _) = ran(&["sieve-check", "--json"], "@");
        assert_eq!(
            (code, out.as_str()),
            (
                65,
                "{\"errors\":[{\"line\":1,\"text\":\"unexpected character(s) starting with '@'.\"}],\"warnings\":[]}\n"
            )
        );
        assert_eq!(ran(&["sieve-check", "-x", "+nonsense"], "keep;").0, 64);
        assert_eq!(ran(&["sieve-check", "-x", "-copy"], "require \"copy\";").0, 65);
    }

    #[test]
    fn testing() {
        let (code, out, _) = ran(
            &["sieve-test"],
            "require [\"fileinto\",\"imap4flags\"]; fileinto :flags \"\\\\Seen x\" \"a\";",
        );
        assert_eq!(code, 0);
        assert_eq!(
            out,
            "\nPerformed actions:\n\n * store message in folder: a\n        + add IMAP flags: \\Seen x\n\nImplicit keep:\n\n  (none)\n\n"
        );
        let (code, out, err) = ran(&["sieve-test", "-m", "Sub"], "require \"ihave\"; error \"x\";");
        assert!(code == 1 && err.contains("s: error: x") && out.contains("folder: Sub"), "{out}{err}");
        let (_, out, _) = ran(&["sieve-test", "--json"], "redirect \"a@b.example\";");
        assert_eq!(
            out,
            "{\"actions\":[{\"action\":\"redirect\",\"address\":\"a@b.example\",\"copy\":false}],\"implicit_keep\":null}\n"
        );
        assert_eq!(ran(&["sieve-test"], "broken;").0, 65);
    }

    #[test]
    fn other_words_are_no_tools() {
        assert_eq!(run(&["-d".into()], Duration::ZERO, &mut Vec::new(), &mut Vec::new()), None);
        let mut out = Vec::new();
        assert_eq!(
            run(&["sieve-test".into(), "--help".into()], Duration::ZERO, &mut out, &mut Vec::new()),
            Some(0)
        );
        assert!(String::from_utf8(out).unwrap().contains("MESSAGE"));
    }
}
