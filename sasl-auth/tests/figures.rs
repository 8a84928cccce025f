//! What Prometheus reads of logins, and that a reload loses nothing of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where it cannot go on")]

use std::net::IpAddr;
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
    plain_from(settings, shared, initial, None).await
}

async fn plain_from(
    settings: &Settings,
    shared: &Arc<Shared>,
    initial: &str,
    remote_ip: Option<IpAddr>,
) -> Answer {
    let active = Arc::new(Active::new(settings.clone()).unwrap());
    let request = Request { mechanism: "PLAIN", service: "smtp".into(), remote_ip, ..Request::default() };
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

#[tokio::test]
async fn logins_from_new_networks_and_countries_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countries.mmdb");
    std::fs::write(&path, maxmind(&[([192, 0, 2], "DE"), ([198, 51, 100], "FR"), ([198, 51, 101], "FR")]))
        .unwrap();
    let settings = settings(&format!(
        "[networks]\ncountry_database = \"{}\"\n[[passdb]]\ndriver = \"static\"\npassword = \"{{PLAIN}}secret\"\n",
        path.display()
    ));
    let shared = Arc::new(Shared::new(&settings).unwrap());
    for (from, networks, countries) in [
        ("192.0.2.1", 0, 0),
        ("192.0.2.200", 0, 0),
        ("198.51.100.7", 1, 1),
        ("198.51.101.7", 2, 1),
        // In no country that the file knows, and by IPv6, of which it knows nothing.
        ("203.0.113.7", 3, 1),
        ("2001:db8::1", 4, 1),
        ("192.0.2.3", 4, 1),
    ] {
        let answer = plain_from(&settings, &shared, "\0joe\0secret", from.parse().ok()).await;
        assert!(matches!(answer, Answer::Ok(..)), "{from}");
        let answer = plain_from(&settings, &shared, "\0joe\0wrong", "203.0.113.9".parse().ok()).await;
        assert!(matches!(answer, Answer::Fail(_)), "who fails is not counted");
        has(&shared, &format!("new_network_logins_total {networks}"));
        has(&shared, &format!("new_country_logins_total {countries}"));
    }
    std::fs::write(&path, "no such file").unwrap();
    assert!(Shared::new(&settings).unwrap_err().contains("countries.mmdb"));
}

/// A MaxMind DB file (format 2.0) of IPv4 networks of 24 bits and their countries.
fn maxmind(networks: &[([u8; 3], &str)]) -> Vec<u8> {
    let text = |text: &str| [&[2 << 5 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let map = |pairs: &[(&str, Vec<u8>)]| {
        let inside = pairs.iter().flat_map(|(name, value)| [text(name), value.clone()].concat());
        [7 << 5 | u8::try_from(pairs.len()).unwrap()].into_iter().chain(inside).collect::<Vec<u8>>()
    };
    let short = |number: u16| [&[5 << 5 | 2], &number.to_be_bytes()[..]].concat();
    // Each node: where the bits 0 and 1 lead to, a node or an entry of the data.
    #[derive(Clone, Copy)]
    enum Way {
        Nowhere,
        Node(usize),
        Data(usize),
    }
    let mut nodes = vec![[Way::Nowhere; 2]];
    let mut data = Vec::new();
    for (network, country) in networks {
        let mut at = 0;
        for bit in 0..24_usize {
            let side = usize::from(network[bit / 8] >> (7 - bit % 8) & 1);
            if bit == 23 {
                nodes[at][side] = Way::Data(data.len());
            } else if let Way::Node(next) = nodes[at][side] {
                at = next;
            } else {
                nodes.push([Way::Nowhere; 2]);
                let next = nodes.len() - 1;
                nodes[at][side] = Way::Node(next);
                at = next;
            }
        }
        data.extend(map(&[("country", map(&[("iso_code", text(country))]))]));
    }
    let mut file = Vec::new();
    for way in nodes.iter().flatten() {
        let record = match way {
            Way::Nowhere => nodes.len(),
            Way::Node(node) => *node,
            Way::Data(offset) => nodes.len() + 16 + offset,
        };
        file.extend(&u32::try_from(record).unwrap().to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    let count = [&[6 << 5 | 4], &u32::try_from(nodes.len()).unwrap().to_be_bytes()[..]].concat();
    file.extend(map(&[
        ("node_count", count),
        ("record_size", short(24)),
        ("ip_version", short(4)),
        ("database_type", text("Test-Country")),
        ("languages", vec![0, 4]),
        ("binary_format_major_version", short(2)),
        ("binary_format_minor_version", short(0)),
        // uint64 1
        ("build_epoch", vec![1, 2, 1]),
        ("description", map(&[])),
    ]));
    file
}
