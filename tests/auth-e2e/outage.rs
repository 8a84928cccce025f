//! Users in PostgreSQL, MariaDB and LDAP: right, wrong, unknown; the server stopped, and back.

use std::time::{Duration, Instant};

use harness::auth::AuthConf;
use harness::mariadb::MariaDb;
use harness::milter::Subject;
use harness::postgres::Postgres;
use harness::sasl::{Sasl, token};
use harness::scratch::Scratch;
use harness::slapd::Slapd;
use harness::wait::wait_for;

use crate::site::{PASSWORD, Site};

const TABLE: &str = "CREATE TABLE users (name varchar(80), password varchar(200));
    INSERT INTO users VALUES ('anna', '{PLAIN}correct horse');";

const ENTRIES: &str = "dn: dc=mail,dc=example
objectClass: dcObject
objectClass: organization
dc: mail
o: Mail

dn: uid=anna,dc=mail,dc=example
objectClass: inetOrgPerson
uid: anna
cn: Anna
sn: A
userPassword: correct horse

";

/// A site whose users are in the database that `passdb` describes.
fn site(passdb: &str) -> Option<Site> {
    if Subject::from_env().lacks("the databases that this Dovecot was not built with") {
        return None;
    }
    let conf = AuthConf::new().without_users().block("", &format!("[[passdb]]\n{passdb}"));
    Some(Site::start(&conf))
}

fn sql(url: &str) -> String {
    format!("driver = \"sql\"\nurl = {url:?}\nquery = \"SELECT password FROM users WHERE name = '%u'\"")
}

/// The whole story, with `server` stopped and started in it.
fn story<T>(site: &Site, server: &mut T, stop: fn(&mut T), start: fn(&mut T)) {
    let good = || Sasl::new("PLAIN", "anna", PASSWORD);
    let serves = || {
        site.postfix.submit().auth(&good()).expect(235);
        site.postfix.submit().auth(&Sasl::new("LOGIN", "anna", "wrong")).expect(535);
        site.postfix.submit().auth(&Sasl::new("PLAIN", "nosuch", PASSWORD)).expect(535);
        site.postfix.submit().auth(&Sasl::new("PLAIN", "anna' OR '1'='1", PASSWORD)).expect(535);
        site.postfix.submit().auth(&Sasl::new("PLAIN", "*", PASSWORD)).expect(535);
    };
    serves();
    for _ in 0..2 {
        stop(server);
        // Try again later, never: the password is wrong.
        for sasl in [good(), Sasl::new("PLAIN", "anna", "wrong"), Sasl::new("LOGIN", "nosuch", PASSWORD)] {
            let began = Instant::now();
            site.postfix.submit().auth(&sasl).expect(454);
            assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        }
        start(server);
        wait_for("the database to be used again", || {
            (site.postfix.submit().auth(&good()).code == 235).then_some(())
        });
        serves();
    }
    let log = site.auth.log();
    assert!(!log.contains(PASSWORD) && !log.contains("wo%23rd"), "a password in the log:\n{log}");
}

#[test]
fn postgresql() {
    let scratch = Scratch::new("outage-pg");
    let mut server = Postgres::start(&scratch);
    server.execute(&format!("{TABLE} GRANT SELECT ON users TO reader"));
    let Some(site) = site(&sql(&server.url("reader"))) else { return };
    story(&site, &mut server, Postgres::stop, Postgres::start_again);
}

#[test]
fn mariadb() {
    let scratch = Scratch::new("outage-my");
    let mut server = MariaDb::start(&scratch);
    server.execute(TABLE);
    let Some(site) = site(&sql(&server.url("reader"))) else { return };
    story(&site, &mut server, MariaDb::stop, MariaDb::start_again);
}

#[test]
fn ldap() {
    let scratch = Scratch::new("outage-ldap");
    let mut server = Slapd::start(&scratch);
    server.add(ENTRIES);
    let common = format!("driver = \"ldap\"\nuris = [{:?}]\nbase = {:?}\n", server.uri(), Slapd::SUFFIX);
    let by = format!("bind_dn = {:?}\nbind_password = {:?}\n", Slapd::ROOT_DN, Slapd::ROOT_PASSWORD);
    for how in ["auth_bind = true", "attributes = { password = \"userPassword\" }"] {
        let Some(site) = site(&format!("{common}{by}filter = \"(uid=%u)\"\n{how}")) else { return };
        story(&site, &mut server, Slapd::stop, Slapd::start_again);
    }
    let by_name = "auth_bind = true\nauth_bind_dn = \"uid=%u,dc=mail,dc=example\"";
    let Some(site) = site(&format!("{common}{by_name}")) else { return };
    story(&site, &mut server, Slapd::stop, Slapd::start_again);
}

/// Postfix leaves a request open when its client says `*`; that must not turn "later" into "never" for
/// those who come after.
#[test]
fn an_aborted_login_before_an_outage() {
    if Subject::from_env().lacks("454 instead of 535") {
        return;
    }
    let mechanisms = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"];
    let conf = AuthConf::new().mechanisms(&mechanisms.join(" ")).user("anna", "{PLAIN}correct horse");
    let site = Site::start(&conf);
    let mut client = site.postfix.submit();
    client.command("AUTH LOGIN").expect(334);
    client.command("*").expect(501);
    std::fs::remove_file(site.auth.folder().join("users")).unwrap();
    client.auth(&Sasl::new("PLAIN", "anna", PASSWORD)).expect(454);
    for mechanism in mechanisms {
        for (user, password) in [("anna", PASSWORD), ("anna", "wrong"), ("nosuch", PASSWORD)] {
            site.postfix.submit().auth(&Sasl::new(mechanism, user, password)).expect(454);
        }
    }
}

/// The log tells of an issuer that is away before anybody comes with a token, who is then told to come again.
#[test]
fn an_issuer_that_is_away() {
    if Subject::from_env().lacks("454 instead of 535") {
        return;
    }
    let conf =
        AuthConf::new().mechanisms("PLAIN OAUTHBEARER XOAUTH2").user("anna", "{PLAIN}correct horse").block(
            "",
            "[oauth2]\njwks = \"http://127.0.0.1:1/keys\"\nintrospection_url = \"http://127.0.0.1:1/ask\"",
        );
    let site = Site::start(&conf);
    site.auth.wait_log("tokens cannot be checked until it is back");
    let claims = r#"{"sub":"1","email":"anna","exp":4102444800}"#;
    let signed = token(claims, b"a secret of the tests, which is long enough");
    for (mechanism, token) in [("OAUTHBEARER", signed.as_str()), ("XOAUTH2", &signed), ("XOAUTH2", "opaque")]
    {
        site.postfix.submit_tls().auth(&Sasl::new(mechanism, "anna", token)).expect(454);
    }
    site.postfix.submit_tls().auth(&Sasl::new("PLAIN", "anna", PASSWORD)).expect(235);
}
