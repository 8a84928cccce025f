//! The other programs and ours, started with one configuration, and a client for all of them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use harness::policyd::{Policyd, program};
use harness::ports::Port;
use harness::scratch::Scratch;
use harness::wait::{PATIENCE, output, wait_up_to};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// policyd-rate-limit.yaml.
    RateLimit,
    /// A ruleset of postfwd.
    Postfwd,
}

enum At {
    Unix(PathBuf),
    Tcp(Port),
}

/// The other program; ended when dropped.
pub struct Theirs {
    child: Child,
    /// Of postfwd, which puts itself into the background.
    daemon: Option<Pid>,
    at: At,
}

/// A connection.
pub struct Client(Box<dyn ReadWrite>);

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

impl Client {
    /// Asks; the action, its keyword in capital letters.
    pub fn ask(&mut self, bytes: &[u8]) -> String {
        self.0.write_all(bytes).unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"\n\n") {
            let mut byte = [0; 1];
            self.0.read_exact(&mut byte).expect("an answer");
            text.push(byte[0]);
        }
        let text = String::from_utf8(text).unwrap();
        let action = text.trim_end().strip_prefix("action=").expect("an action").to_owned();
        // Postfix does not tell capital letters in it from small ones.
        match action.split_once(' ') {
            Some((word, rest)) => format!("{} {rest}", word.to_ascii_uppercase()),
            None => action.to_ascii_uppercase(),
        }
    }
}

impl At {
    fn connect(&self) -> std::io::Result<Client> {
        Ok(match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Client(Box::new(stream))
            }
            Self::Tcp(port) => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port.number()))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                Client(Box::new(stream))
            }
        })
    }
}

impl Theirs {
    /// Starts it. `text` is its configuration, of policyd-rate-limit without what belongs to the machine.
    #[track_caller]
    pub fn start(scratch: &Scratch, origin: Origin, text: &str) -> Self {
        let folder = scratch.file("theirs");
        fs::create_dir_all(&folder).unwrap();
        let conf = folder.join("conf.yaml");
        let (at, mut command) = match origin {
            Origin::RateLimit => {
                let dir = folder.display();
                let text = format!(
                    "debug: False\nuser: root\ngroup: root\npidfile: \"{dir}/pid\"\nsqlite_config:\n    database: \
                     \"{dir}/db\"\nbackend: 0\nSOCKET: \"{dir}/policy\"\nsocket_permission: 0666\nreport: False\n\
                     db_error_action: \"dunno\"\ndelay_to_close: 300\n{text}"
                );
                fs::write(&conf, text).unwrap();
                let mut command = Command::new("/usr/bin/policyd-rate-limit");
                command.arg("-f").arg(&conf);
                (At::Unix(folder.join("policy")), command)
            }
            Origin::Postfwd => {
                fs::write(&conf, text).unwrap();
                let port = Port::new();
                let mut command = Command::new("/usr/sbin/postfwd1");
                command.arg("-f").arg(&conf).arg("-d").arg("--pidfile").arg(folder.join("pid"));
                let number = port.to_string();
                command.args(["-i", "127.0.0.1", "-p", &number, "-u", "root", "-g", "root", "--shortlog"]);
                (At::Tcp(port), command)
            }
        };
        let log = fs::File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).current_dir(&folder);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut this = Self { child, daemon: None, at };
        let ready = wait_up_to(PATIENCE, || {
            let ended = origin == Origin::RateLimit && matches!(this.child.try_wait(), Ok(Some(_)));
            (ended || this.at.connect().is_ok()).then_some(!ended)
        });
        if origin == Origin::Postfwd {
            this.daemon = pid_in(&folder.join("pid"));
        }
        let said = fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert_eq!(ready, Some(true), "it does not start: {said}");
        this
    }

    /// Connects.
    pub fn connect(&self) -> Client {
        self.at.connect().unwrap()
    }
}

fn pid_in(path: &Path) -> Option<Pid> {
    wait_up_to(PATIENCE, || fs::read_to_string(path).ok()?.trim().parse().ok()).map(Pid::from_raw)
}

impl Drop for Theirs {
    fn drop(&mut self) {
        if let Some(pid) = self.daemon {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ours with what `import` makes of the configuration.
pub struct Ours {
    policyd: Policyd,
    /// What it made.
    pub configuration: String,
}

impl Ours {
    /// Imports and starts it: in a folder of its own, with counters in memory.
    #[track_caller]
    pub fn start(scratch: &Scratch, origin: Origin, text: &str) -> Self {
        let flag = match origin {
            Origin::RateLimit => "--policyd-rate-limit",
            Origin::Postfwd => "--postfwd",
        };
        let done = output(Command::new(program()).args(["import", flag, "-"]), text.as_bytes());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let configuration = String::from_utf8(done.stdout).unwrap();
        let overrides = scratch.file("overrides");
        fs::write(&overrides, in_comments(&configuration)).unwrap();
        let mut lines: Vec<String> = vec!["listen = [\"unix:{dir}/policy\"]".into()];
        lines.extend(configuration.lines().filter(|line| !line.starts_with("listen = ")).map(str::to_owned));
        let text =
            lines.join("\n").replace("/etc/postrider/policyd-overrides", &overrides.display().to_string())
                + "\n[store]\ndriver = \"memory\"\n";
        Self { policyd: Policyd::start(scratch, "ours", &text), configuration }
    }

    /// Connects.
    pub fn connect(&self) -> Client {
        At::Unix(self.policyd.socket()).connect().unwrap()
    }
}

/// The lines that a comment tells the admin to put into a file.
fn in_comments(configuration: &str) -> String {
    let lines = configuration.lines().skip_while(|line| !line.starts_with("# limits_by_id: put these lines"));
    let entries = lines.skip(1).take_while(|line| line.starts_with('#'));
    entries.map(|line| format!("{}\n", line.trim_start_matches(['#', ' ']))).collect()
}
