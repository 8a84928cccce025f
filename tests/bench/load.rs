//! One measured run: N connections send messages until enough were sent or enough CPU was used.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::message::Message;
use crate::process::{CpuTime, Memory};
use crate::wire::{Address, Envelope, Session};

/// What to send, and for how long.
pub struct Load {
    /// The milter.
    pub address: Address,
    /// Client and envelope of every message.
    pub envelope: Envelope,
    /// The message, always the same.
    pub message: Message,
    /// Connections at the same time, each with its own thread.
    pub connections: usize,
    /// Messages in all; no more are sent even if `cpu` is not reached.
    pub messages: u64,
    /// Stop once the server used this much CPU time (needs `pid`).
    pub cpu: Option<Duration>,
    /// Messages on a connection before a new one is opened; 0: one connection for all.
    pub per_connection: u64,
    /// Messages of each connection before the measured ones.
    pub warm_up: u64,
    /// Each message must get all of these edits, as `Edit::satisfies` reads them.
    pub expected: Vec<String>,
    /// The server's process.
    pub pid: Option<u32>,
    /// For each read and write.
    pub timeout: Duration,
}

/// What came out.
pub struct Figures {
    /// Messages that got a final reply.
    pub messages: u64,
    /// Messages that ended in an I/O or protocol error.
    pub errors: u64,
    /// Messages whose reply lacked an expected edit or was not "continue".
    pub unexpected: u64,
    /// How often each final reply came.
    pub codes: BTreeMap<char, u64>,
    /// The last error's text.
    pub last_error: Option<String>,
    /// Time from the first message's start to the last one's end.
    pub wall: Duration,
    /// The server's CPU time in that span.
    pub server: Option<CpuTime>,
    /// The load generator's own.
    pub client: CpuTime,
    /// The server's memory at the end.
    pub memory: Option<Memory>,
    /// Time of each message from MAIL (or connect) to the final reply, sorted.
    pub latencies: Vec<Duration>,
}

impl Figures {
    /// The latency below which this share (0 to 1) of the messages stayed.
    pub fn latency(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index far below 2^52, and share is positive"
        )]
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

/// The most errors before a run is given up.
const ERROR_LIMIT: u64 = 100;

/// What the threads of one run share.
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    errors: AtomicU64,
    unexpected: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// Passed three times: warmed up; measured from now; all have their last reply.
    gate: Barrier,
    /// Held until the server's figures are read, so that closing is not measured.
    close: Barrier,
}

/// Runs it.
///
/// # Errors
/// When the server's process cannot be read.
pub fn run(load: &Load) -> io::Result<Figures> {
    let shared = Shared {
        stop: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        unexpected: AtomicU64::new(0),
        last_error: Mutex::new(None),
        gate: Barrier::new(load.connections + 1),
        close: Barrier::new(load.connections + 1),
    };
    let own_pid = std::process::id();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..load.connections)
            .map(|number| {
                scope.spawn({
                    let shared = &shared;
                    move || worker(load, shared, number)
                })
            })
            .collect();
        shared.gate.wait();
        let before = load.pid.map(|pid| Memory::reset_peak(pid).and_then(|()| CpuTime::of(pid))).transpose();
        let own_before = CpuTime::of(own_pid);
        let started = Instant::now();
        shared.gate.wait();
        if let (Some(pid), Some(cpu), Ok(Some(before))) = (load.pid, load.cpu, &before) {
            watch_cpu(pid, *before, cpu, &shared);
        }
        shared.gate.wait();
        let wall = started.elapsed();
        let after = load.pid.map(CpuTime::of).transpose();
        let memory = load.pid.map(Memory::of).transpose();
        let own_after = CpuTime::of(own_pid);
        shared.close.wait();
        let mut latencies = Vec::new();
        let mut codes = BTreeMap::new();
        for worker in workers {
            let (times, replies) = worker.join().map_err(|_| io::Error::other("a worker died"))?;
            latencies.extend(times);
            for (code, count) in replies {
                *codes.entry(code).or_default() += count;
            }
        }
        latencies.sort_unstable();
        let server = match (before?, after?) {
            (Some(before), Some(after)) => Some(after.since(before)),
            _ => None,
        };
        Ok(Figures {
            messages: latencies.len() as u64,
            errors: shared.errors.load(Ordering::Relaxed),
            unexpected: shared.unexpected.load(Ordering::Relaxed),
            codes,
            last_error: shared.last_error.lock().map(|text| text.clone()).unwrap_or_default(),
            wall,
            server,
            client: own_after?.since(own_before?),
            memory: memory?,
            latencies,
        })
    })
}

/// Stops the run when the server used `cpu` since `before`, or is gone.
fn watch_cpu(pid: u32, before: CpuTime, cpu: Duration, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
        match CpuTime::of(pid) {
            Ok(now) if now.since(before).total() < cpu => {}
            _ => shared.stop.store(true, Ordering::Relaxed),
        }
    }
}

type Told = (Vec<Duration>, BTreeMap<char, u64>);

fn worker(load: &Load, shared: &Shared, number: usize) -> Told {
    let mut line = Line { session: None, used: 0, number, serial: 0 };
    let mut times = Vec::new();
    let mut codes: BTreeMap<char, u64> = BTreeMap::new();
    for _ in 0..load.warm_up {
        if let Err(error) = line.send(load) {
            note(shared, &error);
        }
    }
    shared.gate.wait();
    shared.gate.wait();
    while !shared.stop.load(Ordering::Relaxed) && shared.sent.fetch_add(1, Ordering::Relaxed) < load.messages
    {
        let started = Instant::now();
        match line.send(load) {
            Ok((code, satisfied)) => {
                times.push(started.elapsed());
                *codes.entry(code).or_default() += 1;
                if !satisfied {
                    shared.unexpected.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => note(shared, &error),
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    shared.gate.wait();
    shared.close.wait();
    if let Some(Err(error)) = line.session.take().map(Session::quit) {
        note(shared, &error);
    }
    (times, codes)
}

fn note(shared: &Shared, error: &io::Error) {
    if let Ok(mut last) = shared.last_error.lock() {
        *last = Some(error.to_string());
    }
    if shared.errors.fetch_add(1, Ordering::Relaxed) >= ERROR_LIMIT {
        shared.stop.store(true, Ordering::Relaxed);
    }
}

/// One connection after the other.
struct Line {
    session: Option<Session>,
    used: u64,
    number: usize,
    serial: u64,
}

impl Line {
    /// Sends one message; gives the final reply and whether all was as expected.
    fn send(&mut self, load: &Load) -> io::Result<(char, bool)> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                self.used = 0;
                Session::open(&load.address, &load.envelope, load.timeout)?
            }
        };
        self.serial += 1;
        let id = format!("4b{:03}Z{:07}", self.number, self.serial);
        let outcome = session.transact(&load.envelope, &load.message, &id)?;
        self.used += 1;
        if load.per_connection > 0 && self.used >= load.per_connection {
            session.quit()?;
        } else {
            self.session = Some(session);
        }
        let satisfied =
            load.expected.iter().all(|text| outcome.edits.iter().any(|edit| edit.satisfies(text)));
        Ok((outcome.code, satisfied && matches!(outcome.code, 'c' | 'a')))
    }
}
