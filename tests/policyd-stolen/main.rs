//! Signs of stolen accounts, each with its own action: networks, countries, systems, new and unknown recipients; the last
//! with a real Postfix, so it needs what apt-packages names.

use std::process::Command;

use harness::mmdb::Mmdb;
use harness::policyd::{PolicyClient, Policyd, program};
use harness::postfix::Postfix;
use harness::scratch::Scratch;
use harness::wait::wait_for;

const CONF: &str = "
listen = [\"unix:{dir}/policy\"]
[store]
path = \"{dir}/state\"
[geo]
country_file = \"{dir}/countries.mmdb\"
asn_file = \"{dir}/asns.mmdb\"
[[limit]]
name = \"networks\"
key = [\"sasl_username\"]
count = \"networks\"
rate = [\"2/day\"]
when = [\"sasl_domain = networks.example\"]
action = \"HOLD used from {used} networks, {limit} are usual\"
[[limit]]
name = \"countries\"
key = [\"sasl_username\"]
count = \"countries\"
rate = [\"2/day\"]
when = [\"sasl_domain = countries.example\"]
action = \"REJECT 5.7.1 used from more than {limit} {count}\"
[[limit]]
name = \"asns\"
key = [\"sasl_username\"]
count = \"asns\"
rate = [\"2/day\"]
when = [\"sasl_domain = asns.example\"]
action = \"DEFER_IF_PERMIT 4.7.1 used from more than {limit} {count}\"
[[limit]]
name = \"new\"
key = [\"sasl_username\"]
count = \"new-recipients\"
rate = [\"3/hour\"]
when = [\"sasl_domain = new.example\"]
action = \"DEFER 4.7.1 {used} of {limit} new recipients\"
[[limit]]
name = \"unknown\"
key = [\"sasl_username\"]
count = \"unknown-recipients\"
rate = [\"3/hour\"]
share = 50
when = [\"sasl_domain = unknown.example\"]
action = \"REJECT 5.7.1 too many unknown recipients\"
";

/// Writes both databases.
fn databases(scratch: &Scratch) {
    let folder = scratch.file("policyd");
    std::fs::create_dir_all(&folder).unwrap();
    let countries = Mmdb::new()
        .country("192.0.2.0/24", "SE")
        .country("192.0.3.0/24", "SE")
        .country("198.51.100.0/24", "DE")
        .country("2001:db8:fe::/48", "FR");
    countries.write(&folder.join("countries.mmdb"));
    let asns = Mmdb::new()
        .asn("192.0.2.0/24", 64500)
        .asn("192.0.3.0/24", 64500)
        .asn("198.51.100.0/24", 4_200_000_000)
        .asn("2001:db8:fe::/48", 64502);
    asns.write(&folder.join("asns.mmdb"));
}

struct Mail {
    client: PolicyClient,
    messages: u32,
}

impl Mail {
    fn new(policyd: &Policyd) -> Self {
        Self { client: policyd.connect(), messages: 0 }
    }

    fn ask(&mut self, state: &str, login: &str, address: &str, recipient: &str, count: u32) -> String {
        let text = format!(
            "request=smtpd_access_policy\nprotocol_state={state}\nprotocol_name=ESMTP\nclient_address={address}\n\
             client_name=client.example\nserver_port=587\nhelo_name=client.example\nsender={login}\n\
             recipient={recipient}\nrecipient_count={count}\ninstance=m{}\nsize=0\nsasl_method=PLAIN\n\
             sasl_username={login}\n\n",
            self.messages
        );
        self.client.send(text.as_bytes());
        self.client.reply().expect("an answer")
    }

    /// A message from an address, asked about at RCPT and DATA: the first answer that is not DUNNO.
    fn from(&mut self, login: &str, address: &str) -> String {
        self.messages += 1;
        match self.ask("RCPT", login, address, "x@b.example", 0).as_str() {
            "DUNNO" => self.ask("DATA", login, address, "x@b.example", 1),
            other => other.to_owned(),
        }
    }

    /// A message to recipients, of which Postfix takes so many after we were asked: the answers of RCPT.
    fn to(&mut self, login: &str, recipients: &[&str], taken: u32) -> Vec<String> {
        self.messages += 1;
        let answers: Vec<String> =
            recipients.iter().map(|recipient| self.ask("RCPT", login, "192.0.2.1", recipient, 0)).collect();
        if taken > 0 {
            assert_eq!(self.ask("DATA", login, "192.0.2.1", "", taken), "DUNNO");
        }
        answers
    }
}

#[test]
fn networks_countries_and_systems() {
    let scratch = Scratch::new("policystolen");
    databases(&scratch);
    let mut policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut mail = Mail::new(&policyd);
    let held = "HOLD used from 2 networks, 2 are usual";
    let rejected = "REJECT 5.7.1 used from more than 2 countries";
    let deferred = "DEFER_IF_PERMIT 4.7.1 used from more than 2 asns";
    // Address; what is said to one who has networks, countries, systems counted.
    for (address, networks, countries, asns) in [
        ("192.0.2.1", "DUNNO", "DUNNO", "DUNNO"),
        // The same /24.
        ("192.0.2.200", "DUNNO", "DUNNO", "DUNNO"),
        // Another network, the same country and system.
        ("192.0.3.1", "DUNNO", "DUNNO", "DUNNO"),
        // In no database: a network only.
        ("203.0.113.9", held, "DUNNO", "DUNNO"),
        ("198.51.100.1", held, "DUNNO", "DUNNO"),
        ("::ffff:198.51.100.2", held, "DUNNO", "DUNNO"),
        ("2001:db8:fe::1", held, rejected, deferred),
        ("2001:db8:fe:1::1", held, rejected, deferred),
        // What was seen was seen: the owner does not get through either, until it is forgotten or reset.
        ("192.0.2.1", held, rejected, deferred),
    ] {
        assert_eq!(starts(&mail.from("joe@networks.example", address), networks), networks, "{address}");
        assert_eq!(mail.from("joe@countries.example", address), countries, "{address}");
        assert_eq!(mail.from("joe@asns.example", address), asns, "{address}");
        assert_eq!(mail.from("joe@other.example", address), "DUNNO", "{address}");
    }
    assert_eq!(mail.from("ann@countries.example", "2001:db8:fe::1"), "DUNNO");
    // A restart forgets nothing.
    assert!(policyd.stop().success());
    policyd.run();
    let mut mail = Mail::new(&policyd);
    assert_eq!(mail.from("joe@countries.example", "192.0.2.1"), rejected);
    let log = policyd.log();
    assert!(log.contains("over: limit=networks key=joe@networks.example"), "{log}");
    assert!(log.contains("refused: limit=countries key=joe@countries.example"), "{log}");
}

/// The number of networks in the answer grows with each: only its beginning is compared.
fn starts(answer: &str, want: &str) -> String {
    if answer.starts_with("HOLD used from ") && want.starts_with("HOLD") {
        want.to_owned()
    } else {
        answer.to_owned()
    }
}

#[test]
fn another_database_comes_with_a_reload() {
    let scratch = Scratch::new("policystolen");
    databases(&scratch);
    let policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut mail = Mail::new(&policyd);
    for address in ["192.0.2.1", "198.51.100.1", "203.0.113.9"] {
        assert_eq!(mail.from("joe@countries.example", address), "DUNNO");
    }
    let more = Mmdb::new().country("192.0.2.0/24", "SE").country("203.0.113.0/24", "NO");
    more.write(&policyd.folder().join("countries.mmdb"));
    policyd.reload();
    assert_eq!(
        mail.from("joe@countries.example", "203.0.113.9"),
        "REJECT 5.7.1 used from more than 2 countries"
    );
    // A broken one changes nothing, and says so.
    std::fs::write(policyd.folder().join("countries.mmdb"), "nothing").unwrap();
    policyd.signal(nix::sys::signal::Signal::SIGHUP);
    wait_for("the complaint", || {
        policyd.log().contains("the old configuration stays in force").then_some(())
    });
    assert!(policyd.log().contains("countries.mmdb"), "{}", policyd.log());
    assert_eq!(mail.from("ann@countries.example", "192.0.2.1"), "DUNNO");
    let check =
        Command::new(program()).arg("-n").arg("-c").arg(policyd.folder().join("conf")).output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(said.contains("countries.mmdb"), "{said}");
}

#[test]
fn recipients_never_seen_before() {
    let scratch = Scratch::new("policystolen");
    databases(&scratch);
    let policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut mail = Mail::new(&policyd);
    let joe = "joe@new.example";
    let over = "DEFER 4.7.1 3 of 3 new recipients";
    assert_eq!(mail.to(joe, &["a@b.example", "b@b.example"], 2), ["DUNNO", "DUNNO"]);
    assert_eq!(mail.to(joe, &["a@b.example", "A@B.example"], 1), ["DUNNO", "DUNNO"]);
    assert_eq!(mail.to(joe, &["c@b.example", "d@b.example"], 1), ["DUNNO", over]);
    // Whom he knows he may write to, and whom he could not write to he does not know.
    assert_eq!(mail.to(joe, &["c@b.example", "b@b.example"], 2), ["DUNNO", "DUNNO"]);
    assert_eq!(mail.to(joe, &["d@b.example"], 0), [over]);
    assert_eq!(mail.to("ann@new.example", &["d@b.example"], 1), ["DUNNO"]);
}

#[test]
fn unknown_recipients() {
    let scratch = Scratch::new("policystolen");
    databases(&scratch);
    let policyd = Policyd::start(&scratch, "policyd", CONF);
    let mut mail = Mail::new(&policyd);
    let joe = "joe@unknown.example";
    let over = "REJECT 5.7.1 too many unknown recipients";
    // One of four is less than half: it counts for nothing.
    for _ in 0..5 {
        assert_eq!(
            mail.to(joe, &["a@b.example", "b@b.example", "c@b.example", "x@b.example"], 3),
            ["DUNNO"; 4]
        );
    }
    // Two of three.
    assert_eq!(mail.to(joe, &["a@b.example", "x@b.example", "y@b.example"], 1), ["DUNNO"; 3]);
    // All of one that came to nothing; it is over when the next begins. Three are allowed.
    assert_eq!(mail.to(joe, &["x@b.example"], 0), ["DUNNO"]);
    assert_eq!(mail.to(joe, &["a@b.example"], 1), ["DUNNO"]);
    assert_eq!(mail.to(joe, &["a@b.example", "x@b.example"], 1), ["DUNNO"; 2]);
    assert_eq!(mail.to(joe, &["a@b.example"], 0), [over]);
    assert_eq!(mail.to("ann@unknown.example", &["a@b.example"], 1), ["DUNNO"]);
}

#[test]
fn unknown_recipients_that_postfix_refuses() {
    let scratch = Scratch::new("policystolen");
    let text = "listen = [\"unix:{dir}/policy\"]\n[store]\npath = \"{dir}/state\"\n[[limit]]\nname = \"unknown\"\n\
        key = [\"sender\"]\ncount = \"unknown-recipients\"\nrate = [\"4/hour\"]\nshare = 50\n\
        action = \"REJECT 5.7.1 too many unknown recipients\"\n";
    let policyd = Policyd::start(&scratch, "policyd", text);
    let service = format!("check_policy_service {}", policyd.endpoint());
    let postfix = Postfix::build(&scratch, "mx", "mx.a.example")
        .main("unknown_virtual_mailbox_reject_code = 550")
        .main("smtpd_reject_unlisted_recipient = no")
        .main("smtpd_hard_error_limit = 1000")
        .main(&format!("smtpd_recipient_restrictions = {service}, reject_unlisted_recipient"))
        .main(&format!("smtpd_data_restrictions = {service}"))
        .mailbox("bob@a.example")
        .start();
    let mut smtp = postfix.smtp();
    let mut send = |recipients: &[(&str, u16)]| {
        smtp.mail("joe@c.example", "").expect(250);
        for (recipient, want) in recipients {
            smtp.rcpt(recipient).expect(*want);
        }
        if recipients.iter().any(|(_, code)| *code == 250) {
            smtp.data(b"Subject: x\r\n\r\nx\r\n").expect(250);
        }
        smtp.rset().expect(250);
    };
    send(&[("bob@a.example", 250)]);
    send(&[("bob@a.example", 250), ("n1@a.example", 550), ("n2@a.example", 550)]);
    send(&[("bob@a.example", 250), ("n3@a.example", 550), ("n4@a.example", 550)]);
    // Four are allowed, the fifth is one too many.
    send(&[("bob@a.example", 250), ("n5@a.example", 550)]);
    send(&[("bob@a.example", 554)]);
    smtp.quit();
    let log = policyd.log();
    assert!(log.contains("refused: limit=unknown key=joe@c.example used=5 limit_units=4"), "{log}");
}
