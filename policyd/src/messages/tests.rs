//! Whole conversations of Postfix with us, without sockets, beside a slow and obvious model: what really left.

use std::sync::Arc;

use base::config::Source;
use proptest::prelude::*;

use crate::decide::{Context, Plan, Planned, conclude, plan};
use crate::limiter::{Bounds, Moment, Nanos, SECOND};
use crate::limits::Limits;
use crate::messages::{Messages, ServiceId};
use crate::protocol::{Attribute, Request};
use crate::store::memory::Memory;
use crate::store::{Answer, Ask, Local};

const START: Nanos = 1_790_000_000 * SECOND;

/// Everything between a request and its answer.
struct Desk {
    limits: Limits,
    store: Memory,
    messages: Messages,
    now: Nanos,
}

/// A connection, by the message that it asked about last.
#[derive(Default)]
struct Wire {
    message: Option<u64>,
}

impl Desk {
    fn new(limits: &str) -> Self {
        let text = format!("listen = [\"unix:/x\"]\n[store]\ndriver = \"memory\"\n{limits}");
        let loaded = crate::config::load(&Source::new("f", text));
        let settings = loaded.settings.unwrap_or_else(|| panic!("{}", loaded.report));
        let mut store = Memory::new();
        let limits = Limits::new(&settings, 1, |name| store.limit(name));
        let messages = Messages::new(std::time::Duration::from_secs(900));
        let mut desk = Self { limits, store, messages, now: START };
        let at = desk.at();
        desk.store.in_force(&desk.limits.rules(), &at);
        desk
    }

    fn at(&self) -> Moment {
        Moment { now: self.now, bounds: Bounds::default() }
    }

    fn end(&mut self, id: u64) {
        let at = self.at();
        let ended = self.messages.end(id);
        self.finish(&ended, &at);
    }

    fn finish(&mut self, ended: &super::Ended, at: &Moment) {
        self.store.release(&ended.back, at);
        self.store.decide(&ended.settled, at, &mut Answer::default()).unwrap();
    }

    fn close(&mut self, wire: &mut Wire) {
        if let Some(id) = wire.message.take() {
            self.messages.closed(id, self.now);
        }
    }

    /// Time passes.
    fn wait(&mut self, secs: u64) {
        self.now += secs * SECOND;
        let at = self.at();
        for _ in 0..100 {
            let ended = self.messages.expire(at.now);
            self.finish(&ended, &at);
        }
    }

    /// Answers as the pipeline does: true for DUNNO.
    fn ask(&mut self, wire: &mut Wire, request: &Request<'_>) -> Option<String> {
        let at = self.at();
        let id = Messages::id(request.value(Attribute::Instance));
        if let Some(former) = wire.message.filter(|former| id.is_some_and(|id| id != *former)) {
            self.end(former);
        }
        wire.message = id.or(wire.message);
        let mut asked = Plan::default();
        let service = ServiceId { listener: 0, port: 587 };
        match plan(request, &self.limits, &mut self.messages, service, 0, &mut asked) {
            Planned::Pass => None,
            Planned::Told(action) => Some(action.into()),
            Planned::Ask => {
                let mut answer = Answer::default();
                if asked.asks() {
                    self.store.decide(&asked.ask, &at, &mut answer).unwrap();
                }
                let context = Context { request, limits: &self.limits, at: &at };
                let (mut back, mut settled) = (Vec::new(), Ask::default());
                let messages = &mut self.messages;
                let verdict = conclude(&asked, &answer, &context, messages, &mut back, &mut settled);
                self.store.release(&back, &at);
                if !settled.counters().is_empty() {
                    self.store.decide(&settled, &at, &mut Answer::default()).unwrap();
                }
                verdict.action
            }
        }
    }

    fn used(&self, limit: &str, key: &str) -> u64 {
        let rule = Arc::clone(&self.limits.named(limit).unwrap().rule);
        self.store.stands(&rule, key.as_bytes(), &self.at())[0].used
    }
}

/// What one request says.
#[derive(Debug, Clone, Default)]
struct Says<'a> {
    state: &'a str,
    instance: &'a str,
    recipient: &'a str,
    count: &'a str,
    size: &'a str,
}

