//! What a name may be, what becomes of it, and who may act for whom.

use harness::auth::AuthConf;

use crate::dialogue::Pair;

fn attempt(user: &str, password: &str) -> String {
    format!("C: AUTH|1|PLAIN|service=smtp|resp=[\\0{user}\\0{password}]\n")
}

#[test]
fn letters_and_characters() {
    let conf = AuthConf::new()
        .user("plain", "{PLAIN}secret")
        .user("anna+tag@a.example", "{PLAIN}secret")
        .user("jörg", "{PLAIN}secret");
    let pair = Pair::start(&conf);
    for (why, user, reply) in [
        ("capitals are lowered", "PLAIN", "OK|1|user=plain|original_user=PLAIN"),
        ("a domain", "nosuch@a.example", "FAIL|1|user=nosuch@a.example"),
    ] {
        pair.dialogue(why, &format!("{}S: {reply}", attempt(user, "secret")));
    }
    for user in ["a%b", "a b", "a'b"] {
        let dovecot = format!("S11 dovecot: FAIL|1|user={user}|original_user={user}");
        let ours = format!("S11 ours: FAIL|1|user={user}");
        pair.dialogue("characters that may not be", &format!("{}{dovecot}\n{ours}", attempt(user, "secret")));
    }
    pair.dialogue(
        "a plus",
        &format!(
            "{}
            S2 dovecot: FAIL|1|user=anna+tag@a.example|original_user=anna+tag@a.example
            S2 ours: OK|1|user=anna+tag@a.example",
            attempt("anna+tag@a.example", "secret")
        ),
    );
    pair.dialogue(
        "letters beyond ASCII",
        &format!(
            "{}
            S14 dovecot: FAIL|1|user=jörg|original_user=jörg
            S14 ours: OK|1|user=jörg",
            attempt("jörg", "secret")
        ),
    );
}

#[test]
fn other_characters_and_formats() {
    let conf = AuthConf::new()
        .user("a b", "{PLAIN}secret")
        .user("Anna", "{PLAIN}secret")
        .setting("auth_username_chars = \"abcdefghijklmnopqrstuvwxyzA \"", "username_chars = \"a-zA \"")
        .setting("auth_username_format = %u", "username_format = \"%u\"");
    let pair = Pair::start(&conf);
    for (user, reply) in [("a b", "OK|1|user=a b"), ("Anna", "OK|1|user=Anna"), ("anna", "FAIL|1|user=anna")]
    {
        pair.dialogue(user, &format!("{}S: {reply}", attempt(user, "secret")));
    }
}

#[test]
fn a_realm() {
    let conf = AuthConf::new()
        .user("anna@a.example", "{PLAIN}secret")
        .user("anna@b.example", "{PLAIN}other")
        .setting("auth_default_realm = a.example", "default_realm = \"a.example\"");
    let pair = Pair::start(&conf);
    for (user, password, reply) in [
        ("anna", "secret", "OK|1|user=anna@a.example|original_user=anna"),
        ("anna@b.example", "other", "OK|1|user=anna@b.example"),
        ("anna@c.example", "secret", "FAIL|1|user=anna@c.example"),
    ] {
        pair.dialogue(user, &format!("{}S: {reply}", attempt(user, password)));
    }
}

#[test]
fn characters_are_translated() {
    let conf = AuthConf::new()
        .user("anna@a.example", "{PLAIN}secret")
        .setting("auth_username_translation = \"#@\"", "username_translation = \"#@\"");
    let pair = Pair::start(&conf);
    pair.dialogue(
        "one for the other",
        &format!(
            "{}S: OK|1|user=anna@a.example|original_user=anna#a.example",
            attempt("anna#a.example", "secret")
        ),
    );
}

#[test]
fn masters() {
    let conf = AuthConf::new()
        .user("plain", "{PLAIN}secret")
        .setting("auth_master_user_separator = *", "master_user_separator = \"*\"")
        .passdb_file("masters", "boss:{PLAIN}bosspw\n", "master");
    let pair = Pair::start(&conf);
    for (why, message, reply) in [
        ("by authzid", "plain\\0boss\\0bosspw", "OK|1|user=plain|original_user=boss|auth_user=boss"),
        ("by separator", "\\0plain*boss\\0bosspw", "OK|1|user=plain|original_user=boss|auth_user=boss"),
        ("a master is no user", "\\0boss\\0bosspw", "FAIL|1|user=boss"),
        ("a user beside masters", "\\0plain\\0secret", "OK|1|user=plain"),
    ] {
        pair.dialogue(why, &format!("C: AUTH|1|PLAIN|service=smtp|resp=[{message}]\nS: {reply}"));
    }
    for (why, message, number, dovecot, ours) in [
        (
            "a wrong password",
            "plain\\0boss\\0wrong",
            "S12",
            "FAIL|1|user=boss",
            "FAIL|1|user=plain|original_user=boss|auth_user=boss",
        ),
        (
            "no master",
            "plain\\0plain2\\0secret",
            "S12",
            "FAIL|1|user=plain2",
            "FAIL|1|user=plain|original_user=plain2|auth_user=plain2",
        ),
        (
            "for a user that is not there",
            "zzz\\0boss\\0bosspw",
            "S13",
            "OK|1|user=zzz|original_user=boss|auth_user=boss",
            "FAIL|1|user=zzz|code=authz_fail|original_user=boss|auth_user=boss",
        ),
        (
            "an empty name behind the separator",
            "\\0plain*\\0bosspw",
            "S11",
            "FAIL|1|user=|original_user=",
            "FAIL|1|user=plain*",
        ),
        ("an empty one before it", "\\0*boss\\0bosspw", "S11", "FAIL|1|user=boss", "FAIL|1|user=*boss"),
    ] {
        let request = format!("C: AUTH|1|PLAIN|service=smtp|resp=[{message}]");
        pair.dialogue(why, &format!("{request}\n{number} dovecot: {dovecot}\n{number} ours: {ours}"));
    }
}
