//! Lists beside everything else: the store's own Redis with TLS and a password, greylisting, figures, a start while the
//! database is away, several requests at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use harness::certificates::Certificates;
use harness::policyd::{Asked, Policyd};
use harness::ports::Port;
use harness::postgres::Postgres;
use harness::redis::Redis;
use harness::scratch::Scratch;
use harness::wait::{PATIENCE, wait_for};

const PASSWORD: &str = "pa ss";

/// One request of somebody without a login.
fn greylisted(policyd: &Policyd, recipient: &str) -> bool {
    let asked = Asked { state: "RCPT", instance: recipient, recipient, ..Asked::default() };
    let answer = policyd.connect().ask(&asked);
    assert!(answer == "DUNNO" || answer.starts_with("DEFER"), "{answer}");
    answer != "DUNNO"
}

fn figures(port: &Port) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port.number())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_redis_of_the_store() {
    let scratch = Scratch::new("listsstore");
    let folder = scratch.file("certificates");
    std::fs::create_dir(&folder).unwrap();
    let certificates = Certificates::new(&folder);
    let redis = Redis::start_guarded(&scratch, "redis", &certificates, PASSWORD);
    let metrics = Port::new();
    let text = format!(
        "listen = [\"unix:{{dir}}/policy\"]\n[store]\ndriver = \"redis\"\nservers = [\"localhost:{}\"]\ntls = true\n\
         ca_file = \"{}\"\npassword = \"{PASSWORD}\"\ndeadline = \"2s\"\n[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n\
         [[list]]\nname = \"open\"\ndriver = \"redis\"\nquery = \"SISMEMBER open %u\"\ndeadline = \"2s\"\n\
         [greylist]\nexcept = [\"recipient_domain in list:open\"]\n\
         [[limit]]\nname = \"l\"\nkey = [\"sender\"]\nrate = [\"9/hour\"]\n",
        redis.address().rsplit(':').next().unwrap(),
        certificates.ca().display()
    );
    let _said = redis.command(&["SADD", "open", "open.example"]);
    let policyd = Policyd::start(&scratch, "policyd", &text);
    assert!(!greylisted(&policyd, "a@Open.example"));
    assert!(!greylisted(&policyd, "b@open.example"));
    assert!(greylisted(&policyd, "a@other.example"));
    let figures = figures(&metrics);
    for line in [
        "postrider_policyd_list_lookups_total{list=\"open\",result=\"answered\"} 2",
        "postrider_policyd_list_lookups_total{list=\"open\",result=\"hit\"} 1",
        "postrider_policyd_list_lookups_total{list=\"open\",result=\"failed\"} 0",
        "postrider_policyd_list_seconds_count{list=\"open\"} 2",
        "postrider_policyd_list_connected{list=\"open\"} 1",
        "postrider_policyd_list_entries{list=\"open\",kind=\"listed\"} 1",
        "postrider_policyd_list_entries{list=\"open\",kind=\"unlisted\"} 1",
    ] {
        assert!(figures.lines().any(|found| found == line), "{line} is not in\n{figures}");
    }
    assert!(!policyd.log().contains(PASSWORD), "{}", policyd.log());
}

/// A list of Redis at a port, for exceptions.
fn conf(port: &str) -> String {
    format!(
        "listen = [\"unix:{{dir}}/policy\"]\n[store]\ndriver = \"memory\"\n[[list]]\nname = \"vip\"\ndriver = \"redis\"\n\
         servers = [\"127.0.0.1:{port}\"]\nquery = \"SISMEMBER vip %u\"\ndeadline = \"2s\"\n\
         [[limit]]\nname = \"l\"\nkey = [\"sasl_username\"]\nrate = [\"1/hour\"]\nexcept = [\"sasl_username in list:vip\"]\n"
    )
}

fn sends(policyd: &Policyd, user: &str, instance: &str) -> bool {
    let asked = Asked { state: "DATA", instance, user, count: 1, ..Asked::default() };
    policyd.connect().ask(&asked) == "DUNNO"
}

