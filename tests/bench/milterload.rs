//! `milterload`: sends messages to a milter the way Postfix does, checks every reply, and says what it
//! cost the server.
#![allow(clippy::disallowed_methods, reason = "a load generator reads the clock")]

mod held;
mod load;
mod message;
mod process;
mod wire;

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use load::{Figures, Load};
use message::Message;
use process::CpuTime;
use wire::{Address, Envelope, Session};

const USAGE: &str = "usage: milterload --connect unix:PATH|inet:HOST:PORT|inet:PORT@HOST [options]
  --connections N        connections at the same time (1)
  --messages M           messages in all (1000)
  --cpu-secs S           stop earlier, once the server used so much CPU time (needs --pid)
  --per-connection K     messages on a connection before the next is opened; 0: no limit (0)
  --warm-up W            messages of each connection that are not measured (2)
  --size BYTES           size of a made-up message (4096)
  --message FILE         send this message instead
  --client IP            address of the SMTP client (127.0.0.1): decides whether to sign or verify
  --sender ADDRESS       envelope sender, and From of the made-up message (writer@bench.example)
  --recipient ADDRESS    envelope recipient; may be repeated (reader@elsewhere.example)
  --macro [C:]NAME=TEXT  a further macro, before command C only (C H M R T L N B E) or before all
  --expect FIELD[=TEXT]  every reply must insert FIELD, with TEXT in its value; may be repeated
  --pid PID              the server: CPU time and memory
  --out FILE             send one message only and write it with the inserted fields
  --stop-in-middle N     hold N sessions in the middle of the message and tell the server's memory
  --timeout S            for each read and write (60)
  --json                 print JSON";

