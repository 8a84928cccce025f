//! The cases. `L` and a number mark an intended difference.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::subject::{Agent, Conf, Observed};

const MESSAGE: &[u8] = b"Message-ID: <1@a.example>\nFrom: anna@a.example\nSubject: hello\n\nHello!\n";

/// Runs both with the same, and returns what they did: dovecot-lda's, ours.
fn both(conf: Conf, arguments: &[&str], message: &[u8]) -> [Observed; 2] {
    Agent::both(conf).map(|agent| {
        let observed = agent.run(arguments, message);
        println!("{arguments:?} {observed:?}\n{}", agent.log());
        observed
    })
}

#[track_caller]
fn same(conf: Conf, arguments: &[&str], message: &[u8]) -> Observed {
    let [theirs, ours] = both(conf, arguments, message);
    assert_eq!(theirs, ours, "dovecot-lda, ours: {arguments:?}");
    ours
}

#[test]
fn options_and_exit_codes() {
    let none = Conf::default();
    for (arguments, code) in [
        (&["-d", "joe"][..], 0),
        (&["-d", "joe", "-m", ""], 0),
        (&["-d", "joe", "-f", ""], 0),
        (&["-d", "joe", "-f", "broken address <"], 0),
        (&["-d", "joe", "-a", "x@a.example", "-r", "joe@a.example", "-e"], 0),
        (&["-d", "nosuch"], 67),
        (&["-d", "joe", "more"], 64),
        (&["-d", "joe", "-Z"], 64),
        (&[], 64),
        (&["-d", "joe", "-p", "/nonexistent"], 75),
    ] {
        assert_eq!(same(none, arguments, MESSAGE).code, Some(code), "{arguments:?}");
    }
}

#[test]
fn folders() {
    let create = Conf { autocreate: true, ..Conf::default() };
    let without = same(Conf::default(), &["-d", "joe", "-m", "Sub"], MESSAGE);
    assert_eq!(without.mail["INBOX"].len(), 1);
    let with = same(create, &["-d", "joe", "-m", "Sub"], MESSAGE);
    assert_eq!(with.mail[".Sub"].len(), 1);
    for name in ["A.B", "B\u{fc}cher & mehr", "inbox", "..", "A..B", "A.", ".A", "~x", "a/b"] {
        same(create, &["-d", "joe", "-m", name], MESSAGE);
    }
}

#[test]
fn contents() {
    for message in [
        &b""[..],
        b"\n",
        b"\nbody\n",
        b"Subject: x\n",
        b"Subject: x",
        b"From joe@a.example Thu Nov 26 09:53:13 2026\nSubject: x\n\nFrom here\n",
        b"Subject: x\r\n\r\nline\r\nbare \r here\r\n",
        b"no field at all\n\nx\n",
        b"A: b\n\n.\n..\n\xff\xfe\n",
        b"A: b\n\nx\r\r\ny",
        b"A: \0b\n\n\0x\n",
    ] {
        same(Conf::default(), &["-d", "joe"], message);
        same(Conf { crlf: true, ..Conf::default() }, &["-d", "joe"], message);
    }
}

#[test]
fn a_file_instead_of_standard_input() {
    let seen = Agent::both(Conf::default()).map(|agent| {
        let path = agent.file(MESSAGE);
        agent.run(&["-d", "joe", "-p", &path], b"")
    });
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].mail["INBOX"].len(), 1);
}

#[test]
fn names_and_modes() {
    let create = Conf { autocreate: true, ..Conf::default() };
    let [theirs, ours] = Agent::both(create).map(|agent| {
        fs::create_dir(agent.root()).unwrap();
        fs::set_permissions(agent.root(), fs::Permissions::from_mode(0o770)).unwrap();
        std::os::unix::fs::chown(agent.root(), Some(5000), Some(5000)).unwrap();
        agent.run(&["-d", "joe"], MESSAGE);
        agent.run(&["-d", "joe", "-m", "Sub"], b"A: b\n\nc\n");
        let modes = ["", "new", "cur", "tmp", ".Sub", ".Sub/new", ".Sub/maildirfolder", "subscriptions"]
            .map(|below| agent.mode(below));
        let subscriptions = fs::read_to_string(agent.root().join("subscriptions")).unwrap();
        (agent.patterns(), agent.message_modes(), modes, subscriptions)
    });
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    // dovecot-lda takes the host's own name, whatever hostname says: L8.
    assert_eq!(theirs.0, [format!("9.M9P9.{host},S=70,W=75")]);
    assert_eq!(ours.0, ["9.M9P9.host,S=70,W=75"]);
    assert_eq!((theirs.1, theirs.2, theirs.3), (ours.1, ours.2, ours.3));
}

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

