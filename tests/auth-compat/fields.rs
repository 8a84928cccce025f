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
        ("expired", "{PLAIN}secret", "pass_expired"),
        ("renamed", "{PLAIN}secret", "user=other"),
        ("domain", "{PLAIN}secret", "domain=d.example"),
        ("extra", "{PLAIN}secret", "x=y flag userdb_mail=maildir:~/M"),
        ("quick", "{PLAIN}secret", "nodelay"),
        ("noauth", "{PLAIN}secret", "noauthenticate"),
        ("both", "{PLAIN}secret", "user=other2 x=y"),
    ]));
    for (why, user, more, dovecot, ours) in [
        ("inside allow_nets", "near", "|rip=127.0.0.1", "user=near|", "user=near"),
        ("the one address", "near", "|rip=192.0.2.7", "user=near|", "user=near"),
        ("local without an address", "local", "", "user=local|", "user=local"),
        ("IPv6", "six", "|rip=2001:db8:1::1", "user=six|", "user=six"),
        ("renamed", "renamed", "", "user=other||original_user=renamed", "user=other|original_user=renamed"),
        (
            "domain",
            "domain",
            "",
            "user=domain@d.example||original_user=domain",
            "user=domain@d.example|original_user=domain",
        ),
    ] {
        let request = attempt(user, "secret", more);
        pair.dialogue(why, &format!("{request}S5 dovecot: OK|1|{dovecot}\nS5 ours: OK|1|{ours}"));
    }
    for (why, user, more, reply) in [
        ("outside", "near", "|rip=192.0.2.8", "FAIL|1|user=near"),
        ("no address known", "near", "", "FAIL|1|user=near"),
        ("local with one", "local", "|rip=127.0.0.1", "FAIL|1|user=local"),
        ("another of IPv6", "six", "|rip=2001:db9::1", "FAIL|1|user=six"),
        ("an empty password field", "empty", "", "FAIL|1|user=empty"),
        ("nopassword", "open", "", "OK|1|user=open"),
        ("renamed, with a field", "both", "", "OK|1|user=other2|x=y|original_user=both"),
        ("fields are handed on", "extra", "", "OK|1|user=extra|x=y|flag"),
        ("nopassword with a password", "opened", "", "OK|1|user=opened"),
    ] {
        pair.dialogue(why, &format!("{}S: {reply}", attempt(user, "secret", more)));
    }
    pair.dialogue(
        "nopassword and another password",
        &format!("{}S: FAIL|1|user=opened", attempt("opened", "x", "")),
    );
    pair.dialogue("nopassword takes any", &format!("{}S: OK|1|user=open", attempt("open", "x", "")));
    for (user, number, dovecot, ours) in [
        ("quick", "S16", "OK|1|user=quick|nodelay", "OK|1|user=quick"),
        ("failing", "S17", "FAIL|1|user=failing", "FAIL|1|user=failing|code=user_disabled"),
        (
            "expired",
            "S20",
            "OK|1|user=expired|pass_expired",
            "FAIL|1|user=expired|code=pass_expired|reason=Password expired",
        ),
        ("noauth", "S17", "FAIL|1|user=noauth|code=temp_fail", "FAIL|1|user=noauth"),
    ] {
        let request = attempt(user, "secret", "");
        pair.dialogue(user, &format!("{request}{number} dovecot: {dovecot}\n{number} ours: {ours}"));
    }
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
        "a request that its client has left open changes nothing",
        &format!(
            "C: AUTH|2|LOGIN|service=smtp\nS: CONT|2|[Username:]\n{}
            S4 dovecot: FAIL|1|user=nosuch|code=temp_fail
            S4 ours closed",
            attempt("nosuch", "secret", "")
        ),
    );
}

