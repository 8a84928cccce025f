//! What a Redis that was emptied holds when all hosts have given back what they knew, beside one that lost nothing.
//!
//! Hosts, journals and scripts are the real ones, without sockets between hosts, and with the time as an argument. The
//! model is a list of all that was counted, added up anew by the limiter each time.

use super::*;
use crate::store::redis::away::Away;

/// What a host or the world does, after microseconds.
#[derive(Debug, Clone)]
enum What {
    /// A host asks for a cost (1) or member (2); its answer comes, or does not, and it decides alone.
    Asks { host: usize, cost: u64, answered: bool },
    /// A host gives back so many levels.
    Gives { host: usize, levels: usize },
    /// A host that has given back all tells what it decided alone.
    Tells { host: usize },
    /// A host takes back what it counted last.
    TakesBack { host: usize },
    /// Redis is restarted with what it held so many events ago, or empty.
    Loses { ago: Option<usize> },
}

fn whats() -> impl Strategy<Value = Vec<(u64, What)>> {
    let gap = prop_oneof![0u64..3, 0u64..300_000, 0u64..9_000_000];
    let host = 0usize..3;
    let what = prop_oneof![
        12 => (host.clone(), 1u64..4, prop::bool::weighted(0.9))
            .prop_map(|(host, cost, answered)| What::Asks { host, cost, answered }),
        3 => (host.clone(), 1usize..4).prop_map(|(host, levels)| What::Gives { host, levels }),
        2 => host.clone().prop_map(|host| What::Tells { host }),
        1 => host.prop_map(|host| What::TakesBack { host }),
        1 => prop::option::weighted(0.3, 1usize..10).prop_map(|ago| What::Loses { ago }),
    ];
    prop::collection::vec((gap, what), 1..60)
}

/// What was counted, and when by Redis' clock, or taken back again.
#[derive(Debug, Clone, Copy)]
enum Counted {
    Added(u64, u64),
    Back(u64, u64, Nanos),
}

struct World {
    link: Link,
    decide: Loaded,
    give: Loaded,
    release: Loaded,
    prefix: String,
    rule: Arc<Rule>,
    reign: String,
    hosts: [Away; 3],
    charges: [Vec<Charge>; 3],
    /// What some host was told or has told: at least this must be counted after a loss.
    least: Vec<Counted>,
    /// What was counted at all, told to somebody or not, some of it twice.
    most: Vec<Counted>,
    /// What Redis held after each event.
    held: Vec<Vec<Option<Vec<u8>>>>,
    /// Whether hosts have decided alone since the last loss.
    alone: [bool; 3],
}

impl World {
    fn names(&self) -> Vec<Vec<u8>> {
        script::names(&self.prefix, &self.rule, b"k")
    }

    fn question(&self, cost: u64, settled: bool) -> Ask {
        let mut ask = Ask { settled, ..Ask::default() };
        ask.add(&self.rule, cost, |buffer| {
            buffer.push(b'k');
            true
        });
        ask
    }

    async fn values(&self) -> Vec<Option<Vec<u8>>> {
        let mut get = ::redis::cmd("MGET");
        self.names().into_iter().for_each(|name| {
            get.arg(name);
        });
        from_redis_value(self.link.ask(&get).await.unwrap()).unwrap()
    }

    /// Asks Redis for a host, and counts.
    async fn decides(&mut self, host: usize, ask: &Ask, answered: bool, at: &Moment) {
        let call = script::decide(&self.prefix, &self.reign, ask, true, at, |rule, key, index| {
            self.hosts[host].unconfirmed(&script::name(&self.prefix, rule, index, key))
        });
        let decided =
            read(self.link.run(&self.decide, &stamped(call, at)).await.unwrap().unwrap(), ask).unwrap();
        let counted = decided.counted[0] && (ask.settled || !decided.refused);
        let us = at.now / 1000 - START * 1_000_000;
        let cost = ask.counters()[0].cost;
        if counted {
            self.most.push(Counted::Added(us, cost));
        }
        if !answered {
            return;
        }
        if counted {
            self.least.push(Counted::Added(us, cost));
            let (rule, key) = (Arc::clone(&self.rule), b"k".as_slice().into());
            self.charges[host].push(Charge { rule, key, cost, when: at.now });
        }
        let names = self.names();
        for ((level, name), state) in self.rule.levels.iter().zip(names).zip(&decided.states) {
            let mut new = state.clone();
            if counted {
                new.clear();
                level.add(state, cost, at, &mut new);
            }
            self.hosts[host].learn(name, level, &new, at);
        }
    }

