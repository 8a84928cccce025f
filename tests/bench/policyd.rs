//! Our policy service beside policyd-rate-limit, postfwd, postgrey and a server that says DUNNO to everything: what a
//! request costs, how long it takes, and what many keys and connections weigh.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::policyd::{Asked, program};
use harness::ports::Port;
use harness::scratch::Scratch;
use harness::wait::wait_up_to;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "process.rs"]
#[allow(dead_code, reason = "milterload and authload use the rest of it")]
mod process;
use process::{CpuTime, Memory};

/// Connections at a time.
const CONNECTIONS: u64 = 8;
/// Users that the requests are of.
const USERS: u64 = 5000;
/// Ours at most so many times the fixed server, and this part of the best peer.
const TO_FIXED: f64 = 2.5;
const TO_PEER: f64 = 0.05;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Fixed,
    Ours,
    PolicydRateLimit,
    Postfwd,
    Postgrey,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed DUNNO server",
            Self::Ours => "postrider-policyd",
            Self::PolicydRateLimit => "policyd-rate-limit",
            Self::Postfwd => "postfwd",
            Self::Postgrey => "postgrey",
        }
    }

    /// Requests of a run: the slow ones get fewer.
    fn requests(self, quick: bool) -> u64 {
        let all = match self {
            Self::Fixed | Self::Ours => 400_000,
            Self::Postfwd | Self::Postgrey => 20_000,
            Self::PolicydRateLimit => 8_000,
        };
        if quick { all / 10 } else { all }
    }
}

/// Where a server listens.
#[derive(Debug, Clone)]
enum At {
    Unix(PathBuf),
    Tcp(u16),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl At {
    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let patience = Some(Duration::from_secs(60));
        Ok(match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(patience)?;
                Box::new(stream)
            }
            Self::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(patience)?;
                Box::new(stream)
            }
        })
    }
}

