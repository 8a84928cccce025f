//! A real Postfix delivers by mailbox_command and by pipe(8): content, bounces, and agents killed in between.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::postfix::{Builder, Postfix};
use harness::scratch::Scratch;
use harness::wait::wait_up_to;

use crate::lab::{long, messages, program};

/// The user whom every Debian has, and who owns the mail here.
const NOBODY: u32 = 65534;

/// A Postfix that delivers into Maildirs below `mail` by one of the two ways.
struct Site {
    postfix: Postfix,
    mail: PathBuf,
    conf: PathBuf,
    _scratch: Scratch,
}

impl Site {
    fn new(name: &str, more: &str, way: impl for<'a> Fn(Builder<'a>, &str) -> Builder<'a>) -> Self {
        let scratch = Scratch::new(name);
        let mail = scratch.file("mail");
        fs::create_dir(&mail).unwrap();
        chown(&mail, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(&mail, fs::Permissions::from_mode(0o755)).unwrap();
        let conf = scratch.write(
            "lda.toml",
            format!(
                "mail_location = \"maildir:{0}/%n\"\nfirst_valid_uid = 1\n{more}\n[[userdb]]\ndriver = \"static\"\n\
                 fields = {{ uid = \"nobody\", gid = \"nogroup\", home = \"{0}/%n\" }}\n",
                mail.display()
            ),
        );
        // The program must be reachable for everybody.
        let agent = scratch.file("postrider-lda");
        fs::copy(program(), &agent).unwrap();
        let command = format!("{} -c {}", agent.display(), conf.display());
        let postfix = way(Postfix::build(&scratch, "mx", "mx.a.example"), &command).start();
        Self { postfix, mail, conf, _scratch: scratch }
    }

    fn mailbox_command(name: &str, more: &str) -> Self {
        Self::new(name, more, |builder, command| {
            builder
                .main("mydestination = a.example")
                .main(&format!("mailbox_command = {command}"))
                .main("recipient_delimiter = +")
        })
    }

    fn pipe(name: &str, more: &str) -> Self {
        Self::new(name, more, |builder, command| {
            let words = "-f ${sender} -d ${recipient} -a ${original_recipient}";
            builder
                .mailbox("nobody@a.example")
                .main("virtual_transport = lda")
                .main("lda_destination_recipient_limit = 1")
                .service(&format!(
                    "lda unix - n n - - pipe\n  flags=DRhu user=nobody:nogroup argv={command} {words}"
                ))
        })
    }

    fn root(&self) -> PathBuf {
        self.mail.join("nobody")
    }

    fn send(&self, number: usize, body: &str) {
        let text =
            format!("From: anna@b.example\nTo: nobody@a.example\nSubject: number {number}\n\n{body}\n");
        self.postfix.sendmail("anna@b.example", &["nobody@a.example"], text.as_bytes());
    }
}

fn content(site: &Site) {
    site.send(1, "hello");
    site.postfix.wait_queue_empty();
    let all = messages(&site.root());
    assert_eq!(all.len(), 1, "{}", site.postfix.log());
    let text = fs::read_to_string(&all[0]).unwrap();
    for field in ["Return-Path: <anna@b.example>\n", "Delivered-To: nobody@a.example\n", "\n\nhello\n"] {
        assert!(text.contains(field), "{field}: {text}");
    }
    let name = all[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.contains(&format!(",S={},", text.len())), "{name}");
}

/// Over quota is returned by Postfix with the reason, and not by the agent; or kept, when asked for.
fn quota(site: &Site) {
    fs::write(site.root().join("maildirsize"), "100S\n100 1\n").unwrap();
    site.send(2, "too much");
    let log = site.postfix.wait_log("status=bounced");
    assert!(log.contains("Quota exceeded (mailbox for user is full)"), "{log}");
    assert_eq!(messages(&site.root()).len(), 1);
    // The report to the sender has no way to go here; what counts is that the message did not stay.
}

