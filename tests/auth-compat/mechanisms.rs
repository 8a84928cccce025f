//! The other mechanisms: CRAM-MD5, SCRAM, ANONYMOUS, EXTERNAL.

use harness::auth::{Answer, AuthClient, AuthConf, AuthServer};
use harness::sasl::Sasl;

use crate::dialogue::Pair;

fn conf() -> AuthConf {
    AuthConf::new()
        .mechanisms("PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 ANONYMOUS EXTERNAL")
        .user("plain", "{PLAIN}secret")
        .user("sha512", SHA512_CRYPT)
        .user("cram", CRAM_MD5)
        .user("scram1", SCRAM_SHA_1)
        .user("scram256", SCRAM_SHA_256)
}

/// What comes of an exchange.
fn outcome(server: &AuthServer, sasl: &Sasl, parameters: &str) -> String {
    match AuthClient::connect(server).auth_with(sasl, parameters) {
        Answer::Line(line) => line.replace('\t', "|"),
        other => format!("{other:?}"),
    }
}

#[test]
fn right_and_wrong_passwords() {
    let pair = Pair::start(&conf());
    for (mechanism, user, good) in [
        ("CRAM-MD5", "plain", true),
        ("CRAM-MD5", "cram", true),
        ("CRAM-MD5", "sha512", false),
        ("CRAM-MD5", "scram256", false),
        ("SCRAM-SHA-1", "plain", true),
        ("SCRAM-SHA-1", "scram1", true),
        ("SCRAM-SHA-1", "scram256", false),
        ("SCRAM-SHA-1", "sha512", false),
        ("SCRAM-SHA-256", "plain", true),
        ("SCRAM-SHA-256", "scram256", true),
        ("SCRAM-SHA-256", "scram1", false),
        ("PLAIN", "scram1", true),
        ("PLAIN", "scram256", true),
        ("PLAIN", "cram", true),
        ("LOGIN", "scram256", true),
        ("PLAIN", "sha512", true),
    ] {
        let title = format!("{mechanism} {user}");
        let want = if good { format!("OK|1|user={user}") } else { format!("FAIL|1|user={user}") };
        let sasl = Sasl::new(mechanism, user, "secret");
        pair.same(&title, |server| outcome(server, &sasl, "service=smtp"), &want);
        let sasl = sasl.without_initial();
        pair.same(&title, |server| outcome(server, &sasl, "service=smtp"), &want);
        let sasl = Sasl::new(mechanism, user, "wrong");
        pair.same(&title, |server| outcome(server, &sasl, "service=smtp"), &format!("FAIL|1|user={user}"));
        let sasl = Sasl::new(mechanism, "nosuch", "secret");
        pair.same(&title, |server| outcome(server, &sasl, "service=smtp"), "FAIL|1|user=nosuch");
    }
}

#[test]
fn cram_md5() {
    let pair = Pair::start(&conf());
    for (why, answer, reply) in [
        ("no digest", "plain", "FAIL|1"),
        ("a short digest", "plain 0123", "FAIL|1|user=plain"),
        ("a digest that is not hexadecimal", "plain zz23456789abcdef0123456789abcdef", "FAIL|1|user=plain"),
        ("a wrong digest", "plain 0123456789abcdef0123456789abcdef", "FAIL|1|user=plain"),
        ("no name", " 0123456789abcdef0123456789abcdef", "FAIL|1"),
    ] {
        pair.dialogue(
            why,
            &format!(
                "
                C: AUTH|1|CRAM-MD5|service=smtp
                S: CONT|1|[<NUMBER.TIME@HOST>]
                C: CONT|1|[{answer}]
                S: {reply}
                "
            ),
        );
    }
    pair.dialogue(
        "a name with a blank",
        "
        C: AUTH|1|CRAM-MD5|service=smtp
        S: CONT|1|[<NUMBER.TIME@HOST>]
        C: CONT|1|[pl ain 0123456789abcdef0123456789abcdef]
        S11 dovecot: FAIL|1|user=pl ain|original_user=pl ain
        S11 ours: FAIL|1|user=pl ain
        ",
    );
    pair.dialogue(
        "an empty answer",
        "C: AUTH|1|CRAM-MD5|service=smtp\nS: CONT|1|[<NUMBER.TIME@HOST>]\nC: CONT|1|\nS: FAIL|1",
    );
    pair.dialogue(
        "an initial response",
        "C: AUTH|1|CRAM-MD5|service=smtp|resp=[plain x]\nS: CONT|1|[<NUMBER.TIME@HOST>]",
    );
}