    fn decides_alone(&mut self, host: usize, ask: &Ask, at: &Moment) {
        self.hosts[host].decide(&self.prefix, ask, 3, true, at);
        self.alone[host] = true;
    }

    async fn gives(&mut self, host: usize, levels: usize, at: &Moment) {
        let views = self.hosts[host].next_views(levels);
        if views.is_empty() {
            return;
        }
        let each = views.iter().map(|view| (&*view.name, &view.level, &*view.state));
        let call = stamped(script::give(&self.prefix, &self.reign, each, at), at);
        let done = read_done(self.link.run(&self.give, &call).await.unwrap().unwrap()).unwrap();
        let epoch = self.hosts[host].epoch();
        self.hosts[host].given(views, &done.states, epoch, at);
    }

    async fn tells(&mut self, host: usize, at: &Moment) {
        let (entries, _) = self.hosts[host].drain();
        for cost in entries.iter().flat_map(|entry| &entry.costs) {
            self.decides(host, &self.question(*cost, true), true, at).await;
        }
        self.hosts[host].told();
        self.alone[host] = false;
    }

    async fn takes_back(&mut self, host: usize, at: &Moment) {
        let Some(charge) = self.charges[host].pop() else { return };
        let (name, us) = (charge.when, at.now / 1000 - START * 1_000_000);
        self.least.push(Counted::Back(us, charge.cost, name));
        let charges = [charge];
        let call = script::release(&self.prefix, &self.reign, &charges, at, |rule, key, index| {
            self.hosts[host].unconfirmed(&script::name(&self.prefix, rule, index, key))
        });
        let done = self.link.run(&self.release, &stamped(call, at)).await.unwrap().unwrap();
        let names = self.names();
        for ((level, name), state) in self.rule.levels.iter().zip(names).zip(read_done(done).unwrap().states)
        {
            self.hosts[host].learn(name, level, &state, at);
        }
    }

    /// Another reign, with what was held then.
    async fn loses(&mut self, ago: Option<usize>, at: &Moment) {
        let then = ago.and_then(|ago| self.held.get(self.held.len().saturating_sub(ago))).cloned();
        for (index, name) in self.names().into_iter().enumerate() {
            let held = then.as_ref().and_then(|held| held[index].clone());
            let command = match held {
                Some(value) => ::redis::cmd("SET").arg(name).arg(value).to_owned(),
                None => ::redis::cmd("DEL").arg(name).to_owned(),
            };
            self.link.ask(&command).await.unwrap();
        }
        self.begins(at).await;
        self.hosts.iter_mut().for_each(|host| host.reigns(at.now));
    }

    async fn begins(&mut self, at: &Moment) {
        let us = at.now / 1000;
        self.reign = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        let mut set = ::redis::cmd("SET");
        set.arg(script::reign_name(&self.prefix)).arg(&self.reign);
        self.link.ask(&set).await.unwrap();
        for script in [&self.decide, &self.give, &self.release] {
            self.link.load(script, &stamped(script::idle(&self.prefix, &self.reign), at)).await.unwrap();
        }
    }

    /// Units in use of each level, added up from a list.
    fn added_up(&self, list: &[Counted], at: &Moment) -> Vec<u64> {
        let of = |level: &Level| {
            let mut state = Vec::new();
            for counted in list {
                let mut next = Vec::new();
                match *counted {
                    Counted::Added(us, cost) => level.add(&state, cost, &moment(us), &mut next),
                    Counted::Back(us, cost, when) => {
                        level.take_back(&state, cost, when, &moment(us), &mut next);
                    }
                }
                state = next;
            }
            level.stands(&state, 0, at).used
        };
        self.rule.levels.iter().map(of).collect()
    }

