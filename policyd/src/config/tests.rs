//! Configurations that are good, and the complaints about those that are not.

use base::config::Source;

use super::load;
use crate::limiter::{Algorithm, SECOND};

const MINIMAL: &str = r#"
listen = ["unix:/path/policy"]
[store]
driver = "file"            # memory | file | redis
path = "/path/state"
[[limit]]
name = "per-user"
key = ["sasl_username"]
count = "recipients"
rate = ["100/hour", "500/day"]
action = "DEFER_IF_PERMIT 4.7.1 {used} of {limit} recipients used, try again in {retry_after}"
"#;

fn complaints(text: &str) -> Vec<String> {
    let loaded = load(&Source::new("f", text));
    let report = loaded.report.to_string();
    assert_eq!(
        loaded.settings.is_none(),
        report.contains(" error: ") || report.contains("error:"),
        "{report}"
    );
    report
        .lines()
        .filter(|line| line.contains("error: ") || line.contains("warning: "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_minimal_file_works_as_it_stands() {
    let loaded = load(&Source::new("f", MINIMAL));
    assert_eq!(loaded.report.to_string(), "");
    let settings = loaded.settings.unwrap();
    let limit = &settings.limits[0];
    assert_eq!(limit.levels.len(), 2);
    assert_eq!(limit.levels[0].algorithm, Algorithm::Window);
    assert_eq!((limit.levels[1].limit, limit.levels[1].period), (500, 86_400 * SECOND));
}

#[test]
fn every_mistake_is_shown_at_its_place() {
    let text = r#"
listen = ["unix:path"]
exempt = ["client_adress in 10.0.0.0/8"]
[[limit]]
name = "a b"
key = ["sasl_user"]
rate = ["100/hour", "x"]
action = "DEFFER {used}"
[[limit]]
name = "two"
key = ["recipient"]
rate = ["100/hour"]
stage = "data"
burst = 3
action = "DEFER {usd}"
escalate = ["2x HOLD"]
"#;
    assert_eq!(
        complaints(text),
        [
            "f:2:11: error: listen: 'path' is not an absolute path",
            "f:3:11: error: exempt: 'client_adress' is no attribute",
            "f:5:8: error: 'a b' cannot be a limit's name",
            "f:6:8: error: key: 'sasl_user' is no attribute",
            "f:7:21: error: rate: 'x' is no rate",
            "f:8:11: error: action: DEFFER is no action that Postfix knows",
            "f:13:9: error: stage: Postfix names no recipient then, unless there is only one",
            "f:14:1: error: burst is for algorithm = \"gcra\"",
            "f:15:17: error: action: {usd} stands for nothing",
        ]
    );
}

#[test]
fn steps_that_cannot_be_reached_are_refused() {
    let text = MINIMAL.to_owned() + "escalate = [\"2x HOLD\"]\n";
    assert_eq!(complaints(&text), ["f:12:13: error: escalate: 2x HOLD can never be reached"]);
    let text = text + "count_refused = true\n";
    assert_eq!(complaints(&text), Vec::<String>::new());
}
