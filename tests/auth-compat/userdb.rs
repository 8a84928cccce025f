//! The auth-userdb socket: USER, PASS, LIST.

use harness::auth::AuthConf;

use crate::dialogue::Pair;

fn pair() -> Pair {
    Pair::start(
        &AuthConf::new()
            .line("anna:{PLAIN}secret:1000:1001::/var/mail/anna::")
            .line("boris:{PLAIN}secret:1000:1001::/var/mail/boris::userdb_mail=maildir:~/M userdb_quota_rule=*:bytes=100K x=y")
            .line("nouid:{PLAIN}secret::::::")
            .line("closed:{PLAIN}secret:1000:1001::/x::nologin"),
    )
}

#[test]
fn the_greeting() {
    use harness::auth::AuthClient;
    pair().same(
        "version and process",
        |server| AuthClient::connect_userdb(server).greeting()[0].clone(),
        "VERSION\t1\t1",
    );
    pair().same(
        "a process number",
        |server| {
            let line = AuthClient::connect_userdb(server).greeting()[1].clone();
            line.strip_prefix("SPID\t").is_some_and(|pid| pid.parse::<u32>().is_ok()).to_string()
        },
        "true",
    );
}

#[test]
fn users() {
    let pair = pair();
    for (why, line, reply) in [
        ("a user", "USER|1|anna|service=lda", "USER|1|anna|uid=1000|gid=1001|home=/var/mail/anna"),
        (
            "with fields",
            "USER|2|boris|service=lda",
            "USER|2|boris|uid=1000|gid=1001|home=/var/mail/boris|mail=maildir:~/M|quota_rule=*:bytes=100K",
        ),
        ("in capitals", "USER|3|ANNA|service=lda", "USER|3|anna|uid=1000|gid=1001|home=/var/mail/anna"),
        ("nobody", "USER|4|nosuch|service=lda", "NOTFOUND|4"),
        ("characters that may not be", "USER|5|a%b|service=lda", "NOTFOUND|5"),
        (
            "who may not log in gets mail",
            "USER|6|closed|service=lda",
            "USER|6|closed|uid=1000|gid=1001|home=/x",
        ),
        (
            "with addresses",
            "USER|8|anna|service=lda|lip=::1|rip=::1|foo=bar",
            "USER|8|anna|uid=1000|gid=1001|home=/var/mail/anna",
        ),
        ("an empty name", "USER|9||service=lda", "NOTFOUND|9"),
        ("the same id again", "USER|1|anna|service=lda", "USER|1|anna|uid=1000|gid=1001|home=/var/mail/anna"),
    ] {
        pair.userdb(why, &format!("C: {line}\nS: {reply}"));
    }
    pair.userdb(
        "without a uid nothing is said, not even an empty field",
        "
        C: USER|7|nouid|service=lda
        S5 dovecot: USER|7|nouid|
        S5 ours: USER|7|nouid
        ",
    );
    pair.userdb(
        "one after the other",
        "
        C: USER|1|anna|service=lda
        S: USER|1|anna|uid=1000|gid=1001|home=/var/mail/anna
        C: USER|1|nosuch|service=lda
        S: NOTFOUND|1
        C: PASS|1|anna|service=smtp
        S: PASS|1|user=anna
        ",
    );
}

#[test]
fn passwords_are_looked_up_not_checked() {
    let pair = pair();
    for (line, reply) in [
        ("PASS|1|anna|service=smtp", "PASS|1|user=anna"),
        ("PASS|2|boris|service=smtp", "PASS|2|user=boris|x=y"),
        ("PASS|3|nosuch|service=smtp", "NOTFOUND|3"),
        ("PASS|4|closed|service=smtp", "PASS|4|user=closed|nologin"),
    ] {
        pair.userdb(line, &format!("C: {line}\nS: {reply}"));
    }
}

#[test]
fn lists() {
    let pair = pair();
    pair.userdb(
        "all",
        "
        C: LIST|1|service=doveadm
        s: LIST|1|anna
        s: LIST|1|boris
        s: LIST|1|nouid
        s: LIST|1|closed
        S: DONE|1|
        ",
    );
    pair.userdb(
        "by a mask",
        "
        C: LIST|1|service=doveadm|user=a*
        s: LIST|1|anna
        S18 dovecot s: LIST|1|boris
        S18 dovecot s: LIST|1|nouid
        S18 dovecot s: LIST|1|closed
        S: DONE|1|
        ",
    );
}

#[test]
fn what_closes_the_connection() {
    let pair = pair();
    for (why, line) in [
        ("an unknown command", "NONSENSE|1"),
        ("an empty line", ""),
        ("an authentication", "AUTH|1|PLAIN|service=smtp"),
        ("no service", "USER|1|anna"),
        ("no name", "USER|1"),
        ("no id", "USER"),
        ("an id that is no number", "USER|x|anna|service=lda"),
        ("PASS without a service", "PASS|1|anna"),
        ("LIST without an id", "LIST"),
        ("a long line", "USER|1|{fill 9000}|service=lda"),
        ("a login's hand-over", "REQUEST|1|1|1|0123456789abcdef0123456789abcdef"),
    ] {
        pair.userdb(why, &format!("C: {line}\nclosed"));
    }
    for bytes in [1000, 1023, 1024] {
        pair.userdb(
            "up to 1024 bytes",
            &format!("C: USER|1|nosuch|service=lda|x={{fill {bytes}}}\nS: NOTFOUND|1"),
        );
    }
    for bytes in [1025, 1026] {
        pair.userdb("no longer ones", &format!("C: USER|1|nosuch|service=lda|x={{fill {bytes}}}\nclosed"));
    }
}
