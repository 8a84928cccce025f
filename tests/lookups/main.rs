//! Key look-ups against a DNS server that misbehaves: deadlines, the second try, the cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::dns::{Dns, Fault, Zone};
use milter::dkim::KeyAnswer;
use milter::dns::{CacheLimits, Keys, Source};

const NAME: &str = "s._domainkey.example.com";
const RECORD: &str = "v=DKIM1; p=abc";

fn keys(dns: &Dns, deadline: Duration) -> Keys {
    let server = dns.address();
    Keys::new(&Source::Servers(vec![server]), deadline, CacheLimits::default()).unwrap()
}

fn found(answer: &Arc<KeyAnswer>) -> bool {
    **answer == KeyAnswer::Records(vec![RECORD.as_bytes().to_vec()])
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_answer_is_kept_for_its_ttl_and_no_longer() {
    let dns = Dns::start(Zone::new().ttl(NAME, 1).txt(NAME, RECORD));
    let keys = keys(&dns, 5 * SECOND);
    for _ in 0..10 {
        assert!(found(&keys.look_up(NAME).await));
    }
    assert_eq!(dns.count(NAME), 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(found(&keys.look_up(NAME).await));
    assert_eq!(dns.count(NAME), 2);
}

#[tokio::test]
async fn an_answer_without_ttl_is_not_kept() {
    let dns = Dns::start(Zone::new().ttl(NAME, 0).txt(NAME, RECORD));
    let keys = keys(&dns, 5 * SECOND);
    assert!(found(&keys.look_up(NAME).await));
    assert!(found(&keys.look_up(NAME).await));
    assert_eq!(dns.count(NAME), 2);
}

#[tokio::test]
async fn that_there_is_no_key_is_kept_as_long_as_the_soa_says() {
    let dns = Dns::start(Zone::new().ttl(NAME, 1));
    let keys = keys(&dns, 5 * SECOND);
    for _ in 0..5 {
        assert_eq!(*keys.look_up(NAME).await, KeyAnswer::NotFound);
    }
    assert_eq!(dns.count(NAME), 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    dns.change(|zone| zone.txt(NAME, RECORD));
    assert!(found(&keys.look_up(NAME).await), "a new key is seen when the old answer is over");
}

#[tokio::test]
async fn failures_are_not_kept() {
    let dns = Dns::start(Zone::new().ttl(NAME, 60).txt(NAME, RECORD).fault(NAME, Fault::ServFail));
    let keys = keys(&dns, 5 * SECOND);
    assert!(matches!(&*keys.look_up(NAME).await, KeyAnswer::TempFail(_)));
    assert!(dns.count(NAME) >= 2, "a failure is tried once more");
    dns.change(|_| Zone::new().ttl(NAME, 60).txt(NAME, RECORD));
    assert!(found(&keys.look_up(NAME).await));
}

#[tokio::test]
async fn a_lost_question_is_asked_again_within_the_deadline() {
    let dns = Arc::new(Dns::start(Zone::new().ttl(NAME, 60).txt(NAME, RECORD).fault(NAME, Fault::Silent)));
    let keys = keys(&dns, 2 * SECOND);
    let server = Arc::clone(&dns);
    let mended = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.change(|_| Zone::new().ttl(NAME, 60).txt(NAME, RECORD));
    });
    let begun = Instant::now();
    assert!(found(&keys.look_up(NAME).await));
    assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
    mended.await.unwrap();
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let dns = Dns::start(Zone::new().fault(NAME, Fault::Silent));
    let keys = keys(&dns, SECOND);
    let begun = Instant::now();
    assert!(matches!(&*keys.look_up(NAME).await, KeyAnswer::TempFail(_)));
    let took = begun.elapsed();
    assert!(took >= SECOND * 9 / 10 && took < SECOND * 3 / 2, "{took:?}");
}

#[tokio::test]
async fn aliases_are_followed_and_several_strings_are_joined() {
    let dns = Dns::start(
        Zone::new()
            .cname(NAME, "real.example.net")
            .txt_strings("real.example.net", &[b"v=DKIM1; ", b"p=abc"]),
    );
    assert!(found(&keys(&dns, 5 * SECOND).look_up(NAME).await));
}

#[tokio::test]
async fn a_thousand_look_ups_at_once_are_all_answered() {
    let mut zone = Zone::new();
    for i in 0..1000 {
        zone = zone.txt(&format!("s{i}._domainkey.example.com"), RECORD);
    }
    let dns = Dns::start(zone);
    let keys = Arc::new(keys(&dns, 20 * SECOND));
    let mut all = tokio::task::JoinSet::new();
    for i in 0..1000 {
        let keys = Arc::clone(&keys);
        all.spawn(async move { found(&keys.look_up(&format!("s{i}._domainkey.example.com")).await) });
    }
    assert!(all.join_all().await.into_iter().all(|found| found));
}

#[tokio::test]
async fn names_that_cannot_exist_are_not_asked_for() {
    let dns = Dns::start(Zone::new());
    let keys = keys(&dns, 5 * SECOND);
    let long = format!("{}._domainkey.example.com", "x".repeat(64));
    assert_eq!(*keys.look_up(&long).await, KeyAnswer::NotFound);
}
