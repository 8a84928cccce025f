//! Differences from Pigeonhole that its sieve-test cannot show: the same deliveries by dovecot-lda and by ours.
//!
//! Each case fails when one of the two does what the other does. docs/differences/pigeonhole.md has the numbers.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::lab::{Lab, USER, ended, message, run};

/// One of the two, with a user of its own.
struct Agent {
    lab: Lab,
    is_ours: bool,
}

/// Both with the same script; dovecot-lda, ours.
fn both(name: &str, more: &str, script: &str) -> [Agent; 2] {
    [false, true].map(|is_ours| {
        let lab = Lab::new(name, more);
        lab.script(script);
        let agent = Agent { lab, is_ours };
        agent.configure_theirs();
        agent
    })
}

impl Agent {
    fn configure_theirs(&self) {
        let (lab, folder) = (&self.lab, self.lab.scratch.path().display());
        let text = format!(
            "base_dir = {folder}/dovecot\nlog_path = {0}/dovecot.log\nssl = no\nmail_location = maildir:~/Maildir\n\
             first_valid_uid = 1\npostmaster_address = postmaster@b.example\nhostname = mx.b.example\n\
             sendmail_path = {folder}/sendmail\nstats_writer_socket_path =\nrecipient_delimiter = +\n\
             protocol lda {{\n mail_plugins = sieve\n}}\nplugin {{\n sieve = ~/.dovecot.sieve\n}}\n",
            lab.home.display()
        );
        lab.scratch.write("dovecot.conf", text);
    }

    fn deliver(&self, sender: &str, message: &str) -> (i32, String) {
        if self.is_ours {
            return self.lab.deliver(sender, message);
        }
        let mut command = Command::new("/usr/lib/dovecot/dovecot-lda");
        command.arg("-c").arg(self.lab.scratch.file("dovecot.conf")).args(["-f", sender]);
        command.args(["-a", "joe@b.example", "-r", "joe@b.example"]).env_clear();
        command.env("USER", "joe@b.example").env("HOME", &self.lab.home).env("PATH", "/usr/bin:/bin");
        command.uid(USER).gid(USER).current_dir("/");
        let (code, said) = ended(run(&mut command, message));
        (code, said + &fs::read_to_string(self.lab.home.join("dovecot.log")).unwrap_or_default())
    }

    /// Delivers; what was sent and what lies in the INBOX since the beginning.
    fn counts(&self, sender: &str, message: &str) -> (i32, usize, usize) {
        let (code, said) = self.deliver(sender, message);
        println!("ours: {}\n{said}", self.is_ours);
        (code, self.lab.sent().len(), self.lab.messages("").len())
    }
}

#[test]
fn p12_what_would_come_back_is_kept() {
    for (script, more) in
        [("redirect \"joe@b.example\";", ""), ("redirect \"x@y.example\";", "Delivered-To: x@y.example\n")]
    {
        let [theirs, ours] =
            both("p12", "", script).map(|agent| agent.counts("anna@a.example", &message(1, more)));
        assert_eq!((theirs, ours), ((0, 1, 0), (0, 0, 1)), "{script} {more}");
    }
    let more = "X-Sieve-Redirected-From: joe@b.example\n";
    for agent in both("p12", "", "redirect \"x@y.example\";") {
        assert_eq!(agent.counts("anna@a.example", &message(1, more)), (0, 0, 1));
    }
}

#[test]
fn p13_another_message_with_the_same_id_is_redirected() {
    let [theirs, ours] = both("p13", "", "redirect \"x@y.example\";").map(|agent| {
        agent.counts("anna@a.example", &message(1, ""));
        agent.counts("anna@a.example", &message(1, "X-Other: yes\n"))
    });
    assert_eq!((theirs, ours), ((0, 1, 1), (0, 2, 0)));
}

#[test]
fn p14_a_rejection_is_told_by_the_exit_code() {
    let [theirs, ours] = both("p14", "", "require \"reject\"; reject \"no thanks\";")
        .map(|agent| agent.counts("anna@a.example", &message(1, "")));
    assert_eq!((theirs, ours), ((0, 1, 0), (77, 0, 0)));
}

#[test]
fn p15_ereject_can_be_switched_on() {
    let script = "require \"ereject\"; ereject \"no thanks\";";
    let deliver = |agent: Agent| agent.counts("anna@a.example", &message(1, ""));
    // A script that is refused keeps the mail.
    let [theirs, ours] = both("p15", "extensions = [\"+ereject\"]", script).map(deliver);
    assert_eq!((theirs, ours), ((0, 0, 1), (77, 0, 0)));
    let [_, ours] = both("p15off", "", script).map(deliver);
    assert_eq!(ours, (0, 0, 1));
}

#[test]
fn p16_answers_are_remembered_elsewhere() {
    let script = "require \"vacation\"; vacation \"away\";";
    let [theirs, ours] = both("p16", "", script).map(|agent| {
        assert_eq!(agent.counts("anna@a.example", &message(1, "")), (0, 1, 1));
        let is_there = |name: &str| agent.lab.home.join(name).exists();
        let files = (is_there(".dovecot.lda-dupes"), is_there(".postrider.lda-dupes"));
        // Each goes by its own file.
        assert_eq!(agent.counts("anna@a.example", &message(2, "")).1, 1);
        files
    });
    assert_eq!((theirs, ours), ((true, false), (false, true)));
}

#[test]
fn p17_machines_are_not_answered() {
    let script = "require \"vacation\"; vacation \"away\";";
    for sender in ["noreply", "no-reply", "donotreply", "postmaster", "list-bounces"] {
        let [theirs, ours] = both("p17", "", script)
            .map(|agent| agent.counts(&format!("{sender}@a.example"), &message(1, "")).1);
        assert_eq!((theirs, ours), (1, 0), "{sender}");
    }
}

#[test]
fn p18_scripts_see_the_first_32_mib() {
    let script = "require [\"body\",\"fileinto\",\"mailbox\"]; if size :over 32M { if body :raw :contains \"needle\" { fileinto :create \"Found\"; } }";
    let line = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnop\n";
    let large = |megabytes: usize| {
        format!("{}{}needle\n", message(1, ""), line.repeat(megabytes * 1024 * 1024 / line.len()))
    };
    let [theirs, ours] = both("p18", "", script).map(|agent| {
        agent.counts("anna@a.example", &large(34));
        (agent.lab.messages("Found").len(), agent.lab.messages("").len())
    });
    assert_eq!((theirs, ours), ((1, 0), (0, 1)));
}

#[test]
fn p19_scripts_are_not_compiled_to_files() {
    let [theirs, ours] = both("p19", "", "keep;").map(|agent| {
        agent.counts("anna@a.example", &message(1, ""));
        let names = fs::read_dir(&agent.lab.home).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".svbin")).count()
    });
    assert_eq!((theirs, ours), (1, 0));
}

#[test]
fn p20_the_log_says_saved() {
    let script = "require [\"fileinto\",\"mailbox\"]; fileinto :create \"A\";";
    let [theirs, ours] = both("p20", "", script).map(|agent| {
        let (_, said) = agent.deliver("anna@a.example", &message(1, ""));
        (said.contains(": stored mail into mailbox 'A'"), said.contains(": saved mail to A"))
    });
    assert_eq!((theirs, ours), ((true, false), (false, true)));
}