#[test]
fn it_starts_while_the_database_is_away() {
    let scratch = Scratch::new("listsaway");
    let mut redis = Redis::start(&scratch, "redis");
    redis.stop();
    let began = Instant::now();
    let port = redis.address().rsplit(':').next().unwrap().to_owned();
    let policyd = Policyd::start(&scratch, "policyd", &conf(&port));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(sends(&policyd, "vip@a.example", "1"));
    assert!(!sends(&policyd, "vip@a.example", "2"), "nothing is known of him");
    assert_eq!(policyd.log().matches("list vip: ").count(), 1, "{}", policyd.log());
    redis.run();
    let _said = redis.command(&["SADD", "vip", "vip@a.example"]);
    let mut number = 2;
    wait_for("the database to be asked again", || {
        number += 1;
        sends(&policyd, "vip@a.example", &number.to_string()).then_some(())
    });
}

#[test]
fn many_at_once_ask_once() {
    let scratch = Scratch::new("listsonce");
    let redis = Redis::start(&scratch, "redis");
    let port = redis.address().rsplit(':').next().unwrap().to_owned();
    let policyd = Policyd::start(&scratch, "policyd", &conf(&port));
    let _said = redis.command(&["SADD", "vip", "vip@a.example"]);
    let _said = redis.command(&["CONFIG", "RESETSTAT"]);
    std::thread::scope(|scope| {
        for connection in 0..50 {
            let policyd = &policyd;
            scope.spawn(move || {
                for number in 0..20 {
                    assert!(sends(policyd, "vip@a.example", &format!("{connection}.{number}")));
                }
            });
        }
    });
    let said = redis.command(&["INFO", "commandstats"]);
    let calls = said.lines().find_map(|line| line.strip_prefix("cmdstat_sismember:calls=")).unwrap();
    let calls: u32 = calls.split(',').next().unwrap().parse().unwrap();
    // One, and one a minute on a machine that is very slow.
    assert!((1..=3).contains(&calls), "{said}");
}

/// Networks as PostgreSQL compares them; a value that is none is in none.
pub fn networks(scratch: &Scratch, server: &Postgres) {
    server.execute(
        "CREATE TABLE nets (network cidr); INSERT INTO nets VALUES ('192.0.2.0/24'), ('2001:db8::/32');",
    );
    let text = format!(
        "listen = [\"unix:{{dir}}/policy\"]\n[store]\ndriver = \"memory\"\n[[list]]\nname = \"nets\"\ndriver = \"sql\"\n\
         url = \"{}\"\nquery = \"SELECT 1 FROM nets WHERE network >>= '%u'\"\ndeadline = \"2s\"\n\
         [[limit]]\nname = \"l\"\nkey = [\"client_address\"]\nrate = [\"1/hour\"]\nexcept = [\"client_address in list:nets\"]\n",
        server.url("reader")
    );
    let policyd = Policyd::start(scratch, "networks", &text);
    let mut number = 0;
    for (address, passes) in [
        ("192.0.2.200", 3),
        ("::ffff:192.0.2.1", 3),
        ("2001:db8::7", 3),
        ("192.0.3.1", 1),
        ("2001:db9::7", 1),
        ("unknown", 1),
    ] {
        let mut client = policyd.connect();
        let mut passed = 0;
        for _ in 0..3 {
            number += 1;
            client.send(
                format!("request=smtpd_access_policy\nprotocol_state=DATA\ninstance={number}\nclient_address={address}\n\n")
                    .as_bytes(),
            );
            passed += u32::from(client.reply().unwrap() == "DUNNO");
        }
        assert_eq!(passed, passes, "{address}:\n{}", policyd.log());
    }
    assert!(!policyd.log().contains("list nets"), "{}", policyd.log());
}

/// Rates that go by login and network together.
pub fn parts_of_a_key(scratch: &Scratch, file: &Path) {
    let text = format!(
        "listen = [\"unix:{{dir}}/policy\"]\n[store]\ndriver = \"memory\"\n[[list]]\nname = \"hosts\"\ndriver = \"sql\"\n\
         url = \"sqlite://{}\"\nquery = \"SELECT rate FROM hosts WHERE login = '%{{sasl_username}}' AND host = %{{client_address}}\"\ndeadline = \"2s\"\n\
         [[limit]]\nname = \"l\"\nkey = [\"sasl_username\", \"client_address\"]\nipv4_prefix = 24\nrate = [\"1/hour\"]\n\
         overrides = \"hosts\"\n",
        file.display()
    );
    let policyd = Policyd::start(scratch, "parts", &text);
    let passed =
        |user: &str| (0..5).filter(|number| sends(&policyd, user, &format!("{user}{number}"))).count();
    assert_eq!((passed("Joe+x@a.example"), passed("ann@a.example")), (3, 1), "{}", policyd.log());
}
