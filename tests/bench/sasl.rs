//! Debian's Dovecot and our auth service side by side: what a login costs, how many there are, and who has to wait.

use std::error::Error;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Command;

use harness::auth::{AuthClient, AuthConf, AuthServer};
use harness::milter::Subject;
use harness::sasl::Sasl;
use harness::scratch::Scratch;
use serde_json::{Value, json};

use crate::report::Spread;

/// One row of the table.
struct Case {
    title: &'static str,
    /// Arguments of authload; `{seconds}` stands for the time of a run.
    arguments: &'static str,
    /// The figure in its output.
    figure: &'static str,
    decimals: usize,
    bar: Bar,
}

/// What is good enough.
#[derive(Clone, Copy)]
enum Bar {
    /// Ours at most this part of Dovecot's.
    AtMostPart(f64),
    /// Ours at least this many times Dovecot's.
    AtLeastTimes(f64),
    /// Ours at most this, whatever Dovecot's is.
    AtMost(f64),
    None,
}

const CASES: [Case; 7] = [
    Case {
        title: "CPU for a {PLAIN} login, 1 connection, µs",
        arguments: "--login plain:secret --seconds {seconds}",
        figure: "server_us",
        decimals: 1,
        bar: Bar::AtMostPart(0.8),
    },
    Case {
        title: "CPU for a {PLAIN} login, 100 connections, µs",
        arguments: "--login plain:secret --connections 100 --seconds {seconds}",
        figure: "server_us",
        decimals: 1,
        bar: Bar::AtMostPart(0.8),
    },
    Case {
        title: "{PLAIN} logins/s, 100 connections",
        arguments: "--login plain:secret --connections 100 --seconds {seconds}",
        figure: "per_second",
        decimals: 0,
        bar: Bar::None,
    },
    Case {
        title: "SHA512-CRYPT logins/s, 16 connections",
        arguments: "--login sha512:secret --connections 16 --seconds {seconds}",
        figure: "per_second",
        decimals: 0,
        bar: Bar::AtLeastTimes(1.8),
    },
    Case {
        title: "p99 of {PLAIN} logins beside 16 bcrypt checks, ms",
        arguments: "--login plain:secret --connections 4 --slow bcrypt:secret --in-flight 16 --seconds {seconds}",
        figure: "p99_ms",
        decimals: 2,
        bar: Bar::AtMost(10.0),
    },
    Case {
        title: "bcrypt checks/s beside them",
        arguments: "--login plain:secret --connections 4 --slow bcrypt:secret --in-flight 16 --seconds {seconds}",
        figure: "slow_per_second",
        decimals: 1,
        bar: Bar::None,
    },
    Case {
        title: "memory with 5,000 idle connections, MB",
        arguments: "--idle 5000",
        figure: "with_mb",
        decimals: 1,
        bar: Bar::AtMost(40.0),
    },
];

/// Runs all cases whose title contains `only` on both servers in turn, and prints the table.
///
/// # Errors
/// When authload is missing or a single login is refused.
pub fn run(rounds: usize, quick: bool, only: &str) -> Result<Value, Box<dyn Error>> {
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.title.contains(only)).collect();
    if cases.is_empty() {
        return Ok(Value::Null);
    }
    let program = std::env::current_exe()?.with_file_name("authload");
    if !program.exists() {
        return Err(format!("{} is missing: build it as well", program.display()).into());
    }
    let only_subject = std::env::var_os("SUBJECT").map(|_| Subject::from_env());
    let seconds = if quick { "1" } else { "4" };
    let scratch = Scratch::new("bench");
    let conf = conf();
    let watched = std::io::stderr().is_terminal();
    let mut runs: Vec<[Vec<Value>; 2]> = cases.iter().map(|_| Default::default()).collect();
    for round in 1..=rounds {
        for (number, subject) in [Subject::Reference, Subject::Ours].into_iter().enumerate() {
            if only_subject.is_some_and(|only| only != subject) {
                continue;
            }
            // What the same arguments gave in this round serves every row that has them.
            let mut known: Vec<(&str, Value)> = Vec::new();
            for (case, runs) in cases.iter().zip(&mut runs) {
                if watched {
                    eprint!("\rround {round}: {:<60}", case.title);
                }
                let found = known.iter().find(|(arguments, _)| *arguments == case.arguments);
                let figures = match found {
                    Some((_, figures)) => figures.clone(),
                    None => {
                        let name = format!("{subject:?}{round}-{}", known.len());
                        let server = AuthServer::start(&scratch, &name, subject, &conf);
                        let arguments = case.arguments.replace("{seconds}", seconds);
                        let figures = measure(&program, &server, &arguments)
                            .map_err(|e| format!("{subject:?}: {}: {e}", case.title))?;
                        known.push((case.arguments, figures.clone()));
                        figures
                    }
                };
                if let Some(runs) = runs.get_mut(number) {
                    runs.push(figures);
                }
            }
        }
    }
    if watched {
        eprint!("\r{:<72}\r", "");
    }
    println!("\nAuth: median (least–most) of {rounds} rounds in turn");
    println!("{:<52} {:>24} {:>24} {:>6}  bar", "", "dovecot", "postrider-sasl-auth", "ratio");
    let mut all = Vec::new();
    for (case, [theirs, ours]) in cases.iter().zip(&runs) {
        all.push(print(case, theirs, ours));
    }
    Ok(Value::Array(all))
}