fn request<'a>(says: &Says<'a>) -> Request<'a> {
    let mut request = Request::default();
    request.set(Attribute::ProtocolState, says.state.as_bytes());
    request.set(Attribute::Instance, says.instance.as_bytes());
    request.set(Attribute::Recipient, says.recipient.as_bytes());
    request.set(Attribute::RecipientCount, says.count.as_bytes());
    request.set(Attribute::Size, says.size.as_bytes());
    request.set(Attribute::SaslUsername, b"alice@a.example");
    request.set(Attribute::ClientAddress, b"192.0.2.1");
    request.set(Attribute::ServerPort, b"587");
    request
}

fn rcpt<'a>(instance: &'a str, recipient: &'a str) -> Says<'a> {
    Says { state: "RCPT", instance, recipient, ..Says::default() }
}

fn data<'a>(instance: &'a str, count: &'a str) -> Says<'a> {
    Says { state: "DATA", instance, count, ..Says::default() }
}

const RECIPIENTS: &str =
    "[[limit]]\nname = \"r\"\nkey = [\"sasl_username\"]\ncount = \"recipients\"\nrate = [\"10/hour\"]\n";
const ALICE: &str = "alice@a.example";

#[test]
fn at_rcpt_alone_rcpt_is_final() {
    let mut desk = Desk::new(RECIPIENTS);
    let mut wire = Wire::default();
    let passed = (0..15)
        .filter(|number| desk.ask(&mut wire, &request(&rcpt(&format!("i{number}"), "b@b.example"))).is_none())
        .count();
    desk.close(&mut wire);
    assert_eq!((passed, desk.used("r", ALICE)), (10, 10));
}

#[test]
fn what_comes_to_nothing_is_given_back_once_data_is_seen() {
    let mut desk = Desk::new(RECIPIENTS);
    let mut wire = Wire::default();
    assert_eq!(desk.ask(&mut wire, &request(&rcpt("1", "b@b.example"))), None);
    assert_eq!(desk.ask(&mut wire, &request(&data("1", "1"))), None);
    // RSET, then a closed connection.
    assert_eq!(desk.ask(&mut wire, &request(&rcpt("2", "b@b.example"))), None);
    assert_eq!(desk.used("r", ALICE), 2);
    assert_eq!(desk.ask(&mut wire, &request(&rcpt("3", "b@b.example"))), None);
    assert_eq!(desk.used("r", ALICE), 2);
    desk.close(&mut wire);
    assert_eq!(desk.used("r", ALICE), 2);
    desk.wait(5);
    assert_eq!(desk.used("r", ALICE), 1);
    // Time passes without anything.
    assert_eq!(desk.ask(&mut wire, &request(&rcpt("4", "b@b.example"))), None);
    assert_eq!(desk.used("r", ALICE), 2);
    desk.wait(901);
    assert_eq!(desk.used("r", ALICE), 1);
}

#[test]
fn what_is_reserved_outlives_a_restart() {
    let mut desk = Desk::new(RECIPIENTS);
    let mut wire = Wire::default();
    assert_eq!(desk.ask(&mut wire, &request(&data("0", "1"))), None);
    for instance in ["1", "2"] {
        for recipient in ["b@b.example", "c@c.example"] {
            assert_eq!(desk.ask(&mut Wire::default(), &request(&rcpt(instance, recipient))), None);
        }
    }
    let text = super::written::write(&desk.messages);
    let service = ServiceId { listener: 0, port: 587 };
    desk.messages = Messages::new(std::time::Duration::from_secs(900));
    desk.messages.asked_later(service);
    super::written::read(&text, &desk.limits, &mut desk.messages, desk.now);
    assert_eq!(super::written::write(&desk.messages).len(), text.len());
    // One recipient of the first was refused after us; the second message is never heard of again.
    assert_eq!(desk.ask(&mut Wire::default(), &request(&data("1", "1"))), None);
    assert_eq!(desk.used("r", ALICE), 4);
    desk.wait(6);
    assert_eq!(desk.used("r", ALICE), 2);
    super::written::read(b"junk\nff 0 0 r x\n", &desk.limits, &mut desk.messages, desk.now);
}