struct Options {
    load: Load,
    out: Option<String>,
    stop_in_middle: usize,
    json: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match read_options(&arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("milterload: {error}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let done = if let Some(out) = &options.out {
        write_one(&options.load, out)
    } else if options.stop_in_middle > 0 {
        hold(&options)
    } else {
        measure(&options)
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("milterload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_options(arguments: &[String]) -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        load: Load {
            address: Address::Unix("".into()),
            envelope: Envelope {
                client: "127.0.0.1".parse()?,
                client_name: "client.bench.example".into(),
                sender: "writer@bench.example".into(),
                recipients: Vec::new(),
                macros: Vec::new(),
            },
            message: Message { header: Vec::new(), body: Vec::new() },
            connections: 1,
            messages: 1000,
            cpu: None,
            per_connection: 0,
            warm_up: 2,
            expected: Vec::new(),
            pid: None,
            timeout: Duration::from_secs(60),
        },
        out: None,
        stop_in_middle: 0,
        json: false,
    };
    let (mut size, mut file, mut connect) = (4096, None, false);
    let load = &mut options.load;
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--json" {
            options.json = true;
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("{name} {value}: {error}");
        let number = || value.parse::<u64>().map_err(|error| wrong(&error));
        let seconds = || {
            let seconds = value.parse::<f64>().map_err(|error| wrong(&error))?;
            Duration::try_from_secs_f64(seconds).map_err(|error| wrong(&error))
        };
        match name.as_str() {
            "--connect" => (load.address, connect) = (Address::parse(value), true),
            "--connections" => load.connections = usize::try_from(number()?)?.max(1),
            "--messages" => load.messages = number()?,
            "--cpu-secs" => load.cpu = Some(seconds()?),
            "--per-connection" => load.per_connection = number()?,
            "--warm-up" => load.warm_up = number()?,
            "--size" => size = usize::try_from(number()?)?,
            "--message" => file = Some(value),
            "--client" => load.envelope.client = value.parse().map_err(|error| wrong(&error))?,
            "--sender" => load.envelope.sender.clone_from(value),
            "--recipient" => load.envelope.recipients.push(value.clone()),
            "--macro" => {
                let (name, text) = value.split_once('=').ok_or_else(|| wrong(&"no '='"))?;
                let (command, name) = match name.split_once(':') {
                    Some((command, name)) => (command.chars().next().unwrap_or('*'), name),
                    None => ('*', name),
                };
                load.envelope.macros.push((command, name.into(), text.into()));
            }
            "--expect" => load.expected.push(value.clone()),
            "--pid" => load.pid = Some(u32::try_from(number()?)?),
            "--out" => options.out = Some(value.clone()),
            "--stop-in-middle" => options.stop_in_middle = usize::try_from(number()?)?,
            "--timeout" => load.timeout = seconds()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    if !connect {
        return Err("--connect is missing".into());
    }
    if (load.cpu.is_some() || options.stop_in_middle > 0) && load.pid.is_none() {
        return Err("--pid is missing".into());
    }
    if load.envelope.recipients.is_empty() {
        load.envelope.recipients.push("reader@elsewhere.example".into());
    }
    load.message = match file {
        Some(file) => Message::parse(&fs::read(file).map_err(|error| format!("{file}: {error}"))?),
        None => Message::made_up(size, &load.envelope.sender),
    };
    Ok(options)
}

/// Sends one message and writes it as Postfix would queue it.
fn write_one(load: &Load, out: &str) -> Result<bool, Box<dyn Error>> {
    let mut session = Session::open(&load.address, &load.envelope, load.timeout)?;
    let outcome = session.transact(&load.envelope, &load.message, "4bOne000001")?;
    for expected in &load.expected {
        if !outcome.edits.iter().any(|edit| edit.satisfies(expected)) {
            return Err(
                format!("no {expected} among {:?} (final reply {})", outcome.edits, outcome.code).into()
            );
        }
    }
    let changed = load.message.with_inserted(&outcome.edits, session.keeps_leading_space());
    fs::write(out, changed.to_bytes()).map_err(|error| format!("{out}: {error}"))?;
    session.quit()?;
    Ok(true)
}

fn hold(options: &Options) -> Result<bool, Box<dyn Error>> {
    let Load { address, envelope, message, pid, timeout, .. } = &options.load;
    let pid = pid.ok_or("--pid is missing")?;
    let held = held::hold(address, envelope, message, options.stop_in_middle, pid, *timeout)?;
    if options.json {
        println!(
            "{}",
            json!({
                "sessions": held.sessions, "message_bytes": message.size(), "before_kib": held.before_kib,
                "now_kib": held.with.now_kib, "peak_kib": held.with.peak_kib,
                "per_session_kib": held.per_session_kib(),
            })
        );
    } else {
        println!(
            "{} sessions, each {} bytes into its message: server {} KiB before, {} KiB now, {} KiB at its peak, {} KiB a session",
            held.sessions,
            message.body.len(),
            held.before_kib,
            held.with.now_kib,
            held.with.peak_kib,
            held.per_session_kib()
        );
    }
    Ok(true)
}

fn measure(options: &Options) -> Result<bool, Box<dyn Error>> {
    let figures = load::run(&options.load)?;
    #[expect(clippy::cast_precision_loss, reason = "message counts are far below 2^52")]
    let messages = figures.messages.max(1) as f64;
    let per_message = |time: Duration| time.as_secs_f64() * 1e3 / messages;
    let rate = messages / figures.wall.as_secs_f64();
    let (p50, p99) = (figures.latency(0.5).as_secs_f64() * 1e3, figures.latency(0.99).as_secs_f64() * 1e3);
    let longest = figures.latency(1.0).as_secs_f64() * 1e3;
    let codes: String = figures.codes.iter().map(|(code, count)| format!("{code}:{count} ")).collect();
    let server = |part: fn(&CpuTime) -> Duration| figures.server.as_ref().map(|cpu| per_message(part(cpu)));
    if options.json {
        println!(
            "{}",
            json!({
                "connections": options.load.connections, "message_bytes": options.load.message.size(),
                "messages": figures.messages, "errors": figures.errors, "unexpected": figures.unexpected,
                "codes": codes.trim(), "last_error": figures.last_error, "wall_s": figures.wall.as_secs_f64(),
                "per_second": rate, "p50_ms": p50, "p99_ms": p99, "longest_ms": longest,
                "server_cpu_s": figures.server.map(|cpu| cpu.total().as_secs_f64()),
                "server_ms": server(|cpu| cpu.total()), "server_user_ms": server(|cpu| cpu.user),
                "server_system_ms": server(|cpu| cpu.system), "client_ms": per_message(figures.client.total()),
                "peak_kib": figures.memory.map(|memory| memory.peak_kib),
            })
        );
    } else {
        println!(
            "{} messages of {} bytes on {} connections: {rate:.1}/s, p50 {p50:.3} ms, p99 {p99:.3} ms, longest {longest:.3} ms; replies {}",
            figures.messages,
            options.load.message.size(),
            options.load.connections,
            codes.trim()
        );
        if let (Some(cpu), Some(memory)) = (&figures.server, &figures.memory) {
            println!(
                "server CPU {:.4} ms a message (user {:.4}, system {:.4}; {:.2} s in all), peak {} KiB; client {:.4} ms",
                per_message(cpu.total()),
                per_message(cpu.user),
                per_message(cpu.system),
                cpu.total().as_secs_f64(),
                memory.peak_kib,
                per_message(figures.client.total())
            );
        }
    }
    Ok(sound(&figures))
}

/// True when every message got what it should; otherwise says what went wrong.
fn sound(figures: &Figures) -> bool {
    if figures.errors > 0 || figures.unexpected > 0 || figures.messages == 0 {
        eprintln!(
            "milterload: {} errors, {} unexpected replies, {} messages; last error: {}",
            figures.errors,
            figures.unexpected,
            figures.messages,
            figures.last_error.as_deref().unwrap_or("none")
        );
        return false;
    }
    true
}
