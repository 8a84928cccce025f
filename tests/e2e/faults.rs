//! No mail is lost or left unsigned when a milter is killed, ended or given a broken configuration.

use std::time::Duration;

use harness::keys::RSA;
use harness::milter::{Conf, SigningKey, Subject};
use harness::wait::{wait_for, wait_up_to};
use nix::sys::signal::Signal;

use crate::site::{A, ANNA, BOB, Plan, Site, message, signature};
use harness::message::tag;

#[test]
fn a_killed_milter_loses_no_mail() {
    let mut site = Plan::default().start();
    site.assert_pass(&site.send(&message("before", "Hello!\n")), 1);

    // Killed between messages: the client is told to come again.
    site.signer.kill();
    let text = message("refused, then sent", "Hello!\n").to_bytes();
    let reply = site.a.submit().send(ANNA, &[BOB], &text);
    assert_eq!(reply.code, 451, "{}", reply.text);
    site.signer.start_again();
    site.a.submit().send(ANNA, &[BOB], &text).expect(250);

    // Killed with a message in hand: the same.
    let mut client = site.a.submit();
    let text = message("cut off, then sent", "Hello!\n").to_bytes();
    client.mail(ANNA, "").expect(250);
    client.rcpt(BOB).expect(250);
    client.command("DATA").expect(354);
    client.content(&text).unwrap();
    site.signer.kill();
    let reply = client.finish();
    assert_eq!(reply.code, 451, "{}", reply.text);
    site.signer.start_again();
    site.a.submit().send(ANNA, &[BOB], &text).expect(250);

    // Mail that waits in A because B cannot verify arrives when B can.
    site.verifier.kill();
    site.a.submit().send(ANNA, &[BOB], &message("deferred", "Hello!\n").to_bytes()).expect(250);
    site.a.wait_log("status=deferred");
    site.verifier.start_again();
    site.a.flush();

    let delivered = site.b.maildir(BOB).wait(4);
    for mail in &delivered {
        site.assert_pass(mail, 1);
    }
    site.a.wait_queue_empty();
}

#[test]
fn sigterm_finishes_the_message_in_hand() {
    if Subject::from_env().lacks("finishing the message in hand after SIGTERM") {
        return;
    }
    let mut site = Plan::default().start();
    let mut client = site.a.submit();
    client.mail(ANNA, "").expect(250);
    client.rcpt(BOB).expect(250);
    client.command("DATA").expect(354);
    client.content(&message("in hand", "Hello!\n").to_bytes()).unwrap();
    site.signer.signal(Signal::SIGTERM);
    // It has stopped listening, and works on.
    assert_eq!(wait_up_to(Duration::from_millis(500), || (!site.signer.is_running()).then_some(())), None);
    client.finish().expect(250);
    client.quit();
    assert!(site.signer.wait_for_end().success());
    site.assert_pass(&site.b.maildir(BOB).wait_one(), 1);
}

#[test]
fn sigterm_ends_an_idle_milter() {
    let mut site = Plan::default().start();
    site.assert_pass(&site.send(&message("before", "Hello!\n")), 1);
    site.signer.stop();
    site.verifier.stop();
}

#[test]
fn a_reload_takes_effect_without_losing_connections() {
    let site = Plan::default().start();
    let mut client = site.a.submit();
    client.send(ANNA, &[BOB], &message("old", "Hello!\n").to_bytes()).expect(250);
    site.assert_pass(&site.b.maildir(BOB).wait_one(), 1);
    let key = SigningKey { key: RSA, domain: A, selector: "fresh" };
    site.dns.change(|zone| RSA.publish(zone, "fresh", A));
    site.signer.configure(&Conf::signing(&site.scratch, "signer", &[key]));
    site.signer.reload();
    // A connection that was open all the time still works, with either configuration.
    client.send(ANNA, &[BOB], &message("open", "Hello!\n").to_bytes()).expect(250);
    client.quit();
    let _ = site.b.maildir(BOB).wait(2);
    let fresh = wait_for("a signature with the new selector", || {
        let delivered = site.send(&message("new", "Hello!\n"));
        (tag(&signature(&delivered.message), "s") == "fresh").then_some(delivered)
    });
    site.assert_pass(&fresh, 1);
}

#[test]
fn a_broken_configuration_leaves_the_old_one_working() {
    let mut site = Plan::default().start();
    let before = site.signer.log().len();
    site.signer.configure(&Conf::new().set("Mode", "s").line("NoSuchParameter yes"));
    site.signer.reload();
    let complaint = |site: &Site| {
        let log = site.signer.log();
        log[before..].lines().find(|line| line.contains("signer.conf")).map(str::to_owned)
    };
    // Ours complains at once, OpenDKIM with the next connection.
    let at_once = wait_up_to(Duration::from_secs(2), || complaint(&site));
    assert!(at_once.is_some() || site.subject == Subject::Reference, "{}", site.signer.log());
    let delivered = site.send(&message("still", "Hello!\n"));
    site.assert_pass(&delivered, 1);
    wait_for("a complaint", || complaint(&site));
    assert!(site.signer.is_running());
}
