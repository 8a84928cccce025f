//! PLAIN and LOGIN, what is right in them and what is not.

use harness::auth::AuthConf;

use crate::dialogue::Pair;

fn pair() -> Pair {
    Pair::start(&AuthConf::new().user("plain", "{PLAIN}secret").user("blank", "{PLAIN}correct horse"))
}

#[test]
fn plain() {
    let pair = pair();
    for (why, message, answer) in [
        ("right", "\\0plain\\0secret", "OK|1|user=plain"),
        ("wrong", "\\0plain\\0wrong", "FAIL|1|user=plain"),
        ("unknown", "\\0nosuch\\0secret", "FAIL|1|user=nosuch"),
        ("with a blank", "\\0blank\\0correct horse", "OK|1|user=blank"),
        ("an authzid that is the authcid", "plain\\0plain\\0secret", "OK|1|user=plain"),
        ("an empty password", "\\0plain\\0", "FAIL|1|user=plain"),
        ("one NUL", "plain\\0secret", "FAIL|1"),
        ("no NUL", "plain", "FAIL|1"),
        ("three NULs", "\\0plain\\0secret\\0", "FAIL|1"),
        ("a longer password", "\\0plain\\0secretx", "FAIL|1|user=plain"),
        ("a shorter one", "\\0plain\\0secre", "FAIL|1|user=plain"),
        ("in capitals", "\\0plain\\0SECRET", "FAIL|1|user=plain"),
        ("bytes that are no text", "\\0plain\\0\\1\\1", "FAIL|1|user=plain"),
    ] {
        pair.dialogue(why, &format!("C: AUTH|1|PLAIN|service=smtp|resp=[{message}]\nS: {answer}"));
        pair.dialogue(
            why,
            &format!("C: AUTH|1|PLAIN|service=smtp\nS: CONT|1|\nC: CONT|1|[{message}]\nS: {answer}"),
        );
    }
    pair.dialogue("an empty answer", "C: AUTH|1|PLAIN|service=smtp\nS: CONT|1|\nC: CONT|1|\nS: FAIL|1");
}

#[test]
fn login() {
    let pair = pair();
    for (name, password, answer) in [
        ("plain", "secret", "OK|1|user=plain"),
        ("plain", "wrong", "FAIL|1|user=plain"),
        ("nosuch", "secret", "FAIL|1|user=nosuch"),
        ("blank", "correct horse", "OK|1|user=blank"),
        ("plain", "", "FAIL|1|user=plain"),
    ] {
        pair.dialogue(
            "name and password",
            &format!(
                "
                C: AUTH|1|LOGIN|service=smtp
                S: CONT|1|[Username:]
                C: CONT|1|[{name}]
                S: CONT|1|[Password:]
                C: CONT|1|[{password}]
                S: {answer}
                "
            ),
        );
        pair.dialogue(
            "the name in the initial response",
            &format!(
                "
                C: AUTH|1|LOGIN|service=smtp|resp=[{name}]
                S: CONT|1|[Password:]
                C: CONT|1|[{password}]
                S: {answer}
                "
            ),
        );
    }
    pair.dialogue(
        "an empty name",
        "
        C: AUTH|1|LOGIN|service=smtp
        S: CONT|1|[Username:]
        C: CONT|1|
        S11 dovecot: FAIL|1|user=|original_user=
        S11 ours: FAIL|1
        ",
    );
    pair.dialogue(
        "a name with a NUL",
        "C: AUTH|1|LOGIN|service=smtp\nS: CONT|1|[Username:]\nC: CONT|1|[pl\\0ain]\nS: FAIL|1",
    );
    pair.dialogue(
        "a password with a NUL",
        "
        C: AUTH|1|LOGIN|service=smtp|resp=[plain]
        S: CONT|1|[Password:]
        C: CONT|1|[secret\\0x]
        S: FAIL|1|user=plain
        ",
    );
    pair.dialogue(
        "after the end nothing is open",
        "
        C: AUTH|1|LOGIN|service=smtp|resp=[plain]
        S: CONT|1|[Password:]
        C: CONT|1|[secret]
        S: OK|1|user=plain
        C: CONT|1|[again]
        S: FAIL|1|reason=Authentication request timed out
        ",
    );
}
