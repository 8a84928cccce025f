//! The scripts in a real Redis against the limiter in this process: the same sequence, the same answers.
//!
//! Redis' clock cannot be set, so the scripts are run with the time as an argument; all else is as shipped.

mod bound;
mod loss;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tempfile::TempDir;

use super::link::{Link, Loaded};
use super::*;
use crate::limiter::{Algorithm, Bounds, Level, SECOND, Unit};
use crate::store::memory::Memory;
use crate::store::{Local, Raise, Remote as _, Rule, Step};

/// A Redis on a UNIX socket, without a port; `None` where there is no redis-server.
struct Server {
    child: Child,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Server {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            eprintln!("skipped: no redis-server");
            return None;
        };
        let server = Self { child, folder };
        for _ in 0..500 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not listen");
    }

    fn servers(&self) -> Servers {
        Servers {
            topology: Topology::Single,
            addresses: vec![self.folder.path().join("s").display().to_string()],
            tls: false,
            ca_file: None,
            username: None,
            password: None,
            sentinel_password: None,
            database: 0,
        }
    }
}

/// A shipped script whose clock is its last two arguments.
fn by_argument(text: &str) -> Loaded {
    let text = text.replace("redis.call('TIME')", "{ ARGV[#ARGV - 1], ARGV[#ARGV] }");
    assert!(!text.contains("'TIME'"));
    Loaded::new(Box::leak(text.into_boxed_str()))
}

const START: u64 = 1_800_000_000;
/// The reign that began then.
const REIGN: &str = "1800000000.000000";

/// A call with the time for [`by_argument`].
fn stamped(mut call: Call, at: &Moment) -> Call {
    let micros = at.now / 1000;
    call.arguments.push((micros / 1_000_000).to_string().into_bytes());
    call.arguments.push((micros % 1_000_000).to_string().into_bytes());
    call
}

/// The moment `ms` after the start, in a calendar whose periods are 100 s, 300 s, 900 s and 2700 s.
fn moment(us: u64) -> Moment {
    let now = START * SECOND + us * 1000;
    let secs = now / SECOND;
    let bound = |length: u64| {
        let start = START + (secs - START) / length * length;
        crate::limiter::calendar::Bound { start, next: start + length, end: (start + length) * SECOND }
    };
    Moment { now, bounds: Bounds([bound(100), bound(300), bound(900), bound(2700)]) }
}

fn level() -> impl Strategy<Value = Level> {
    let algorithm = prop_oneof![
        (1u64..20).prop_map(|burst| Algorithm::Gcra { burst }),
        Just(Algorithm::Window),
        prop::sample::select(Unit::ALL.to_vec()).prop_map(Algorithm::Calendar),
    ];
    (algorithm, 1u64..20, prop::sample::select(vec![1u64, 7, 60, 600, 86_400])).prop_map(
        |(algorithm, limit, secs)| {
            // A burst of its own, or as usual that of the rate.
            let algorithm = match algorithm {
                Algorithm::Gcra { burst } if burst % 2 == 0 => Algorithm::Gcra { burst: limit },
                other => other,
            };
            Level { algorithm, limit, period: secs * SECOND }
        },
    )
}

fn distinct() -> impl Strategy<Value = Level> {
    (1u64..4, 1u64..100, prop_oneof![Just(0u64), 100u64..500]).prop_map(|(limit, secs, memory)| Level {
        algorithm: Algorithm::Distinct { memory: memory * SECOND },
        limit,
        period: secs * SECOND,
    })
}