#[test]
fn a_message_over_the_limit_is_refused_as_a_whole_and_uses_nothing() {
    let mut desk = Desk::new(RECIPIENTS);
    let mut wire = Wire::default();
    assert_eq!(desk.ask(&mut wire, &request(&data("1", "7"))), None);
    let refused = desk.ask(&mut wire, &request(&data("2", "4"))).unwrap();
    assert_eq!(refused, "DEFER_IF_PERMIT 4.7.1 7 of 10 recipients used, try again in 1 h");
    assert_eq!(desk.used("r", ALICE), 7);
    // Repeated after a lost reply, on another connection.
    assert_eq!(desk.ask(&mut Wire::default(), &request(&data("2", "4"))), Some(refused));
    assert_eq!(desk.ask(&mut wire, &request(&data("3", "3"))), None);
    let alone = desk.ask(&mut wire, &request(&data("4", "11"))).unwrap();
    assert_eq!(alone, "REJECT 5.7.1 11 recipients at once, 10 are allowed");
    assert_eq!(desk.used("r", ALICE), 10);
}

#[test]
fn twenty_messages_without_data_are_noticed() {
    let mut desk = Desk::new(RECIPIENTS);
    let mut wire = Wire::default();
    assert_eq!(desk.ask(&mut wire, &request(&data("0", "1"))), None);
    let mut passed = 0;
    for number in 0..60 {
        let instance = format!("i{number}");
        passed += u32::from(desk.ask(&mut wire, &request(&rcpt(&instance, "b@b.example"))).is_none());
    }
    // Somebody has taken us out of smtpd_data_restrictions.
    assert!(passed < 32 && desk.used("r", ALICE) == 10, "{passed}");
}

#[test]
fn bytes_are_those_of_the_end() {
    let mut desk = Desk::new(
        "[[limit]]\nname = \"b\"\nkey = [\"sasl_username\"]\ncount = \"bytes\"\nrate = [\"10k/hour\"]\n",
    );
    let mut wire = Wire::default();
    let end =
        |instance, size| Says { state: "END-OF-MESSAGE", instance, count: "1", size, ..Says::default() };
    assert_eq!(desk.ask(&mut wire, &request(&Says { size: "4000", ..rcpt("1", "b@b.example") })), None);
    assert_eq!(desk.used("b", ALICE), 4000);
    assert_eq!(desk.ask(&mut wire, &request(&end("1", "3000"))), None);
    assert_eq!(desk.used("b", ALICE), 3000);
    assert_eq!(desk.ask(&mut wire, &request(&end("2", "7241"))).map(|action| action.len() > 10), Some(true));
    assert_eq!(desk.ask(&mut wire, &request(&end("3", "7240"))), None);
    assert_eq!(desk.used("b", ALICE), 10_240);
}

#[test]
fn refused_attempts_count_when_told_so_and_steps_rise() {
    let mut desk = Desk::new(
        "[[limit]]\nname = \"m\"\nkey = [\"sasl_username\"]\nrate = [\"2/hour\"]\ncount_refused = true\n\
         action = \"DEFER slow\"\nescalate = [\"2x REJECT stop\", \"3x HOLD\"]\n",
    );
    let mut wire = Wire::default();
    let mut said = Vec::new();
    for number in 0..9 {
        let instance = format!("i{number}");
        let first = desk.ask(&mut wire, &request(&rcpt(&instance, "b@b.example")));
        // Other recipients of the same message are answered alike, and counted no more.
        let second = desk.ask(&mut wire, &request(&rcpt(&instance, "c@c.example")));
        if first.as_deref() != Some("HOLD") {
            assert_eq!(first, second);
        }
        let again = desk.ask(&mut wire, &request(&rcpt(&instance, "b@b.example")));
        assert_eq!(first, again);
        said.push(first.unwrap_or_default());
    }
    let want = ["", "", "DEFER slow", "DEFER slow", "REJECT stop", "REJECT stop", "HOLD", "HOLD", "HOLD"];
    assert_eq!(said, want);
}

#[test]
fn a_dry_run_refuses_nothing_and_counts_as_if_it_did() {
    let mut desk = Desk::new(&(RECIPIENTS.to_owned() + "dry_run = true\n"));
    let mut wire = Wire::default();
    for number in 0..15 {
        let instance = format!("i{number}");
        assert_eq!(desk.ask(&mut wire, &request(&rcpt(&instance, "b@b.example"))), None);
    }
    assert_eq!(desk.used("r", ALICE), 10);
}

