//! Mail of every shape arrives with signatures that verify.

use harness::keys::{ED25519, RSA};
use harness::message::{Message, tag};
use harness::milter::{Conf, SigningKey, Subject};
use harness::postfix::Builder;

use crate::site::{A, ANNA, B, BOB, Plan, message, selectors, signature};

#[test]
fn every_canonicalization() {
    let mut site = Plan::default().start();
    // Blanks at the ends of lines, empty lines at the end, folds and odd spelling: all that the two differ in.
    let awkward = Message::default()
        .raw_field("from", b"Anna <anna@a.example>")
        .raw_field("To", b"  bob@b.example \t")
        .raw_field("SUBJECT", b" a\r\n   folded \r\n\tsubject  with   blanks ")
        .raw_field("Date", b"\tSat, 21 Nov 2026 10:00:00 +0000")
        .body("two  blanks, and some at the end \t \n\n \n.\n..dots\n\n\n\n");
    for canonicalization in ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"] {
        let key = SigningKey { key: RSA, domain: A, selector: RSA.name };
        let conf = Conf::signing(&site.scratch, "signer", &[key]);
        site.signer.kill();
        site.signer.configure(&conf.set("Canonicalization", canonicalization));
        site.signer.start_again();
        let delivered = site.send(&awkward);
        assert_eq!(tag(&signature(&delivered.message), "c"), canonicalization);
        site.assert_pass(&delivered, 1);
    }
}

#[test]
fn ed25519_alone() {
    let sign = |conf: Conf| conf.set("SignatureAlgorithm", "ed25519-sha256");
    let site = Plan { keys: &[ED25519], sign, ..Plan::default() }.start();
    let delivered = site.send(&message("ed25519", "Hello!\n"));
    assert_eq!(tag(&signature(&delivered.message), "a"), "ed25519-sha256");
    site.assert_pass(&delivered, 1);
}

#[test]
fn rsa_and_ed25519_together() {
    if Subject::from_env().lacks("two algorithms for one message") {
        return;
    }
    let site = Plan { keys: &[RSA, ED25519], ..Plan::default() }.start();
    let delivered = site.send(&message("both", "Hello!\n"));
    assert_eq!(selectors(&delivered.message), [ED25519.name, RSA.name]);
    site.assert_pass(&delivered, 2);
}

#[test]
fn eight_bit_text() {
    let site = Plan::default().start();
    let message = message("Grüße aus Köln", "Grüße, 你好\n\u{85}\n")
        .field("MIME-Version", "1.0")
        .field("Content-Type", "text/plain; charset=utf-8")
        .field("Content-Transfer-Encoding", "8bit");
    let delivered = site.send(&message);
    assert_eq!(delivered.message.body_bytes(), message.body_bytes());
    site.assert_pass(&delivered, 1);
}

#[test]
fn fifty_mebibytes() {
    let site = Plan { a: with_large_limit, b: with_large_limit, ..Plan::default() }.start();
    let line = "The quick brown fox jumps over the lazy dog, again and again and again. \n";
    let message = message("large", line.repeat((50 << 20) / line.len()));
    let delivered = site.send(&message);
    assert_eq!(delivered.message.body_bytes().len(), message.body_bytes().len());
    site.assert_pass(&delivered, 1);
}

#[test]
fn one_to_five_recipients() {
    let site = Plan { b: five_mailboxes, ..Plan::default() }.start();
    let recipients: Vec<String> = (1..=5).map(|n| format!("r{n}@{B}")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mut client = site.a.submit();
    for number in 1..=5 {
        let message = message(&format!("to {number}"), "Hello!\n").to_bytes();
        client.send(ANNA, &recipients[..number], &message).expect(250);
    }
    client.quit();
    // The first recipient has all five messages, the last only one.
    for (index, recipient) in recipients.iter().enumerate() {
        let delivered = site.b.maildir(recipient).wait(5 - index);
        let mut subjects: Vec<String> = delivered.iter().map(|mail| mail.message.first("Subject")).collect();
        subjects.sort();
        let expected: Vec<String> = (index + 1..=5).map(|number| format!("to {number}")).collect();
        assert_eq!(subjects, expected);
        site.assert_pass(&delivered[0], 1);
    }
    site.a.wait_queue_empty();
}

#[test]
fn several_messages_in_a_connection() {
    let site = Plan::default().start();
    let mut client = site.a.submit();
    for number in 0..4 {
        // Different headers, so that anything left of the message before would show.
        let mut message = message(&format!("number {number}"), format!("body {number}\n"));
        if number % 2 == 1 {
            message = message.field("Cc", "carol@b.example").field("Reply-To", "anna@a.example");
        }
        client.send(ANNA, &[BOB], &message.to_bytes()).expect(250);
    }
    client.quit();
    let delivered = site.b.maildir(BOB).wait(4);
    for mail in &delivered {
        site.assert_pass(mail, 1);
    }
}

#[test]
fn reset_in_the_middle() {
    let site = Plan::default().start();
    let mut client = site.a.submit();
    client.mail("stranger@elsewhere.example", "").expect(250);
    client.rcpt(BOB).expect(250);
    client.rset().expect(250);
    client.send(ANNA, &[BOB], &message("after RSET", "Hello!\n").to_bytes()).expect(250);
    client.mail(ANNA, "").expect(250);
    client.rset().expect(250);
    client.rset().expect(250);
    client.send(ANNA, &[BOB], &message("after RSET twice", "Hello again!\n").to_bytes()).expect(250);
    client.quit();
    for mail in site.b.maildir(BOB).wait(2) {
        site.assert_pass(&mail, 1);
    }
}

#[test]
fn from_sendmail() {
    let site = Plan::default().start();
    site.a.sendmail(ANNA, &[BOB], &message("sendmail", "Hello!\n").to_bytes());
    let delivered = site.b.maildir(BOB).wait_one();
    site.assert_pass(&delivered, 1);
    // A message that lacks what sendmail(1) adds is signed with what Postfix has added, or it would not verify.
    site.a.sendmail(ANNA, &[BOB], b"To: bob@b.example\n\nbare\n");
    let delivered = site.b.maildir(BOB).wait(2);
    for mail in &delivered {
        site.assert_pass(mail, 1);
    }
}

fn five_mailboxes(host: Builder<'_>) -> Builder<'_> {
    (1..=5).fold(host, |host, number| host.mailbox(&format!("r{number}@{B}")))
}

fn with_large_limit(host: Builder<'_>) -> Builder<'_> {
    host.main("message_size_limit = 80000000")
}
