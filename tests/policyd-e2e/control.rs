//! A running service looked at and changed by hand: status, top, reset, raise, explain.

use std::process::{Command, Output};

use harness::policyd::{Asked, PolicyClient, Policyd, program};
use harness::scratch::Scratch;
use serde_json::Value;

const CONF: &str = "
listen = [\"unix:{dir}/policy\"]
[store]
path = \"{dir}/state\"
[control]
socket = \"{dir}/control\"
[[limit]]
name = \"user\"
key = [\"sasl_username\"]
rate = [\"4/hour\", \"100/day\"]
[[limit]]
name = \"domain\"
key = [\"sasl_domain\"]
rate = [\"1000/day\"]
except = [\"sasl_domain = free.example\"]
";

fn tool(policyd: &Policyd, words: &[&str]) -> Output {
    let socket = policyd.folder().join("control");
    Command::new(program()).args(words).arg("--socket").arg(socket).output().unwrap()
}

fn said(policyd: &Policyd, words: &[&str]) -> String {
    let output = tool(policyd, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(policyd: &Policyd, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&said(policyd, &words)).unwrap()
}

fn sends(client: &mut PolicyClient, number: u32) -> bool {
    let instance = format!("i{number}");
    let asked =
        Asked { state: "DATA", instance: &instance, user: "Alice+x@a.example", count: 1, ..Asked::default() };
    client.ask(&asked) == "DUNNO"
}

#[test]
fn it_is_looked_at_and_changed_by_hand() {
    let scratch = Scratch::new("policycontrol");
    let mut policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut client = policyd.connect();
    assert_eq!((0..10).filter(|number| sends(&mut client, *number)).count(), 4);

    let status = json(&policyd, &["status"]);
    assert_eq!(status["store"], "file", "{status}");
    assert_eq!(status["limits"][0]["keys"], 1, "{status}");
    let top = said(&policyd, &["top", "user"]);
    assert!(top.contains("alice@a.example  4 of 4 messages"), "{top}");
    let explained = json(&policyd, &["explain", "alice@a.example"]);
    assert_eq!(explained["standings"][0]["levels"][0]["used"], 4, "{explained}");
    let refusal = &explained["refusals"][0];
    assert_eq!((&refusal["limit"], &refusal["client"]), (&"user".into(), &"192.0.2.7".into()), "{explained}");

    // What would happen, without its happening.
    let tried = [
        "explain",
        "-x",
        "sasl_username=alice@a.example",
        "-x",
        "protocol_state=DATA",
        "-x",
        "recipient_count=1",
    ];
    for _ in 0..3 {
        let tried = said(&policyd, &tried);
        assert!(tried.contains("would be told: DEFER_IF_PERMIT 4.7.1 4 of 4"), "{tried}");
        assert!(tried.contains("refuses: 4 of 4 messages used"), "{tried}");
    }
    let free = ["explain", "-x", "sasl_username=bob@free.example", "-x", "protocol_state=DATA"];
    let tried = said(&policyd, &free);
    assert!(tried.contains("would be told: DUNNO"), "{tried}");
    assert!(tried.contains("does not apply: except sasl_domain = free.example holds"), "{tried}");

    // Twice as much, for a time, over a restart.
    let _said =
        said(&policyd, &["raise", "alice@a.example", "--limit", "user", "--times", "2", "--for", "2d"]);
    assert_eq!((10..20).filter(|number| sends(&mut client, *number)).count(), 4);
    drop(client);
    assert!(policyd.stop().success());
    policyd.run();
    let mut client = policyd.connect();
    assert!(!sends(&mut client, 20));
    assert!(said(&policyd, &["status"]).contains("2.00   2 d"), "{}", said(&policyd, &["status"]));
    let _said = said(&policyd, &["reset", "alice@a.example", "--limit", "user"]);
    assert_eq!((30..50).filter(|number| sends(&mut client, *number)).count(), 8);
    let _said = said(&policyd, &["raise", "alice@a.example", "--limit", "user", "--end"]);
    let _said = said(&policyd, &["reset", "alice@a.example"]);
    assert_eq!((50..60).filter(|number| sends(&mut client, *number)).count(), 4);

    for (words, code, part) in [
        (vec!["reset", "nobody@a.example"], 65, "nothing is counted of nobody@a.example"),
        (vec!["top", "usr"], 65, "there is no limit usr; there is user, domain"),
        (vec!["explain", "-x", "nonsense=1"], 65, "nonsense is no attribute"),
    ] {
        let output = tool(&policyd, &words);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {complaint}");
        assert!(complaint.contains(part), "{complaint}");
    }
    assert!(policyd.stop().success());
    let output = tool(&policyd, &["status"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    policyd.run();
}
