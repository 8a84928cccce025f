//! `bench`: Debian's opendkim and our milter, Debian's Dovecot and our auth service, side by side, on the same machine,
//! in turn, with the same work; prints what each message and each login costs.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock and the environment")]

mod dns;
mod lda;
mod lmtp;
mod measure;
mod policyd;
mod report;
mod sasl;
mod subject;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use measure::{Case, MilterLoad, Work, size};
use report::{Row, against};
use subject::{Bench, Key, Subject};

const USAGE: &str =
    "usage: bench [milter] [sasl] [lda] [lmtp] [policyd] [--quick] [--rounds N] [--only TEXT] [--json FILE]
  milter, sasl, lda, lmtp, policyd  which of the services; all when none is named
  --quick      one round of short runs: to see that it works
  --rounds N   rounds of each case on both servers in turn (3)
  --only TEXT  only the cases whose title contains TEXT (\"memory\" is one)
  --json FILE  write all figures there as well
environment: POSTRIDER_MILTER_BIN, OPENDKIM_BIN, POSTRIDER_SASL_AUTH_BIN, POSTRIDER_LDA_BIN,
  SUBJECT=reference or ours: for sasl only this one";

const SESSIONS: usize = 64;
const KIB_4: usize = 4 << 10;
const MIB_1: usize = 1 << 20;
const MIB_50: usize = 50 << 20;

struct Options {
    milter: bool,
    sasl: bool,
    lda: bool,
    lmtp: bool,
    policyd: bool,
    quick: bool,
    rounds: usize,
    cpu_secs: f64,
    only: String,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The fixed server of `bench policyd`, in a process of its own.
    if let [flag, path] = arguments.as_slice()
        && flag == "--dunno"
    {
        return policyd::dunno(Path::new(path)).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let options = match read_options(&arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}{USAGE}");
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        milter: false,
        sasl: false,
        lda: false,
        lmtp: false,
        policyd: false,
        quick: false,
        rounds: 3,
        cpu_secs: 2.5,
        only: String::new(),
        json: None,
    };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        match name.as_str() {
            "--quick" => (options.quick, options.rounds, options.cpu_secs) = (true, 1, 0.5),
            "milter" => options.milter = true,
            "sasl" => options.sasl = true,
            "lda" => options.lda = true,
            "lmtp" => options.lmtp = true,
            "policyd" => options.policyd = true,
            _ => {}
        }
        if matches!(name.as_str(), "--quick" | "milter" | "sasl" | "lda" | "lmtp" | "policyd") {
            continue;
        }
        let value = rest.next().ok_or_else(String::new)?;
        match name.as_str() {
            "--rounds" => options.rounds = value.parse().map_err(|e| format!("{name} {value}: {e}\n"))?,
            "--only" => options.only.clone_from(value),
            "--json" => options.json = Some(value.into()),
            _ => return Err(format!("unknown option {name}\n")),
        }
    }
    let chosen = [options.milter, options.sasl, options.lda, options.lmtp, options.policyd];
    if !chosen.contains(&true) {
        (options.milter, options.sasl) = (true, true);
        (options.lda, options.lmtp, options.policyd) = (true, true, true);
    }
    if options.rounds == 0 { Err("--rounds 0 measures nothing\n".into()) } else { Ok(options) }
}

/// Which cases there are. The bars are those that ours is built to stay below.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (work, key, bytes, bar_1, bar_8) in [
        (Work::Sign, Key::Rsa, KIB_4, None, Some(0.30)),
        (Work::Sign, Key::Ed25519, KIB_4, None, Some(0.20)),
        (Work::Sign, Key::Rsa, MIB_1, Some(0.35), Some(0.35)),
        (Work::Sign, Key::Ed25519, MIB_1, Some(0.35), Some(0.35)),
        (Work::Verify, Key::Rsa, KIB_4, Some(0.5), Some(0.5)),
        (Work::Verify, Key::Ed25519, KIB_4, Some(0.5), Some(0.5)),
    ] {
        for (connections, bar) in [(1, bar_1), (8, bar_8)] {
            cases.push(Case { work, key, bytes, connections, per_connection: 0, bar });
        }
    }
    // Postfix opens a connection to its milters for each SMTP session, and many bring one message.
    for work in [Work::Sign, Work::Verify] {
        cases.push(Case { work, key: Key::Rsa, bytes: KIB_4, connections: 8, per_connection: 1, bar: None });
    }
    cases
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    println!("{}", machine());
    let milter = if options.milter { milter(options)? } else { Value::Null };
    let sasl =
        if options.sasl { sasl::run(options.rounds, options.quick, &options.only)? } else { Value::Null };
    let lda = if options.lda { lda::run(options.rounds, options.quick, &options.only)? } else { Value::Null };
    let lmtp =
        if options.lmtp { lmtp::run(options.rounds, options.quick, &options.only)? } else { Value::Null };
    let policyd = if options.policyd { policyd::run(options.rounds, options.quick)? } else { Value::Null };
    if let Some(file) = &options.json {
        let all = json!({
            "machine": machine(), "milter": milter, "sasl": sasl, "lda": lda, "lmtp": lmtp, "policyd": policyd,
        });
        fs::write(file, format!("{all:#}\n")).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}