/// With `lda_rejection = "bounce"` ours sends the report, as dovecot-lda does: the same fields and parts.
#[test]
fn bounces_when_asked_for() {
    let quota = Conf { quota: true, ..Conf::default() };
    let seen = Agent::both(quota).map(|agent| {
        let mut arguments = vec!["-d", "joe", "-f", "anna@b.example", "-a", "joe@a.example"];
        let sendmail = agent.sendmail();
        let sendmail = format!("sendmail_path={sendmail}");
        arguments.extend(["-o", &sendmail]);
        if agent.is_ours() {
            arguments.extend(["-o", "lda_rejection=bounce"]);
        }
        let large = [MESSAGE, &b"0123456789abcde\n".repeat(3000)].concat();
        let observed = agent.run(&arguments, &large);
        assert_eq!(observed.code, Some(0), "{}", agent.log());
        let (arguments, sent) = agent.sent();
        assert!(arguments.contains("anna@b.example"), "{arguments}");
        println!("{sent}");
        let wanted = [
            "To: <anna@b.example>",
            "Subject: Rejected: hello",
            "Your message to <joe@a.example> was automatically rejected:",
            "Quota exceeded (mailbox for user is full)",
            "Auto-Submitted: auto-replied (rejected)",
            "Final-Recipient: rfc822; joe@a.example",
            "report-type=delivery-status",
            "Reporting-MTA: dns; host",
            "Action: failed\nStatus: 5.2.2",
            "Message-ID: <1@a.example>",
            "From: anna@a.example",
        ];
        wanted.map(|part| (part, sent.contains(part)))
    });
    assert_eq!(seen[0], seen[1]);
    assert!(seen[1].iter().all(|(_, there)| *there), "{:?}", seen[1]);
}

/// L2: a message that is there already is not put there once more.
#[test]
fn the_same_message_again() {
    let message =
        b"Received: from a by b (Postfix) with ESMTP id 1E2405A0B3; Thu, 26 Nov 2026 09:53:13 +0000\n\nx\n";
    let [theirs, ours] = Agent::both(Conf::default()).map(|agent| {
        agent.run(&["-d", "joe"], message);
        agent.run(&["-d", "joe"], message)
    });
    assert_eq!((theirs.code, theirs.mail["INBOX"].len()), (Some(0), 2));
    assert_eq!((ours.code, ours.mail["INBOX"].len()), (Some(0), 1));
}

/// L3: the files of Dovecot's own are left to Dovecot. L4: a detail is taken off the name. L6: a mistake in -o is not a
/// reason to bounce mail, nor to go on. L10: a CR at the very end stays.
#[test]
fn what_differs() {
    let [theirs, ours] = Agent::both(Conf::default());
    for agent in [&theirs, &ours] {
        agent.run(&["-d", "joe"], MESSAGE);
        assert_eq!(agent.root().join("dovecot-uidlist").exists(), !agent.is_ours(), "L3");
        assert_eq!(agent.root().join("maildirfolder").exists(), !agent.is_ours(), "L3");
        let code = agent.run(&["-d", "joe+detail"], MESSAGE).code;
        assert_eq!(code, Some(if agent.is_ours() { 0 } else { 67 }), "L4");
        let code = agent.run(&["-d", "joe", "-o", "nosuch=1"], b"A: b\n\nnosuch\n").code;
        assert_eq!(code, Some(if agent.is_ours() { 75 } else { 0 }), "L6");
        let code = agent.run(&["-d", "joe"], b"A: b\n\ncr\r").mail["INBOX"]
            .iter()
            .filter(|text| text.ends_with("cr\r"))
            .count();
        assert_eq!(code, usize::from(agent.is_ours()), "L10");
    }
}