#[test]
fn scram() {
    let pair = Pair::start(&conf());
    pair.dialogue(
        "the server's first message",
        "C: AUTH|1|SCRAM-SHA-256|service=smtp|resp=[n,,n=plain,r=abc]\nS: CONT|1|[r=NONCE,s=SALT,i=4096]",
    );
    pair.dialogue(
        "without an initial response",
        "
        C: AUTH|1|SCRAM-SHA-256|service=smtp
        S: CONT|1|
        C: CONT|1|[n,,n=plain,r=abc]
        S: CONT|1|[r=NONCE,s=SALT,i=4096]
        ",
    );
    for (why, first, reply) in [
        ("nothing", "", "FAIL|1"),
        ("no name", "n,,r=abc", "FAIL|1"),
        ("no nonce", "n,,n=plain", "FAIL|1"),
        ("no GS2 header", "n=plain,r=abc", "FAIL|1"),
        ("channel binding is wanted", "p=tls-unique,,n=plain,r=abc", "FAIL|1"),
        ("a mandatory extension", "n,,m=x,n=plain,r=abc", "FAIL|1"),
        ("a broken escape in the name", "n,,n=pl=XXain,r=abc", "FAIL|1"),
        ("what is no SCRAM", "hello", "FAIL|1"),
    ] {
        pair.dialogue(
            why,
            &format!("C: AUTH|1|SCRAM-SHA-256|service=smtp\nS: CONT|1|\nC: CONT|1|[{first}]\nS: {reply}"),
        );
    }
    pair.dialogue(
        "an empty name",
        "
        C: AUTH|1|SCRAM-SHA-256|service=smtp|resp=[n,,n=,r=abc]
        S11 dovecot: FAIL|1|user=|original_user=
        S11 ours: FAIL|1
        ",
    );
    for (why, first) in
        [("a client that could bind", "y,,n=plain,r=abc"), ("an extension", "n,,n=plain,r=abc,x=y")]
    {
        pair.dialogue(
            why,
            &format!(
                "C: AUTH|1|SCRAM-SHA-256|service=smtp|resp=[{first}]\nS: CONT|1|[r=NONCE,s=SALT,i=4096]"
            ),
        );
    }
    for (why, last) in [
        ("nothing", ""),
        ("another nonce", "c=biws,r=abcd,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="),
        ("no proof", "c=biws,r=abc"),
        ("what is no SCRAM", "hello"),
    ] {
        pair.dialogue(
            why,
            &format!(
                "
                C: AUTH|1|SCRAM-SHA-256|service=smtp|resp=[n,,n=plain,r=abc]
                S: CONT|1|[r=NONCE,s=SALT,i=4096]
                C: CONT|1|[{last}]
                S: FAIL|1|user=plain
                "
            ),
        );
    }
}

#[test]
fn the_last_message_of_the_server() {
    let pair = Pair::start(&conf());
    let sasl = Sasl::new("SCRAM-SHA-256", "scram256", "secret");
    // Sasl takes the server's signature from a CONT and answers it.
    pair.same("as a challenge", |server| outcome(server, &sasl, "service=smtp"), "OK|1|user=scram256");
    pair.same(
        "within OK for a client that can take it",
        |server| {
            let reply = outcome(server, &sasl, "service=smtp|final-resp-ok".replace('|', "\t").as_str());
            let (head, _) = reply.split_once("resp=").unwrap_or((&reply, ""));
            head.to_owned()
        },
        "OK|1|user=scram256|",
    );
}