/// A passdb of one passwd-file with further settings, the same words in both languages.
fn passdb(conf: AuthConf, name: &str, lines: &str, settings: &[(&str, &str)]) -> AuthConf {
    let dovecot: String = settings.iter().map(|(key, value)| format!("  {key} = {value}\n")).collect();
    let ours: String = settings
        .iter()
        .map(|(key, value)| match *key {
            "mechanisms" => format!("{key} = [{:?}]\n", value.to_uppercase()),
            "username_filter" => format!("{key} = [{value:?}]\n"),
            "override_fields" | "default_fields" => {
                let (name, value) = value.split_once('=').unwrap();
                format!("{key} = {{ {name} = {value:?} }}\n")
            }
            _ => format!("{key} = {value:?}\n"),
        })
        .collect();
    conf.file(name, lines).block(
        &format!("passdb {{\n  driver = passwd-file\n  args = {{dir}}/{name}\n{dovecot}}}"),
        &format!(
            "[[passdb]]\nname = \"{name}\"\ndriver = \"passwd-file\"\npath = \"{{dir}}/{name}\"\n{ours}"
        ),
    )
}

#[test]
fn chains() {
    let mut wrong = String::new();
    const BOTH: &str = "both:{PLAIN}first\nfirst:{PLAIN}secret\n";
    for (settings, attempts) in [
        (
            &[][..],
            &[
                ("first", "secret", "OK"),
                ("second", "secret", "OK"),
                ("both", "first", "OK"),
                ("both", "second", "OK"),
                ("both", "third", "FAIL"),
            ][..],
        ),
        (
            &[("result_failure", "return-fail")],
            &[("first", "secret", "OK"), ("second", "secret", "FAIL"), ("both", "second", "FAIL")],
        ),
        (
            &[("result_success", "continue")],
            // A password that was right is not asked for again: the next passdb must only have the user.
            &[
                ("first", "secret", "FAIL"),
                ("both", "first", "OK"),
                ("both", "second", "OK"),
                ("both", "x", "FAIL"),
            ],
        ),
        (
            &[("result_success", "continue-ok")],
            &[
                ("first", "secret", "OK"),
                ("both", "first", "OK"),
                ("both", "second", "OK"),
                ("second", "x", "FAIL"),
            ],
        ),
        (&[("result_success", "return-fail")], &[("first", "secret", "FAIL"), ("second", "secret", "OK")]),
        (&[("skip", "unauthenticated")], &[("first", "secret", "FAIL"), ("second", "secret", "OK")]),
        (&[("skip", "authenticated")], &[("first", "secret", "OK"), ("second", "secret", "OK")]),
        (&[("mechanisms", "login")], &[("first", "secret", "FAIL"), ("second", "secret", "OK")]),
        (&[("mechanisms", "plain")], &[("first", "secret", "OK"), ("both", "second", "OK")]),
        (&[("username_filter", "b*")], &[("first", "secret", "FAIL"), ("both", "first", "OK")]),
    ] {
        let conf = AuthConf::new().user("second", "{PLAIN}secret").user("both", "{PLAIN}second");
        let pair = Pair::start(&passdb(conf, "first", BOTH, settings));
        for (user, password, verdict) in attempts {
            pair.dialogue(
                &format!("{settings:?} {user} {password}"),
                &format!("{}S: {verdict}|1|user={user}", attempt(user, password, "")),
            );
        }
        wrong.push_str(&pair.wrong());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn fields_of_a_passdb() {
    let conf = passdb(
        AuthConf::new(),
        "more",
        "anna:{PLAIN}secret::::::colour=red\nboris:{PLAIN}secret::::::\n",
        &[("default_fields", "colour=blue"), ("override_fields", "from=%s")],
    );
    let pair = Pair::start(&conf);
    pair.dialogue(
        "its own",
        &format!("{}S: OK|1|user=anna|colour=red|from=smtp", attempt("anna", "secret", "")),
    );
    pair.dialogue(
        "by default",
        &format!("{}S: OK|1|user=boris|colour=blue|from=smtp", attempt("boris", "secret", "")),
    );
}

#[test]
fn passwd_files() {
    let conf = AuthConf::new()
        .line("# a comment")
        .line("")
        .line("twice:{PLAIN}first::::::")
        .line("twice:{PLAIN}second::::::")
        .line("short:{PLAIN}secret")
        .line("crypt:$1$abcdefgh$irWbblnpmw.5z7wgBnprh0")
        .line("unknown:{NONSENSE}secret")
        .line("broken:{SSHA256}x")
        .line("locked:!::::::")
        .line("colons:{PLAIN}secret::::::a=b:c:d");
    let pair = Pair::start(&conf);
    for (user, password, reply) in [
        ("twice", "first", "OK|1|user=twice"),
        ("twice", "second", "FAIL|1|user=twice"),
        ("short", "secret", "OK|1|user=short"),
        ("crypt", "rasmuslerdorf", "FAIL|1|user=crypt"),
        ("unknown", "secret", "FAIL|1|user=unknown"),
        ("broken", "secret", "FAIL|1|user=broken"),
        ("locked", "!", "FAIL|1|user=locked"),
        ("colons", "secret", "OK|1|user=colons|a=b:c:d"),
    ] {
        pair.dialogue(user, &format!("{}S: {reply}", attempt(user, password, "")));
    }
    // Dovecot looks at a file once a second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for server in &pair.servers {
        let path = server.folder().join("users");
        std::fs::write(path, "short:{PLAIN}another\nnew:{PLAIN}secret\n").unwrap();
    }
    for (user, password, reply) in [
        ("short", "another", "OK|1|user=short"),
        ("short", "secret", "FAIL|1|user=short"),
        ("new", "secret", "OK|1|user=new"),
        ("colons", "secret", "FAIL|1|user=colons"),
    ] {
        pair.dialogue("after a change", &format!("{}S: {reply}", attempt(user, password, "")));
    }
}

#[test]
fn a_passwd_file_for_each_domain() {
    let conf = AuthConf::new().without_users().file("a.example", "anna:{PLAIN}secret\n").block(
        "passdb {\n  driver = passwd-file\n  args = username_format=%n {dir}/%d\n}",
        "[[passdb]]\ndriver = \"passwd-file\"\npath = \"{dir}/%d\"\nusername_format = \"%n\"",
    );
    let pair = Pair::start(&conf);
    pair.dialogue(
        "a way out of the folder",
        &format!(
            "{}
            S11 dovecot: FAIL|1|user=anna@../a.example|original_user=anna@../a.example
            S11 ours: FAIL|1|user=anna@../a.example",
            attempt("anna@../a.example", "secret", "")
        ),
    );
    for (user, reply) in [
        ("anna@a.example", "OK|1|user=anna@a.example"),
        ("anna@b.example", "FAIL|1|user=anna@b.example"),
        ("anna", "FAIL|1|user=anna"),
    ] {
        pair.dialogue(user, &format!("{}S: {reply}", attempt(user, "secret", "")));
    }
}

#[test]
fn one_password_for_all() {
    let conf = AuthConf::new().without_users().block(
        "passdb {\n  driver = static\n  args = password=secret allow_nets=192.0.2.0/24\n}",
        "[[passdb]]\ndriver = \"static\"\npassword = \"secret\"\nfields = { allow_nets = \"192.0.2.0/24\" }",
    );
    let pair = Pair::start(&conf);
    pair.dialogue("wrong", &format!("{}S: FAIL|1|user=any", attempt("any", "x", "|rip=192.0.2.1")));
    pair.dialogue("outside", &format!("{}S: FAIL|1|user=any", attempt("any", "secret", "|rip=198.51.100.1")));
    pair.dialogue(
        "right",
        &format!(
            "{}S5 dovecot: OK|1|user=any|\nS5 ours: OK|1|user=any",
            attempt("any", "secret", "|rip=192.0.2.1")
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
