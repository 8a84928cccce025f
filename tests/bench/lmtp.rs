//! Dovecot's LMTP server and ours side by side: what one delivery costs, how many there are, what sessions hold.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::lmtp::{LmtpClient, LmtpConf, LmtpServer};
use harness::milter::Subject;
use harness::scratch::Scratch;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::{Value, json};

use crate::report::{Spread, against};

const SERVERS: [(Subject, &str); 2] = [(Subject::Reference, "dovecot"), (Subject::Ours, "postrider-lmtp")];

/// One row: title, size of the message, connections, recipients, the part of Dovecot's CPU time that ours may take, and
/// how many times Dovecot's rate ours must reach.
struct Case {
    title: &'static str,
    bytes: usize,
    connections: usize,
    recipients: usize,
    cpu: f64,
    rate: Option<f64>,
}

const CASES: [Case; 3] = [
    Case {
        title: "4 KiB, 16 connections",
        bytes: 4 << 10,
        connections: 16,
        recipients: 1,
        cpu: 0.4,
        rate: Some(1.3),
    },
    Case {
        title: "4 KiB, 1 connection",
        bytes: 4 << 10,
        connections: 1,
        recipients: 1,
        cpu: 0.4,
        rate: None,
    },
    Case {
        title: "1 MiB, 4 connections",
        bytes: 1 << 20,
        connections: 4,
        recipients: 1,
        cpu: 0.4,
        rate: None,
    },
];

/// Sessions whose memory is looked at, each in the middle of 10 MiB; and what they may hold together.
const HELD: (usize, usize, f64) = (100, 10 << 20, 40.0);

/// Runs all cases whose title contains `only`, both servers in turn, and prints the table.
///
/// # Errors
/// When a server does not start, or a message is not taken.
pub fn run(rounds: usize, quick: bool, only: &str) -> Result<Value, Box<dyn Error>> {
    let seconds = Duration::from_millis(if quick { 1000 } else { 5000 });
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.title.contains(only)).collect();
    let memory = "memory of 100 sessions in 10 MiB".contains(only);
    if cases.is_empty() && !memory {
        return Ok(Value::Null);
    }
    println!("\nDelivery by LMTP: median (least–most)");
    println!("{:<44} {:>22} {:>22}  ratio", "", SERVERS[0].1, SERVERS[1].1);
    let mut all = Vec::new();
    for case in cases {
        let mut runs: [Vec<Value>; 2] = Default::default();
        for _ in 0..rounds {
            for ((subject, _), runs) in SERVERS.iter().zip(&mut runs) {
                runs.push(measure(*subject, case, seconds)?);
            }
        }
        let figure = |at: usize, name: &str| Spread::of(&runs[at], name);
        let median = |at: usize, name: &str| figure(at, name).map(|spread| spread.median);
        let text = |at: usize, name: &str, decimals| {
            figure(at, name).map_or_else(|| "-".into(), |spread| spread.text(decimals))
        };
        let (part, verdict) = against(median(1, "cpu_us"), median(0, "cpu_us"), Some(case.cpu));
        let title = format!("CPU for a delivery, {}, µs", case.title);
        println!("{title:<44} {:>22} {:>22}  {part} {verdict}", text(0, "cpu_us", 0), text(1, "cpu_us", 0));
        let times = median(1, "per_second").zip(median(0, "per_second")).map(|(ours, theirs)| ours / theirs);
        let verdict = match (case.rate, times) {
            (Some(bar), Some(times)) if times >= bar => format!("≥ {bar} ok"),
            (Some(bar), _) => format!("≥ {bar} MISSED"),
            (None, _) => String::new(),
        };
        let title = format!("deliveries/s, {}", case.title);
        println!(
            "{title:<44} {:>22} {:>22}  {:.2} {verdict}",
            text(0, "per_second", 0),
            text(1, "per_second", 0),
            times.unwrap_or_default()
        );
        all.push(json!({ "case": case.title, "dovecot": runs[0], "ours": runs[1] }));
    }
    if memory {
        let (sessions, bytes, bar) = HELD;
        let [theirs, ours] = SERVERS.map(|(subject, _)| held(subject, sessions, bytes));
        let (theirs, ours) = (theirs?, ours?);
        let verdict = if ours <= bar { "ok" } else { "MISSED" };
        let title = "memory of 100 sessions in 10 MiB, MB";
        println!("{title:<44} {theirs:>22.1} {ours:>22.1}  ≤ {bar} {verdict}");
        all.push(json!({ "case": title, "dovecot": theirs, "ours": ours }));
    }
    Ok(Value::Array(all))
}

fn conf(users: usize) -> LmtpConf {
    let conf = LmtpConf::new()
        .lmtp("connections = 500")
        .dovecot("service lmtp {\n  process_limit = 200\n}\nmail_max_userip_connections = 0");
    (0..users).fold(conf, |conf, number| conf.user(&format!("u{number}")))
}

