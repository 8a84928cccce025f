//! Our policy service on several hosts with one Redis, a cluster and sentinels; needs what apt-packages names.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::certificates::Certificates;
use harness::policyd::{Asked, PolicyClient, Policyd};
use harness::redis::{Cluster, Redis, Watched};
use harness::scratch::Scratch;
use harness::wait::wait_for;

/// One host of several.
fn host(scratch: &Scratch, name: &str, store: &str) -> Policyd {
    let text = format!(
        "listen = [\"unix:{{dir}}/policy\"]\n[store]\ndriver = \"redis\"\n{store}\n[control]\nsocket = \"{{dir}}/control\"\n\
         [[limit]]\nname = \"user\"\nkey = [\"sasl_username\"]\ncount = \"recipients\"\nrate = [\"100/hour\", \"1000/day\"]\n"
    );
    Policyd::start(scratch, name, &text)
}

fn servers(addresses: &[String]) -> String {
    format!("servers = {addresses:?}\ndeadline = \"2s\"")
}

/// 1,000 requests over 50 connections, spread over the hosts; how many passed.
fn race(hosts: &[Policyd], round: &str) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for connection in 0..50 {
            let (passed, policyd) = (&passed, &hosts[connection % hosts.len()]);
            scope.spawn(move || {
                let mut client = policyd.connect();
                for number in 0..20 {
                    passed.fetch_add(
                        usize::from(asks(&mut client, round, connection, number)),
                        Ordering::Relaxed,
                    );
                }
            });
        }
    });
    passed.into_inner()
}

fn asks(client: &mut PolicyClient, round: &str, connection: usize, number: usize) -> bool {
    let instance = format!("{round}.{connection}.{number}");
    let asked = Asked {
        state: "DATA",
        instance: &instance,
        user: "alice@a.example",
        recipient: "b@b.example",
        count: 1,
    };
    client.ask(&asked) == "DUNNO"
}

#[test]
fn two_hosts_on_one_redis_let_exactly_the_limit_pass() {
    let scratch = Scratch::new("policyredis");
    let redis = Redis::start(&scratch, "redis");
    let hosts = ["one", "two"].map(|name| host(&scratch, name, &servers(&[redis.address()])));
    assert_eq!(race(&hosts, "a"), 100);
    assert_eq!(race(&hosts, "b"), 0);
    // Its script cache is not kept for ever.
    let _flushed = redis.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(race(&hosts, "c"), 0);
    for host in &hosts {
        assert!(!host.log().contains("Redis is away"), "{}", host.log());
    }
}

#[test]
fn four_hosts_on_a_cluster_of_three_let_exactly_the_limit_pass() {
    let scratch = Scratch::new("policyredis");
    let cluster = Cluster::start(&scratch);
    let store = format!("{}\ntopology = \"cluster\"", servers(&cluster.addresses()));
    let hosts = ["one", "two", "three", "four"].map(|name| host(&scratch, name, &store));
    assert_eq!(race(&hosts, "a"), 100);
    assert_eq!(race(&hosts, "b"), 0);
    // Nobody remembers but the hosts.
    for node in &cluster.nodes {
        let _emptied = node.command(&["FLUSHALL"]);
    }
    assert_eq!(race(&hosts, "c"), 0);
}