#[test]
fn by_mailbox_command() {
    let site = Site::mailbox_command("mboxcmd", "");
    content(&site);
    quota(&site);
}

#[test]
fn by_pipe() {
    let site = Site::pipe("pipe", "");
    content(&site);
    quota(&site);
}

#[test]
fn a_broken_configuration_keeps_the_mail() {
    let site = Site::pipe("pipebroken", "");
    let good = fs::read_to_string(&site.conf).unwrap();
    fs::write(&site.conf, "nonsense = 1\n").unwrap();
    site.send(1, "x");
    site.postfix.wait_log("status=deferred");
    fs::write(&site.conf, good).unwrap();
    site.postfix.wait_queue_empty();
    assert_eq!(messages(&site.root()).len(), 1);
}

/// Kills agents of this site while `done` is false; the number of kills.
///
/// Every second agent is left alone, so that each message arrives at last; the others have a random time to live.
fn killer(conf: &Path, done: &AtomicBool) -> usize {
    let mark = conf.display().to_string();
    let mut kills = 0;
    let mut dice = 7_u64;
    let mut ends: HashMap<i32, Option<Instant>> = HashMap::new();
    // An agent lives for some milliseconds; looking at every process of the machine would take as long.
    let others: HashSet<i32> = pids().collect();
    while !done.load(Ordering::Relaxed) {
        for pid in pids().filter(|pid| !others.contains(pid)) {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if !line.split('\0').next().is_some_and(|name| name.ends_with("/postrider-lda"))
                || !line.contains(&mark)
            {
                continue;
            }
            let end = ends.entry(pid).or_insert_with(|| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let micros = (dice >> 33) % 4_000;
                (dice >> 63 == 0).then(|| Instant::now() + Duration::from_micros(micros))
            });
            if end.is_some_and(|end| Instant::now() >= end)
                && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
                    .is_ok()
            {
                *end = None;
                kills += 1;
            }
        }
        std::thread::yield_now();
    }
    kills
}

/// All processes of the machine.
fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Every message arrives, however many agents are killed.
fn killed(site: &Site) {
    let count = if long() { 1000 } else { 60 };
    let done = AtomicBool::new(false);
    let kills = std::thread::scope(|scope| {
        let killer = scope.spawn(|| killer(&site.conf, &done));
        for number in 0..count {
            site.send(number, "x");
        }
        let empty = wait_up_to(Duration::from_secs(if long() { 600 } else { 120 }), || {
            (site.postfix.queued() == 0).then_some(())
        });
        done.store(true, Ordering::Relaxed);
        assert!(empty.is_some(), "{} messages are still in the queue", site.postfix.queued());
        killer.join().unwrap()
    });
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for path in messages(&site.root()) {
        let text = fs::read_to_string(path).unwrap();
        *copies
            .entry(text.lines().find(|line| line.starts_with("Subject")).unwrap().to_owned())
            .or_default() += 1;
    }
    let log = site.postfix.log();
    assert!(
        !log.contains("status=bounced"),
        "{}",
        log.lines().filter(|line| line.contains("bounced")).collect::<String>()
    );
    assert_eq!(copies.len(), count, "messages are missing");
    let twice = copies.values().filter(|copies| **copies > 1).count();
    let left = fs::read_dir(site.root().join("tmp")).unwrap().count();
    println!("{count} messages, {kills} kills, {twice} there twice, left in tmp {left}");
    assert_eq!(left, 0, "each kill was followed by another attempt, which clears up");
    assert!(kills > 0, "no agent was killed, so nothing was tried");
    assert!(twice <= 1 + count / 200, "{twice} of {count} are there twice");
}

#[test]
fn agents_of_mailbox_command_are_killed() {
    killed(&Site::mailbox_command("mboxkill", ""));
}

#[test]
fn agents_of_pipe_are_killed() {
    killed(&Site::pipe("pipekill", ""));
}
