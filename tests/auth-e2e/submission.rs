//! A real Postfix submission service: every mechanism, right and wrong, many at once, and the service restarted.

use std::thread;

use harness::milter::Subject;
use harness::sasl::{Sasl, token};
use harness::smtp_client::SmtpClient;

use crate::site::{PASSWORD, Site, users};

#[test]
fn swaks_logs_in() {
    let site = Site::start(&users());
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        site.swaks(mechanism, "plain", PASSWORD).assert("235 2.7.0");
        site.swaks(mechanism, "plain", "wrong").assert("535 5.7.8");
        site.swaks(mechanism, "nosuch", PASSWORD).assert("535 5.7.8");
    }
    for mechanism in ["PLAIN", "LOGIN"] {
        site.swaks(mechanism, "sha512", PASSWORD).assert("235 2.7.0");
        site.swaks(mechanism, "scram", PASSWORD).assert("235 2.7.0");
    }
    site.swaks("CRAM-MD5", "sha512", PASSWORD).assert("535 5.7.8");
    let offered = site.swaks("PLAIN", "plain", PASSWORD).transcript();
    assert!(offered.contains("AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256"), "{offered}");
    let line = site.postfix.wait_log("SASL PLAIN authentication failed");
    assert!(line.contains("sasl_username=plain"), "{line}");
}

#[test]
fn scram_over_starttls() {
    let site = Site::start(&users());
    for (mechanism, user) in
        [("SCRAM-SHA-256", "scram"), ("SCRAM-SHA-256", "plain"), ("SCRAM-SHA-1", "plain")]
    {
        let sasl = Sasl::new(mechanism, user, PASSWORD);
        site.postfix.submit_tls().auth(&sasl).expect(235);
        site.postfix.submit_tls().auth(&sasl.without_initial()).expect(235);
        site.postfix.submit_tls().auth(&Sasl::new(mechanism, user, "wrong")).expect(535);
        site.postfix.submit_tls().auth(&Sasl::new(mechanism, "nosuch", PASSWORD)).expect(535);
    }
    site.postfix.submit_tls().auth(&Sasl::new("SCRAM-SHA-256", "sha512", PASSWORD)).expect(535);
}

#[test]
fn a_login_lets_a_user_send() {
    let site = Site::start(&users());
    let mut client = site.postfix.submit_tls();
    client.mail("plain@a.example", "").expect(250);
    client.rcpt("anna@a.example").expect(554);
    client.rset().expect(250);
    client.auth(&Sasl::new("PLAIN", "PLAIN", PASSWORD)).expect(235);
    client.send("plain@a.example", &["anna@a.example"], b"Subject: hello\r\n\r\nHello!\r\n").expect(250);
    assert_eq!(site.postfix.maildir("anna@a.example").wait(1).len(), 1);
    let line = site.postfix.wait_log("sasl_username=");
    assert!(line.contains("sasl_method=PLAIN, sasl_username=plain"), "{line}");
}

#[test]
fn an_exchange_that_the_client_aborts() {
    let site = Site::start(&users());
    let mut client = site.postfix.submit_tls();
    for start in ["AUTH LOGIN", "AUTH PLAIN", "AUTH CRAM-MD5", "AUTH SCRAM-SHA-256"] {
        client.command(start).expect(334);
        client.command("*").expect(501);
    }
    client.command("AUTH LOGIN").expect(334);
    client.command("cGxhaW4=").expect(334);
    client.command("*").expect(501);
    client.auth(&Sasl::new("SCRAM-SHA-256", "plain", PASSWORD)).expect(235);
}

#[test]
fn a_hundred_logins_at_once() {
    let site = Site::start(&users());
    let port = site.postfix.submission_port();
    let logins: Vec<_> = (0..100)
        .map(|number| {
            thread::spawn(move || {
                // Of the same wrong attempts only a few may wait at a time, the others are told to come again.
                let (user, password, codes) = match number % 5 {
                    0 => ("plain", "wrong", &[535, 454][..]),
                    1 => ("sha512", PASSWORD, &[235][..]),
                    2 => ("nosuch", PASSWORD, &[535, 454][..]),
                    _ => ("plain", PASSWORD, &[235][..]),
                };
                let mechanism = if number % 2 == 0 { "PLAIN" } else { "LOGIN" };
                let reply = SmtpClient::connect(port).auth(&Sasl::new(mechanism, user, password));
                codes.contains(&reply.code).then_some(()).ok_or((number, reply))
            })
        })
        .collect();
    let wrong: Vec<_> = logins.into_iter().filter_map(|login| login.join().unwrap().err()).collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{}", site.postfix.log());
}

#[test]
fn the_service_is_killed_and_started_again() {
    let mut site = Site::start(&users());
    let good = Sasl::new("PLAIN", "plain", PASSWORD);
    // Each of these keeps an smtpd process, with its connection to the service, alive.
    let mut clients: Vec<SmtpClient> = (0..5).map(|_| site.postfix.submit_tls()).collect();
    for client in &mut clients {
        client.auth(&Sasl::new("PLAIN", "plain", "wrong")).expect(535);
    }
    clients[4].command("AUTH LOGIN").expect(334);
    for by_signal in [true, false] {
        if by_signal {
            site.auth.kill();
        } else {
            site.auth.stop();
        }
        site.auth.start_again();
        if by_signal {
            // In the middle of an exchange the connection is lost, and the client is told to come again.
            clients[4].command("cGxhaW4=").expect(454);
            clients[4].auth(&good).expect(235);
            clients.pop();
        }
        for client in &mut clients {
            client.command("NOOP").expect(250);
            client.auth(&Sasl::new("PLAIN", "plain", "wrong")).expect(535);
        }
        site.postfix.submit_tls().auth(&good).expect(235);
    }
    for client in &mut clients {
        client.auth(&good).expect(235);
    }
    let log = site.postfix.log();
    for bad in ["fatal:", "panic:", "throttling", "killed by signal"] {
        assert!(!log.contains(bad), "{bad} in the log:\n{log}");
    }
}

#[test]
fn tokens_over_starttls() {
    const SECRET: &str = "a secret of the tests, which is long enough";
    if Subject::from_env().lacks("the same setting for tokens") {
        return;
    }
    let conf = users()
        .mechanisms("PLAIN OAUTHBEARER XOAUTH2")
        .file("tokens.key", SECRET)
        .block("", "[oauth2]\nkeys = [\"{dir}/tokens.key\"]\nissuers = [\"https://a.example\"]");
    let site = Site::start(&conf);
    let issued = |user: &str, issuer: &str, secret: &str| {
        let claims = format!(r#"{{"iss":"{issuer}","sub":"1","email":"{user}","exp":4102444800}}"#);
        token(&claims, secret.as_bytes())
    };
    let good = issued("plain", "https://a.example", SECRET);
    for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
        site.postfix.submit_tls().auth(&Sasl::new(mechanism, "plain", &good)).expect(235);
        for bad in [
            issued("plain", "https://b.example", SECRET),
            issued("plain", "https://a.example", "another secret, which is long enough"),
            issued("scram", "https://a.example", SECRET),
            issued("nosuch", "https://a.example", SECRET),
        ] {
            site.postfix.submit_tls().auth(&Sasl::new(mechanism, "plain", &bad)).expect(535);
        }
        // A good token of somebody whom no database knows.
        let stranger = issued("nosuch", "https://a.example", SECRET);
        site.postfix.submit_tls().auth(&Sasl::new(mechanism, "nosuch", &stranger)).expect(535);
    }
    let log = site.auth.log();
    assert!(!log.contains(&good), "a token in the log:\n{log}");
}