/// The bound while Redis is away: what was left at its last answers is divided among the hosts, so that they let
/// through what was left, and where a host knew less than was used, its share of the difference on top. Two hosts
/// whose last answers were at most 50 requests ago let through 100 and 25 at most; hosts that knew nothing, twice the
/// limit. When Redis is back without anything it held, all hosts give back what they knew before it decides again:
/// nothing passes twice.
#[test]
fn redis_stopped_and_started_in_the_middle_keeps_the_bound() {
    let scratch = Scratch::new("policyredis");
    let mut redis = Redis::start(&scratch, "redis");
    let store = format!("servers = [{:?}]\nhosts = 2\ndeadline = \"300ms\"", redis.address());
    let hosts = ["one", "two"].map(|name| host(&scratch, name, &store));
    both_have_come(&redis);
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for connection in 0..50 {
            let (passed, policyd) = (&passed, &hosts[connection % 2]);
            scope.spawn(move || {
                let mut client = policyd.connect();
                for number in 0..20 {
                    passed.fetch_add(
                        usize::from(asks(&mut client, "a", connection, number)),
                        Ordering::Relaxed,
                    );
                    // All of it would be over before Redis could be stopped.
                    std::thread::sleep(Duration::from_millis(30));
                }
            });
        }
        wait_for("the middle", || (passed.load(Ordering::Relaxed) >= 50).then_some(()));
        redis.stop();
        std::thread::sleep(Duration::from_millis(100));
        redis.run();
    });
    let mut passed = passed.into_inner();
    println!("passed with Redis stopped and started in the middle: {passed} (100 without)");
    assert!((90..=125).contains(&passed), "{passed}");
    for host in &hosts {
        passed += until_back(host);
    }
    // Of what was left to be divided, a rest may be left.
    for (number, host) in hosts.iter().enumerate() {
        passed += (0..3).filter(|rest| asks(&mut host.connect(), "rest", number, *rest)).count();
    }
    println!("and {passed} with what was asked until it was back");
    assert!((100..=125).contains(&passed), "{passed}");
    assert_eq!(race(&hosts, "b"), 0, "what Redis has lost was given back to it");
}

/// Waits until two hosts that know of each other ask Redis: until then each has its share.
fn both_have_come(redis: &Redis) {
    wait_for("both to have come", || {
        (redis.command(&["HLEN", "{postrider}:given"]).trim() == "2").then_some(())
    });
    // They look every tenth of a second.
    std::thread::sleep(Duration::from_millis(500));
}

/// Asks until Redis decides for this host again; how many of that passed.
fn until_back(host: &Policyd) -> usize {
    let mut client = host.connect();
    let (mut number, mut passed) = (0, 0);
    wait_for("Redis to be back", || {
        number += 1;
        passed += usize::from(asks(&mut client, "probe", 0, number));
        let log = host.log();
        (log.matches("Redis is back").count() == log.matches("Redis is away").count()).then_some(())
    });
    passed
}

/// Of so many messages, how many passed.
fn passing(client: &mut PolicyClient, round: &str, times: usize) -> usize {
    (0..times).filter(|number| asks(client, round, 0, *number)).count()
}

/// Emptied while it runs: no connection breaks, and no question goes without an answer.
#[test]
fn a_redis_that_is_emptied_is_given_back_what_each_host_knew() {
    let scratch = Scratch::new("policyredis");
    let redis = Redis::start(&scratch, "redis");
    let store = format!("{}\nhosts = 2", servers(&[redis.address()]));
    let hosts = ["one", "two"].map(|name| host(&scratch, name, &store));
    let [mut one, mut two] = hosts.each_ref().map(Policyd::connect);
    both_have_come(&redis);
    // Each host knows the counter as it was when it asked last: the second knows all of it.
    assert_eq!((passing(&mut one, "a", 40), passing(&mut two, "b", 55)), (40, 55));
    let _emptied = redis.command(&["FLUSHALL"]);
    // The first asks first, and knows the least: until both have given back, it has half of 60.
    let meanwhile = passing(&mut one, "c", 100);
    assert!(meanwhile <= 30, "{meanwhile}");
    for host in &hosts {
        wait_for("it to be noticed", || host.log().contains("Redis has lost what it held").then_some(()));
    }
    let rest = race(&hosts, "d");
    println!("{meanwhile} before all was given back, and {rest} after that");
    assert_eq!(rest, 5_usize.saturating_sub(meanwhile));
    for host in &hosts {
        assert!(!host.log().contains("Redis is away"), "{}", host.log());
    }
}

/// A message whose recipients were named before the service was restarted: what was reserved is taken back at an orderly
/// end and the message counts as it is sent; after `kill -9` it counts once more.
#[test]
fn reservations_over_a_restart() {
    let scratch = Scratch::new("policyredis");
    let redis = Redis::start(&scratch, "redis");
    let mut host = host(&scratch, "one", &servers(&[redis.address()]));
    let ask = |client: &mut PolicyClient, state, instance: &str, recipient: &str, count| {
        let asked = Asked { state, instance, user: "alice@a.example", recipient, count };
        client.ask(&asked) == "DUNNO"
    };
    let names = |client: &mut PolicyClient, instance: &str| {
        assert!(
            ask(client, "RCPT", instance, "b@b.example", 0)
                && ask(client, "RCPT", instance, "c@b.example", 0)
        );
    };
    let mut client = host.connect();
    // From the first message on it is known that DATA is asked as well.
    names(&mut client, "first");
    assert!(ask(&mut client, "DATA", "first", "", 2));
    names(&mut client, "second");
    assert!(host.stop().success());
    host.run();
    let mut client = host.connect();
    assert!(ask(&mut client, "DATA", "second", "", 2));
    names(&mut client, "third");
    host.kill();
    host.run();
    let mut client = host.connect();
    assert!(ask(&mut client, "DATA", "third", "", 2));
    // 2, 2, and 2 twice.
    assert_eq!(passing(&mut client, "rest", 200), 92);
}