/// A running server; ended when dropped.
struct Server {
    child: Child,
    /// The one that serves; postfwd puts itself into the background.
    pid: u32,
    at: At,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.pid.cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        );
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const OURS: &str = "
listen = [\"unix:{dir}/policy\"]
[store]
driver = \"file\"
path = \"{dir}/state\"
[log]
syslog = false
[[limit]]
name = \"user\"
key = [\"sasl_username\"]
count = \"recipients\"
rate = [\"1000000/hour\", \"5000000/day\"]
[[limit]]
name = \"domain\"
key = [\"sasl_domain\"]
count = \"recipients\"
rate = [\"100000000/hour\", \"500000000/day\"]
[[limit]]
name = \"client\"
key = [\"client_address\"]
rate = [\"1000000/hour\", \"5000000/day\"]
";

fn start(subject: Subject, scratch: &Scratch, name: &str) -> Result<Server, Box<dyn Error>> {
    let folder = scratch.file(name);
    fs::create_dir_all(&folder)?;
    let file = |name: &str, text: String| -> std::io::Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, text.replace("{dir}", &folder.display().to_string()))?;
        Ok(path)
    };
    let socket = folder.join("policy");
    let mut at = At::Unix(socket.clone());
    let port = Port::new().number();
    let mut command = match subject {
        Subject::Fixed => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("--dunno").arg(&socket);
            command
        }
        Subject::Ours => {
            let mut command = Command::new(program());
            command.arg("-c").arg(file("conf", OURS.to_owned())?);
            command
        }
        Subject::PolicydRateLimit => {
            let mut command = Command::new("/usr/bin/policyd-rate-limit");
            let text = "debug: False\nuser: root\ngroup: root\npidfile: \"{dir}/pid\"\nsqlite_config:\n    \
                        database: \"{dir}/db\"\nbackend: 0\nSOCKET: \"{dir}/policy\"\nsocket_permission: 0666\nlimits:\n    \
                        - [1000000, 3600]\n    - [5000000, 86400]\nlimits_by_id: {}\nlimit_by_sasl: True\n\
                        limit_by_sender: False\nlimit_by_ip: False\nlimited_networks: []\nsuccess_action: \"dunno\"\n\
                        fail_action: \"defer_if_permit limit\"\ndb_error_action: \"dunno\"\nreport: False\n\
                        delay_to_close: 300\n";
            command.arg("-f").arg(file("conf.yaml", text.to_owned())?);
            command
        }
        Subject::Postfwd => {
            at = At::Tcp(port);
            let mut command = Command::new("/usr/sbin/postfwd1");
            let text = "id=U1; sasl_username=~/./; action=rate(sasl_username/1000000/3600/450 4.7.1 limit)\n\
                        id=U2; sasl_username=~/./; action=rate(sasl_username/5000000/86400/450 4.7.1 limit)\n\
                        id=C1; client_address=~/./; action=rate(client_address/1000000/3600/450 4.7.1 limit)\n\
                        id=C2; client_address=~/./; action=rate(client_address/5000000/86400/450 4.7.1 limit)\n\
                        id=OK; action=DUNNO\n";
            command.arg("-f").arg(file("rules", text.to_owned())?);
            command.arg("-d").arg("--pidfile").arg(folder.join("pid"));
            command.args([
                "-i",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-u",
                "root",
                "-g",
                "root",
                "-I",
                "--shortlog",
            ]);
            command
        }
        Subject::Postgrey => {
            let mut command = Command::new("/usr/sbin/postgrey");
            command.arg(format!("--unix={}", socket.display())).arg(format!("--dbdir={}", folder.display()));
            command.args(["--user=root", "--group=root", "--delay=1"]);
            command
        }
    };
    let log = fs::File::create(folder.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(&folder);
    let child = command.spawn().map_err(|error| format!("{}: {error}", subject.name()))?;
    let mut server = Server { pid: child.id(), child, at };
    let daemon = subject == Subject::Postfwd;
    let ready = wait_up_to(Duration::from_secs(30), || {
        let ended = !daemon && matches!(server.child.try_wait(), Ok(Some(_)));
        (ended || server.at.connect().is_ok()).then_some(!ended)
    });
    if ready != Some(true) {
        let said = fs::read_to_string(folder.join("log")).unwrap_or_default();
        return Err(format!("{} does not start: {said}", subject.name()).into());
    }
    if daemon {
        let pid = fs::read_to_string(folder.join("pid"))?;
        server.pid = pid.trim().parse()?;
    }
    Ok(server)
}

/// Asks until all requests are answered; the latencies, sorted.
fn load(at: &At, requests: u64, users: u64, state: &'static str) -> Result<Vec<Duration>, Box<dyn Error>> {
    let next = AtomicU64::new(0);
    let started = std::process::id();
    let all: Vec<std::io::Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let next = &next;
                scope.spawn(move || {
                    let mut stream = at.connect()?;
                    let mut took = Vec::new();
                    let mut reply = [0; 4096];
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            return Ok(took);
                        }
                        // Spread as users are, the same ones never at once.
                        let user = format!("user{}@d{}.example", number * 7919 % users, number % 50);
                        let instance = format!("{started:x}.{number:x}");
                        let asked = Asked {
                            state,
                            instance: &instance,
                            user: &user,
                            recipient: "b@b.example",
                            count: 1,
                        };
                        let bytes = asked.to_bytes();
                        let began = Instant::now();
                        stream.write_all(&bytes)?;
                        let mut have = 0;
                        while !reply[..have].ends_with(b"\n\n") {
                            let count = stream.read(&mut reply[have..])?;
                            if count == 0 {
                                return Err(std::io::ErrorKind::UnexpectedEof.into());
                            }
                            have += count;
                        }
                        took.push(began.elapsed());
                        if !reply.starts_with(b"action=") {
                            return Err(std::io::Error::other("no action"));
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut took = Vec::new();
    for one in all {
        took.extend(one?);
    }
    took.sort_unstable();
    Ok(took)
}

/// One run on a fresh server.
fn measure(subject: Subject, scratch: &Scratch, name: &str, quick: bool) -> Result<Value, Box<dyn Error>> {
    let server = start(subject, scratch, name)?;
    let pid = server.pid;
    // These two look at RCPT alone, and pass the rest by.
    let at_rcpt = matches!(subject, Subject::Postgrey | Subject::PolicydRateLimit);
    let state = if at_rcpt { "RCPT" } else { "DATA" };
    let requests = subject.requests(quick);
    load(&server.at, requests / 10, USERS, state).map_err(|error| format!("{}: {error}", subject.name()))?;
    let (before, began) = (CpuTime::of(pid)?, Instant::now());
    let took =
        load(&server.at, requests, USERS, state).map_err(|error| format!("{}: {error}", subject.name()))?;
    let (used, elapsed) = (CpuTime::of(pid)?.since(before), began.elapsed());
    let at = |part: f64| {
        let place = (took.len() as f64 * part) as usize;
        took[place.min(took.len() - 1)].as_secs_f64() * 1e3
    };
    Ok(json!({
        "cpu_us": used.total().as_secs_f64() * 1e6 / requests as f64,
        "per_second": requests as f64 / elapsed.as_secs_f64(),
        "p50_ms": at(0.5), "p99_ms": at(0.99), "rss_kib": Memory::of(pid)?.now_kib,
    }))
}

/// What a million keys and five thousand idle connections weigh, in MB, and how long a start with the keys takes after
/// `kill -9`, in seconds.
fn weigh(scratch: &Scratch, quick: bool) -> Result<(f64, f64, f64), Box<dyn Error>> {
    let keys = if quick { 100_000 } else { 1_000_000 };
    let text = OURS
        .split("[[limit]]\nname = \"domain\"")
        .next()
        .unwrap_or_default()
        .replace("[[limit]]", "[[limit]]\nmax_keys = 2000000");
    let text = text.replace("recipients", "messages");
    let folder = scratch.file("keys");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("conf"), text.replace("{dir}", &folder.display().to_string()))?;
    let run = || -> Result<Server, Box<dyn Error>> {
        let mut child = Command::new(program());
        let log = fs::File::create(folder.join("log"))?;
        child.arg("-c").arg(folder.join("conf")).stdin(Stdio::null()).stderr(log);
        let child = child.spawn()?;
        let server = Server { pid: child.id(), child, at: At::Unix(folder.join("policy")) };
        wait_up_to(Duration::from_secs(60), || server.at.connect().ok()).ok_or("it does not start")?;
        Ok(server)
    };
    let server = run()?;
    load(&server.at, keys, keys, "DATA")?;
    std::thread::sleep(Duration::from_secs(2));
    let with_keys = Memory::of(server.pid)?.now_kib as f64 * 1024.0 / 1e6;
    drop(server);
    let began = Instant::now();
    let again = run()?;
    load(&again.at, 1, 1, "DATA")?;
    let start_secs = began.elapsed().as_secs_f64();
    drop(again);

    let idle = start(Subject::Ours, scratch, "idle")?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(20_000), most)?;
    let mut held = Vec::new();
    for number in 0..5000 {
        let mut stream = idle.at.connect()?;
        let (user, instance) = (format!("u{}@a.example", number % 100), format!("idle{number}"));
        let asked = Asked { state: "DATA", instance: &instance, user: &user, recipient: "", count: 1 };
        stream.write_all(&asked.to_bytes())?;
        let mut reply = [0; 64];
        let _count = stream.read(&mut reply)?;
        held.push(stream);
    }
    let with_connections = Memory::of(idle.pid)?.now_kib as f64 * 1024.0 / 1e6;
    Ok((with_keys, with_connections, start_secs))
}

/// Runs all in turn and prints the tables.
///
/// # Errors
/// When a server does not start or does not answer.
pub fn run(rounds: usize, quick: bool) -> Result<Value, Box<dyn Error>> {
    let scratch = Scratch::new("benchpolicy");
    let subjects =
        [Subject::Fixed, Subject::Ours, Subject::Postfwd, Subject::Postgrey, Subject::PolicydRateLimit];
    let mut runs: Vec<Vec<Value>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (subject, runs) in subjects.into_iter().zip(&mut runs) {
            let name = format!("{}-{round}", subject.name().replace(' ', "-"));
            match measure(subject, &scratch, &name, quick) {
                Ok(figures) => runs.push(figures),
                Err(error) if !matches!(subject, Subject::Fixed | Subject::Ours) => {
                    println!("left out: {error}")
                }
                Err(error) => return Err(error),
            }
        }
    }
    println!(
        "\nPolicy: {CONNECTIONS} connections, 3 limits of 2 levels, file store; median of {rounds} rounds in turn"
    );
    println!(
        "{:<24} {:>12} {:>12} {:>9} {:>9} {:>10}",
        "", "CPU µs", "requests/s", "p50 ms", "p99 ms", "RSS MB"
    );
    let median = |runs: &[Value], figure: &str| {
        crate::report::Spread::of(runs, figure).map_or(f64::NAN, |spread| spread.median)
    };
    let mut cpu = Vec::new();
    for (subject, runs) in subjects.into_iter().zip(&runs).filter(|(_, runs)| !runs.is_empty()) {
        let figure = |name| median(runs, name);
        cpu.push((subject, figure("cpu_us")));
        println!(
            "{:<24} {:>12.2} {:>12.0} {:>9.3} {:>9.3} {:>10.1}",
            subject.name(),
            figure("cpu_us"),
            figure("per_second"),
            figure("p50_ms"),
            figure("p99_ms"),
            figure("rss_kib") * 1024.0 / 1e6,
        );
    }
    let of = |wanted| cpu.iter().find(|(subject, _)| *subject == wanted).map_or(f64::NAN, |(_, cpu)| *cpu);
    let ours = of(Subject::Ours);
    let best = cpu
        .iter()
        .filter(|(subject, _)| !matches!(subject, Subject::Fixed | Subject::Ours))
        .map(|(_, cpu)| *cpu)
        .fold(f64::INFINITY, f64::min);
    let met = |met: bool| if met { "met" } else { "MISSED" };
    let (to_fixed, to_peer) = (ours / of(Subject::Fixed), ours / best);
    println!("ours to the fixed server: {to_fixed:.2} (≤ {TO_FIXED} {})", met(to_fixed <= TO_FIXED));
    println!("ours to the best peer: {to_peer:.4} (≤ {TO_PEER} {})", met(to_peer <= TO_PEER));
    let (keys, idle, start) = weigh(&scratch, quick)?;
    println!("1,000,000 keys: {keys:.1} MB (≤ 120 {})", met(keys <= 120.0));
    println!("start with them after kill -9: {start:.2} s");
    println!("5,000 idle connections: {idle:.1} MB (≤ 40 {})", met(idle <= 40.0));
    let named: Vec<Value> = subjects
        .iter()
        .zip(runs)
        .map(|(subject, runs)| json!({ "subject": subject.name(), "runs": runs }))
        .collect();
    Ok(
        json!({ "runs": named, "to_fixed": to_fixed, "to_peer": to_peer, "keys_mb": keys, "idle_mb": idle, "start_s": start }),
    )
}

/// Answers DUNNO to whatever ends in an empty line: the least that a server can do.
///
/// # Errors
/// When it cannot listen.
pub fn dunno(path: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(path)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut buffer = vec![0_u8; 4096];
                let mut have = 0;
                loop {
                    match stream.read(&mut buffer[have..]).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => have += count,
                    }
                    if buffer[..have].ends_with(b"\n\n") {
                        if stream.write_all(b"action=DUNNO\n\n").await.is_err() {
                            return;
                        }
                        have = 0;
                    }
                }
            });
        }
    })
}
