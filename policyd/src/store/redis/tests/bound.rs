//! What several hosts let pass while their store is away and when it has come back empty, without a store: a number
//! is the model of it.

use super::*;
use crate::store::redis::away::Away;

/// A store of one counter in a period that does not end.
#[derive(Debug, Default)]
struct Number {
    counted: u64,
    /// Of that since it was emptied.
    since: u64,
}

#[derive(Debug, Clone, Copy)]
struct Asks {
    host: usize,
    cost: u64,
    /// Whether the store's answer comes.
    answered: bool,
}

fn asks() -> impl Strategy<Value = Vec<Asks>> {
    let one = (0usize..4, 1u64..6, prop::bool::weighted(0.9));
    let one = one.prop_map(|(host, cost, answered)| Asks { host, cost, answered });
    prop::collection::vec(one, 0..80)
}

struct Hosts {
    level: Level,
    rule: Arc<Rule>,
    store: Number,
    hosts: Vec<Away>,
    passed: u64,
}

impl Hosts {
    fn state(&self, counted: u64) -> Vec<u8> {
        let mut state = Vec::new();
        self.level.add(&[], counted, &moment(0), &mut state);
        state
    }

    fn name(&self) -> Vec<u8> {
        script::name("p", &self.rule, 0, b"k")
    }

    fn learns(&mut self, host: usize) {
        let (name, state) = (self.name(), self.state(self.store.counted));
        self.hosts[host].learn(name, &self.level, &state, &moment(0));
    }

    fn knows(&self, host: usize) -> u64 {
        let states = self.hosts[host].states("p", &self.rule, b"k");
        self.level.stands(&states[0], 0, &moment(0)).used
    }

    fn asks_store(&mut self, asks: Asks) {
        let fits = self.store.counted + asks.cost <= self.level.limit;
        self.store.counted += if fits { asks.cost } else { 0 };
        self.store.since += if fits { asks.cost } else { 0 };
        if asks.answered {
            self.passed += if fits { asks.cost } else { 0 };
            self.learns(asks.host);
        } else {
            self.asks_alone(asks);
        }
    }

    fn asks_alone(&mut self, asks: Asks) {
        let mut ask = Ask::default();
        ask.add(&self.rule, asks.cost, |buffer| {
            buffer.push(b'k');
            true
        });
        let hosts = u32::try_from(self.hosts.len()).unwrap();
        let answer = self.hosts[asks.host].decide("p", &ask, hosts, true, &moment(0));
        self.passed += if answer.refused { 0 } else { asks.cost };
    }

    fn gives(&mut self, host: usize) {
        for view in self.hosts[host].next_views(10) {
            let known = self.level.stands(&view.state, 0, &moment(0)).used;
            self.store.counted = self.store.counted.max(known + self.store.since);
            self.learns(host);
        }
    }

    fn tells(&mut self, host: usize) {
        let (entries, _) = self.hosts[host].drain();
        let alone: u64 = entries.iter().flat_map(|entry| &entry.costs).sum();
        self.store.counted += alone;
        self.store.since += alone;
        if alone > 0 {
            self.learns(host);
        }
        self.hosts[host].told();
    }
}

proptest! {
    #![proptest_config(Config { cases: 2000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_was_left_and_for_who_knew_less_its_share_of_the_difference(
        count in 1usize..5,
        limit in 1u64..120,
        before in asks(),
        away in asks(),
        meanwhile in asks(),
        after in asks(),
        order in prop::sample::subsequence(vec![0usize, 1, 2, 3], 4).prop_shuffle(),
    ) {
        let level = Level { algorithm: Algorithm::Calendar(Unit::Month), limit, period: 2700 * SECOND };
        let rule = Arc::new(Rule { levels: [level].into(), ..(*simple(1, 1)).clone() });
        let hosts = (0..count).map(|_| Away::default()).collect();
        let mut all = Hosts { level, rule, store: Number::default(), hosts, passed: 0 };
        let of = |asks: Asks| Asks { host: asks.host % count, ..asks };
        for asks in before {
            all.asks_store(of(asks));
            // What was decided alone is told at once.
            (0..count).for_each(|host| all.tells(host));
        }
        let known: Vec<u64> = (0..count).map(|host| all.knows(host)).collect();
        let shares: u64 = known.iter().map(|known| limit.saturating_sub(*known) / count as u64).sum();
        let bound = all.passed + shares;
        away.into_iter().for_each(|asks| all.asks_alone(of(asks)));
        prop_assert!(all.passed <= bound, "{} passed of {bound}: {known:?}", all.passed);
        // It comes back and is empty; each host gives back and tells in its turn, and all go on alone meanwhile.
        all.store = Number::default();
        all.hosts.iter_mut().for_each(|host| host.reigns(0));
        let mut meanwhile = meanwhile.into_iter();
        for host in order.into_iter().filter(|host| *host < count) {
            meanwhile.by_ref().take(5).for_each(|asks| all.asks_alone(of(asks)));
            all.gives(host);
            all.tells(host);
        }
        (0..count).for_each(|host| all.tells(host));
        prop_assert!(all.passed <= all.store.counted, "{} passed, {} counted", all.passed, all.store.counted);
        let left = limit.saturating_sub(all.passed);
        let passed = all.passed;
        after.into_iter().for_each(|asks| all.asks_store(Asks { answered: true, ..of(asks) }));
        prop_assert!(all.passed - passed <= left, "{} passed and {left} were left", all.passed - passed);
    }
}
