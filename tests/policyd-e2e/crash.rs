//! `kill -9` at a random moment loses at most one second of counting.
//!
//! 12 runs; `POLICYD_KILLS=200 cargo test -p postrider-tests --test policyd-e2e crash` is the long form.

use std::time::{Duration, Instant};

use harness::policyd::{Asked, Policyd};
use harness::scratch::Scratch;

const CONF: &str = "
listen = [\"unix:{dir}/policy\"]
[store]
path = \"{dir}/state\"
[[limit]]
name = \"user\"
key = [\"sasl_username\"]
count = \"recipients\"
rate = [\"1000000/hour\", \"2000000/day\"]
too_big_action = \"DEFER {used}\"
";

/// How much is in use, by asking for more than there can be.
fn used(policyd: &Policyd) -> u64 {
    let mut client = policyd.connect();
    let asked = Asked {
        state: "DATA",
        instance: "probe",
        user: "alice@a.example",
        count: 3_000_000,
        ..Asked::default()
    };
    let action = client.ask(&asked);
    action.strip_prefix("DEFER ").unwrap().parse().unwrap()
}

#[test]
fn at_most_one_second_of_counting_is_lost() {
    let runs = std::env::var("POLICYD_KILLS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(12);
    let scratch = Scratch::new("policycrash");
    let mut policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut before = 0;
    let mut worst = Duration::ZERO;
    for run in 0..runs {
        let mut client = policyd.connect();
        // Somewhere between 0.3 and 1.9 seconds, another time at each run.
        let length = Duration::from_millis(300 + (run * 617) % 1600);
        let began = Instant::now();
        let mut answered = Vec::new();
        while began.elapsed() < length {
            let instance = format!("{run}.{}", answered.len());
            let asked = Asked {
                state: "DATA",
                instance: &instance,
                user: "alice@a.example",
                count: 1,
                ..Asked::default()
            };
            assert_eq!(client.ask(&asked), "DUNNO");
            answered.push(Instant::now());
            std::thread::sleep(Duration::from_micros(500));
        }
        policyd.kill();
        let killed = Instant::now();
        policyd.run();
        let kept = usize::try_from(used(&policyd) - before).unwrap();
        assert!(kept <= answered.len(), "run {run}: more than was asked for");
        if let Some(first_lost) = answered.get(kept) {
            let lost = killed - *first_lost;
            worst = worst.max(lost);
            assert!(lost <= Duration::from_secs(1), "run {run}: {lost:?} of counting were lost");
        }
        before += u64::try_from(kept).unwrap();
    }
    println!("{runs} kills: at most {worst:?} of counting were lost");
}