#[test]
fn anonymous_and_external() {
    let pair = Pair::start(&conf().setting("", ""));
    pair.dialogue(
        "ANONYMOUS with a trace",
        "C: AUTH|1|ANONYMOUS|service=smtp|resp=[joe]\nS: OK|1|user=anonymous|anonymous",
    );
    pair.dialogue(
        "ANONYMOUS without",
        "C: AUTH|1|ANONYMOUS|service=smtp\nS: CONT|1|\nC: CONT|1|\nS: OK|1|user=anonymous|anonymous",
    );
    pair.dialogue(
        "EXTERNAL without a certificate",
        "C: AUTH|1|EXTERNAL|service=smtp|resp=[plain]\nS: FAIL|1",
    );
}

#[test]
fn certificates() {
    let conf = conf().line("certuser:::::::nopassword").setting("auth_ssl_username_from_cert = yes", "");
    let pair = Pair::start(&conf);
    for (why, fields, dovecot, ours) in [
        (
            "the certificate's name",
            "valid-client-cert|cert_username=certuser|resp==",
            "OK|1|user=certuser|original_user=",
            "OK|1|user=certuser",
        ),
        (
            "and the same by the client",
            "valid-client-cert|cert_username=certuser|resp=[certuser]",
            "OK|1|user=certuser|original_user=",
            "OK|1|user=certuser",
        ),
        (
            "nobody",
            "valid-client-cert|cert_username=nosuch|resp==",
            "FAIL|1|user=nosuch|original_user=",
            "FAIL|1|user=nosuch",
        ),
    ] {
        let request = format!("C: AUTH|1|EXTERNAL|service=smtp|{fields}\n");
        pair.dialogue(why, &format!("{request}S5 dovecot: {dovecot}\nS5 ours: {ours}"));
    }
    pair.dialogue(
        "a user who has a password",
        "
        C: AUTH|1|EXTERNAL|service=smtp|valid-client-cert|cert_username=plain|resp==
        S15 dovecot: FAIL|1|user=plain|original_user=
        S15 ours: OK|1|user=plain
        ",
    );
    pair.dialogue(
        "for somebody else",
        "
        C: AUTH|1|EXTERNAL|service=smtp|valid-client-cert|cert_username=certuser|resp=[plain]
        S12 dovecot: FAIL|1|user=certuser|original_user=
        S12 ours: FAIL|1|user=plain|code=authz_fail|original_user=certuser|auth_user=certuser
        ",
    );
    pair.dialogue("no name", "C: AUTH|1|EXTERNAL|service=smtp|valid-client-cert|resp==\nS: FAIL|1");
    pair.dialogue(
        "a name without a valid certificate",
        "
        C: AUTH|1|EXTERNAL|service=smtp|cert_username=certuser|resp==
        S10 dovecot: OK|1|user=certuser|original_user=
        S10 ours: FAIL|1
        ",
    );
}

/// `secret` in each scheme.
const SHA512_CRYPT: &str = "{SHA512-CRYPT}$6$no4aUoKDu4/184a/$jJ/z50dfF9Xw3c4zJpJ1Wgk8R5LC.LHfJnyqVXF871TiC5lZQC6EFIyL.RWPYBF/rU3FN4Qv7545sFVAQS7sG.";
const CRAM_MD5: &str = "{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56";
const SCRAM_SHA_1: &str =
    "{SCRAM-SHA-1}4096,+1Caw3NSuvKKiRifN8AaTw==,i+D1APysdtmijlDZCgq8YPfQJYU=,KdeiDEgYuYtF40GWMoiui6hGxac=";
const SCRAM_SHA_256: &str = "{SCRAM-SHA-256}4096,ZKXQtqQKeOgxyby8WnQ4CQ==,sN1ZSYV2GlYvtpffHF65T8frMN8b0uvyvKpu94AFm64=,//HYxmRl39m3FcVTW5RBcEJOBuoaj9sFFzFM6U9TUbI=";
