//! Quota: when it is full, what is said, and rules for single folders.

use std::fs;

use crate::subject::{Agent, Conf};

/// L1: dovecot-lda without -e sends a bounce and is content.
#[test]
fn quota() {
    let of_4096 = |number: usize| {
        let head = format!("Message-ID: <{number}@a.example>\n\n");
        [head.clone().into_bytes(), vec![b'x'; 4095 - head.len()], b"\n".to_vec()].concat()
    };
    let quota = Conf { quota: true, ..Conf::default() };
    for (conf, arguments, theirs, ours) in [
        (quota, &["-d", "joe", "-e"][..], 77, 77),
        (quota, &["-d", "joe"], 0, 77), // L1
        (Conf { tempfail: true, ..quota }, &["-d", "joe"], 75, 75),
    ] {
        let seen = Agent::both(conf).map(|agent| {
            let codes: Vec<_> =
                (0..6).map(|number| agent.run(arguments, &of_4096(number)).code.unwrap()).collect();
            assert!(
                agent.log().contains("save failed to INBOX: Quota exceeded (mailbox for user is full)"),
                "{}",
                agent.log()
            );
            let size = fs::read_to_string(agent.root().join("maildirsize")).unwrap();
            (codes, size.lines().next().unwrap_or_default().to_owned())
        });
        assert_eq!(seen[0], (vec![0, 0, 0, 0, 0, theirs], "20480S".to_owned()));
        assert_eq!(seen[1], (vec![0, 0, 0, 0, 0, ours], "20480S".to_owned()));
    }
}

/// Rules for single folders, and those that are not counted; a count of messages as well.
#[test]
fn quota_rules_of_folders() {
    let mut wrong = Vec::new();
    let of = |number: usize, size: usize| {
        let head = format!("Message-ID: <{number}@a.example>\n\n");
        [head.clone().into_bytes(), vec![b'x'; size - 1 - head.len()], b"\n".to_vec()].concat()
    };
    for (rules, deliveries) in [
        (
            &["*:bytes=3000", "Trash:bytes=+1000", "Spam:ignore"][..],
            &[
                ("", 1000),
                ("", 1000),
                ("Spam", 5000),
                ("", 1001),
                ("", 900),
                ("Trash", 900),
                ("Trash", 900),
                ("Spam", 100),
            ][..],
        ),
        (
            &["*:messages=2", "Trash:messages=+1"],
            &[("", 100), ("", 100), ("", 100), ("Trash", 100), ("Trash", 100)],
        ),
        (
            &["*:bytes=1K:messages=3", "Sub:bytes=50%"],
            &[("", 400), ("Sub", 300), ("Sub", 200), ("", 400), ("", 100)],
        ),
        (&["*:storage=1"], &[("", 1024), ("", 100)]),
        (&["*:bytes=1000", "*:bytes=2000"], &[("", 900), ("", 900), ("", 900)]),
        (
            &["*:bytes=1000", "Sub:bytes=200"],
            &[("", 100), ("Sub", 150), ("Sub", 150), ("Sub", 500), ("Sub", 250)],
        ),
        (
            &["*:bytes=1000", "Sub:bytes=50%"],
            &[("", 400), ("Sub", 300), ("Sub", 200), ("Sub", 400), ("Sub", 250)],
        ),
        (
            &["*:bytes=1000:messages=4", "Sub:messages=50%"],
            &[("", 60), ("Sub", 60), ("Sub", 60), ("Sub", 60), ("Sub", 60), ("Sub", 60), ("Sub", 60)],
        ),
        (
            &["*:bytes=1000", "Sub:bytes=-50%"],
            &[("", 100), ("Sub", 300), ("Sub", 200), ("Sub", 400), ("Sub", 250)],
        ),
        (
            &["*:bytes=1000", "Sub:bytes=-200"],
            &[("", 100), ("Sub", 300), ("Sub", 200), ("Sub", 400), ("Sub", 250)],
        ),
        (
            &["*:bytes=1000", "S*:bytes=+500", "Sub:bytes=+100"],
            &[("", 900), ("Sub", 150), ("Sub", 100), ("Sub", 400)],
        ),
        (
            &["*:bytes=1000", "Sub:messages=1"],
            &[("", 100), ("Sub", 150), ("Sub", 100), ("Sub", 400), ("Sub", 400)],
        ),
    ] {
        let seen = Agent::both(Conf { autocreate: true, ..Conf::default() }).map(|agent| {
            let name = |number: usize| if number == 0 { String::new() } else { (number + 1).to_string() };
            let lines: String =
                rules.iter().enumerate().map(|(place, rule)| format!(" quota_rule{} = {}\n", name(place), rule.replace('%', "%%"))).collect();
            agent.add(
                &format!("mail_plugins = quota\nplugin {{\n quota = maildir:User quota\n quota_grace = 0\n{lines}}}"),
                &format!("[quota]\nquota_grace = \"0\"\nquota_rule = {rules:?}"),
            );
            let codes: Vec<_> = deliveries
                .iter()
                .enumerate()
                .map(|(number, (folder, size))| {
                    agent.run(&["-d", "joe", "-e", "-m", folder], &of(number, *size)).code.unwrap()
                })
                .collect();
            let text = fs::read_to_string(agent.root().join("maildirsize")).unwrap_or_default();
            let mut lines = text.lines();
            let limits = lines.next().unwrap_or_default().to_owned();
            let sum = |part: usize| -> i64 {
                text.lines().skip(1).filter_map(|line| line.split(' ').nth(part)?.parse::<i64>().ok()).sum()
            };
            (codes, limits, sum(0), sum(1))
        });
        if seen[0] != seen[1] {
            wrong.push(format!("{rules:?} {deliveries:?}\n{:?}\n{:?}", seen[0], seen[1]));
        }
    }
    assert!(wrong.is_empty(), "dovecot-lda, ours:\n{}", wrong.join("\n"));
}
