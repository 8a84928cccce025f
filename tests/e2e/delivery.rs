//! What an ordinary message goes through.

use harness::dns::{Dns, Zone};
use harness::keys::RSA;
use harness::message::Message;
use harness::milter::{Conf, Milter, SigningKey, Subject};
use harness::postfix::Postfix;
use harness::scratch::Scratch;

#[test]
fn signed() {
    let subject = Subject::from_env();
    let scratch = Scratch::new("e2e");
    let dns = Dns::start(RSA.publish(Zone::new(), "r", "a.example"));
    let keys = [SigningKey { key: RSA, domain: "a.example", selector: "r" }];
    let signer = Milter::start(&scratch, "signer", subject, &Conf::signing(&scratch, "signer", &keys));
    let conf = Conf::verifying(&scratch, "verifier", "mx.b.example").dns(subject, &dns);
    let verifier = Milter::start(&scratch, "verifier", subject, &conf);
    let b = Postfix::build(&scratch, "b", "mx.b.example").milter(&verifier).mailbox("bob@b.example").start();
    let a = Postfix::build(&scratch, "a", "mx.a.example")
        .milter(&signer)
        .relay("b.example", b.smtp_port())
        .start();
    let message = Message::new("anna@a.example", "bob@b.example", "hello", "Hello!\n");
    a.submit().send("anna@a.example", &["bob@b.example"], &message.to_bytes()).expect(250);
    let delivered = b.maildir("bob@b.example").wait_one();
    println!("{}", String::from_utf8_lossy(&delivered.message.to_bytes()));
    println!("{}\n{}", signer.log(), verifier.log());
    println!("{}\n{}", a.log(), b.log());
    a.wait_queue_empty();
}
