//! The demo: a real message through two private mail hosts with our milters in them, told station by station.
//!
//! Everything runs on loopback in a scratch folder, and nothing of it stays. `SUBJECT=reference` shows the same with
//! Debian's opendkim. Ends with status 1 if the receiving host does not find the signature good.

mod paper;

use std::process::ExitCode;
use std::time::Duration;

use harness::dns::{Dns, Zone};
use harness::keys::RSA;
use harness::message::Message;
use harness::milter::{Conf, Milter, SigningKey, Subject};
use harness::postfix::Postfix;
use harness::scratch::Scratch;
use harness::wait::wait_up_to;
use nix::sys::signal::{SigSet, Signal};
use paper::Paper;

fn main() -> ExitCode {
    // It takes seconds, and ends cleanly: Ctrl-C must not leave half of the hosts running.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().unwrap();
    if tell(&Paper::new(), Subject::from_env()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts the hosts, sends the message and prints what happened; whether B has found the signature good.
fn tell(paper: &Paper, subject: Subject) -> bool {
    let scratch = Scratch::new("demo");
    paper.title(&format!("Two mail hosts on loopback, in {}", scratch.path().display()));
    paper.say(&format!("milter: {}", subject.program().display()));

    let dns = Dns::start(RSA.publish(Zone::new(), "demo", "sender.example"));
    paper.say(&format!("DNS on 127.0.0.1:{}: demo._domainkey.sender.example", dns.port()));
    let key = SigningKey { key: RSA, domain: "sender.example", selector: "demo" };
    let signer = Milter::start(&scratch, "signer", subject, &Conf::signing(&scratch, "signer", &[key]));
    paper.say(&format!("signing milter: {}", signer.for_postfix()));
    let conf = Conf::verifying(&scratch, "verifier", B).dns(subject, &dns);
    let verifier = Milter::start(&scratch, "verifier", subject, &conf);
    paper.say(&format!("verifying milter: {}", verifier.for_postfix()));
    let b = Postfix::build(&scratch, "b", B).milter(&verifier).mailbox(BOB).start();
    let a = Postfix::build(&scratch, "a", A).milter(&signer).relay("receiver.example", b.smtp_port()).start();
    paper.say(&format!("Postfix {A}: submission on port {}", a.submission_port()));
    paper.say(&format!("Postfix {B}: SMTP on port {}", b.smtp_port()));

    paper.title("1. Anna submits a message to her host");
    let message = Message::new("Anna <anna@sender.example>", BOB, "A demo", "Hello, does this arrive?\n");
    paper.text(&String::from_utf8_lossy(&message.to_bytes()));
    let reply = a.submit().send(ANNA, &[BOB], &message.to_bytes());
    paper.say(&format!("{A} says: {}", reply.text));

    let delivered = b.maildir(BOB).wait_one();
    a.wait_queue_empty();
    paper.title("2. Her host's milter signs it");
    for line in lines_about(&signer, queue_id(&reply.text)) {
        paper.text(&line);
    }
    for value in delivered.message.raw_all("DKIM-Signature") {
        paper.text(&format!("DKIM-Signature:{}", String::from_utf8_lossy(value)));
    }

    paper.title("3. Her host sends it to Bob's");
    let sent = a.wait_log("status=sent");
    paper.text(&sent);

    paper.title("4. Bob's host's milter verifies it");
    for line in lines_about(&verifier, queue_id(&sent)) {
        paper.text(&line);
    }
    paper.say(&format!("asked the DNS for the key {} time(s)", dns.count("demo._domainkey.sender.example")));
    for value in delivered.message.raw_all("Authentication-Results") {
        paper.text(&format!("Authentication-Results:{}", String::from_utf8_lossy(value)));
    }

    paper.title("5. It lies in Bob's mailbox");
    paper.say(&format!("{} (KEEP=1 keeps the folder)", delivered.path.display()));
    paper.text(&String::from_utf8_lossy(&delivered.message.to_bytes()));

    let results = delivered.message.first("Authentication-Results");
    let pass = results.starts_with(B) && results.contains("dkim=pass");
    paper.verdict(pass, if pass { "dkim=pass: signed, sent, verified, delivered" } else { "no dkim=pass" });
    pass
}

/// The queue id at the end of Postfix's "queued as ID" or "(... queued as ID)".
fn queue_id(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or_default().trim_end_matches(')')
}

/// What a milter has logged about a message; it may come a moment after the message.
fn lines_about(milter: &Milter, id: &str) -> Vec<String> {
    let lines = || -> Vec<String> {
        milter.log().lines().filter(|line| line.contains(id)).map(str::to_owned).collect()
    };
    let _ = wait_up_to(Duration::from_secs(2), || (!lines().is_empty()).then_some(()));
    lines()
}

const A: &str = "mx.sender.example";
const B: &str = "mx.receiver.example";
const ANNA: &str = "anna@sender.example";
const BOB: &str = "bob@receiver.example";
