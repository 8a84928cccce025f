//! A limit of 100, 50 connections, 1,000 requests: exactly 100 pass, also over reloads and restarts.

use std::sync::atomic::{AtomicUsize, Ordering};

use harness::policyd::{Asked, Policyd};
use harness::scratch::Scratch;

const LIMIT: &str = "
[[limit]]
name = \"user\"
key = [\"sasl_username\"]
count = \"recipients\"
rate = [\"100/hour\", \"1000/day\"]
";

fn conf(store: &str) -> String {
    format!("listen = [\"unix:{{dir}}/policy\"]\n[store]\n{store}\n{LIMIT}")
}

/// 1,000 requests over 50 connections; how many passed.
fn race(policyd: &Policyd, state: &str, round: usize) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for connection in 0..50 {
            let passed = &passed;
            scope.spawn(move || {
                let mut client = policyd.connect();
                for number in 0..20 {
                    let instance = format!("{round}.{connection}.{number}");
                    let count = u32::from(state != "RCPT");
                    let asked = Asked {
                        state,
                        instance: &instance,
                        user: "alice@a.example",
                        recipient: "b@b.example",
                        count,
                    };
                    match client.ask(&asked).as_str() {
                        "DUNNO" => {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                        refusal => {
                            assert!(refusal.starts_with("DEFER_IF_PERMIT 4.7.1 100 of 100"), "{refusal}")
                        }
                    }
                }
            });
        }
    });
    passed.into_inner()
}

#[test]
fn exactly_the_limit_passes() {
    for store in ["driver = \"memory\"", "driver = \"file\"\npath = \"{dir}/state\""] {
        for state in ["RCPT", "DATA", "END-OF-MESSAGE"] {
            let scratch = Scratch::new("policyexact");
            let policyd = Policyd::start(&scratch, "policyd", &conf(store));
            assert_eq!(race(&policyd, state, 0), 100, "{store} {state}");
        }
    }
}

#[test]
fn counters_outlive_a_reload_and_a_restart() {
    let scratch = Scratch::new("policyexact");
    let text = conf("path = \"{dir}/state\"");
    let mut policyd = Policyd::start(&scratch, "policyd", &text);
    assert_eq!(race(&policyd, "DATA", 0), 100);
    policyd.reload();
    assert_eq!(race(&policyd, "DATA", 1), 0);
    assert!(policyd.stop().success());
    policyd.run();
    assert_eq!(race(&policyd, "DATA", 2), 0);
    // Half as much again, and another level in the place of one.
    policyd.configure(&text.replace("100/hour\", \"1000/day", "150/hour\", \"2000/month"));
    policyd.reload();
    let mut client = policyd.connect();
    let ask = |client: &mut harness::policyd::PolicyClient, number: u32| {
        let instance = format!("n{number}");
        let asked = Asked {
            state: "DATA",
            instance: &instance,
            user: "alice@a.example",
            count: 1,
            ..Asked::default()
        };
        client.ask(&asked) == "DUNNO"
    };
    assert_eq!((0..200).filter(|number| ask(&mut client, *number)).count(), 50);
    // A broken configuration changes nothing.
    policyd.configure("nonsense = 1");
    policyd.signal(nix::sys::signal::Signal::SIGHUP);
    harness::wait::wait_for("a complaint", || {
        policyd.log().contains("old configuration stays in force").then_some(())
    });
    assert!(!ask(&mut client, 1000));
}

#[test]
fn overrides_exemptions_and_steps() {
    let scratch = Scratch::new("policyexact");
    let text = "
listen = [\"unix:{dir}/policy\"]
exempt = [\"sasl_username = root@a.example\"]
[store]
driver = \"memory\"
[[list]]
name = \"special\"
path = \"{dir}/special\"
[[limit]]
name = \"user\"
key = [\"sasl_username\"]
rate = [\"2/hour\"]
action = \"HOLD {name} {used}/{limit} {key}\"
escalate = [\"2x REJECT 5.7.1 {used} of {limit}\"]
overrides = \"special\"
";
    std::fs::create_dir_all(scratch.file("policyd")).unwrap();
    scratch.write("policyd/special", "big@a.example 4/hour\nfree@a.example unlimited\n");
    let policyd = Policyd::start(&scratch, "policyd", text);
    let mut client = policyd.connect();
    let mut number = 0;
    let mut said = |user: &str, times: usize| -> Vec<String> {
        (0..times)
            .map(|_| {
                number += 1;
                let instance = format!("i{number}");
                client.ask(&Asked { state: "DATA", instance: &instance, user, count: 1, ..Asked::default() })
            })
            .collect()
    };
    let hold = |used, limit, user| format!("HOLD user {used}/{limit} {user}");
    assert_eq!(
        said("Bob+tag@A.example", 5),
        ["DUNNO", "DUNNO", &hold(2, 2, "bob@a.example"), &hold(3, 2, "bob@a.example"), "REJECT 5.7.1 4 of 2"]
    );
    assert_eq!(said("big@a.example", 5)[3..], ["DUNNO", &hold(4, 4, "big@a.example")]);
    for user in ["free@a.example", "root@a.example"] {
        assert!(said(user, 20).iter().all(|action| action == "DUNNO"), "{user}");
    }
}
