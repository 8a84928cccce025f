//! Vacation answers, notifications, rejections, duplicates.

use std::thread;

use crate::lab::{Lab, message};

const AWAY: &str = "require \"vacation\"; vacation :days 3 \"I am away\";";

#[test]
fn a_sender_is_answered_once() {
    let lab = Lab::new("vacation", "");
    lab.script(AWAY);
    for (sender, number, answers) in [
        ("anna@a.example", 1, 1),
        ("ANNA@a.example", 2, 1),
        ("bert@a.example", 3, 2),
        ("", 4, 2),
        ("joe@b.example", 5, 2),
    ] {
        let (code, said) = lab.deliver(sender, &message(number, ""));
        assert_eq!((code, lab.sent().len()), (0, answers), "{sender}: {said}");
    }
    let (code, said) = lab.deliver("carl@a.example", &message(6, "List-Id: <x.a.example>\n"));
    assert_eq!((code, lab.sent().len()), (0, 2), "{said}");
    assert_eq!(lab.messages("").len(), 6, "all are kept");
    let sent = lab.sent();
    assert_eq!(sent[0].arguments, ["-i", "-f", "<>", "--", "anna@a.example"]);
    for line in [
        "From: <joe@b.example>\n",
        "Subject: Auto: number 1\n",
        "In-Reply-To: <1@a.example>\n",
        "Auto-Submitted: auto-replied (vacation)\n",
        "\n\nI am away\n",
    ] {
        assert!(sent[0].message.contains(line), "{line:?} in {}", sent[0].message);
    }
}

#[test]
fn a_new_reason_is_a_new_answer() {
    let lab = Lab::new("reason", "");
    lab.script(AWAY);
    lab.deliver("anna@a.example", &message(1, ""));
    lab.script("require [\"vacation\",\"variables\"]; if header :matches \"subject\" \"*\" { vacation \"about ${1}\"; }");
    for number in 2..5 {
        lab.deliver("anna@a.example", &message(number, ""));
    }
    let sent = lab.sent();
    assert_eq!(sent.len(), 2, "what variables hold makes no new answer");
    assert!(sent[1].message.contains("about number 2"));
}

#[test]
fn deliveries_at_once_answer_once() {
    let lab = Lab::new("at-once", "");
    lab.script(AWAY);
    lab.sendmail("sleep 0.2\nexit 0");
    thread::scope(|scope| {
        for number in 1..9 {
            let lab = &lab;
            scope.spawn(move || {
                let (code, said) = lab.deliver("anna@a.example", &message(number, ""));
                assert_eq!(code, 0, "{said}");
            });
        }
    });
    assert_eq!(lab.sent().len(), 1);
    assert_eq!(lab.messages("").len(), 8);
}

#[test]
fn an_answer_that_fails_is_not_remembered_and_fails_nothing() {
    let lab = Lab::new("answer-fails", "");
    lab.script(AWAY);
    lab.sendmail("exit 75");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!((code, lab.messages("").len()), (0, 1), "{said}");
    lab.sendmail("exit 0");
    lab.deliver("anna@a.example", &message(2, ""));
    assert_eq!(lab.sent().len(), 1);
}

#[test]
fn notifications_go_out() {
    let lab = Lab::new("notify", "");
    lab.script(
        "require \"enotify\"; notify :importance \"1\" :message \"new: \u{fc}\" \"mailto:pager@b.example\";",
    );
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 0, "{said}");
    lab.deliver("anna@a.example", &message(2, "Auto-Submitted: auto-generated\n"));
    let sent = lab.sent();
    assert_eq!(sent.len(), 1, "machines are not told of machines");
    assert_eq!(sent[0].arguments.last().unwrap(), "pager@b.example");
    assert!(sent[0].message.contains("\nSubject: =?utf-8?Q?new=3A=20=C3=BC?=\n"), "{}", sent[0].message);
    assert!(sent[0].message.contains("Auto-Submitted: auto-notified"));
}

#[test]
fn rejections_are_left_to_the_server_in_front() {
    let lab = Lab::new("reject", "");
    lab.script("require \"reject\"; reject \"no thanks\";");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("no thanks"), "{said}");
    assert_eq!((lab.sent().len(), lab.messages("").len()), (0, 0));
}

#[test]
fn duplicates_are_remembered() {
    let lab = Lab::new("duplicate", "");
    lab.script(
        "require [\"duplicate\",\"fileinto\",\"mailbox\"]; if duplicate { fileinto :create \"Again\"; }",
    );
    for more in ["", "X: 1\n", "X: 2\n"] {
        let (code, said) = lab.deliver("anna@a.example", &message(1, more));
        assert_eq!(code, 0, "{said}");
    }
    lab.deliver("anna@a.example", &message(2, ""));
    assert_eq!((lab.messages("").len(), lab.messages("Again").len()), (2, 2));
    assert!(lab.home.join(".postrider.lda-dupes").exists());
    assert!(!lab.home.join(".dovecot.lda-dupes").exists());
}