fn milter(options: &Options) -> Result<Value, Box<dyn Error>> {
    let load = MilterLoad::find()?;
    let scratch = tempfile::Builder::new().prefix("bench").tempdir()?;
    let bench = prepare(scratch.path())?;
    for subject in [Subject::OpenDkim, Subject::Postrider] {
        println!("{}: {}", subject.name(), bench.version(subject));
    }
    println!(
        "{} rounds in turn, each until the server used {} s of CPU time",
        options.rounds, options.cpu_secs
    );
    let mut rows: Vec<Row> = cases()
        .into_iter()
        .filter(|case| case.title().contains(&options.only))
        .map(|case| Row { case, theirs: Vec::new(), ours: Vec::new() })
        .collect();
    for key in [Key::Rsa, Key::Ed25519] {
        if rows.iter().any(|row| row.case.work == Work::Verify && row.case.key == key) {
            load.signed_message(&bench, key, KIB_4)?;
        }
    }
    let watched = std::io::stderr().is_terminal();
    for round in 1..=options.rounds {
        for row in &mut rows {
            if watched {
                eprint!("\rround {round}: {:<50}", row.case.title());
            }
            row.theirs.push(measured(&load, &bench, &row.case, Subject::OpenDkim, options.cpu_secs)?);
            row.ours.push(measured(&load, &bench, &row.case, Subject::Postrider, options.cpu_secs)?);
        }
    }
    if watched {
        eprint!("\r{:<60}\r", "");
    }
    if !rows.is_empty() {
        report::print(&rows);
    }
    let memory =
        if "memory".contains(&options.only) { memory(&load, &bench, options.quick)? } else { Value::Null };
    Ok(json!({ "cpu": report::as_json(&rows), "memory": memory }))
}

fn measured(
    load: &MilterLoad,
    bench: &Bench,
    case: &Case,
    subject: Subject,
    cpu_secs: f64,
) -> Result<Value, Box<dyn Error>> {
    load.measure(bench, case, subject, cpu_secs)
        .map_err(|e| format!("{}: {}: {e}", subject.name(), case.title()).into())
}

/// What the servers hold with many sessions in the middle of large messages.
fn memory(load: &MilterLoad, bench: &Bench, quick: bool) -> Result<Value, Box<dyn Error>> {
    println!(
        "\nMemory with {SESSIONS} sessions, each in the middle of signing a message: peak KiB (KiB a session)"
    );
    let mut held = HashMap::new();
    let mut all = Vec::new();
    for (subject, bytes) in [
        (Subject::OpenDkim, MIB_1),
        (Subject::Postrider, MIB_1),
        (Subject::OpenDkim, MIB_50),
        (Subject::Postrider, MIB_50),
    ] {
        // opendkim takes half a minute to hash so much, and its figure is there for comparison only.
        if quick && subject == Subject::OpenDkim && bytes == MIB_50 {
            continue;
        }
        let title = format!("{}, {}", subject.name(), size(bytes));
        let figures =
            load.hold(bench, subject, SESSIONS, bytes).map_err(|e| format!("memory, {title}: {e}"))?;
        let peak = figures["peak_kib"].as_f64().ok_or("no peak_kib from milterload")?;
        println!("{title:<44} {:>24}", format!("{peak:.0} ({})", figures["per_session_kib"]));
        held.insert((subject.name(), bytes), peak);
        all.push(json!({ "case": title, "figures": figures }));
    }
    let peak = |subject: Subject, bytes| held.get(&(subject.name(), bytes)).copied();
    let ours = Subject::Postrider;
    for (title, other, bar) in [
        ("ours to opendkim, 1 MiB", peak(Subject::OpenDkim, MIB_1).zip(peak(ours, MIB_1)), 0.5),
        ("ours to opendkim, 50 MiB", peak(Subject::OpenDkim, MIB_50).zip(peak(ours, MIB_50)), 0.5),
        ("ours with 50 MiB to ours with 1 MiB", peak(ours, MIB_1).zip(peak(ours, MIB_50)), 1.1),
    ] {
        let Some((than, ours)) = other else { continue };
        let (ratio, verdict) = against(Some(ours), Some(than), Some(bar));
        println!("{title:<44} {ratio:>24}  {verdict}");
    }
    Ok(Value::Array(all))
}

/// Makes the keys, starts the name server that publishes them and finds the programs.
fn prepare(folder: &Path) -> Result<Bench, Box<dyn Error>> {
    let mut records = HashMap::new();
    for (key, options, kind) in [
        (Key::Rsa, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..], "rsa"),
        (Key::Ed25519, &["-algorithm", "ED25519"][..], "ed25519"),
    ] {
        let file = folder.join(format!("{}.pem", key.selector()));
        openssl(Command::new("openssl").arg("genpkey").args(options).arg("-out").arg(&file))?;
        let public =
            openssl(Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&file))?;
        // RFC 8463 §4: an Ed25519 record holds the 32 bytes of the key itself, not a structure around it.
        let bytes = match key {
            Key::Rsa => &public[..],
            Key::Ed25519 => &public[public.len().saturating_sub(32)..],
        };
        records.insert(
            format!("{}._domainkey.bench.example", key.selector()),
            format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(bytes)),
        );
    }
    let postrider = match std::env::var_os("POSTRIDER_MILTER_BIN") {
        Some(path) => path.into(),
        None => std::env::current_exe()?.with_file_name("postrider-milter"),
    };
    let opendkim =
        std::env::var_os("OPENDKIM_BIN").map_or_else(|| "/usr/sbin/opendkim".into(), PathBuf::from);
    for program in [&postrider, &opendkim] {
        if !program.exists() {
            return Err(format!("{} is missing", program.display()).into());
        }
    }
    Ok(Bench { folder: folder.to_owned(), dns_port: dns::serve(records)?, opendkim, postrider })
}

fn openssl(command: &mut Command) -> Result<Vec<u8>, Box<dyn Error>> {
    let output = command.output().map_err(|e| format!("openssl: {e}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Processor, cores and kernel: figures mean nothing without them.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|l| l.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{}, {cores} cores, Linux {}, load average {} at the start",
        model.unwrap_or("unknown processor"),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown")
    )
}
