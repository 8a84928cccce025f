//! AUTH: its fields, ids, limits, and requests beside each other.

use harness::auth::{AuthClient, AuthConf};
use harness::sasl::Sasl;

use crate::dialogue::Pair;

const GOOD: &str = "resp=[\\0plain\\0secret]";

fn pair() -> Pair {
    Pair::start(&AuthConf::new().user("plain", "{PLAIN}secret").user("slow", BCRYPT))
}

#[test]
fn a_request() {
    let pair = pair();
    for (why, fields) in [
        ("as Postfix sends it", "PLAIN|service=smtp|nologin|lip=127.0.0.1|rip=127.0.0.1|secured"),
        ("the mechanism in small letters", "plain|service=smtp"),
        ("fields that nobody knows", "PLAIN|service=smtp|foo=bar|quux"),
        ("empty fields", "PLAIN||service=smtp||"),
        ("addresses that are none", "PLAIN|service=smtp|lip=x|rip=300.1.1.1|lport=z|rport=-1"),
        (
            "all that is known",
            "PLAIN|service=smtp|lip=::1|rip=2001:db8::1|lport=25|rport=65535|local_name=mx.a.example|secured=tls|\
             valid-client-cert|client_id=x|session=abc|nologin|no-penalty|final-resp-ok|debug|real_rip=192.0.2.1|\
             real_lip=192.0.2.2|real_lport=1|real_rport=2",
        ),
        ("service= twice", "PLAIN|service=smtp|service=imap"),
        ("a service without a name", "PLAIN|service="),
    ] {
        pair.dialogue(why, &format!("C: AUTH|1|{fields}|{GOOD}\nS: OK|1|user=plain"));
    }
    pair.dialogue(
        "fields of a proxy",
        &format!(
            "
            C: AUTH|1|PLAIN|service=smtp|forward_fields=eD15|{GOOD}
            S7 dovecot: OK|1|user=plain|forward_eD15
            S7 ours: OK|1|user=plain
            "
        ),
    );
    for (why, line) in [
        ("no service", format!("AUTH|1|PLAIN|{GOOD}")),
        ("a mechanism that is not offered", format!("AUTH|1|CRAM-MD5|service=smtp|{GOOD}")),
        ("one that does not exist", format!("AUTH|1|NONSENSE|service=smtp|{GOOD}")),
        ("no mechanism", "AUTH|1".to_owned()),
        ("no field at all", "AUTH".to_owned()),
        ("an empty mechanism", format!("AUTH|1||service=smtp|{GOOD}")),
        ("an id that is no number", format!("AUTH|x|PLAIN|service=smtp|{GOOD}")),
        ("a negative id", format!("AUTH|-1|PLAIN|service=smtp|{GOOD}")),
        ("an empty id", format!("AUTH||PLAIN|service=smtp|{GOOD}")),
        ("too large an id", format!("AUTH|4294967296|PLAIN|service=smtp|{GOOD}")),
        ("resp= not last", format!("AUTH|1|PLAIN|service=smtp|{GOOD}|secured")),
        ("resp= twice", format!("AUTH|1|PLAIN|service=smtp|{GOOD}|{GOOD}")),
    ] {
        pair.dialogue(why, &format!("C: {line}\nclosed"));
    }
    pair.dialogue("id 0", &format!("C: AUTH|0|PLAIN|service=smtp|{GOOD}\nclosed"));
    pair.dialogue(
        "the largest id",
        &format!("C: AUTH|4294967295|PLAIN|service=smtp|{GOOD}\nS: OK|4294967295|user=plain"),
    );
    pair.dialogue(
        "a carriage return before the line's end",
        &format!("C: AUTH|1|PLAIN|service=smtp|{GOOD}\\r\nS: OK|1|user=plain"),
    );
}

#[test]
fn lines_that_are_no_requests() {
    let pair = pair();
    for line in
        ["", "NOOP", "NONSENSE|1", "auth|1|PLAIN|service=smtp", "|", "REQUEST|1|1|1|x", "USER|1|x|service=y"]
    {
        pair.dialogue("an unknown command", &format!("C: {line}\nclosed"));
    }
}

#[test]
fn empty_and_missing_initial_responses() {
    let mut pair = pair();
    for minor in [0, 1, 2, 4] {
        pair.minor(minor).dialogue(
            "no resp=",
            "
            C: AUTH|1|PLAIN|service=smtp
            S: CONT|1|
            C: CONT|1|[\\0plain\\0secret]
            S: OK|1|user=plain
            ",
        );
        pair.dialogue("resp==", "C: AUTH|1|PLAIN|service=smtp|resp==\nS: FAIL|1");
    }
    for minor in [0, 1] {
        pair.minor(minor).dialogue(
            "an empty resp= is none before version 1.2",
            "
            C: AUTH|1|PLAIN|service=smtp|resp=
            S: CONT|1|
            C: CONT|1|[\\0plain\\0secret]
            S: OK|1|user=plain
            ",
        );
    }
    for minor in [2, 3, 4] {
        pair.minor(minor)
            .dialogue("and an empty one from 1.2 on", "C: AUTH|1|PLAIN|service=smtp|resp=\nS: FAIL|1");
    }
}