#[test]
fn unknown_recipients_are_what_postfix_refuses_after_us() {
    let mut desk = Desk::new(
        "[[limit]]\nname = \"u\"\nkey = [\"sasl_username\"]\ncount = \"unknown-recipients\"\nrate = [\"5/hour\"]\n",
    );
    let mut wire = Wire::default();
    for message in 0..3 {
        let instance = format!("i{message}");
        for number in 0..4 {
            let recipient = format!("b{number}@b.example");
            let asked = desk.ask(&mut wire, &request(&rcpt(&instance, &recipient)));
            assert_eq!(asked.is_some(), message == 2, "message {message}");
        }
        if message < 2 {
            // One of four was known.
            assert_eq!(desk.ask(&mut wire, &request(&data(&instance, "1"))), None);
        }
    }
    assert_eq!(desk.used("u", ALICE), 6);
}

#[test]
fn of_a_message_without_a_known_recipient_all_are_unknown() {
    let mut desk = Desk::new(
        "[[limit]]\nname = \"u\"\nkey = [\"sasl_username\"]\ncount = \"unknown-recipients\"\nrate = [\"50/hour\"]\nshare = 50\n",
    );
    let mut wire = Wire::default();
    for (instance, count, want) in [("1", "3", 0), ("2", "2", 2), ("3", "", 2), ("4", "4", 6)] {
        for number in 0..4 {
            assert_eq!(desk.ask(&mut wire, &request(&rcpt(instance, &format!("b{number}@b.example")))), None);
        }
        // Postfix does not ask about a message without recipients; the next one ends it.
        if !count.is_empty() {
            assert_eq!(desk.ask(&mut wire, &request(&data(instance, count))), None);
        }
        assert_eq!(desk.used("u", ALICE), want, "message {instance}");
    }
}

#[test]
fn networks_of_a_login_are_counted() {
    let mut desk = Desk::new(
        "[[limit]]\nname = \"n\"\nkey = [\"sasl_username\"]\ncount = \"networks\"\nrate = [\"2/day\"]\naction = \"HOLD\"\n",
    );
    let mut wire = Wire::default();
    let mut said = Vec::new();
    for (number, client) in ["192.0.2.1", "192.0.2.200", "198.51.100.1", "203.0.113.1"].iter().enumerate() {
        let instance = format!("i{number}");
        let says = rcpt(&instance, "b@b.example");
        let mut request = request(&says);
        request.set(Attribute::ClientAddress, client.as_bytes());
        said.push(desk.ask(&mut wire, &request));
    }
    assert_eq!(said, [None, None, None, Some("HOLD".to_owned())]);
    assert_eq!(desk.used("n", ALICE), 3);
}

/// Where we are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attached {
    /// So many lists at RCPT.
    rcpt: u8,
    data: u8,
    end: u8,
}

/// One message of a client.
#[derive(Debug, Clone)]
struct Mail {
    /// For each recipient: whether Postfix refuses it after us.
    recipients: Vec<bool>,
    /// 0: RSET before DATA, 1: the connection drops, others: the message is sent.
    ending: u8,
    /// Requests whose reply is lost, so that they are repeated on another connection.
    lost: u8,
}

fn mails() -> impl Strategy<Value = Vec<Mail>> {
    let mail = (prop::collection::vec(prop::bool::weighted(0.3), 1..5), 0..6_u8, 0..8_u8)
        .prop_map(|(recipients, ending, lost)| Mail { recipients, ending, lost });
    prop::collection::vec(mail, 1..40)
}

/// What a run of mails did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    recipients: u64,
    messages: u64,
    /// Recipients that passed us at RCPT, and messages that had one.
    asked: (u64, u64),
}

/// One smtpd, with a message under way.
#[derive(Default)]
struct Smtpd {
    wire: Wire,
    mail: Option<(usize, Mail)>,
    next: usize,
    accepted: u64,
    passed: u64,
}

impl Smtpd {
    /// Asks once for each list, and again where a reply was lost; the first refusal counts.
    fn ask(&mut self, desk: &mut Desk, times: u8, lost: bool, says: &Says<'_>) -> bool {
        for list in 0..times {
            let request = request(says);
            let answer = desk.ask(&mut self.wire, &request);
            if lost && list == 0 {
                // The reply never arrives: the connection is gone, and Postfix asks again on a new one.
                desk.close(&mut self.wire);
                let again = desk.ask(&mut self.wire, &request);
                assert_eq!(answer.is_none(), again.is_none(), "asked again, answered otherwise");
            }
            if answer.is_some() {
                return false;
            }
        }
        true
    }

