//! The signing milter spoken to directly, as Postfix does and as it never would.

use std::time::Duration;

use harness::dns::Zone;
use harness::keys::{OTHER_RSA, RSA};
use harness::message::Message;
use harness::milter::{Conf, Milter, SigningKey, Subject};
use harness::milter_client::{Envelope, MilterClient, Options, Outcome, Packet, Reply, wire};
use harness::scratch::Scratch;
use harness::second_opinion;

use crate::site::{A, message, signature};

struct Signer {
    milter: Milter,
    zone: Zone,
    _scratch: Scratch,
}

impl Signer {
    fn start() -> Self {
        let scratch = Scratch::new("dlg");
        let key = SigningKey { key: RSA, domain: A, selector: RSA.name };
        let conf = Conf::signing(&scratch, "signer", &[key]).set("Canonicalization", "simple/simple");
        let milter = Milter::start_unix(&scratch, "signer", Subject::from_env(), &conf);
        Self { milter, zone: RSA.publish(Zone::new(), RSA.name, A), _scratch: scratch }
    }

    #[track_caller]
    fn assert_signed(&self, outcome: &Outcome, message: &Message) {
        assert_eq!((outcome.stage, outcome.reply.goes_on() || outcome.reply == Reply::Accept), ('E', true));
        let signed = outcome.apply(message);
        assert_eq!(signed.body_bytes(), message.body_bytes());
        let _ = signature(&signed);
        second_opinion::assert_verified(&signed.to_bytes(), &self.zone, 1);
    }
}

fn local() -> Envelope<'static> {
    let client_address = Some([127, 0, 0, 1].into());
    Envelope { client_name: "localhost", client_address, ..Envelope::default() }
}

#[test]
fn bodies_in_parts_of_any_size() {
    let signer = Signer::start();
    let message = message("parts", "first \r\n\r\nlast\r\n\r\n\r\n".repeat(3));
    let mut client = MilterClient::connect(&signer.milter);
    let whole = client.first_message(&local(), &message).unwrap();
    signer.assert_signed(&whole, &message);
    // The same connection goes on, with parts that cut CRLF in two.
    for size in [1, 2, 7] {
        client.set_chunk(size);
        let outcome = client.message(&local(), &message).unwrap();
        signer.assert_signed(&outcome, &message);
    }
    client.quit().unwrap();
}

#[test]
fn aborted_messages_leave_nothing_behind() {
    let signer = Signer::start();
    let mut client = MilterClient::connect(&signer.milter);
    client.client("localhost", Some([127, 0, 0, 1].into())).unwrap();
    client.helo("client.example").unwrap();
    client.mail("anna@a.example").unwrap();
    client.rcpt("bob@b.example").unwrap();
    client.data().unwrap();
    client.header("From", b" anna@a.example").unwrap();
    client.header("Subject", b" left over").unwrap();
    assert!(client.eoh().unwrap().goes_on());
    assert!(client.body(b"left over\r\n").unwrap().goes_on());
    client.abort().unwrap();
    let message = message("after ABORT", "Hello!\r\n");
    let outcome = client.message(&local(), &message).unwrap();
    signer.assert_signed(&outcome, &message);
}

#[test]
fn header_values_with_and_without_the_leading_space() {
    let signer = Signer::start();
    let message = message("spaces", "Hello!\r\n").raw_field("Reply-To", b"anna@a.example");
    for protocol in [Options::POSTFIX.protocol, Options::POSTFIX.protocol & !wire::HEADER_LEADING_SPACE] {
        let mut client = MilterClient::open(&signer.milter);
        let agreed = client.negotiate(Options { protocol, ..Options::POSTFIX }).unwrap();
        assert_eq!(agreed.protocol & !protocol, 0, "wants what was not offered");
        if protocol == Options::POSTFIX.protocol {
            let outcome = client.first_message(&local(), &message).unwrap();
            signer.assert_signed(&outcome, &message);
        } else {
            // Without the option a milter cannot know that a field had no space: those it can sign have one.
            let message = message.without("Reply-To");
            let outcome = client.first_message(&local(), &message).unwrap();
            signer.assert_signed(&outcome, &message);
        }
    }
}

#[test]
fn clients_that_go_away_or_talk_nonsense_hurt_nobody() {
    let mut signer = Signer::start();
    let garbage: [&[u8]; 5] = [
        b"\0\0\0\x0dO\0\0",                             // half a packet
        b"\0\0\0\0",                                    // a packet of no bytes
        b"\xff\xff\xff\xffO",                           // four gigabytes to come
        b"\0\0\0\x02Z\0",                               // an unknown command before the options
        b"EHLO client.example\r\nMAIL FROM:<>\r\n\r\n", // another protocol
    ];
    for bytes in garbage {
        let mut client = MilterClient::open(&signer.milter);
        client.set_timeout(Duration::from_secs(5));
        // The milter may have closed already.
        let _ = client.send_raw(bytes);
        client.close_writing();
        while client.receive().is_ok() {}
    }
    // Gone at every step of a message.
    for steps in 0..7 {
        let mut client = MilterClient::connect(&signer.milter);
        let mut step = 0;
        let mut go = |packet: Packet| {
            step += 1;
            step > steps || client.send(&packet).is_ok()
        };
        assert!(go(Packet::new(b'C', *b"localhost\x004\0\x19127.0.0.1\0")));
        assert!(go(Packet::new(b'M', *b"<anna@a.example>\0")));
        assert!(go(Packet::new(b'R', *b"<bob@b.example>\0")));
        assert!(go(Packet::new(b'L', *b"From\0 anna@a.example\0")));
        assert!(go(Packet::new(b'N', [])));
        assert!(go(Packet::new(b'B', *b"Hello!\r\n")));
        assert!(go(Packet::new(b'E', [])));
    }
    assert!(signer.milter.is_running());
    let message = message("after all that", "Hello!\r\n");
    let outcome = MilterClient::connect(&signer.milter).first_message(&local(), &message).unwrap();
    signer.assert_signed(&outcome, &message);
}

#[test]
fn mail_of_strangers_is_not_signed() {
    let signer = Signer::start();
    let message = message("stranger", "Hello!\r\n");
    let outcome =
        MilterClient::connect(&signer.milter).first_message(&Envelope::default(), &message).unwrap();
    assert_eq!(outcome.apply(&message), message);
    let from = Message::new("mallory@c.example", "bob@b.example", "foreign", "Hello!\r\n");
    let outcome = MilterClient::connect(&signer.milter).first_message(&local(), &from).unwrap();
    assert_eq!(outcome.apply(&from), from);
}

#[test]
fn every_judge_notices_a_change() {
    let signer = Signer::start();
    let message = message("judged", "Hello!\r\n");
    let outcome = MilterClient::connect(&signer.milter).first_message(&local(), &message).unwrap();
    signer.assert_signed(&outcome, &message);
    let signed = outcome.apply(&message);
    let name = format!("{}._domainkey.{A}", RSA.name);
    let zones = [&signer.zone, &signer.zone, &Zone::new(), &Zone::new().txt(&name, OTHER_RSA.record())];
    let altered = [
        signed.clone().body("Hallo!\r\n"),
        signed.without("Subject").field("Subject", "forged"),
        signed.clone(),
        signed,
    ];
    for (message, zone) in altered.iter().zip(zones) {
        let opinions = second_opinion::opinions(&message.to_bytes(), zone);
        assert_eq!(opinions.len(), 3, "{opinions:?}");
        assert!(opinions.iter().all(|opinion| opinion.verdict != "pass"), "{opinions:?}");
    }
}
