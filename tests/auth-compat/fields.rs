//! Extra fields of a passdb and what chains make of them.

use harness::auth::AuthConf;

use crate::dialogue::Pair;

fn attempt(user: &str, password: &str, more: &str) -> String {
    format!("C: AUTH|1|PLAIN|service=smtp{more}|resp=[\\0{user}\\0{password}]\n")
}

fn with_fields(fields: &[(&str, &str, &str)]) -> AuthConf {
    fields.iter().fold(AuthConf::new(), |conf, (name, password, fields)| {
        conf.line(&format!("{name}:{password}:1000:1000::/var/mail/{name}::{fields}"))
    })
}

#[test]
fn fields_that_decide() {
    let pair = Pair::start(&with_fields(&[
        ("near", "{PLAIN}secret", "allow_nets=127.0.0.0/8,192.0.2.7"),
        ("local", "{PLAIN}secret", "allow_nets=local"),
        ("six", "{PLAIN}secret", "allow_nets=2001:db8::/32"),
        ("open", "", "nopassword"),
        ("opened", "{PLAIN}secret", "nopassword"),
        ("empty", "", ""),
        ("closed", "{PLAIN}secret", "nologin reason=Closed"),
        ("failing", "{PLAIN}secret", "fail=Gone"),
        ("renamed", "{PLAIN}secret", "user=other"),
        ("domain", "{PLAIN}secret", "domain=d.example"),
        ("extra", "{PLAIN}secret", "x=y flag userdb_mail=maildir:~/M"),
        ("quick", "{PLAIN}secret", "nodelay"),
        ("noauth", "{PLAIN}secret", "noauthenticate"),
    ]));
    for (why, user, more, reply) in [
        ("inside allow_nets", "near", "|rip=127.0.0.1", "OK|1|user=near"),
        ("the one address", "near", "|rip=192.0.2.7", "OK|1|user=near"),
        ("outside", "near", "|rip=192.0.2.8", "FAIL|1|user=near"),
        ("no address known", "near", "", "FAIL|1|user=near"),
        ("local without an address", "local", "", "OK|1|user=local"),
        ("local with one", "local", "|rip=127.0.0.1", "FAIL|1|user=local"),
        ("IPv6", "six", "|rip=2001:db8:1::1", "OK|1|user=six"),
        ("another of IPv6", "six", "|rip=2001:db9::1", "FAIL|1|user=six"),
        ("an empty password field", "empty", "", "FAIL|1|user=empty"),
        ("nopassword", "open", "", "OK|1|user=open"),
        ("renamed", "renamed", "", "OK|1|user=other|original_user=renamed"),
        ("fields are handed on", "extra", "", "OK|1|user=extra|x=y|flag"),
        ("nodelay", "quick", "", "OK|1|user=quick|nodelay"),
        ("domain", "domain", "", "OK|1|user=domain@d.example|original_user=domain"),
        ("fail", "failing", "", "FAIL|1|user=failing|reason=Gone"),
        ("noauthenticate", "noauth", "", "FAIL|1|user=noauth"),
        ("nopassword with a password", "opened", "", "FAIL|1|user=opened"),
    ] {
        pair.dialogue(why, &format!("{}S: {reply}", attempt(user, "secret", more)));
    }
    pair.dialogue("nopassword takes any", &format!("{}S: OK|1|user=open", attempt("open", "x", "")));
    pair.dialogue(
        "nologin is a refusal, for Postfix does not know the field",
        &format!(
            "{}
            S3 dovecot: OK|1|user=closed|nologin|reason=Closed
            S3 ours: FAIL|1|user=closed|code=user_disabled|reason=Closed",
            attempt("closed", "secret", "")
        ),
    );
    pair.dialogue(
        "a wrong password first",
        &format!("{}S: FAIL|1|user=closed", attempt("closed", "wrong", "")),
    );
}

#[test]
fn a_deny_passdb() {
    let conf = AuthConf::new().user("plain", "{PLAIN}secret").user("banned", "{PLAIN}secret").passdb_file(
        "denied",
        "banned:\n",
        "deny",
    );
    let pair = Pair::start(&conf);
    pair.dialogue(
        "named there",
        &format!("{}S: FAIL|1|user=banned|code=user_disabled", attempt("banned", "secret", "")),
    );
    pair.dialogue("not named", &format!("{}S: OK|1|user=plain", attempt("plain", "secret", "")));
}

#[test]
fn a_database_that_is_away() {
    let away = |result: &str| {
        AuthConf::new().user("plain", "{PLAIN}secret").file("away", "#!/bin/sh\nexit 111\n").block(
            &format!("passdb {{\n  driver = checkpassword\n  args = {{dir}}/away\n  {result}\n}}"),
            &format!(
                "[[passdb]]\ndriver = \"sql\"\nurl = \"sqlite:///nonexistent/users.db\"\n\
                 query = \"SELECT password FROM users WHERE name = '%u'\"\n{}",
                result.replace(" = ", " = \"").replace("fail\n", "fail\"\n")
            ),
        )
    };
    let mut pair = Pair::start(&away(""));
    pair.minor(1);
    pair.dialogue(
        "another passdb has the user",
        &format!("{}S: OK|1|user=plain", attempt("plain", "secret", "")),
    );
    pair.dialogue(
        "nobody knows",
        &format!("{}S: FAIL|1|user=nosuch|code=temp_fail", attempt("nosuch", "secret", "")),
    );
    pair.minor(0).dialogue(
        "Postfix understands only a closed connection",
        &format!(
            "{}
            S4 dovecot: FAIL|1|user=nosuch|code=temp_fail
            S4 ours closed",
            attempt("nosuch", "secret", "")
        ),
    );
    pair.dialogue(
        "but not when another request is open",
        &format!(
            "C: AUTH|2|LOGIN|service=smtp\nS: CONT|2|[Username:]\n{}S: FAIL|1|user=nosuch|code=temp_fail",
            attempt("nosuch", "secret", "")
        ),
    );
}

#[test]
fn values_are_escaped() {
    let conf = AuthConf::new()
        .line("quoted:{PLAIN}secret:1000:1000::/x::reason=a\\1b")
        .setting("auth_username_chars =", "username_chars = \"\"");
    let pair = Pair::start(&conf);
    for (why, user, reply) in [
        ("a TAB in a name", "a\tb", "FAIL|1|user=a\\1tb"),
        ("a line end", "a\\nb", "FAIL|1|user=a\\1nb"),
        ("the escape itself", "a\\1b", "FAIL|1|user=a\\11b"),
    ] {
        pair.dialogue(why, &format!("{}S: {reply}", attempt(user, "secret", "")));
    }
    pair.dialogue(
        "in a request",
        "C: AUTH|1|PLAIN|service=sm\\1tp|session=a\\1tb|resp=[\\0nosuch\\0x]\nS: FAIL|1|user=nosuch",
    );
}
