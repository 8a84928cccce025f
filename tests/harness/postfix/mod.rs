//! A real Postfix for one test: its own configuration, queue, ports, log and Maildirs, beside any other.

mod conf;
mod maildir;

pub use maildir::{Delivered, Maildir};

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::auth::AuthServer;
use crate::milter::Milter;
use crate::ports::Port;
use crate::scratch::Scratch;
use crate::smtp_client::SmtpClient;
use crate::wait::{PATIENCE, output, wait_for, wait_up_to};

/// A running Postfix instance; it is ended when dropped.
#[derive(Debug)]
pub struct Postfix {
    folder: PathBuf,
    smtp: Port,
    submission: Port,
}

/// What a Postfix is to be, before it starts.
#[derive(Debug)]
pub struct Builder<'a> {
    scratch: &'a Scratch,
    name: String,
    hostname: String,
    mailboxes: Vec<String>,
    transport: String,
    milters: Vec<String>,
    main: String,
    master: String,
    submission: Vec<String>,
}

impl<'a> Builder<'a> {
    /// Delivers mail for `address` into a Maildir of its own.
    #[must_use]
    pub fn mailbox(mut self, address: &str) -> Self {
        self.mailboxes.push(address.to_owned());
        self
    }

    /// Sends mail for `domain` to the SMTP port of 127.0.0.1 given.
    #[must_use]
    pub fn relay(mut self, domain: &str, port: u16) -> Self {
        self.transport.push_str(&format!("{domain} smtp:[127.0.0.1]:{port}\n"));
        self
    }

    /// Passes all mail through `milter` (`smtpd_milters` and `non_smtpd_milters`), after those given before.
    #[must_use]
    pub fn milter(mut self, milter: &Milter) -> Self {
        self.milters.push(milter.for_postfix());
        self
    }

    /// Adds a line to main.cf, in place of the harness's line for the same setting.
    #[must_use]
    pub fn main(mut self, line: &str) -> Self {
        self.main.push_str(line);
        self.main.push('\n');
        self
    }

    /// Adds a line to master.cf: a transport of its own.
    #[must_use]
    pub fn service(mut self, line: &str) -> Self {
        self.master.push_str(line);
        self.master.push('\n');
        self
    }

    /// The submission service lets users log in, whom `server` knows, and relays for them alone; it offers STARTTLS
    /// with a certificate of its own.
    #[must_use]
    pub fn sasl(self, server: &AuthServer) -> Self {
        let certificate = conf::certificate(self.scratch);
        let path = server.client_socket().display().to_string();
        [
            "smtpd_sasl_auth_enable = yes".to_owned(),
            "smtpd_sasl_type = dovecot".to_owned(),
            format!("smtpd_sasl_path = {path}"),
            "smtpd_sasl_security_options = noanonymous".to_owned(),
            "smtpd_tls_security_level = may".to_owned(),
            format!("smtpd_tls_cert_file = {certificate}"),
            format!("smtpd_tls_key_file = {certificate}"),
            "smtpd_relay_restrictions = permit_sasl_authenticated, reject".to_owned(),
        ]
        .iter()
        .fold(self, |builder, option| builder.submission_option(option))
    }

    /// Gives the submission service another `-o NAME=VALUE`.
    #[must_use]
    pub fn submission_option(mut self, option: &str) -> Self {
        self.submission.push(option.to_owned());
        self
    }

    /// Starts it and waits until it takes connections.
    #[must_use]
    pub fn start(self) -> Postfix {
        let folder = self.scratch.file(&self.name);
        let (smtp, submission) = (Port::new(), Port::new());
        for sub in ["", "etc", "spool", "data", "mail"] {
            fs::DirBuilder::new().mode(0o755).recursive(true).create(folder.join(sub)).unwrap();
        }
        chown(folder.join("mail"), Some(NOBODY), Some(NOBODY)).unwrap();
        let postfix_user = nix::unistd::User::from_name("postfix").unwrap().expect("install postfix");
        chown(folder.join("data"), Some(postfix_user.uid.as_raw()), None).unwrap();
        let (domains, mailboxes) = conf::tables(&self);
        let master = conf::master_cf(&self, smtp.number(), submission.number());
        for (name, text) in [
            ("domains", domains),
            ("mailboxes", mailboxes),
            ("transport", self.transport.clone()),
            ("etc/main.cf", conf::main_cf(&folder, &self)),
            ("etc/master.cf", master),
        ] {
            write_settled(&folder.join(name), &text);
        }
        let postfix = Postfix { folder, smtp, submission };
        postfix.launch();
        postfix
    }
}