    /// One SMTP command.
    fn step(&mut self, desk: &mut Desk, attached: Attached, left: &mut Left) {
        let Some((number, mail)) = self.mail.clone() else { return };
        let instance = format!("instance.{number}");
        let lost = mail.lost == 0;
        if let Some(refused) = mail.recipients.get(self.next) {
            let recipient = format!("r{}@b.example", self.next);
            self.next += 1;
            if self.ask(desk, attached.rcpt, lost, &rcpt(&instance, &recipient)) {
                self.passed += 1;
                self.accepted += u64::from(!refused);
            }
            return;
        }
        let (passed, accepted) = (self.passed, self.accepted);
        self.mail = None;
        (self.next, self.passed, self.accepted) = (0, 0, 0);
        left.asked.0 += passed;
        left.asked.1 += u64::from(passed > 0);
        if mail.ending == 1 {
            desk.close(&mut self.wire);
            return;
        }
        // Postfix refuses DATA by itself when no recipient is left.
        if mail.ending == 0 || accepted == 0 {
            return;
        }
        let count = accepted.to_string();
        let end = Says { state: "END-OF-MESSAGE", ..data(&instance, &count) };
        if self.ask(desk, attached.data, lost, &data(&instance, &count))
            && self.ask(desk, attached.end, lost, &end)
        {
            left.recipients += accepted;
            left.messages += 1;
        }
    }
}

fn run(desk: &mut Desk, attached: Attached, mails: Vec<Mail>, order: &[usize]) -> Left {
    let mut left = Left::default();
    let mut smtpds: Vec<Smtpd> = (0..4).map(|_| Smtpd::default()).collect();
    let mut queue = mails.into_iter().enumerate();
    let mut order = order.iter().cycle();
    loop {
        let at = order.next().copied().unwrap_or(0) % smtpds.len();
        if smtpds[at].mail.is_none() {
            match queue.next() {
                Some(mail) => smtpds[at].mail = Some(mail),
                None if smtpds.iter().all(|smtpd| smtpd.mail.is_none()) => break,
                None => {
                    for smtpd in &mut smtpds {
                        smtpd.step(desk, attached, &mut left);
                    }
                    continue;
                }
            }
        }
        smtpds[at].step(desk, attached, &mut left);
    }
    smtpds.iter_mut().for_each(|smtpd| desk.close(&mut smtpd.wire));
    left
}

const BOTH: &str = "[[limit]]\nname = \"r\"\nkey = [\"sasl_username\"]\ncount = \"recipients\"\nrate = [\"25/hour\", \"1000/day\"]\n\
    [[limit]]\nname = \"m\"\nkey = [\"sasl_username\"]\nrate = [\"12/hour\"]\n";

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_is_what_left(
        mails in mails(),
        order in prop::collection::vec(0..4_usize, 1..60),
        rcpt in 0..3_u8,
        data in 0..3_u8,
        end in 0..2_u8,
    ) {
        let attached = Attached { rcpt, data, end };
        prop_assume!(rcpt + data + end > 0);
        let mut desk = Desk::new(BOTH);
        if data + end > 0 {
            // A message has come through before: it is known where we are asked.
            let state = if data > 0 { "DATA" } else { "END-OF-MESSAGE" };
            let mut wire = Wire::default();
            let says = Says { state, ..self::data("first", "1") };
            prop_assert_eq!(desk.ask(&mut wire, &request(&says)), None);
            desk.close(&mut wire);
        }
        let before = u64::from(data + end > 0);
        let left = run(&mut desk, attached, mails, &order);
        desk.wait(6);
        let (recipients, messages) = (desk.used("r", ALICE) - before, desk.used("m", ALICE) - before);
        if data + end > 0 {
            prop_assert_eq!((recipients, messages), (left.recipients, left.messages));
        } else {
            prop_assert_eq!((recipients, messages), left.asked);
        }
        prop_assert!(recipients + before <= 25 && messages + before <= 12);
        // Nothing is left over for ever.
        desk.now += 3600 * SECOND;
        for _ in 0..100 {
            let ended = desk.messages.expire(desk.now);
            prop_assert!(ended.back.is_empty());
        }
        prop_assert!(desk.messages.is_empty());
    }
}
