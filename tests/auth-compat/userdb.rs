//! The auth-userdb socket: USER, PASS, LIST.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use harness::auth::{AuthConf, AuthServer};
use harness::wait::output;

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

/// Says a line to the socket as another user; the answer, or that the server hangs up.
fn ask_as(server: &AuthServer, uid: u32, gid: u32, line: &str) -> String {
    let script = "import socket, sys\n\
                  s = socket.socket(socket.AF_UNIX)\n\
                  s.settimeout(20)\n\
                  s.connect(sys.argv[1])\n\
                  s.sendall(b'VERSION\\t1\\t1\\n' + sys.argv[2].encode() + b'\\n')\n\
                  f = s.makefile('r')\n\
                  f.readline(), f.readline()\n\
                  print(f.readline() or 'closed')\n";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).arg(server.userdb_socket()).arg(line.replace('|', "\t"));
    let answer = output(command.uid(uid).gid(gid), b"");
    let said = String::from_utf8_lossy(&answer.stdout).trim_end().replace('\t', "|");
    if answer.status.success() { said } else { String::from_utf8_lossy(&answer.stderr).into_owned() }
}

#[test]
fn who_may_ask_on_a_socket_that_is_open_to_all() {
    let pair = Pair::start(
        &AuthConf::new()
            .line("anna:{PLAIN}secret:1000:1001::/var/mail/anna::")
            .line("boris:{PLAIN}secret:2000:1001::/var/mail/boris::")
            .open_userdb(),
    );
    let anna = "USER|1|anna|uid=1000|gid=1001|home=/var/mail/anna";
    for (why, uid, gid, line, answer) in [
        ("himself", 1000, 4000, "USER|1|anna|service=lda", anna),
        ("somebody else", 1000, 4000, "USER|1|boris|service=lda", "FAIL|1"),
        ("his group counts for nothing", 2001, 1001, "USER|1|anna|service=lda", "FAIL|1"),
        ("nobody", 1000, 4000, "USER|1|nosuch|service=lda", "NOTFOUND|1"),
        ("his own password", 1000, 4000, "PASS|1|anna|service=smtp", "FAIL|1"),
        ("all users", 1000, 4000, "LIST|1|service=doveadm|user=anna", "DONE|1|fail"),
        ("root asks for anybody", 0, 4000, "USER|1|anna|service=lda", anna),
        ("and what passdbs know", 0, 4000, "PASS|1|anna|service=smtp", "PASS|1|user=anna"),
        ("so does who is in the socket's group", 1000, 0, "PASS|1|boris|service=smtp", "PASS|1|user=boris"),
    ] {
        pair.same(why, |server| ask_as(server, uid, gid, line), answer);
    }
}

#[test]
fn a_socket_of_any_other_mode_is_left_to_its_permissions() {
    let pair = pair();
    for uid in [1000, 65534] {
        pair.same(
            "mode 0600",
            |server| {
                ask_as(server, uid, 4000, "USER|1|anna|service=lda").contains("Permission denied").to_string()
            },
            "true",
        );
    }
}