impl Postfix {
    /// Describes an instance named `name`, whose files lie in `scratch` under that name; `hostname` is its HELO name.
    #[must_use]
    pub fn build<'a>(scratch: &'a Scratch, name: &str, hostname: &str) -> Builder<'a> {
        Builder {
            scratch,
            name: name.to_owned(),
            hostname: hostname.to_owned(),
            mailboxes: Vec::new(),
            transport: String::new(),
            milters: Vec::new(),
            main: String::new(),
            master: String::new(),
            submission: Vec::new(),
        }
    }

    /// The port of smtpd.
    #[must_use]
    pub fn smtp_port(&self) -> u16 {
        self.smtp.number()
    }

    /// The port of the submission service, whose milters see `{daemon_name}` ORIGINATING.
    #[must_use]
    pub fn submission_port(&self) -> u16 {
        self.submission.number()
    }

    /// Connects to smtpd and says EHLO.
    #[must_use]
    pub fn smtp(&self) -> SmtpClient {
        SmtpClient::connect(self.smtp.number())
    }

    /// Connects to the submission service and says EHLO.
    #[must_use]
    pub fn submit(&self) -> SmtpClient {
        SmtpClient::connect(self.submission.number())
    }

    /// The same after STARTTLS.
    #[must_use]
    pub fn submit_tls(&self) -> SmtpClient {
        SmtpClient::connect_tls(self.submission.number())
    }

    /// The Maildir of a mailbox that the instance was built with.
    #[must_use]
    pub fn maildir(&self, address: &str) -> Maildir {
        Maildir::new(self.folder.join("mail").join(address))
    }

    /// Hands a message (LF or CRLF) to this instance's sendmail(1).
    pub fn sendmail(&self, sender: &str, recipients: &[&str], message: &[u8]) {
        let mut command = Command::new("/usr/sbin/sendmail");
        command.arg("-C").arg(self.folder.join("etc")).args(["-i", "-f", sender, "--"]).args(recipients);
        let text: Vec<u8> = message.iter().copied().filter(|&byte| byte != b'\r').collect();
        let done = output(&mut command, &text);
        assert!(done.status.success(), "sendmail: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// What Postfix has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Waits for a line with `text` in the log and returns it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("{text:?} in Postfix's log"), || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// Waits until no message is in the queue any more.
    #[track_caller]
    pub fn wait_queue_empty(&self) {
        wait_for("an empty queue", || (self.queued() == 0).then_some(()));
    }

    /// How many messages are in the queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        QUEUES.iter().map(|queue| count_files(&self.folder.join("spool").join(queue))).sum()
    }

    /// Tries all queued messages at once.
    pub fn flush(&self) {
        self.run("flush");
    }

    /// Replaces a main.cf setting and reloads.
    pub fn change(&self, line: &str) {
        let path = self.folder.join("etc/main.cf");
        let text = fs::read_to_string(&path).unwrap();
        write_settled(&path, &conf::with(&text, line));
        self.run("reload");
    }

    /// Ends it; its queue stays.
    pub fn stop(&self) {
        self.end();
    }

    /// Starts it after [`stop`](Self::stop).
    pub fn launch(&self) {
        self.run("start");
        let ready = || {
            let port = |port: &Port| std::net::TcpStream::connect(("127.0.0.1", port.number())).is_ok();
            (port(&self.smtp) && port(&self.submission)).then_some(())
        };
        if wait_up_to(PATIENCE, ready).is_none() {
            panic!("Postfix does not listen:\n{}", self.log());
        }
    }

    fn run(&self, action: &str) {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.join("etc")).arg(action);
        let output = output(&mut command, b"");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("postfix {action}: {}\n{said}\n{}", output.status, self.log());
        }
    }

    fn end(&self) {
        // What `postfix stop` does, without its pauses: master ends its children.
        let Some(pid) = self.master() else { return };
        let _ = kill(pid, Signal::SIGTERM);
        if wait_up_to(PATIENCE, || self.master().is_none().then_some(())).is_none() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// The running master(8), if its pid file names a process that works in this instance's queue.
    fn master(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.join("spool/pid/master.pid")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        let cwd = fs::read_link(Path::new("/proc").join(pid.to_string()).join("cwd")).ok()?;
        cwd.starts_with(&self.folder).then(|| Pid::from_raw(pid))
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("--- log of Postfix in {}\n{}", self.folder.display(), self.log());
        }
    }
}

/// Writes a configuration file that seems to be old: Postfix reads one again a second later until it is.
fn write_settled(path: &Path, text: &str) {
    let mut file = fs::File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

/// Files below a folder, at any depth.
fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path()),
            _ => 1,
        })
        .sum()
}

const QUEUES: [&str; 5] = ["maildrop", "incoming", "active", "deferred", "hold"];
/// The user that mailboxes belong to.
const NOBODY: u32 = 65534;
