//! What B says of mail that is not in order, and what it takes out.

use harness::dns::Fault;
use harness::keys::{OTHER_RSA, RSA};
use harness::milter::Subject;

use crate::site::{A, ANNA, B_HOST, BOB, Plan, message, results};

#[test]
fn an_altered_body_fails() {
    let site = Plan { a: |host| host.main(ALTER), ..Plan::default() }.start();
    let delivered = site.send(&message("altered", "one colour\n"));
    assert_eq!(delivered.message.body_bytes(), b"one color\r\n");
    let results = results(&delivered.message);
    assert!(results.contains("dkim=fail"), "{results}");
    assert!(!results.contains("dkim=pass"), "{results}");
    // Not altered, it passes: the change is what B has noticed.
    let intact = site.send(&message("intact", "no color\n"));
    site.assert_pass(&intact, 1);
}

#[test]
fn an_altered_subject_fails() {
    let site = Plan::default().start();
    let signed = site.send(&message("true", "Hello!\n"));
    site.assert_pass(&signed, 1);
    // What has arrived, without B's own fields, comes to B once more with another subject.
    let forged =
        signed.message.without("Authentication-Results").without("Subject").field("Subject", "false");
    site.b.smtp().send(ANNA, &[BOB], &forged.to_bytes()).expect(250);
    let delivered = site.b.maildir(BOB).wait(2);
    let forged = delivered.iter().find(|mail| mail.message.first("Subject") == "false").unwrap();
    let results = results(&forged.message);
    assert!(results.contains("dkim=fail"), "{results}");
    assert!(!results.contains("dkim=pass"), "{results}");
}

#[test]
fn a_key_that_does_not_fit_fails() {
    let site = Plan::default().start();
    let name = format!("{}._domainkey.{A}", RSA.name);
    site.dns.change(|zone| zone.without(&name).txt(&name, OTHER_RSA.record()));
    let results = results(&site.send(&message("wrong key", "Hello!\n")).message);
    assert!(results.contains("dkim=fail"), "{results}");
    assert!(!results.contains("dkim=pass"), "{results}");
}

#[test]
fn a_key_that_is_gone() {
    let site = Plan::default().start();
    let name = format!("{}._domainkey.{A}", RSA.name);
    site.dns.change(|zone| zone.without(&name));
    let results = results(&site.send(&message("gone", "Hello!\n")).message);
    // RFC 6376 §3.9 and RFC 8601 §2.7.1 make this a permanent error; OpenDKIM calls it a failure.
    let expected = match site.subject {
        Subject::Ours => "dkim=permerror",
        Subject::Reference => "dkim=fail",
    };
    assert!(results.contains(expected), "{results}");
    assert!(!results.contains("dkim=pass"), "{results}");
    assert!(site.dns.count(&name) > 0);
}

#[test]
fn a_silent_dns_server() {
    silent(Fault::Silent);
}

#[test]
fn a_failing_dns_server() {
    silent(Fault::ServFail);
}

/// No key because of the DNS: the mail arrives and passes nowhere.
fn silent(fault: Fault) {
    let site = Plan { verify: |conf| conf.set("DNSTimeout", "2"), ..Plan::default() }.start();
    let name = format!("{}._domainkey.{A}", RSA.name);
    site.dns.change(|zone| zone.fault(&name, fault));
    let results = results(&site.send(&message("no answer", "Hello!\n")).message);
    assert!(!results.contains("dkim=pass"), "{results}");
    if site.subject == Subject::Ours {
        assert!(results.contains("dkim=temperror"), "{results}");
    }
    assert!(site.dns.count(&name) > 0);
}

#[test]
fn a_key_in_many_strings() {
    let site = Plan::default().start();
    let name = format!("{}._domainkey.{A}", RSA.name);
    let strings: Vec<&[u8]> = RSA.record().as_bytes().chunks(40).collect();
    site.dns.change(|zone| zone.without(&name).txt_strings(&name, &strings));
    let delivered = site.send(&message("split key", "Hello!\n"));
    site.assert_pass(&delivered, 1);
}

#[test]
fn a_key_too_long_for_udp() {
    let site = Plan::default().start();
    let name = format!("{}._domainkey.{A}", RSA.name);
    let record = format!("{}; n={}", RSA.record(), "note".repeat(1200));
    site.dns.change(|zone| zone.without(&name).txt(&name, &record));
    let delivered = site.send(&message("long key", "Hello!\n"));
    assert!(site.dns.tcp_count() > 0);
    site.assert_pass(&delivered, 1);
}

#[test]
fn forged_results_are_removed() {
    let site = Plan::default().start();
    let forged = format!("{B_HOST}; dkim=pass header.d=bank.example");
    let elsewhere = "mx.elsewhere.example; spf=pass smtp.mailfrom=c.example";
    let message = message("forged", "Hello!\n")
        .field("Authentication-Results", &forged)
        .field("Authentication-Results", elsewhere)
        .field("authentication-results", &format!("{} ; dkim=pass", B_HOST.to_uppercase()));
    // Straight to B, as a stranger would do it, and unsigned.
    site.b.smtp().send("mallory@c.example", &[BOB], &message.to_bytes()).expect(250);
    let delivered = site.b.maildir(BOB).wait_one().message;
    let fields = delivered.all("Authentication-Results");
    assert!(fields.iter().any(|value| value == elsewhere), "{fields:?}");
    let text = fields.join("\n").to_lowercase();
    assert!(!text.contains("dkim=pass"), "{fields:?}");
    assert!(results(&delivered).contains("dkim=none"), "{fields:?}");
}

/// A changes the body on its way out, after signing.
const ALTER: &str = "smtp_body_checks = regexp:{{/^one colour/ REPLACE one color}}";