    async fn used(&self, at: &Moment) -> Vec<u64> {
        let values = self.values().await;
        let state = |(level, value): (&Level, Option<Vec<u8>>)| {
            let value = value.unwrap_or_default();
            level.stands(level.tag().cut(&value).0, 0, at).used
        };
        self.rule.levels.iter().zip(values).map(state).collect()
    }

    /// Gives back and tells all, and compares.
    async fn settles(&mut self, at: &Moment, exact: bool) -> Result<(), TestCaseError> {
        for host in 0..3 {
            self.gives(host, usize::MAX, at).await;
        }
        for host in 0..3 {
            self.tells(host, at).await;
        }
        let (used, least) = (self.used(at).await, self.added_up(&self.least, at));
        let most = self.added_up(&self.most, at);
        for (index, level) in self.rule.levels.iter().enumerate() {
            let (used, least, most) = (used[index], least[index], most[index]);
            prop_assert!(used >= least, "{level:?}: {used} held, and {least} were counted");
            prop_assert!(used <= most, "{level:?}: {used} held, and no more than {most} were counted");
            prop_assert!(!exact || used == least, "{level:?}: {used} held, {least} counted");
        }
        Ok(())
    }

    async fn runs(&mut self, whats: Vec<(u64, What)>) -> Result<(), TestCaseError> {
        let mut us = 1;
        self.begins(&moment(us)).await;
        // Nothing goes unanswered and nothing is taken back: then all of it is exact.
        let exact = whats.iter().all(|(_, what)| match what {
            What::Asks { answered, .. } => *answered,
            What::TakesBack { .. } => false,
            _ => true,
        });
        for (gap, what) in whats {
            us += gap + 1;
            let at = moment(us);
            match what {
                What::Asks { host, cost, answered } => {
                    let ask = self.question(cost, false);
                    // As long as it has something to give or to tell, a host decides alone.
                    let alone = self.hosts[host].has_views() || self.alone[host];
                    if !alone {
                        self.decides(host, &ask, answered, &at).await;
                    }
                    if alone || !answered {
                        self.decides_alone(host, &ask, &at);
                    }
                }
                What::Gives { host, levels } => self.gives(host, levels, &at).await,
                What::Tells { host } if self.hosts[host].has_views() => {}
                What::Tells { host } => self.tells(host, &at).await,
                What::TakesBack { host } if self.hosts[host].has_views() || self.alone[host] => {}
                What::TakesBack { host } => self.takes_back(host, &at).await,
                What::Loses { ago } => {
                    // Twice within seconds, what was given back by nobody else yet may be gone: see the manual.
                    self.settles(&at, exact).await?;
                    us += 1;
                    self.loses(ago, &moment(us)).await;
                }
            }
            self.held.push(self.values().await);
        }
        self.settles(&moment(us + 1), exact).await
    }
}

#[test]
fn all_that_any_host_knew_is_counted_after_a_loss() {
    let Some(server) = Server::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let number = std::cell::Cell::new(0);
    let rules = prop_oneof![
        4 => prop::collection::vec(level(), 1..4),
        1 => prop::collection::vec(distinct(), 1..2),
    ];
    runner
        .run(&(rules, whats()), |(levels, whats)| {
            number.set(number.get() + 1);
            // Whom Redis saw first while nobody was told is new for less long: neither less nor more.
            let is_distinct = matches!(levels[0].algorithm, Algorithm::Distinct { .. });
            let whats = whats.into_iter().map(|(gap, what)| match what {
                What::Asks { host, cost, .. } if is_distinct => {
                    (gap, What::Asks { host, cost, answered: true })
                }
                what => (gap, what),
            });
            let whats: Vec<_> = whats.collect();
            let rule = Rule { levels: levels.into(), ..(*simple(1, 1)).clone() };
            let mut world = World {
                link: Link::new(server.servers()).unwrap(),
                decide: by_argument(&script::DECIDE),
                give: by_argument(&script::GIVE),
                release: by_argument(&script::RELEASE),
                prefix: format!("l{}", number.get()),
                rule: Arc::new(rule),
                reign: String::new(),
                hosts: Default::default(),
                charges: Default::default(),
                least: Vec::new(),
                most: Vec::new(),
                held: Vec::new(),
                alone: [false; 3],
            };
            runtime.block_on(world.runs(whats))
        })
        .unwrap();
}
