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

#[test]
fn redis_greylisting_and_notices() {
    let text = r#"
listen = ["inet:127.0.0.1:10040"]
[store]
driver = "redis"
servers = ["10.0.0.1:26379", "10.0.0.2:26379"]
topology = "sentinel"
master = "mail"
password = "s3cret"
tls = true
[[limit]]
name = "per-user"
key = ["sasl_username"]
rate = ["100/hour"]
[greylist]
pooling = "name"
when = ["client_name = unknown"]
[[notice]]
limits = ["per-user"]
mail_to = ["admin@a.example"]
webhook = "https://hooks.a.example/x"
webhook_authorization = "Bearer s3cret"
[geo]
country_file = "/var/lib/GeoIP/GeoLite2-Country.mmdb"
"#;
    let loaded = load(&Source::new("f", text));
    assert_eq!(loaded.report.to_string(), "");
    let settings = loaded.settings.unwrap();
    let crate::config::settings::StoreDriver::Redis(redis) = &settings.store.driver else { panic!() };
    assert_eq!(redis.servers.topology, crate::store::redis::Topology::Sentinel("mail".into()));
    assert!(redis.servers.tls && redis.fallback && redis.hosts.is_none());
    assert_eq!(settings.notices[0].mail_from, "postmaster@a.example");
    let greylist = settings.greylist.unwrap();
    assert_eq!((greylist.rules.delay.as_secs(), greylist.rules.trust_client_after), (300, 5));
    assert!(!format!("{:?}", settings.notices).contains("s3cret"));
    assert!(settings.geo.country_file.is_some() && settings.geo.asn_file.is_none());
}

#[test]
fn mistakes_in_redis_greylisting_and_notices() {
    let text = r#"
listen = ["inet:127.0.0.1:10040"]
[store]
driver = "redis"
servers = ["redis"]
master = "x"
prefix = "{x}"
[[limit]]
name = "per-user"
key = ["sasl_username"]
rate = ["100/hour"]
[greylist]
delay = "2d"
retry_window = "1d"
whitelist = ["relative"]
[[notice]]
limits = ["per-usr"]
mail_to = ["admin"]
command = ["tell"]
webhook = "http://hooks.a.example/x"
[[notice]]
quiet = "1h"
"#;
    let found = complaints(text);
    for part in [
        "`redis` is no address",
        "master is for topology",
        "prefix must have",
        "delay",
        "`relative` is not a full path",
        "there is no limit per-usr",
        "`admin` is no address",
        "mail_from must be an address",
        "full path of a program",
        "webhook: neither",
        "tells nobody",
    ] {
        assert!(found.iter().any(|line| line.contains(part)), "{part} in {found:#?}");
    }
}

#[test]
fn lists_in_databases() {
    let text = MINIMAL.to_owned()
        + r#"
overrides = "rates"
except = ["sasl_username in list:vip"]
[[list]]
name = "vip"
driver = "sql"
url = ["postgres://u:s3cret@a.example/d", "postgres://u:s3cret@b.example/d"]
query = "SELECT 1 FROM vip WHERE login = '%u' AND sender = '%{sender}'"
unavailable = "listed"
[[list]]
name = "rates"
driver = "redis"
servers = ["10.0.0.1:6379"]
password = "s3cret"
query = "HGET rates %{sasl_username}"
"#;
    let loaded = load(&Source::new("f", text));
    assert_eq!(loaded.report.to_string(), "");
    let settings = loaded.settings.unwrap();
    assert!(!format!("{settings:?}").contains("s3cret"));
    let crate::condition::Listing::Asked(vip) = &settings.lists[0].content else { panic!() };
    assert!(vip.settings().away_listed);
    assert_eq!(vip.settings().deadline.as_millis(), 200);
}

#[test]
fn a_list_takes_the_redis_of_the_store() {
    let text = "listen = \"unix:/a\"\n[store]\ndriver = \"redis\"\nservers = [\"10.0.0.1:6379\"]\ndatabase = 3\n\
                [[list]]\nname = \"vip\"\ndriver = \"redis\"\nquery = \"SISMEMBER vip %u\"\n\
                [[limit]]\nname = \"l\"\nkey = \"sender\"\nrate = \"1/hour\"\nwhen = \"sender in list:vip\"\n";
    let loaded = load(&Source::new("f", text));
    assert_eq!(loaded.report.to_string(), "");
    let settings = loaded.settings.unwrap();
    let crate::condition::Listing::Asked(vip) = &settings.lists[0].content else { panic!() };
    let crate::lookup::source::Origin::Redis(servers) = &vip.settings().origin else { panic!() };
    assert_eq!(servers.database, 3);
}

#[test]
fn mistakes_in_lists_are_shown_at_their_places() {
    let text = r#"
listen = ["inet:127.0.0.1:10040"]
[[list]]
name = "a"
driver = "sql"
path = "/a"
url = "sqlite:///a"
url_file = "/a"
query = "SELECT 1"
[[list]]
name = "a"
driver = "sql"
query = "SELECT 1 WHERE a = '%{sendr}'"
[[list]]
name = "c"
driver = "redis"
tls = true
query = "DEL %u"
[[list]]
name = "d"
driver = "redis"
servers = ["10.0.0.1:6379"]
query = "SISMEMBER d %u"
[[list]]
name = "e"
driver = "sql"
url = "sqlite:///a"
query = "SELECT r FROM t WHERE a = '%{recipient}' AND d = '%d'"
[[list]]
name = "f"
driver = "file"
path = "/f"
query = "SELECT 1"
ttl = "1min"
[[limit]]
name = "one"
key = ["sender"]
rate = ["100/hour"]
overrides = "d"
[[limit]]
name = "two"
key = ["sender", "client_address"]
rate = ["100/hour"]
overrides = "e"
"#;
    assert_eq!(
        complaints(text),
        [
            "f:6:1: error: path does not go with driver sql",
            "f:8:1: error: url and url_file are both set",
            "f:9:10: error: query: there is no placeholder, so that every value has the same answer",
            "f:11:8: error: there are two lists a",
            "f:12:10: error: sql needs url or url_file",
            "f:13:30: error: query: 'sendr' is no attribute",
            "f:16:10: error: redis needs servers, since that of [store] is another driver",
            "f:17:1: error: tls is set and servers is not",
            "f:33:1: error: query does not go with driver file",
            "f:34:1: error: ttl does not go with driver file",
            "f:39:13: error: overrides: the query of list d gives no rates",
            "f:44:13: error: overrides: list e asks for recipient, which is not in key",
            "f:44:13: error: overrides: list e has %n or %d, and key has several parts",
        ]
    );
}

#[test]
fn places_need_a_database() {
    let text =
        MINIMAL.replace("count = \"recipients\"", "count = \"asns\"") + "[geo]\ncountry_file = \"/x\"\n";
    assert_eq!(complaints(&text), ["f:9:9: warning: per-user counts nothing without a database"]);
}
