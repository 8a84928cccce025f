//! Verdicts of greylisting over time.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const START: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

/// A store and a clock.
struct World {
    greylist: Greylist,
    records: HashMap<String, (Record, u64)>,
    writes: usize,
}

impl World {
    fn new(settings: Settings) -> Self {
        let mut whitelist = Whitelist::default();
        assert_eq!(whitelist.add("192.0.2.200\n"), []);
        Self { greylist: Greylist::new(settings, whitelist), records: HashMap::new(), writes: 0 }
    }

    /// One attempt; what is written goes through its text form and is gone when its time is over.
    fn at(&mut self, now: u64, client_address: &str, sender: &str, recipient: &str) -> Verdict {
        let attempt = Attempt { client_address, client_name: "unknown", sender, recipient };
        let subject = match self.greylist.subject(&attempt) {
            Ok(subject) => subject,
            Err(reason) => return Verdict::Pass(reason),
        };
        let find = |key: &String| {
            self.records.get(key).filter(|(_, until)| now <= *until).map(|(record, _)| *record)
        };
        let seen = Seen {
            triplet: find(&subject.triplet).and_then(Record::triplet),
            client: find(&subject.client).and_then(Record::trust),
            domain: find(&subject.domain).and_then(Record::trust),
        };
        let (verdict, writes) = self.greylist.decide(&subject, &seen, now);
        for write in writes {
            self.writes += 1;
            let record = Record::read(write.record.write().as_bytes()).unwrap();
            assert_eq!(record, write.record);
            self.records.insert(write.key, (record, now + write.keep.as_secs()));
        }
        verdict
    }
}

fn delayed(secs: u64, first: bool) -> Verdict {
    Verdict::Delay { retry_after: Duration::from_secs(secs), first }
}

#[test]
fn a_first_attempt_waits_and_a_retry_passes() {
    let mut world = World::new(Settings::default());
    let mut at = |now, client: &str| world.at(START + now, client, "joe@a.example", "bob@b.example");
    assert_eq!(at(0, "192.0.2.1"), delayed(300, true));
    assert_eq!(at(10, "192.0.2.1"), delayed(290, false));
    assert_eq!(at(299, "192.0.2.77"), delayed(1, false), "the same /24");
    assert_eq!(at(300, "192.0.2.77"), Verdict::Pass(Reason::Waited(Duration::from_secs(300))));
    assert_eq!(at(301, "192.0.2.1"), Verdict::Pass(Reason::Known));
    assert_eq!(at(301, "198.51.100.1"), delayed(300, true), "another network");
    assert_eq!(at(0, "192.0.2.200"), Verdict::Pass(Reason::Exempt(Exempt::Network("192.0.2.200/32".into()))));
    assert_eq!(at(0, "unknown"), Verdict::Pass(Reason::NoAddress));
}

#[test]
fn what_is_not_retried_in_time_or_not_used_is_forgotten() {
    let mut world = World::new(Settings::default());
    let mut at = |now| world.at(START + now, "2001:db8::1", "joe@a.example", "bob@b.example");
    assert_eq!(at(0), delayed(300, true));
    assert_eq!(at(2 * DAY + 1), delayed(300, true));
    assert!(matches!(at(2 * DAY + 301), Verdict::Pass(Reason::Waited(_))));
    assert_eq!(at(36 * DAY), Verdict::Pass(Reason::Known));
    assert_eq!(at(70 * DAY), Verdict::Pass(Reason::Known), "using it keeps it");
    assert_eq!(at(106 * DAY), delayed(300, true));
}