#[test]
fn base64() {
    let pair = pair();
    for (why, data) in [
        ("not base64", "!!!!"),
        ("too short", "AHBsYWluAHNlY3JldA"),
        ("something behind the padding", "AHBsYWluAHNlY3JldA==AAAA"),
    ] {
        pair.dialogue(
            why,
            &format!(
                "
                C: AUTH|1|PLAIN|service=smtp|resp={data}
                S: FAIL|1|code=invalid_base64|reason=Invalid base64 data in initial response
                C: AUTH|1|PLAIN|service=smtp|{GOOD}
                S: OK|1|user=plain
                "
            ),
        );
    }
    pair.dialogue(
        "a blank in it",
        "
        C: AUTH|1|PLAIN|service=smtp|resp=AHBs YWluAHNlY3JldA==
        S6 dovecot: OK|1|user=plain
        S6 ours: FAIL|1|code=invalid_base64|reason=Invalid base64 data in initial response
        ",
    );
    pair.dialogue(
        "in an answer",
        "
        C: AUTH|1|LOGIN|service=smtp
        S: CONT|1|[Username:]
        C: CONT|1|!!!!
        S: FAIL|1|code=invalid_base64|reason=Invalid base64 data in continued response
        ",
    );
}

#[test]
fn ids() {
    let pair = pair();
    pair.dialogue(
        "an id that is still in use",
        "
        C: AUTH|1|PLAIN|service=smtp
        S: CONT|1|
        C: AUTH|1|PLAIN|service=smtp
        closed
        ",
    );
    pair.dialogue(
        "a finished one may be used again",
        &format!(
            "
            C: AUTH|1|PLAIN|service=smtp|{GOOD}
            S: OK|1|user=plain
            C: AUTH|1|PLAIN|service=smtp|{GOOD}
            S: OK|1|user=plain
            "
        ),
    );
    pair.dialogue(
        "a cancelled one too",
        &format!(
            "
            C: AUTH|1|PLAIN|service=smtp
            S: CONT|1|
            C: CANCEL|1
            C: AUTH|1|PLAIN|service=smtp|{GOOD}
            S: OK|1|user=plain
            "
        ),
    );
    pair.dialogue(
        "one that nobody asked with",
        "C: CONT|9|[x]\nS: FAIL|9|reason=Authentication request timed out",
    );
    pair.dialogue("to cancel one that is not there", "C: CANCEL|9");
    pair.dialogue(
        "two exchanges at once",
        "
        C: AUTH|1|LOGIN|service=smtp
        S: CONT|1|[Username:]
        C: AUTH|2|LOGIN|service=smtp
        S: CONT|2|[Username:]
        C: CONT|2|[plain]
        S: CONT|2|[Password:]
        C: CONT|1|[plain]
        S: CONT|1|[Password:]
        C: CONT|1|[secret]
        S: OK|1|user=plain
        C: CONT|2|[wrong]
        S: FAIL|2|user=plain
        ",
    );
    pair.dialogue(
        "CONT without data",
        "C: AUTH|1|LOGIN|service=smtp\nS: CONT|1|[Username:]\nC: CONT|1\nclosed",
    );
    pair.dialogue("CONT without an id", "C: CONT\nclosed");
    pair.dialogue("CONT with an id that is no number", "C: CONT|x|=\nclosed");
    pair.dialogue("CANCEL without an id", "C: CANCEL\nclosed");
    pair.dialogue("CANCEL with an id that is no number", "C: CANCEL|x\nclosed");
    pair.dialogue(
        "CONT with a field more",
        "
        C: AUTH|1|LOGIN|service=smtp
        S: CONT|1|[Username:]
        C: CONT|1|[plain]|x
        S: FAIL|1|code=invalid_base64|reason=Invalid base64 data in continued response
        ",
    );
}

#[test]
fn cancelled_for_version_1_4() {
    let mut pair = pair();
    pair.minor(4).dialogue(
        "CANCEL is answered from version 1.4 on, which this Dovecot does not speak",
        "
        C: AUTH|1|PLAIN|service=smtp
        S: CONT|1|
        C: CANCEL|1
        ",
    );
}

#[test]
fn long_lines() {
    let pair = pair();
    for bytes in [8192, 16383, 16384] {
        pair.dialogue(
            "up to 16384 bytes",
            &format!("C: AUTH|1|PLAIN|service=smtp|long={{fill {bytes}}}|{GOOD}\nS: OK|1|user=plain"),
        );
    }
    for bytes in [16385, 16386, 40_000] {
        pair.dialogue(
            "no longer ones",
            &format!("C: AUTH|1|PLAIN|service=smtp|long={{fill {bytes}}}|{GOOD}\nclosed"),
        );
    }
}

