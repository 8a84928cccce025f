//! A real Postfix with greylisting: a first attempt waits, a retry passes, also after a crash.

use std::time::{Duration, Instant};

use harness::policyd::Policyd;
use harness::postfix::Postfix;
use harness::scratch::Scratch;

const CONF: &str = "
listen = [\"unix:{dir}/policy\"]
[store]
path = \"{dir}/state\"
[greylist]
delay = \"4s\"
retry_window = \"1h\"
except = [\"sender = friend@c.example\"]
[[limit]]
name = \"sender\"
key = [\"sender\"]
rate = [\"100/hour\"]
";

/// The answer to RCPT, and its text.
fn tries(postfix: &Postfix, sender: &str, recipient: &str) -> (u16, String) {
    let mut smtp = postfix.smtp();
    smtp.mail(sender, "").expect(250);
    let reply = smtp.rcpt(recipient);
    if reply.code == 250 {
        smtp.data(b"Subject: hello\r\n\r\nHello!\r\n").expect(250);
    }
    smtp.quit();
    (reply.code, format!("{reply:?}"))
}

#[test]
fn a_first_attempt_waits_and_a_retry_passes_even_after_a_crash() {
    let scratch = Scratch::new("policygrey");
    let mut policyd = Policyd::start(&scratch, "policyd", CONF);
    let service = format!("check_policy_service {}", policyd.endpoint());
    let postfix = Postfix::build(&scratch, "mx", "mx.a.example")
        .mailbox("bob@a.example")
        .mailbox("ann@a.example")
        .main(&format!("smtpd_recipient_restrictions = reject_unauth_destination, {service}"))
        .start();
    let begun = Instant::now();
    let (code, text) = tries(&postfix, "joe@c.example", "bob@a.example");
    assert_eq!(code, 450, "{text}");
    assert!(text.contains("4.2.0") && text.contains("Greylisted, try again in 4 s"), "{text}");
    // An exception, and a client that has not waited.
    assert_eq!(tries(&postfix, "friend@c.example", "bob@a.example").0, 250);
    assert_eq!(tries(&postfix, "joe@c.example", "bob@a.example").0, 450);
    // What was written within the last second may be lost; not more.
    std::thread::sleep(Duration::from_millis(2500).saturating_sub(begun.elapsed()));
    policyd.kill();
    policyd.run();
    std::thread::sleep(Duration::from_millis(5100).saturating_sub(begun.elapsed()));
    let (code, text) = tries(&postfix, "joe@c.example", "bob@a.example");
    assert_eq!(code, 250, "{text}");
    assert_eq!(tries(&postfix, "Joe+tag@C.example", "bob@a.example").0, 250, "the same one");
    assert_eq!(tries(&postfix, "joe@c.example", "ann@a.example").0, 450, "another recipient");
    assert_eq!(postfix.maildir("bob@a.example").wait(3).len(), 3);
    assert!(policyd.log().contains("greylisted: attempt=first retry_after=4"), "{}", policyd.log());
    assert!(policyd.log().contains("greylist passed: waited="), "{}", policyd.log());
}

#[test]
fn records_are_shared_through_redis() {
    let scratch = Scratch::new("policygrey");
    let mut redis = harness::redis::Redis::start(&scratch, "redis");
    let store = format!("[store]\ndriver = \"redis\"\nservers = [{:?}]\ndeadline = \"2s\"", redis.address());
    let text = CONF.replace("[store]\npath = \"{dir}/state\"", &store).replace("4s", "1s");
    let hosts = ["one", "two"].map(|name| Policyd::start(&scratch, name, &text));
    let asks = |host: usize, recipient: &str| {
        let asked = harness::policyd::Asked {
            state: "RCPT",
            instance: recipient,
            recipient,
            ..harness::policyd::Asked::default()
        };
        hosts[host].connect().ask(&asked)
    };
    assert_eq!(asks(0, "bob@a.example"), "DEFER_IF_PERMIT 4.2.0 Greylisted, try again in 1 s");
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(asks(1, "bob@a.example"), "DUNNO", "what the one has delayed the other knows");
    redis.stop();
    assert_eq!(asks(0, "ann@a.example"), "DUNNO", "without Redis new clients pass");
}
