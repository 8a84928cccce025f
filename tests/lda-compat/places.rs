//! Where mail lies and who may read it: variables and options of mail_location, modes and groups.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::subject::{Agent, Conf};

const TEMPLATES: [&str; 43] = [
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

const MESSAGE: &[u8] = b"Message-ID: <1@a.example>\nFrom: anna@a.example\nSubject: hello\n\nHello!\n";

/// Variables of mail_location in Dovecot's notation lead both to the same directory.
#[test]
fn variables_of_the_mail_location() {
    let [theirs, ours] = Agent::both(Conf::default());
    let mut wrong = Vec::new();
    for (number, template) in TEMPLATES.iter().enumerate() {
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

/// Namespaces: what stands before and between the parts of a folder's name. L12: what has no prefix goes below it.
#[test]
fn names_in_a_namespace() {
    let mut wrong = Vec::new();
    for (separator, prefix) in [("/", ""), (".", "INBOX."), ("/", "INBOX/")] {
        let seen = Agent::both(Conf { autocreate: true, ..Conf::default() }).map(|agent| {
            agent.add(
                &format!(
                    "namespace inbox {{\n inbox = yes\n separator = {separator}\n prefix = {prefix}\n}}"
                ),
                "",
            );
            agent.set_top(&[("namespace_separator", separator), ("namespace_prefix", prefix)]);
            agent.set_mail_location("maildir:~/top/box");
            let mut number = 0;
            let mut codes = Vec::new();
            let names = ["", "INBOX", "Sub", "A/B", "A.B", "INBOX.Sub", "INBOX/Sub", "inbox.low", "INBOX."];
            let is_below = |name: &str| name.is_empty() || name.to_ascii_uppercase().starts_with("INBOX");
            for folder in names.into_iter().filter(|name| prefix.is_empty() || is_below(name)) {
                number += 1;
                let message = format!("Message-ID: <{number}@x>\n\nx\n");
                codes.push((folder, agent.run(&["-d", "joe", "-m", folder], message.as_bytes()).code));
            }
            let subscriptions =
                fs::read_to_string(agent.home().join("top/box/subscriptions")).unwrap_or_default();
            let seen = (codes, agent.tree("top"), subscriptions);
            if !prefix.is_empty() {
                agent.run(&["-d", "joe", "-m", "Without"], b"A: b\n\nx\n");
                assert_eq!(agent.home().join("top/box/.Without").exists(), agent.is_ours(), "L12");
            }
            seen
        });
        if seen[0] != seen[1] {
            wrong.push(format!("{separator} {prefix}:\n{:#?}\n{:#?}", seen[0], seen[1]));
        }
    }
    assert!(wrong.is_empty(), "dovecot-lda, ours:\n{}", wrong.join("\n"));
}

/// L11. Modes and groups come from the mailbox's own directory: a shared one, one with setgid, one of a group that the user
/// is not in, which is nobody's reason to keep mail waiting.
#[test]
fn permissions_from_the_root() {
    let mut wrong = Vec::new();
    for (is_there, mode, group) in [
        (false, 0o700, 5000),
        (false, 0o770, 5000),
        (false, 0o2770, 33),
        (false, 0o755, 33),
        (false, 0o777, 5000),
        (false, 0o2750, 5000),
        (true, 0o700, 5000),
        (true, 0o2770, 33),
        (true, 0o755, 33),
        (true, 0o750, 33),
        (true, 0o770, 33),
    ] {
        let seen = Agent::both(Conf { autocreate: true, ..Conf::default() }).map(|agent| {
            for name in if is_there { &["", "cur", "new", "tmp"][..] } else { &[""] } {
                let path = agent.root().join(name);
                fs::create_dir(&path).unwrap();
                std::os::unix::fs::chown(&path, Some(5000), Some(group)).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            let codes = [
                agent.run(&["-d", "joe"], MESSAGE).code,
                agent.run(&["-d", "joe", "-m", "Sub"], b"A: b\n\nc\n").code,
                agent.run(&["-d", "joe", "-m", "Sub"], b"A: b\n\nd\n").code,
            ];
            let modes = ["", "new", "cur", "tmp", ".Sub", ".Sub/new", ".Sub/maildirfolder", "subscriptions"]
                .map(|below| agent.mode(below));
            (codes, agent.message_modes_and_groups(), modes)
        });
        let [mut theirs, ours] = seen;
        if group == 33 && mode & 0o2007 == 0 {
            // L11: without its group, a message is for the user alone.
            let alone =
                |text: &mut String| *text = text.replace("100640", "100600").replace("100660", "100600");
            assert_eq!(theirs.1.len(), 1, "{theirs:?}");
            assert_ne!(theirs.1, ours.1, "L11");
            theirs.1.iter_mut().for_each(alone);
        }
        if theirs != ours {
            wrong.push(format!("{is_there} {mode:o} {group}:\n{theirs:#?}\n{ours:#?}"));
        }
    }
    assert!(wrong.is_empty(), "dovecot-lda, ours:\n{}", wrong.join("\n"));
}

/// postrider-sasl-auth has a reading of variables of its own, with hashes and a request's names: what the agents know,
/// both read alike.
#[test]
fn variables_mean_the_same_to_postrider_sasl_auth() {
    let mut compared = 0;
    for user in ["joe", "anna.doe@example.com", "A", "\u{e4}b@c"] {
        for template in TEMPLATES {
            let Ok(theirs) = sasl_auth::variables::Template::parse(template) else { continue };
            let request = sasl_auth::request::Request { user: user.to_owned(), ..Default::default() };
            let theirs = theirs.expand(&sasl_auth::variables::Values::of(&request));
            let ours = lda::variables::Template::parse(template).unwrap();
            let ours = ours.expand(&lda::variables::Values { user, ..Default::default() });
            // What only one of them has a value for.
            if !["%i", "%08i", "%2.1i", "%Xi", "%06Xi", "%s", "%{hostname}x"].contains(&template) {
                assert_eq!(theirs, ours, "{template} for {user}");
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared}");
}
