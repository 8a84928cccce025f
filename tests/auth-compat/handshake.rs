//! The greeting and what a client must say first.

use harness::auth::AuthConf;

use crate::dialogue::Pair;

const GREETING: &str = "
    S: VERSION|1|2
    S: MECH|PLAIN|plaintext
    S: MECH|LOGIN|plaintext
    S: SPID|NUMBER
    S: CUID|NUMBER
    S: COOKIE|COOKIE
    S: DONE
";

fn with_greeting(rest: &str) -> String {
    format!("{GREETING}{rest}")
}

#[test]
fn the_greeting() {
    let conf = AuthConf::new().user("plain", "{PLAIN}secret");
    let pair =
        Pair::start(&conf.mechanisms("PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 ANONYMOUS EXTERNAL"));
    pair.raw(
        "everything is said before the client has said anything",
        "
        S: VERSION|1|2
        S: MECH|PLAIN|plaintext
        S: MECH|LOGIN|plaintext
        S: MECH|CRAM-MD5|dictionary|active
        S: MECH|SCRAM-SHA-1|mutual-auth
        S: MECH|SCRAM-SHA-256|mutual-auth
        S: MECH|ANONYMOUS|anonymous
        S: MECH|EXTERNAL
        S: SPID|NUMBER
        S: CUID|NUMBER
        S: COOKIE|COOKIE
        S: DONE
        ",
    );
}

#[test]
fn the_greeting_comes_in_one_write() {
    use std::io::Read as _;
    let pair = Pair::start(&AuthConf::new().user("plain", "{PLAIN}secret"));
    pair.same(
        "one read gets it whole",
        |server| {
            let client = harness::auth::AuthClient::open(server.client_socket());
            let mut bytes = [0; 4096];
            let length = client.stream().read(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).lines().last().unwrap_or_default().to_owned()
        },
        "DONE",
    );
    pair.same(
        "each connection has its own number and cookie",
        |server| {
            let [one, two] = [(); 2].map(|()| harness::auth::AuthClient::connect(server));
            let of = |client: &harness::auth::AuthClient, name: &str| {
                client.greeting().iter().find(|line| line.starts_with(name)).unwrap().clone()
            };
            let differ = ["CUID", "COOKIE"].map(|name| of(&one, name) != of(&two, name));
            format!("{differ:?} {}", of(&one, "SPID") == of(&two, "SPID"))
        },
        "[true, true] true",
    );
}

#[test]
fn versions() {
    let pair = Pair::start(&AuthConf::new().user("plain", "{PLAIN}secret"));
    for version in ["1|0", "1|1", "1|2", "1|3", "1|4", "1|99"] {
        pair.raw(
            "any minor version will do",
            &with_greeting(&format!(
                "
                C: VERSION|{version}
                C: CPID|77
                C: AUTH|1|PLAIN|service=smtp|resp=[\\0plain\\0secret]
                S: OK|1|user=plain
                "
            )),
        );
    }
    for version in ["2|0", "0|1", "1|2|more", "1", "", "1|x", "x|1", "1|-1"] {
        pair.raw(
            "not this version",
            &with_greeting(&format!(
                "
                C: VERSION|{version}
                closed
                "
            )),
        );
    }
}

#[test]
fn the_first_lines_of_a_client() {
    let pair = Pair::start(&AuthConf::new().user("plain", "{PLAIN}secret"));
    for (why, line) in [
        ("CPID before VERSION", "CPID|77"),
        ("AUTH before VERSION", "AUTH|1|PLAIN|service=smtp|resp=[\\0plain\\0secret]"),
        ("an empty line", ""),
        ("SMTP", "EHLO client.example"),
        ("in small letters", "version|1|1"),
    ] {
        pair.raw(why, &with_greeting(&format!("C: {line}\nclosed")));
    }
    for (why, line) in [
        ("AUTH before CPID", "AUTH|1|PLAIN|service=smtp|resp=[\\0plain\\0secret]"),
        ("no process has number 0", "CPID|0"),
        ("a number below 0", "CPID|-1"),
        ("no number", "CPID|abc"),
        ("no field", "CPID"),
        ("an empty field", "CPID|"),
        ("too large a number", "CPID|4294967296"),
    ] {
        pair.raw(why, &with_greeting(&format!("C: VERSION|1|1\nC: {line}\nclosed")));
    }
    pair.raw(
        "the largest number",
        &with_greeting(
            "
            C: VERSION|1|1
            C: CPID|4294967295
            C: AUTH|1|PLAIN|service=smtp|resp=[\\0plain\\0secret]
            S: OK|1|user=plain
            ",
        ),
    );
    pair.raw(
        "all in one write",
        &with_greeting(
            "
            C: VERSION|1|1\\nCPID|77\\nAUTH|1|PLAIN|service=smtp|resp=[\\0plain\\0secret]
            S: OK|1|user=plain
            ",
        ),
    );
    pair.dialogue("VERSION a second time", "C: VERSION|1|1\nclosed");
    pair.dialogue("CPID a second time", "C: CPID|77\nclosed");
    pair.raw("a line that is too long", &with_greeting("C: VERSION|1|1\nC: CPID|{fill 20000}\nclosed"));
}