#[test]
fn clients_and_domains_earn_trust() {
    let mut world =
        World::new(Settings { trust_client_after: 3, trust_domain_after: 2, ..Settings::default() });
    let mut pass = |hour: u64, sender: &str, recipient: &str| {
        let first = world.at(START + hour * 3600, "192.0.2.1", sender, recipient);
        let second = world.at(START + hour * 3600 + 400, "192.0.2.1", sender, recipient);
        (matches!(first, Verdict::Delay { .. }), second)
    };
    let waited = || Verdict::Pass(Reason::Waited(Duration::from_secs(400)));
    assert_eq!(pass(0, "joe@a.example", "1@b.example"), (true, waited()));
    // Within the same hour it counts once only.
    assert_eq!(pass(0, "joe@a.example", "2@b.example"), (true, waited()));
    assert_eq!(pass(2, "ann@a.example", "3@b.example"), (true, waited()));
    assert_eq!(pass(4, "any@a.example", "4@b.example"), (false, Verdict::Pass(Reason::Domain)));
    assert_eq!(pass(4, "joe@c.example", "5@b.example"), (true, waited()));
    assert_eq!(pass(6, "joe@d.example", "6@b.example"), (false, Verdict::Pass(Reason::Client)));
    assert_eq!(pass(7 + 24 * 40, "joe@d.example", "7@b.example"), (true, waited()), "trust expires");
}

#[test]
fn trust_can_be_off_and_costs_no_writes_when_fresh() {
    let off = Settings { trust_client_after: 0, trust_domain_after: 0, ..Settings::default() };
    let mut world = World::new(off);
    for hour in 0..20 {
        let recipient = format!("{hour}@b.example");
        let _first = world.at(START + hour * 7200, "192.0.2.1", "joe@a.example", &recipient);
        let second = world.at(START + hour * 7200 + 400, "192.0.2.1", "joe@a.example", &recipient);
        assert_eq!(second, Verdict::Pass(Reason::Waited(Duration::from_secs(400))));
    }
    assert_eq!(world.writes, 40);
    for second in 0..100 {
        let now = START + 19 * 7200 + 500 + second;
        assert_eq!(world.at(now, "192.0.2.1", "joe@a.example", "19@b.example"), Verdict::Pass(Reason::Known));
    }
    assert_eq!(world.writes, 40);
}

#[test]
fn a_clock_that_was_set_back_lets_nobody_through_early() {
    let mut world = World::new(Settings::default());
    assert_eq!(world.at(START, "192.0.2.1", "a@a.example", "b@b.example"), delayed(300, true));
    assert_eq!(world.at(START - 30, "192.0.2.1", "a@a.example", "b@b.example"), delayed(300, false));
    // Nor does it keep anybody out for a day.
    assert_eq!(world.at(START - DAY, "192.0.2.1", "a@a.example", "b@b.example"), delayed(300, true));
    assert_eq!(world.at(START - DAY + 299, "192.0.2.1", "a@a.example", "b@b.example"), delayed(1, false));
    assert!(matches!(
        world.at(START - DAY + 300, "192.0.2.1", "a@a.example", "b@b.example"),
        Verdict::Pass(_)
    ));
}

#[test]
fn records_that_are_not_ours_are_none() {
    for text in ["", "t", "t 1 2", "t 1 2 3", "t 1 2 1 4", "c 1", "c x 1", "c 1 1 1", "x 1 2", "t -1 2 0"] {
        assert_eq!(Record::read(text.as_bytes()), None, "{text}");
    }
}

proptest! {
    /// Whatever comes in whatever order: nobody passes before the delay is over since a first attempt of
    /// the same three, and who retries in time after it passes.
    #[test]
    fn nobody_passes_early(steps in prop::collection::vec((0u64..400, 0u8..3, 0u8..3), 1..60)) {
        let off = Settings { trust_client_after: 0, trust_domain_after: 0, ..Settings::default() };
        let mut world = World::new(off);
        let mut firsts: HashMap<(u8, u8), u64> = HashMap::new();
        let mut now = START;
        for (step, sender, recipient) in steps {
            now += step;
            let first = *firsts.entry((sender, recipient)).or_insert(now);
            // Digits alone would all be one sender.
            let verdict = world.at(now, "192.0.2.1", &format!("s{sender}@a.example"), &format!("{recipient}@b.example"));
            prop_assert_eq!(matches!(verdict, Verdict::Pass(_)), now - first >= 300);
        }
    }
}