/// L7: the beginning of a line is the system log's form also on standard error.
#[test]
fn log_lines() {
    for agent in Agent::both(Conf::default()) {
        agent.run(&["-d", "joe", "-m", "Nowhere"], MESSAGE);
        let log = agent.log();
        for part in [
            "lda(joe)<",
            "msgid=<1@a.example>: saved mail to INBOX",
            "save failed to open mailbox Nowhere: Mailbox doesn't exist: Nowhere",
        ] {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert_eq!(log.contains("dovecot: lda(joe)<"), agent.is_ours(), "L7: {log}");
        let format = "deliver_log_format=%m|%s|%f|%e|%p|%w|%{storage_id}|%$|";
        agent.run(
            &["-d", "joe", "-f", "s@x.example", "-o", format],
            b"Message-ID: <2@x>\nSubject: S\nFrom: f@x.example\n\nx\n",
        );
        let log = agent.log();
        let line = log.lines().find(|line| line.contains("<2@x>|")).unwrap_or_else(|| panic!("{log}"));
        let parts: Vec<&str> = line[line.find("<2@x>").unwrap()..].split('|').collect();
        let names = ["<2@x>", "S", "f@x.example", "s@x.example", "50", "55"];
        assert_eq!(parts[..6], names, "{line}");
        assert_eq!(parts[7], "saved mail to INBOX", "{line}");
        let file = fs::read_dir(agent.root().join("new")).unwrap().map(|entry| entry.unwrap().file_name());
        let named = file.filter(|file| file.to_str() == Some(parts[6])).count();
        assert_eq!(named, 1, "the file's name: {line}");
    }
}

/// Variables of mail_location in Dovecot's notation lead both to the same directory, and postrider-sasl-auth's own
/// reading of them as well.
#[test]
fn variables_of_the_mail_location() {
    let [theirs, ours] = Agent::both(Conf::default());
    let templates = [
        "%u",
        "%n",
        "%d",
        "%Lu",
        "%Un",
        "%Lu/%Ud",
        "%1n/%1.1n",
        "%2.3n",
        "%-2.0n",
        "%-3n",
        "%3.0n",
        "%0.2n",
        "%1Mu",
        "%Mu",
        "%2.256Nu",
        "%3.4096Nu",
        "%1.16Nn/%u",
        "%2.256Hu",
        "%Hn",
        "%Nn",
        "%8Mu",
        "%Rn",
        "%LRn",
        "%UTn",
        "%i",
        "%{uid}",
        "%{gid}",
        "%{user}",
        "%{username}/%{domain}",
        "%s",
        "%{hostname}x",
        "a%%b",
        "%Tu",
        "%1.-1n",
        "%-4.-1n",
        "%08i",
        "%010n",
        "%2.1i",
        "%Xi",
        "%06Xi",
        "%1.05n",
        "%03n",
        "%{user}%{domain}",
    ];
    let mut wrong = Vec::new();
    for (number, template) in templates.iter().enumerate() {
        for user in ["joe", "anna.doe@example.com"] {
            let top = format!("v{number}{}", user.len());
            let location = format!("maildir:~/{top}/x{template}");
            let seen = [&theirs, &ours].map(|agent| {
                agent.set_mail_location(&location);
                let code = agent.run(&["-d", user], MESSAGE).code;
                (code, agent.below(&top))
            });
            if seen[0] != seen[1] {
                wrong.push(format!("{template} for {user}: {:?} {:?}", seen[0], seen[1]));
            }
        }
    }
    assert!(wrong.is_empty(), "dovecot-lda, ours:\n{}", wrong.join("\n"));
}

/// The options of mail_location: where the INBOX, folders and subscriptions are.
#[test]
fn options_of_the_mail_location() {
    let mut wrong = Vec::new();
    for (options, folders) in [
        ("", &["A.B", "B\u{fc}cher"][..]),
        (":LAYOUT=fs", &["A/B", "B\u{fc}cher"]),
        (":LAYOUT=fs:DIRNAME=mail", &["A.B"]),
        (":LAYOUT=fs:DIRNAME=mail:INBOX=~/top/in", &["A.B"]),
        (":DIRNAME=mail", &["A.B"]),
        (":LAYOUT=maildir++:INBOX=~/top/in", &["A"]),
        (":CONTROL=~/top/control", &["A"]),
        (":INDEX=~/top/index:SUBSCRIPTIONS=subs", &["A"]),
        (":UTF-8", &["B\u{fc}cher"]),
        (":LAYOUT=fs:UTF-8:INBOX=~/top/in:CONTROL=~/top/control", &["B\u{fc}cher/x"]),
    ] {
        let seen = Agent::both(Conf { autocreate: true, ..Conf::default() }).map(|agent| {
            agent.set_mail_location(&format!("maildir:~/top/box{options}"));
            let mut codes = vec![agent.run(&["-d", "joe"], MESSAGE).code];
            for folder in folders {
                codes.push(agent.run(&["-d", "joe", "-m", folder], b"A: b\n\nc\n").code);
            }
            (codes, agent.tree("top"), agent.log())
        });
        let [theirs, ours] = seen;
        if (&theirs.0, &theirs.1) != (&ours.0, &ours.1) {
            wrong.push(format!(
                "{options}:\n{:?} {:#?}\n{:?} {:#?}\n{}",
                theirs.0, theirs.1, ours.0, ours.1, ours.2
            ));
        }
    }
    assert!(wrong.is_empty(), "dovecot-lda, ours:\n{}", wrong.join("\n"));
}
