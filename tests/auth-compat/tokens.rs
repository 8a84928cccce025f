//! OAUTHBEARER and XOAUTH2 with tokens that are checked locally.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::auth::{AuthClient, AuthConf, AuthServer};
use harness::sasl::{Sasl, token};

use crate::dialogue::Pair;

const SECRET: &str = "a secret of the tests, which is long enough";

fn pair() -> Pair {
    let conf = AuthConf::new()
        .mechanisms("OAUTHBEARER XOAUTH2")
        .without_users()
        .user("anna@a.example", "")
        .file("keys/default/HS256/default", &STANDARD.encode(SECRET))
        .file("tokens.key", SECRET)
        .file(
            "oauth.conf",
            "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={dir}/keys/\n\
             username_attribute = email\n",
        )
        .block(
            "passdb {\n  driver = oauth2\n  mechanisms = oauthbearer xoauth2\n  args = {dir}/oauth.conf\n}",
            "[oauth2]\nkeys = [\"{dir}/tokens.key\"]\n[[passdb]]\ndriver = \"passwd-file\"\npath = \"{dir}/users\"",
        );
    Pair::start(&conf)
}

/// A token for `user` that expires in so many seconds.
fn issued(user: &str, seconds: i64, secret: &str) -> String {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let expires = now + seconds;
    token(
        &format!(r#"{{"sub":"x","email":"{user}","iat":{},"exp":{expires}}}"#, now - 700),
        secret.as_bytes(),
    )
}

/// All that is said in an exchange; `token=` is cut.
fn exchange(server: &AuthServer, mechanism: &str, message: &str) -> String {
    let mut client = AuthClient::connect(server);
    client.send(&format!("AUTH\t1\t{mechanism}\tservice=smtp\tresp={}", STANDARD.encode(message)));
    let mut line = client.line();
    let mut said = String::new();
    if let Some(challenge) = line.strip_prefix("CONT\t1\t") {
        said = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap() + " ";
        client.send("CONT\t1\tAQ==");
        line = client.line();
    }
    let line = line.replace('\t', "|");
    said + line.split_inclusive("|token=").next().unwrap()
}

/// The client's first message.
fn first(mechanism: &str, user: &str, token: &str) -> String {
    String::from_utf8(Sasl::new(mechanism, user, token).first().unwrap()).unwrap()
}

#[test]
fn good_tokens() {
    let pair = pair();
    for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
        let message = first(mechanism, "anna@a.example", &issued("anna@a.example", 600, SECRET));
        pair.differs(
            "S19",
            |server| exchange(server, mechanism, &message),
            "OK|1|user=anna@a.example|token=",
            "OK|1|user=anna@a.example",
        );
    }
}

#[test]
fn tokens_that_do_not_fit() {
    let pair = pair();
    for (why, token) in [
        ("expired", issued("anna@a.example", -600, SECRET)),
        ("signed with another key", issued("anna@a.example", 600, "another secret, which is long enough")),
        ("no token", "nonsense".to_owned()),
    ] {
        for (mechanism, challenge) in [
            ("OAUTHBEARER", r#"{"status":"invalid_token"}"#),
            ("XOAUTH2", r#"{"status":"401","schemes":"bearer","scope":"mail"}"#),
        ] {
            let message = first(mechanism, "anna@a.example", &token);
            let want = format!("{challenge} FAIL|1|user=anna@a.example");
            pair.same(why, |server| exchange(server, mechanism, &message), &want);
        }
    }
    let message = first("OAUTHBEARER", "anna@a.example", &issued("boris@a.example", 600, SECRET));
    pair.differs(
        "S12",
        |server| exchange(server, "OAUTHBEARER", &message),
        r#"{"status":"invalid_token"} FAIL|1|user=anna@a.example"#,
        r#"{"status":"invalid_token"} FAIL|1|user=anna@a.example|code=authz_fail"#,
    );
}

#[test]
fn messages_that_are_none() {
    let pair = pair();
    for message in ["nonsense", "n,,", "n,,\x01auth=Basic x\x01\x01", "n,,\x01auth=Bearer \x01\x01"] {
        pair.same(message, |server| exchange(server, "OAUTHBEARER", message), "FAIL|1");
    }
    for message in ["nonsense", "auth=Bearer x\x01\x01"] {
        pair.same(message, |server| exchange(server, "XOAUTH2", message), "FAIL|1");
    }
    pair.same("no token", |server| exchange(server, "XOAUTH2", "user=anna\x01\x01"), "FAIL|1|user=anna");
}
