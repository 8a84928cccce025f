//! What Prometheus reads of logins, and that a reload loses nothing of it.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::Arc;

use base::clock::monotonic_now;
use base::config::Source;
use sasl_auth::active::{Active, Shared};
use sasl_auth::config::{self, Settings};
use sasl_auth::outcome::Answer;
use sasl_auth::pipeline::Exchange;
use sasl_auth::request::{Options, Request};

fn settings(databases: &str) -> Settings {
    let text = format!(
        "mechanisms = [\"PLAIN\"]\n[throttle]\nfailure_delay = 0\n[cache]\n\
         [[listen]]\naddress = \"unix:/run/none\"\nkind = \"client\"\n{databases}"
    );
    let loaded = config::load(&Source::new("test.toml", text));
    assert!(loaded.settings.is_some(), "{}", loaded.report.render(false));
    loaded.settings.unwrap()
}

async fn plain(settings: &Settings, shared: &Arc<Shared>, initial: &str) -> Answer {
    let active = Arc::new(Active::new(settings.clone()).unwrap());
    let request = Request { mechanism: "PLAIN", service: "smtp".into(), ..Request::default() };
    let initial = Some(initial.as_bytes().to_vec());
    Exchange::begin(
        active,
        Arc::clone(shared),
        Box::new(request),
        Options::default(),
        initial,
        monotonic_now(),
    )
    .await
    .0
}

#[track_caller]
fn has(shared: &Shared, line: &str) {
    let text = shared.figures();
    let line = format!("postrider_sasl_auth_{line}");
    assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn attempts_name_the_driver_and_totals_outlive_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, "joe:{SHA512-CRYPT}$6$rounds=1000$salt$x::::::\n").unwrap();
    let file =
        format!("[[passdb]]\nname = \"staff\"\ndriver = \"passwd-file\"\npath = \"{}\"\n", users.display());
    let first = settings(&file);
    let shared = Arc::new(Shared::new(&first).unwrap());
    for _ in 0..3 {
        assert!(matches!(plain(&first, &shared, "\0joe\0secret").await, Answer::Fail(_)));
    }
    let attempts = |driver, count| {
        format!(
            "attempts_total{{mechanism=\"PLAIN\",result=\"mismatch\",passdb=\"staff\",driver=\"{driver}\"}} {count}"
        )
    };
    has(&shared, &attempts("passwd-file", 3));
    has(&shared, "hashing_done_total 1");
    has(&shared, "cache_hits_total 2");
    has(&shared, "cache_misses_total 1");
    let second = settings("[[passdb]]\nname = \"staff\"\ndriver = \"static\"\npassword = \"{PLAIN}other\"\n");
    shared.reconfigure(&second);
    has(&shared, "cache_hits_total 2");
    assert!(matches!(plain(&second, &shared, "\0joe\0secret").await, Answer::Fail(_)));
    has(&shared, &attempts("passwd-file", 3));
    has(&shared, &attempts("static", 1));
    shared.reconfigure(&first);
    for _ in 0..2 {
        assert!(matches!(plain(&first, &shared, "\0joe\0secret").await, Answer::Fail(_)));
    }
    has(&shared, "cache_hits_total 3");
    has(&shared, "cache_misses_total 2");
}