#[test]
fn many_requests_at_once() {
    let pair = pair();
    pair.same(
        "each gets its answer",
        |server| {
            let mut client = AuthClient::connect(server);
            let resp = |password: &str| {
                use base64::Engine as _;
                let text = harness::sasl::plain("", "plain", password);
                base64::engine::general_purpose::STANDARD.encode(text)
            };
            let mut all = String::new();
            for id in 1..=200 {
                let password = if id % 2 == 0 { "secret" } else { "wrong" };
                all.push_str(&format!("AUTH\t{id}\tPLAIN\tservice=smtp\tresp={}\n", resp(password)));
            }
            client.send_bytes(all.as_bytes());
            let mut replies: Vec<String> = (0..200).map(|_| client.line()).collect();
            replies.sort();
            let good = (1..=200).filter(|id| {
                let want = if id % 2 == 0 { "OK" } else { "FAIL" };
                replies.binary_search(&format!("{want}\t{id}\tuser=plain")).is_ok()
            });
            good.count().to_string()
        },
        "200",
    );
    let order = |server: &harness::auth::AuthServer| {
        let mut client = AuthClient::connect(server);
        client.send_bytes(
            b"AUTH\t1\tPLAIN\tservice=smtp\tresp=AHNsb3cAc2VjcmV0\n\
              AUTH\t2\tPLAIN\tservice=smtp\tresp=AHBsYWluAHNlY3JldA==\n",
        );
        format!("{} then {}", client.line(), client.line()).replace('\t', "|")
    };
    pair.differs("S1", order, "OK|1|user=slow then OK|2|user=plain", "OK|2|user=plain then OK|1|user=slow");
}

#[test]
fn failures_are_held_back() {
    let conf = AuthConf::new().user("plain", "{PLAIN}secret").failure_delay_secs(1);
    let pair = Pair::start(&conf);
    pair.dialogue(
        "a good password overtakes a bad one",
        "
        C: AUTH|1|PLAIN|service=smtp|resp=[\\0plain\\0wrong]\\nAUTH|2|PLAIN|service=smtp|resp=[\\0plain\\0secret]
        S: OK|2|user=plain
        S: FAIL|1|user=plain
        ",
    );
    let in_order = |server: &harness::auth::AuthServer| {
        let mut client = AuthClient::connect(server);
        // Each for another user: guesses at one take turns.
        let one = |id: u32| {
            use base64::Engine as _;
            let text = harness::sasl::plain("", &format!("user{id}"), "wrong");
            let text = base64::engine::general_purpose::STANDARD.encode(text);
            format!("AUTH\t{id}\tPLAIN\tservice=smtp\tresp={text}\n")
        };
        client.send_bytes((1..=20).map(one).collect::<String>().as_bytes());
        let came: Vec<String> = (1..=20).map(|_| client.line()).collect();
        let want: Vec<String> = (1..=20).map(|id| format!("FAIL\t{id}\tuser=user{id}")).collect();
        (came == want).to_string()
    };
    pair.differs("S8", in_order, "false", "true");
    let waits = |server: &harness::auth::AuthServer, user: &str, password: &str| {
        let began = std::time::Instant::now();
        let _ = AuthClient::connect(server).auth(&Sasl::new("PLAIN", user, password));
        began.elapsed() > std::time::Duration::from_millis(400)
    };
    for (user, password, held) in
        [("plain", "wrong", true), ("nosuch", "wrong", true), ("plain", "secret", false)]
    {
        pair.same(user, |server| waits(server, user, password).to_string(), &held.to_string());
    }
    pair.dialogue(
        "what is broken is told at once",
        "
        C: AUTH|1|PLAIN|service=smtp|resp=[\\0plain\\0wrong]\\nAUTH|2|PLAIN|service=smtp|resp=!!!!
        S: FAIL|2|code=invalid_base64|reason=Invalid base64 data in initial response
        S: FAIL|1|user=plain
        ",
    );
}

#[test]
fn one_users_failures_do_not_delay_another() {
    let conf = AuthConf::new().user("anna", "{PLAIN}secret").user("boris", "{PLAIN}secret");
    let pair = Pair::start(&conf.with_penalty());
    let waits = |server: &harness::auth::AuthServer| {
        let from = "service=smtp\trip=192.0.2.77";
        let mut client = AuthClient::connect(server);
        let _ = client.auth_with(&Sasl::new("PLAIN", "anna", "wrong"), from);
        let began = std::time::Instant::now();
        let answer = client.auth_with(&Sasl::new("PLAIN", "boris", "secret"), from);
        format!("{answer:?} late: {}", began.elapsed() > std::time::Duration::from_secs(2))
    };
    let ok = r#"Line("OK\t2\tuser=boris")"#;
    pair.differs("S9", waits, &format!("{ok} late: true"), &format!("{ok} late: false"));
}

/// `secret` by BLF-CRYPT with 2^11 rounds.
const BCRYPT: &str = "{BLF-CRYPT}$2y$11$pd.x/0a8Sf.FLTq7YwhlcePKKKx8i6/47OT.QaHZ83Q7WJ9Z1ttFK";