/// Delivers for a while by so many connections, each to a user of its own.
fn measure(subject: Subject, case: &Case, time: Duration) -> Result<Value, Box<dyn Error>> {
    let scratch = Scratch::new("bench");
    let server = LmtpServer::start(&scratch, "lmtp", subject, &conf(case.connections * case.recipients));
    let line = "The quick brown fox jumps over the lazy dog, 0123456789 and so on.\r\n";
    let body = line.repeat(case.bytes / line.len());
    let (stop, delivered) = (AtomicBool::new(false), AtomicU64::new(0));
    let pid = server.pid().as_raw();
    let (mut spent, mut began, mut count) = (0.0, Instant::now(), 0);
    let result = std::thread::scope(|scope| -> Result<(), String> {
        let threads: Vec<_> = (0..case.connections)
            .map(|number| {
                let (socket, body) = (server.socket(), &body);
                let (stop, delivered) = (&stop, &delivered);
                scope.spawn(move || deliver_until(stop, delivered, &socket, number, case.recipients, body))
            })
            .collect();
        // All connections are open, and mailboxes there.
        std::thread::sleep(Duration::from_millis(700));
        (spent, began, count) = (cpu_seconds(pid), Instant::now(), delivered.load(Ordering::SeqCst));
        std::thread::sleep(time);
        spent = cpu_seconds(pid) - spent;
        count = delivered.load(Ordering::SeqCst) - count;
        stop.store(true, Ordering::SeqCst);
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a client failed".to_owned())?)
    });
    let took = began.elapsed().as_secs_f64();
    result?;
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    let count = count as f64;
    Ok(json!({ "cpu_us": spent / count * 1e6, "per_second": count / took.min(time.as_secs_f64() + 0.5) }))
}

fn deliver_until(
    stop: &AtomicBool,
    delivered: &AtomicU64,
    socket: &Path,
    number: usize,
    recipients: usize,
    body: &str,
) -> Result<(), String> {
    let mut client = LmtpClient::try_connect(socket).ok_or("no connection")?;
    let mut envelope = "MAIL FROM:<s@x.example>\r\n".to_owned();
    for recipient in 0..recipients {
        envelope.push_str(&format!("RCPT TO:<u{}>\r\n", number * recipients + recipient));
    }
    envelope.push_str("DATA\r\n");
    let mut sent: u64 = 0;
    client.say("LHLO bench");
    while !stop.load(Ordering::SeqCst) {
        // What Postfix puts in front; every message is another.
        let message = format!(
            "Received: by mx.a.example (Postfix, from userid 0)\r\n\tid 4b{number:03}{sent:08}; Thu, 26 Nov 2026 10:00:00 \
             +0000 (UTC)\r\nMessage-ID: <{number}.{sent}@x.example>\r\nSubject: bench\r\n\r\n{body}.\r\n"
        );
        client.send(&envelope);
        for _ in 0..recipients + 2 {
            let reply = client.try_hear().ok_or("no reply")?;
            if !reply.starts_with("250 ") && !reply.starts_with("354 ") {
                return Err(reply);
            }
        }
        client.send(message);
        for _ in 0..recipients {
            let reply = client.try_hear().ok_or("no reply")?;
            if !reply.starts_with("250 ") {
                return Err(reply);
            }
        }
        sent += 1;
        delivered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// What so many sessions hold, each half through a message: the resident memory of all processes that is not shared.
fn held(subject: Subject, sessions: usize, bytes: usize) -> Result<f64, Box<dyn Error>> {
    let scratch = Scratch::new("bench");
    let server = LmtpServer::start(&scratch, "lmtp", subject, &conf(sessions));
    let half = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(bytes / 2 / 64);
    let mut clients = Vec::new();
    for number in 0..sessions {
        let mut client = LmtpClient::try_connect(&server.socket()).ok_or("no connection")?;
        client.begin(&[&format!("u{number}")]);
        client.send(&half);
        clients.push(client);
    }
    let mut kib = 0;
    for pid in processes(server.pid().as_raw()) {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        // The parts of pages that several processes share are counted once.
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        kib += pss.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u32>().ok()).unwrap_or(0);
    }
    Ok(f64::from(kib) / 1000.0)
}

/// A process and all below it.
fn processes(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    found
}

/// CPU time of a process and all below it, those that have ended included.
fn cpu_seconds(pid: i32) -> f64 {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let mut ticks: i64 = 0;
    for pid in processes(pid) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        // utime, stime, and those of children that were waited for.
        ticks +=
            after_name.split(' ').skip(11).take(4).filter_map(|field| field.parse::<i64>().ok()).sum::<i64>();
    }
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    let seconds = ticks as f64 / per_second as f64;
    seconds
}
