//! A real Postfix with us attached at RCPT, DATA and END-OF-MESSAGE: exactly what is allowed leaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::policyd::Policyd;
use harness::postfix::Postfix;
use harness::scratch::Scratch;

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nHello!\r\n";
const SENDER: &str = "anna@c.example";
/// What the limit allows.
const ALLOWED: usize = 60;

/// Where main.cf asks us.
#[derive(Debug, Clone, Copy)]
struct Attached {
    rcpt: bool,
    data: bool,
    end: bool,
}

const EVERYWHERE: [Attached; 5] = [
    Attached { rcpt: true, data: false, end: false },
    Attached { rcpt: false, data: true, end: false },
    Attached { rcpt: false, data: false, end: true },
    Attached { rcpt: true, data: true, end: false },
    Attached { rcpt: true, data: true, end: true },
];

/// Fields end in this order.
struct Site {
    postfix: Postfix,
    policyd: Policyd,
    _scratch: Scratch,
}

impl Site {
    fn start(attached: Attached, endpoint: impl Fn(&str) -> String) -> Self {
        let scratch = Scratch::new("policye2e");
        let text = format!(
            "listen = [\"unix:{{dir}}/policy\"]\n[store]\npath = \"{{dir}}/state\"\n\
             [[limit]]\nname = \"sender\"\nkey = [\"sender\"]\ncount = \"recipients\"\nrate = [\"{ALLOWED}/hour\", \"500/day\"]\n"
        );
        let policyd = Policyd::start(&scratch, "policyd", &text);
        let service = format!("check_policy_service {}", endpoint(&policyd.endpoint()));
        let mut builder = Postfix::build(&scratch, "mx", "mx.a.example")
            .main("default_process_limit = 120")
            .main("smtpd_hard_error_limit = 1000")
            .main("smtpd_junk_command_limit = 1000")
            .main("unknown_virtual_mailbox_reject_code = 550")
            .main("smtpd_reject_unlisted_recipient = no");
        for number in 0..5 {
            builder = builder.mailbox(&format!("b{number}@a.example"));
        }
        // Unknown recipients are refused after we were asked.
        let rcpt = if attached.rcpt {
            format!("{service}, reject_unlisted_recipient")
        } else {
            "reject_unlisted_recipient".into()
        };
        builder = builder.main(&format!("smtpd_recipient_restrictions = {rcpt}"));
        if attached.data {
            builder = builder.main(&format!("smtpd_data_restrictions = {service}"));
        }
        if attached.end {
            builder = builder.main(&format!("smtpd_end_of_data_restrictions = {service}"));
        }
        Self { postfix: builder.start(), policyd, _scratch: scratch }
    }

    fn plain(attached: Attached) -> Self {
        Self::start(attached, str::to_owned)
    }

    /// One message on a connection of its own; how many recipients left.
    fn send(&self, recipients: &[&str]) -> usize {
        let mut smtp = self.postfix.smtp();
        let sent = message(&mut smtp, recipients);
        smtp.quit();
        sent
    }
}

/// One message, to those recipients that are taken; how many of them left.
fn message(smtp: &mut harness::smtp_client::SmtpClient, recipients: &[&str]) -> usize {
    smtp.mail(SENDER, "").expect(250);
    let taken = recipients.iter().filter(|recipient| smtp.rcpt(recipient).code == 250).count();
    let left = taken > 0 && smtp.data(MESSAGE).code == 250;
    smtp.rset().expect(250);
    if left { taken } else { 0 }
}

const FIVE: [&str; 5] = ["b0@a.example", "b1@a.example", "b2@a.example", "b3@a.example", "b4@a.example"];

#[test]
fn over_one_connection() {
    for attached in EVERYWHERE {
        let site = Site::plain(attached);
        let mut smtp = site.postfix.smtp();
        let left: usize = (0..ALLOWED + 30).map(|_| message(&mut smtp, &FIVE[..1])).sum();
        assert_eq!(left, ALLOWED, "{attached:?}");
        let log = site.policyd.log();
        let line = log.lines().find(|line| line.contains("refused: limit=sender")).unwrap_or(&log);
        assert!(
            line.contains("key=anna@c.example used=60 limit_units=60 cost=1 action=DEFER_IF_PERMIT"),
            "{line}"
        );
    }
}

#[test]
fn over_fifty_at_once_with_several_recipients() {
    for attached in EVERYWHERE {
        let site = Site::plain(attached);
        let left = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let sent = site.send(&FIVE[..2]) + site.send(&FIVE[..1]);
                    left.fetch_add(sent, Ordering::Relaxed);
                });
            }
        });
        // What is left for single recipients at the end.
        let more: usize = (0..5).map(|_| site.send(&FIVE[..1])).sum();
        let left = left.load(Ordering::Relaxed) + more;
        assert_eq!(left, ALLOWED, "{attached:?}");
    }
}

/// At RCPT the recipients that still fit are taken, and later the message or nothing.
#[test]
fn a_message_whose_recipients_fit_in_part() {
    for attached in EVERYWHERE {
        let site = Site::plain(attached);
        let mut smtp = site.postfix.smtp();
        assert_eq!(message(&mut smtp, &FIVE[..2]), 2);
        let mut left: usize = (0..12).map(|_| message(&mut smtp, &FIVE)).sum();
        assert_eq!(left, if attached.rcpt { ALLOWED - 2 } else { ALLOWED - 5 }, "{attached:?}");
        left += (0..5).map(|_| message(&mut smtp, &FIVE[..1])).sum::<usize>();
        assert_eq!(left, ALLOWED - 2, "{attached:?}");
    }
}