/// Prints a row and returns it.
fn print(case: &Case, theirs: &[Value], ours: &[Value]) -> Value {
    let spreads = [theirs, ours].map(|runs| Spread::of(runs, case.figure));
    let [theirs_text, ours_text] = spreads
        .each_ref()
        .map(|spread| spread.as_ref().map_or("-".into(), |spread| spread.text(case.decimals)));
    let [theirs_median, ours_median] =
        spreads.each_ref().map(|spread| spread.as_ref().map_or(f64::NAN, |spread| spread.median));
    let ratio = ours_median / theirs_median;
    let verdict = verdict(case.bar, ours_median, theirs_median);
    println!("{:<52} {theirs_text:>24} {ours_text:>24} {ratio:>6.2}  {verdict}", case.title);
    json!({ "case": case.title, "dovecot": theirs, "postrider": ours, "ratio": ratio, "bar": verdict })
}

/// "≤ 0.80 met" or the like.
fn verdict(bar: Bar, ours: f64, theirs: f64) -> String {
    if theirs.is_nan() || ours.is_nan() {
        return "-".into();
    }
    let (text, met) = match bar {
        Bar::AtMostPart(part) => (format!("≤ {part:.2}"), ours <= theirs * part),
        Bar::AtLeastTimes(times) => (format!("≥ {times:.2}"), ours >= theirs * times),
        Bar::AtMost(most) => (format!("ours ≤ {most:.0}"), ours <= most),
        Bar::None => return String::new(),
    };
    format!("{text} {}", if met { "met" } else { "MISSED" })
}

/// One run of authload against a fresh server.
fn measure(program: &PathBuf, server: &AuthServer, arguments: &str) -> Result<Value, Box<dyn Error>> {
    // Dovecot starts its processes when it is first asked.
    AuthClient::connect(server).assert_ok(&Sasl::new("PLAIN", "plain", "secret"));
    let pids: Vec<String> = server.processes().iter().map(ToString::to_string).collect();
    let mut command = Command::new(program);
    command.arg("--connect").arg(server.client_socket()).arg("--pids").arg(pids.join(","));
    let output = command.args(arguments.split(' ')).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    let mut figures: Value = serde_json::from_slice(&output.stdout)?;
    if let Some(kib) = figures["with_kib"].as_f64() {
        figures["with_mb"] = json!(kib * 1024.0 / 1e6);
    }
    Ok(figures)
}

/// The same for both: users with a plain password, SHA512-CRYPT with 5000 rounds and bcrypt of cost 10. No cache.
fn conf() -> AuthConf {
    AuthConf::new()
        .user("plain", "{PLAIN}secret")
        .user("sha512", SHA512_CRYPT)
        .user("bcrypt", BCRYPT)
        .setting("auth_cache_size = 0", "")
}

const SHA512_CRYPT: &str = "{SHA512-CRYPT}$6$eL0K/PUV0qOCwyNZ$9x44m7K/EkJL8D7fPFQdChfTumMTiZaQvygAdnSX0DUfFAhcmtytRw/2QAWjOo80y7Wfk7.GjLZ71J9NiVFk81";
const BCRYPT: &str = "{BLF-CRYPT}$2y$10$aq7pinBboUekyYAFbdUkAemg3l3NArtTGAc470MqkZGX07Kkl2DlS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(verdict(Bar::AtMostPart(0.8), 8.0, 10.0), "≤ 0.80 met");
        assert_eq!(verdict(Bar::AtMostPart(0.8), 8.1, 10.0), "≤ 0.80 MISSED");
        assert_eq!(verdict(Bar::AtLeastTimes(1.8), 18.0, 10.0), "≥ 1.80 met");
        assert_eq!(verdict(Bar::AtLeastTimes(1.8), f64::NAN, 10.0), "-");
        assert_eq!(verdict(Bar::AtMost(10.0), 10.1, 500.0), "ours ≤ 10 MISSED");
        assert_eq!(verdict(Bar::None, 1.0, 1.0), "");
    }
}