#[test]
fn a_redis_that_hangs_does_not_hold_up_mail() {
    let scratch = Scratch::new("policyredis");
    let redis = Redis::start(&scratch, "redis");
    let store = format!("servers = [{:?}]\nhosts = 1", redis.address());
    let host = host(&scratch, "one", &store);
    let mut client = host.connect();
    for number in 0..10 {
        assert!(asks(&mut client, "a", 0, number));
    }
    redis.freeze();
    let begun = Instant::now();
    let passed = (0..200).filter(|number| asks(&mut client, "b", 0, *number)).count();
    // Three times the deadline of 100 ms, and then by itself.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(passed, 90);
    redis.thaw();
    wait_for("Redis to be back", || {
        let _refused = asks(&mut client, "c", 0, usize::try_from(begun.elapsed().as_millis()).unwrap());
        host.log().contains("Redis is back").then_some(())
    });
    assert!(!asks(&mut client, "d", 0, 0));
}

#[test]
fn sentinels_name_the_new_master() {
    let scratch = Scratch::new("policyredis");
    let mut watched = Watched::start(&scratch);
    let store = format!(
        "{}\ntopology = \"sentinel\"\nmaster = \"mail\"",
        servers(&watched.addresses()).replace("2s", "300ms")
    );
    let host = host(&scratch, "one", &store);
    let mut client = host.connect();
    for number in 0..60 {
        assert!(asks(&mut client, "a", 0, number));
    }
    wait_for("the replica to have it all", || {
        let keys = |redis: &Redis| redis.command(&["DBSIZE"]);
        (keys(&watched.master) == keys(&watched.replica)).then_some(())
    });
    watched.master.stop();
    let mut number = 0;
    wait_for("the new master to be asked", || {
        number += 1;
        let _any = asks(&mut client, "b", 0, number);
        host.log().contains("Redis is back").then_some(())
    });
    // Counted before, alone, and since: the limit holds across the change of masters.
    let passed_since = (0..100).filter(|number| asks(&mut client, "c", 0, *number)).count();
    assert!(passed_since <= 40, "{passed_since}");
    let used = watched.replica.command(&["DBSIZE"]);
    assert_ne!(used.trim(), "0");
    assert!(!asks(&mut client, "d", 0, 0));
}

#[test]
fn tls_and_a_password() {
    let scratch = Scratch::new("policyredis");
    let certificates = Certificates::new(&scratch.file("ca"));
    let redis = Redis::start_guarded(&scratch, "redis", &certificates, "s3cret");
    let store = |password: &str, ca: &str| {
        format!(
            "servers = [\"localhost:{}\"]\ntls = true\nca_file = \"{ca}\"\npassword = \"{password}\"\nfallback = \"none\"\n\
             deadline = \"2s\"\nunavailable = \"closed\"",
            redis.address().rsplit_once(':').unwrap().1
        )
    };
    let ca = certificates.ca().display().to_string();
    let good = host(&scratch, "good", &store("s3cret", &ca));
    let mut client = good.connect();
    assert!(asks(&mut client, "a", 0, 0), "{}", good.log());
    assert!(!good.log().contains("away"), "{}", good.log());
    // With another password, or certificates of somebody else, nothing is said and nothing passes.
    let others = Certificates::new(&scratch.file("ca-2"));
    for (name, store) in
        [("password", store("wrong", &ca)), ("ca", store("s3cret", &others.ca().display().to_string()))]
    {
        let bad = host(&scratch, name, &store);
        let mut client = bad.connect();
        assert!(!asks(&mut client, "a", 0, 0), "{name}");
        assert!(!bad.log().contains("s3cret"), "{name}");
    }
}