/// Where RCPT is all that is asked it is final: what is reset or refused is used up, and no more leaves than is allowed.
#[test]
fn asked_at_rcpt_alone_what_is_reset_is_used_up() {
    let site = Site::plain(EVERYWHERE[0]);
    let mut smtp = site.postfix.smtp();
    for _ in 0..4 {
        smtp.mail(SENDER, "").expect(250);
        FIVE.iter().for_each(|recipient| assert_eq!(smtp.rcpt(recipient).code, 250));
        smtp.rset().expect(250);
    }
    for _ in 0..5 {
        assert_eq!(message(&mut smtp, &["x@a.example", "b0@a.example"]), 1);
    }
    let left: usize = (0..ALLOWED).map(|_| message(&mut smtp, &FIVE[..1])).sum();
    assert_eq!(left, ALLOWED - 20 - 10);
}

#[test]
fn what_is_reset_or_refused_uses_nothing_up() {
    for attached in &EVERYWHERE[1..] {
        let site = Site::plain(*attached);
        let mut smtp = site.postfix.smtp();
        // Known from the first message on: we are asked later than at RCPT.
        assert_eq!(message(&mut smtp, &FIVE[..1]), 1);
        for _ in 0..10 {
            smtp.mail(SENDER, "").expect(250);
            FIVE.iter().for_each(|recipient| assert_eq!(smtp.rcpt(recipient).code, 250));
            smtp.rset().expect(250);
        }
        for _ in 0..10 {
            // Two of three are unknown.
            assert_eq!(message(&mut smtp, &["x@a.example", "b0@a.example", "y@a.example"]), 1);
        }
        let left: usize = (0..ALLOWED).map(|_| message(&mut smtp, &FIVE[..1])).sum();
        assert_eq!(left, ALLOWED - 11, "{attached:?}");
    }
}

#[test]
fn the_same_service_in_two_lists_counts_once() {
    // With contexts of their own, each list has a connection of its own.
    let site = Site::start(EVERYWHERE[4], |endpoint| {
        format!(
            "{{ {endpoint}, policy_context=one }}, check_policy_service {{ {endpoint}, policy_context=two }}"
        )
    });
    let mut smtp = site.postfix.smtp();
    let left: usize = (0..ALLOWED / 2 + 10).map(|_| message(&mut smtp, &FIVE[..2])).sum();
    assert_eq!(left, ALLOWED);
}

#[test]
fn killed_and_restarted_in_the_middle() {
    for attached in [EVERYWHERE[0], EVERYWHERE[1], EVERYWHERE[4]] {
        let mut site = Site::plain(attached);
        let mut smtp = site.postfix.smtp();
        let mut left: usize = (0..20).map(|_| message(&mut smtp, &FIVE[..1])).sum();
        // A message under way: two recipients are named, then the service is killed once they are written down.
        smtp.mail(SENDER, "").expect(250);
        smtp.rcpt(FIVE[0]).expect(250);
        smtp.rcpt(FIVE[1]).expect(250);
        std::thread::sleep(Duration::from_millis(1200));
        site.policyd.kill();
        site.policyd.run();
        smtp.data(MESSAGE).expect(250);
        left += 2;
        // And an orderly restart.
        left += (0..10).map(|_| message(&mut smtp, &FIVE[..1])).sum::<usize>();
        assert!(site.policyd.stop().success());
        site.policyd.run();
        left += (0..ALLOWED).map(|_| message(&mut smtp, &FIVE[..1])).sum::<usize>();
        assert_eq!(left, ALLOWED, "{attached:?}");
    }
}

/// Ended and started again while fifty send: what is in hand is answered, and Postfix comes again.
#[test]
fn restarted_while_fifty_send() {
    for attached in [EVERYWHERE[0], EVERYWHERE[4]] {
        let mut site = Site::plain(attached);
        let (left, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let port = site.postfix.smtp_port();
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let mut smtp = harness::smtp_client::SmtpClient::connect(port);
                    for _ in 0..3 {
                        left.fetch_add(message(&mut smtp, &FIVE[..1]), Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    smtp.quit();
                    over.fetch_add(1, Ordering::Relaxed);
                });
            }
            for _ in 0..2 {
                std::thread::sleep(Duration::from_millis(150));
                assert!(site.policyd.stop().success());
                site.policyd.run();
            }
            assert!(over.load(Ordering::Relaxed) < 50, "it was over before");
        });
        let mut smtp = site.postfix.smtp();
        let rest: usize = (0..ALLOWED).map(|_| message(&mut smtp, &FIVE[..1])).sum();
        assert_eq!(left.into_inner() + rest, ALLOWED, "{attached:?}");
    }
}

#[test]
fn while_it_is_away_postfix_does_what_main_cf_says() {
    let mut site = Site::plain(EVERYWHERE[0]);
    site.policyd.stop();
    let mut smtp = site.postfix.smtp();
    smtp.mail(SENDER, "").expect(250);
    let reply = smtp.rcpt(FIVE[0]).expect(451);
    assert!(
        reply.text.contains("4.3.5") && reply.text.contains("Server configuration problem"),
        "{}",
        reply.text
    );
    smtp.rset().expect(250);
    site.policyd.run();
    assert_eq!(message(&mut smtp, &FIVE[..1]), 1);
    smtp.quit();

    let mut open = Site::start(EVERYWHERE[0], |endpoint| format!("{{ {endpoint}, default_action=DUNNO }}"));
    open.policyd.stop();
    assert_eq!(open.send(&FIVE[..1]), 1);
    open.policyd.run();
}
