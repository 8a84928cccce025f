//! `authload`: logs in on an auth-client socket as fast as the server answers, or holds idle connections; prints what
//! it cost the server.
#![allow(clippy::disallowed_methods, reason = "a load generator reads the clock")]

mod auth_wire;
mod cost;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use auth_wire::{Connection, Login};

const USAGE: &str = "usage: authload --connect PATH [--pids PID,PID...] [options]
  --login USER:PASSWORD  who logs in by PLAIN, again and again
  --connections N        at the same time, each with one request at a time (1)
  --seconds S            how long (3)
  --slow USER:PASSWORD   others who log in meanwhile and are not measured
  --in-flight N          how many of those (16)
  --idle N               instead of all this: N connections that have shaken hands and are silent
prints one JSON object; what the server's processes (--pids) used is part of it
";

struct Options {
    socket: PathBuf,
    pids: Vec<u32>,
    login: Option<Login>,
    connections: usize,
    seconds: f64,
    slow: Option<Login>,
    in_flight: usize,
    idle: Option<usize>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(options) = read_options(&arguments) else {
        eprint!("{USAGE}");
        return ExitCode::from(64);
    };
    let figures = match options.idle {
        Some(number) => hold(&options, number),
        None => load(&options),
    };
    match figures {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("authload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_options(arguments: &[String]) -> Option<Options> {
    let mut options = Options {
        socket: PathBuf::new(),
        pids: Vec::new(),
        login: None,
        connections: 1,
        seconds: 3.0,
        slow: None,
        in_flight: 16,
        idle: None,
    };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--connect" => options.socket = value.into(),
            "--pids" => options.pids = value.split(',').map(|pid| pid.parse().ok()).collect::<Option<_>>()?,
            "--login" => options.login = Some(Login::parse(value)?),
            "--connections" => options.connections = value.parse().ok()?,
            "--seconds" => options.seconds = value.parse().ok()?,
            "--slow" => options.slow = Some(Login::parse(value)?),
            "--in-flight" => options.in_flight = value.parse().ok()?,
            "--idle" => options.idle = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    let asked = options.login.is_some() || options.idle.is_some();
    (asked && !options.socket.as_os_str().is_empty() && options.connections > 0).then_some(options)
}

/// Connections that log in until the time is over.
fn load(options: &Options) -> io::Result<Value> {
    let Some(login) = &options.login else { return Err(io::Error::other("no --login")) };
    let slow = options.slow.as_ref().map_or(0, |_| options.in_flight);
    let (stop, failures) = (AtomicBool::new(false), AtomicU64::new(0));
    let slow_done = AtomicU64::new(0);
    let start = Barrier::new(options.connections + slow + 1);
    let times = Mutex::new(Vec::new());
    let trouble: Mutex<Option<io::Error>> = Mutex::new(None);
    let (wall, cpu) = thread::scope(|scope| {
        let (stop, start) = (&stop, &start);
        let (failures, times, trouble, slow_done) = (&failures, &times, &trouble, &slow_done);
        let keep_on = move |login: &Login, each: &mut dyn FnMut(Duration)| {
            let opened = Connection::open(&options.socket);
            // The first login is not measured.
            let warm = opened.and_then(|mut connection| connection.login(login).map(|_| connection));
            start.wait();
            let run = || -> io::Result<()> {
                let mut connection = warm?;
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    if !connection.login(login)? {
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                    each(began.elapsed());
                }
                Ok(())
            };
            if let Err(error) = run() {
                *trouble.lock().unwrap() = Some(error);
            }
        };
        for _ in 0..options.connections {
            scope.spawn(move || {
                let mut own = Vec::with_capacity(1 << 16);
                keep_on(login, &mut |time| own.push(time));
                times.lock().unwrap().append(&mut own);
            });
        }
        for _ in 0..slow {
            scope.spawn(move || {
                let Some(login) = &options.slow else { return };
                keep_on(login, &mut |_| {
                    slow_done.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
        start.wait();
        let (began, before) = (Instant::now(), cost::running_time(&options.pids));
        thread::sleep(Duration::from_secs_f64(options.seconds));
        let (wall, after) = (began.elapsed(), cost::running_time(&options.pids));
        stop.store(true, Ordering::Relaxed);
        (wall, after.and_then(|after| Ok(after.saturating_sub(before?))))
    });
    if let Some(error) = trouble.into_inner().unwrap() {
        return Err(error);
    }
    let mut times = times.into_inner().unwrap();
    times.sort();
    let logins = times.len() as f64;
    if failures.load(Ordering::Relaxed) > 0 || times.is_empty() {
        return Err(io::Error::other(format!("{failures:?} of {logins} logins were refused")));
    }
    let cpu = cpu?;
    if !options.pids.is_empty() && cpu.is_zero() {
        return Err(io::Error::other("these processes did not do it"));
    }
    let at = |part: f64| {
        let index = ((logins - 1.0) * part).round() as usize;
        times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    Ok(json!({
        "logins": times.len(),
        "per_second": logins / wall.as_secs_f64(),
        "server_us": cpu.as_secs_f64() * 1e6 / logins,
        "p50_ms": at(0.5), "p99_ms": at(0.99), "most_ms": at(1.0),
        "slow_per_second": slow_done.load(Ordering::Relaxed) as f64 / wall.as_secs_f64(),
    }))
}

/// Connections that say nothing after their handshake.
fn hold(options: &Options, number: usize) -> io::Result<Value> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let before = cost::proportional_kib(&options.pids)?;
    let mut held = Vec::with_capacity(number);
    for _ in 0..number {
        held.push(Connection::open(&options.socket)?);
    }
    // The last ones may still be on their way to the end of their handshake.
    thread::sleep(Duration::from_secs(1));
    let with = cost::proportional_kib(&options.pids)?;
    Ok(json!({ "connections": held.len(), "before_kib": before, "with_kib": with }))
}
