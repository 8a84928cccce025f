//! What one program signs the other verifies.

use harness::dns::{Dns, Zone};
use harness::keys::RSA;
use harness::message::Message;
use harness::milter::{Conf, Milter, SigningKey, Subject};
use harness::milter_client::{Envelope, MilterClient};
use harness::scratch::Scratch;

use crate::case::subjects;
use crate::outcome::describe;

const CANONICALIZATIONS: [&str; 4] = ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"];

/// Messages that are easy to get wrong.
fn messages() -> Vec<(&'static str, Message)> {
    let plain = || Message::new("Anna <anna@a.example>", "bob@b.example", "hello", "Hello!\r\n");
    vec![
        ("plain", plain()),
        ("no body", plain().body("")),
        ("blank lines only", plain().body("\r\n\r\n\r\n")),
        ("blanks and blank lines", plain().body(" a\t b  \r\n\r\n \t\r\nc \r\n\r\n \r\n")),
        (
            "folds and blanks in fields",
            plain().without("Subject").raw_field("SUBJECT", b"  a \r\n\t b\r\n   c  "),
        ),
        ("a field without a blank", plain().raw_field("Cc", b"c@b.example")),
        (
            "an empty field and one that begins with a fold",
            plain().raw_field("Cc", b"").raw_field("Reply-To", b"\r\n anna@a.example"),
        ),
        (
            "fields twice",
            plain().field("Cc", "c@b.example").field("cc", "d@b.example").field("To", "e@b.example"),
        ),
        (
            "8-bit text",
            plain().without("Subject").field("Subject", "gr\u{fc}n").body("gr\u{fc}n\r\n\u{20ac}\r\n"),
        ),
        ("a dot line and long lines", plain().body(format!(".\r\n..\r\n{}\r\n", "x".repeat(2000)))),
        ("a large body", plain().body("0123456789 abcdef\r\n".repeat(10_000))),
    ]
}

#[test]
fn what_one_signs_the_other_verifies() {
    let scratch = Scratch::new("cross");
    let dns = Dns::start(RSA.publish(Zone::new(), "s", "a.example"));
    let verifiers = subjects().into_iter().map(|subject| {
        let name = format!("{subject:?}-v").to_lowercase();
        let conf = Conf::verifying(&scratch, &name, "mx.test.example").dns(subject, &dns);
        (subject, Milter::start(&scratch, &name, subject, &conf))
    });
    let verifiers: Vec<(Subject, Milter)> = verifiers.collect();
    let mut wrong = Vec::new();
    for canonicalization in CANONICALIZATIONS {
        for subject in subjects() {
            let name = format!("{subject:?}-{}", canonicalization.replace('/', "-")).to_lowercase();
            let key = SigningKey { key: RSA, domain: "a.example", selector: "s" };
            let conf = Conf::signing(&scratch, &name, &[key])
                .set("Canonicalization", canonicalization)
                .set("OversignHeaders", "From,Subject,Cc");
            let signer = Milter::start(&scratch, &name, subject, &conf);
            for (why, message) in messages() {
                let local = Envelope { client_address: Some([127, 0, 0, 1].into()), ..Envelope::default() };
                let signed =
                    MilterClient::connect(&signer).first_message(&local, &message).unwrap().apply(&message);
                for (judge, verifier) in &verifiers {
                    let outcome =
                        MilterClient::connect(verifier).first_message(&Envelope::default(), &signed).unwrap();
                    let got = describe(&outcome, false);
                    if got != "AR mx.test.example: pass a.example/s" {
                        wrong.push(format!(
                            "{canonicalization}, {why}: signed by {subject:?}, {judge:?} says {got}"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