fn rule(number: usize) -> impl Strategy<Value = Rule> {
    let levels = prop_oneof![
        4 => prop::collection::vec(level(), 1..4),
        1 => prop::collection::vec(distinct(), 1..2),
    ];
    let steps = prop_oneof![
        3 => Just(vec![Step { hundredths: 100, passes: false }]),
        1 => Just(vec![Step { hundredths: 100, passes: true }, Step { hundredths: 200, passes: false }]),
    ];
    (levels, steps, prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(
        move |(levels, steps, count_refused, dry_run)| Rule {
            name: format!("limit-{number}").into(),
            id: Default::default(),
            levels: levels.into(),
            steps: steps.into(),
            count_refused,
            dry_run,
            max_keys: 1000,
        },
    )
}

/// One event: microseconds after the one before, which limits and keys it is about, costs, what to do.
type Event = (u64, Vec<(usize, u8, u64)>, u8);

fn events() -> impl Strategy<Value = Vec<Event>> {
    let gap = prop_oneof![0u64..3, 0u64..1_000_000, 0u64..50_000_000];
    let counters = prop::collection::vec((0usize..3, 0u8..2, 0u64..5), 1..4);
    prop::collection::vec((gap, counters, 0u8..10), 1..40)
}

struct Both {
    memory: Memory,
    link: Link,
    decide: Loaded,
    release: Loaded,
    prefix: String,
    rules: Vec<Arc<Rule>>,
    charges: Vec<Charge>,
}

impl Both {
    /// The reign, begun at the start.
    async fn begin(&self) {
        let mut set = ::redis::cmd("SET");
        set.arg(script::reign_name(&self.prefix)).arg(REIGN);
        self.link.ask(&set).await.unwrap();
        for script in [&self.decide, &self.release] {
            self.link.load(script, &stamped(script::idle(&self.prefix, REIGN), &moment(0))).await.unwrap();
        }
    }

    async fn event(&mut self, us: u64, about: &[(usize, u8, u64)], what: u8) {
        let at = moment(us);
        if what == 9 && !self.charges.is_empty() {
            let charge = self.charges.remove(0);
            self.memory.release(std::slice::from_ref(&charge), &at);
            let call = script::release(&self.prefix, REIGN, &[charge], &at, |_, _, _| Vec::new());
            let released = self.link.run(&self.release, &stamped(call, &at)).await.unwrap().unwrap();
            assert_eq!(read_done(released).unwrap().now, at.now);
            return;
        }
        let mut ask = Ask { settled: what == 8, ..Ask::default() };
        let mut seen = Vec::new();
        for (number, key, cost) in about {
            // A counter stands in a question once.
            if !seen.contains(number) {
                seen.push(*number);
                ask.add(&self.rules[*number], *cost, |buffer| {
                    buffer.push(b'a' + key);
                    true
                });
            }
        }
        let mut wanted = Answer::default();
        let write = what != 7;
        if write {
            self.memory.decide(&ask, &at, &mut wanted).unwrap();
        } else {
            self.memory.peek(&ask, &at, &mut wanted);
        }
        let call = stamped(script::decide(&self.prefix, REIGN, &ask, write, &at, |_, _, _| Vec::new()), &at);
        let decided = read(self.link.run(&self.decide, &call).await.unwrap().unwrap(), &ask).unwrap();
        assert_eq!(decided.now, at.now);
        assert_eq!(decided.refused, wanted.refused, "{ask:?} at {us}: {wanted:?}");
        let counted: Vec<bool> = wanted.outcomes.iter().map(|outcome| outcome.counted).collect();
        assert_eq!(decided.counted, counted, "{ask:?} at {us}: {wanted:?}");
        let mut states = decided.states.as_slice();
        for (counter, wanted) in ask.counters().iter().zip(&wanted.outcomes) {
            let (own, rest) = states.split_at(counter.rule.levels.len());
            states = rest;
            let mut found = away::stands(&counter.rule, counter.cost, &at, own);
            found.counted = wanted.counted;
            assert_eq!(found, *wanted, "{counter:?} at {us}");
            if write && wanted.counted && what != 8 {
                let (rule, key) = (Arc::clone(&counter.rule), ask.key(counter).into());
                self.charges.push(Charge { rule, key, cost: counter.cost, when: at.now });
            }
        }
    }
}

#[test]
fn the_scripts_decide_as_the_limiter_does() {
    let Some(server) = Server::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let number = std::cell::Cell::new(0);
    let rules = (rule(0), rule(1), rule(2));
    runner
        .run(&(rules, events()), |(rules, events)| {
            number.set(number.get() + 1);
            let mut memory = Memory::new();
            let rules = [rules.0, rules.1, rules.2].into_iter().map(|mut rule| {
                rule.id = memory.limit(&rule.name);
                Arc::new(rule)
            });
            let rules: Vec<_> = rules.collect();
            memory.in_force(&rules, &moment(0));
            let mut both = Both {
                memory,
                link: Link::new(server.servers()).unwrap(),
                decide: by_argument(&script::DECIDE),
                release: by_argument(&script::RELEASE),
                prefix: format!("t{}", number.get()),
                rules,
                charges: Vec::new(),
            };
            runtime.block_on(async {
                both.begin().await;
                let mut us = 0;
                for (gap, about, what) in events {
                    us += gap;
                    both.event(us, &about, what).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

fn simple(limit: u64, secs: u64) -> Arc<Rule> {
    Arc::new(Rule {
        name: "per-user".into(),
        id: Default::default(),
        levels: [Level { algorithm: Algorithm::Window, limit, period: secs * SECOND }].into(),
        steps: [Step { hundredths: 100, passes: false }].into(),
        count_refused: false,
        dry_run: false,
        max_keys: 1000,
    })
}

fn one(rule: &Arc<Rule>, cost: u64) -> Ask {
    let mut ask = Ask::default();
    ask.add(rule, cost, |buffer| {
        buffer.extend_from_slice(b"joe@a.example");
        true
    });
    ask
}

fn here() -> Moment {
    let now = base::clock::since_1970();
    Moment { now: u64::try_from(now.as_nanos()).unwrap(), bounds: Bounds::default() }
}

fn settings(servers: Servers) -> Settings {
    Settings {
        servers,
        prefix: "postrider".into(),
        deadline: Duration::from_millis(500),
        fallback: true,
        hosts: Some(2),
    }
}

/// The one of two hosts that the test is about: the other has nothing to give back.
async fn host(server: &Server) -> Redis {
    let store = Redis::new(settings(server.servers())).unwrap();
    store.shared.inner().host = "one".into();
    back(&store).await;
    store
}

/// Waits until Redis decides, the other host having given back what it had.
async fn back(store: &Redis) {
    for round in 0..200 {
        let entered = store.shared.enter(false).await;
        let mut other = ::redis::cmd("HSET");
        store.shared.link.ask(other.arg("{postrider}:given").arg("two").arg(2)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        if round > 0 && entered.unwrap() && store.state().connected && !store.shared.inner().returning {
            return;
        }
    }
    panic!("Redis does not decide");
}

#[tokio::test]
async fn scripts_are_sent_again_when_redis_has_forgotten_them() {
    let Some(server) = Server::start() else { return };
    let store = host(&server).await;
    let rule = simple(2, 3600);
    assert!(!store.decide(&one(&rule, 1), &here()).await.unwrap().refused);
    store.shared.link.ask(::redis::cmd("SCRIPT").arg("FLUSH")).await.unwrap();
    let before = store.shared.inner().reign.clone();
    // It may be another server: what is known is given back to it first.
    assert!(store.peek(&one(&rule, 2), &here()).await.unwrap().refused);
    back(&store).await;
    assert_ne!(store.shared.inner().reign, before);
    assert!(!store.decide(&one(&rule, 1), &here()).await.unwrap().refused);
    let answer = store.decide(&one(&rule, 1), &here()).await.unwrap();
    assert!(answer.refused);
    assert_eq!((answer.outcomes[0].used, answer.outcomes[0].allowed), (2, 2));
    assert_eq!(store.stands(&rule, b"joe@a.example", &here()).await.unwrap()[0].used, 2);
    let top = store.top(&rule, 5, &here()).await.unwrap();
    assert_eq!((top.len(), top[0].levels[0].used), (1, 2));
    assert!(store.reset(&rule, b"joe@a.example").await.unwrap());
    assert!(!store.reset(&rule, b"joe@a.example").await.unwrap());
    assert!(!store.decide(&one(&rule, 1), &here()).await.unwrap().refused);
    let state = store.state();
    assert!(state.connected && state.failures == 0 && state.answered >= 4, "{state:?}");
}

#[tokio::test]
async fn raises_are_shared_and_end() {
    let Some(server) = Server::start() else { return };
    let (one, other) = (Redis::new(settings(server.servers())), Redis::new(settings(server.servers())));
    let (one, other) = (one.unwrap(), other.unwrap());
    let raise = |hundredths, until| Raise {
        limit: "per-user".into(),
        key: b"a b".as_slice().into(),
        hundredths,
        until,
    };
    one.raise(raise(200, 2000)).await.unwrap();
    assert_eq!(other.raises(1999).await.unwrap(), [raise(200, 2000)]);
    assert_eq!(other.raises(2000).await.unwrap(), []);
    other.raise(raise(100, 0)).await.unwrap();
    assert_eq!(one.raises(1).await.unwrap(), []);
}

/// A store that is away costs nothing but its share, and learns everything when it is back.
#[tokio::test]
async fn a_share_of_what_was_left_while_redis_is_away() {
    let Some(server) = Server::start() else { return };
    let store = host(&server).await;
    let rule = simple(100, 3600);
    for _ in 0..40 {
        assert!(!store.decide(&one(&rule, 1), &here()).await.unwrap().refused);
    }
    // As one of two hosts it has 30 of the 60 that are left.
    nix::sys::signal::kill(pid(&server), nix::sys::signal::Signal::SIGSTOP).unwrap();
    let (mut passed, begun) = (0, base::clock::monotonic_now());
    for _ in 0..100 {
        let answer = store.decide(&one(&rule, 1), &here()).await.unwrap();
        passed += u32::from(!answer.refused);
    }
    let state = store.state();
    assert!(!state.connected && state.failures == 3, "{state:?}");
    assert_eq!(passed, 30);
    assert!(begun.elapsed() < Duration::from_secs(4), "the breaker spares the wait: {:?}", begun.elapsed());
    nix::sys::signal::kill(pid(&server), nix::sys::signal::Signal::SIGCONT).unwrap();
    // Some of the first three may have been counted by Redis after all: it is told all the same.
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _probe = store.peek(&one(&rule, 1), &here()).await.unwrap();
        if store.state().connected {
            break;
        }
    }
    assert!(store.state().connected);
    let used = store.stands(&rule, b"joe@a.example", &here()).await.unwrap()[0].used;
    assert!((70..=73).contains(&used), "{used}");
}

fn pid(server: &Server) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(server.child.id()).unwrap())
}

/// What a Redis without a disk has forgotten at its restart, the hosts give back to it.
#[tokio::test]
async fn a_redis_that_has_lost_all_is_told_what_the_host_remembers() {
    let Some(server) = Server::start() else { return };
    let store = host(&server).await;
    let rule = simple(100, 3600);
    assert!(!store.decide(&one(&rule, 90), &here()).await.unwrap().refused);
    {
        let mut inner = store.shared.inner();
        let now = base::clock::monotonic_now();
        let opened = (0..3).any(|_| inner.breaker.failed(now));
        assert!(opened);
    }
    // As one of two hosts it has 5 of the 10 that are left.
    assert!(store.decide(&one(&rule, 6), &here()).await.unwrap().refused);
    assert!(!store.decide(&one(&rule, 4), &here()).await.unwrap().refused);
    store.shared.link.ask(&::redis::cmd("FLUSHALL")).await.unwrap();
    back(&store).await;
    assert!(store.decide(&one(&rule, 7), &here()).await.unwrap().refused);
    assert!(!store.decide(&one(&rule, 6), &here()).await.unwrap().refused);
    assert!(store.decide(&one(&rule, 1), &here()).await.unwrap().refused);
}

/// Without a share of its own a host has what it knows with its question, and waits for nobody.
#[tokio::test]
async fn without_a_share_a_host_waits_for_nobody() {
    let Some(server) = Server::start() else { return };
    let store = Redis::new(Settings { fallback: false, ..settings(server.servers()) }).unwrap();
    let rule = simple(100, 3600);
    for _ in 0..3 {
        assert!(!store.decide(&one(&rule, 30), &here()).await.unwrap().refused);
        store.shared.link.ask(&::redis::cmd("FLUSHALL")).await.unwrap();
    }
    assert!(store.decide(&one(&rule, 11), &here()).await.unwrap().refused);
    store.shared.link.ask(&::redis::cmd("FLUSHALL")).await.unwrap();
    assert!(!store.decide(&one(&rule, 10), &here()).await.unwrap().refused);
    assert!(store.decide(&one(&rule, 1), &here()).await.unwrap().refused);
}

#[tokio::test]
async fn what_is_raised_is_given_back() {
    let Some(server) = Server::start() else { return };
    let store = host(&server).await;
    let until = base::clock::unix_now() + 1000;
    let raise = Raise { limit: "per-user".into(), key: b"a b".as_slice().into(), hundredths: 200, until };
    store.raise(raise.clone()).await.unwrap();
    store.shared.link.ask(&::redis::cmd("FLUSHALL")).await.unwrap();
    // Read before the loss is noticed, after, and by a host that has just come.
    assert_eq!(store.raises(until - 1).await.unwrap(), std::slice::from_ref(&raise));
    back(&store).await;
    assert_eq!(store.raises(until - 1).await.unwrap(), std::slice::from_ref(&raise));
    let other = host(&server).await;
    assert_eq!(other.raises(until - 1).await.unwrap(), [raise]);
    assert_eq!(other.raises(until).await.unwrap(), []);
}

#[test]
fn addresses_that_are_none_are_refused() {
    let servers = |address: &str| Servers {
        topology: Topology::Single,
        addresses: vec![address.to_owned()],
        tls: false,
        ca_file: None,
        username: None,
        password: None,
        sentinel_password: None,
        database: 0,
    };
    for good in ["127.0.0.1:6379", "[2001:db8::1]:6379", "redis.a.example:1", "/run/redis/redis.sock"] {
        assert!(Link::new(servers(good)).is_ok(), "{good}");
    }
    for bad in ["", "host", "host:", "host:0", "host:70000", ":6379", "redis://host:1x"] {
        assert!(Link::new(servers(bad)).is_err(), "{bad}");
    }
    let missing = Servers { ca_file: Some("/nonexistent".into()), ..servers("127.0.0.1:6379") };
    assert!(Link::new(missing).unwrap_err().contains("/nonexistent"));
}
