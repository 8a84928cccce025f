//! Each system call of a transaction fails once, in each way, at each occurrence: replies and Maildirs agree, and so does
//! what another attempt makes of it.

use std::collections::BTreeMap;

use harness::faults::{FAULTS, Strace, occurrences, order};
use harness::lmtp::{LmtpClient, LmtpConf, LmtpServer};
use harness::milter::Subject;
use harness::scratch::Scratch;

const OTHER: u32 = 33;

/// The client is gone when it is to be told something, or heard.
const GONE: [(&str, &[&str]); 2] = [("sendto", &["EPIPE", "EIO"]), ("recvfrom", &["ECONNRESET"])];

/// A message as Postfix hands it over, with a queue id of its own.
fn message(number: usize) -> String {
    format!(
        "Received: from a.example (unknown [192.0.2.1])\r\n\tby mx.a.example (Postfix) with ESMTP id {number:05X}5A0B3\r\n\
         \tfor <x@a.example>; Thu, 26 Nov 2026 09:53:13 +0000 (UTC)\r\nSubject: number {number}\r\n\r\nbody of {number}\r\n.\r\n"
    )
}

/// How often a message is in a user's INBOX.
fn count(server: &LmtpServer, user: &str, number: usize) -> usize {
    let end = format!("Subject: number {number}\n\nbody of {number}\n");
    let all = [server.files(user, "new"), server.files(user, "cur")].concat();
    all.iter().filter(|path| std::fs::read_to_string(path).unwrap_or_default().ends_with(&end)).count()
}

/// One transaction on a connection of its own; for each recipient the reply's code, if there was one.
fn attempt(server: &LmtpServer, users: &[&str], number: usize) -> Vec<Option<String>> {
    let mut codes = vec![None; users.len()];
    let Some(mut client) = LmtpClient::try_connect(&server.socket()) else { return codes };
    let mut taken = Vec::new();
    if !client.try_send("LHLO c\r\nMAIL FROM:<s@x.example>\r\n") {
        return codes;
    }
    for _ in 0..2 {
        if client.try_hear().is_none() {
            return codes;
        }
    }
    for (place, user) in users.iter().enumerate() {
        if !client.try_send(format!("RCPT TO:<{user}>\r\n")) {
            return codes;
        }
        match client.try_hear() {
            Some(reply) if reply.starts_with("250 ") => taken.push(place),
            Some(reply) => codes[place] = Some(reply),
            None => return codes,
        }
    }
    if taken.is_empty() || !client.try_send("DATA\r\n") || client.try_hear().is_none() {
        return codes;
    }
    if client.try_send(message(number)) {
        for place in taken {
            codes[place] = client.try_hear();
        }
    }
    codes
}

/// Runs all faults for transactions with these recipients. The number of replies by their first digit.
fn matrix(users: &[&str]) -> BTreeMap<String, usize> {
    let scratch = Scratch::new("lmtpf");
    let conf = LmtpConf::new().user("anna").user("bob").user_as("carl", OTHER, "");
    let server = LmtpServer::start(&scratch, "lmtp", Subject::Ours, &conf);
    let all_taken = |codes: &[Option<String>]| {
        codes.iter().all(|code| code.as_ref().is_some_and(|reply| reply.starts_with("250 ")))
    };
    // What only happens once (the Maildir is created) is not counted.
    assert!(all_taken(&attempt(&server, users, 1)));
    let trace = scratch.file("trace");
    {
        let _strace = Strace::attach(server.pid(), &["-o", &trace.display().to_string()]);
        assert!(all_taken(&attempt(&server, users, 2)));
    }
    let counted = occurrences(&trace, Some("linkat"));
    let mut replies = BTreeMap::new();
    let mut number = 2;
    for (call, errors) in FAULTS.into_iter().chain(GONE) {
        for at in 1..=counted.get(call).copied().unwrap_or(0) {
            for error in errors {
                number += 1;
                let what = format!("{call} {at} {error}");
                let inject = format!("inject={call}:error={error}:when={at}");
                let codes = {
                    let _strace = Strace::attach(server.pid(), &["-o", "/dev/null", "-e", &inject]);
                    attempt(&server, users, number)
                };
                let mut again = Vec::new();
                for (user, code) in users.iter().zip(&codes) {
                    let found = count(&server, user, number);
                    let text = code.as_deref().unwrap_or("none");
                    *replies.entry(text[..1].to_owned()).or_insert(0) += 1;
                    match text.as_bytes()[0] {
                        b'2' => assert_eq!(found, 1, "{what}: {user}: {text}\n{}", server.log()),
                        b'4' => {
                            // Where even taking back is refused it may be there; the next attempt must notice.
                            let most = usize::from(call == "unlink");
                            assert!(found <= most, "{what}: {user}: {text}, {found} times\n{}", server.log());
                            again.push(*user);
                        }
                        // Nobody has been told anything: both may be.
                        b'n' => {
                            assert!(found <= 1, "{what}: {user}: {found} times\n{}", server.log());
                            again.push(*user);
                        }
                        _ => panic!("{what}: {user}: {text}"),
                    }
                }
                if !again.is_empty() {
                    let codes = attempt(&server, &again, number);
                    assert!(all_taken(&codes), "{what}: the next attempt: {codes:?}\n{}", server.log());
                }
                for user in users {
                    assert_eq!(count(&server, user, number), 1, "{what}: {user} at last\n{}", server.log());
                }
            }
        }
    }
    // Files that could not be removed.
    let left: usize = users.iter().map(|user| server.files(user, "tmp").len()).sum();
    assert!(counted.contains_key("sendto") && counted.contains_key("recvfrom"), "{counted:?}");
    println!("{users:?}: {} faults, replies {replies:?}, left in tmp {left}", number - 2);
    replies
}

#[test]
fn one_recipient() {
    let replies = matrix(&["anna"]);
    assert!(replies["4"] >= 15 && replies["2"] >= 10, "{replies:?}");
}

#[test]
fn three_recipients_with_two_owners() {
    let replies = matrix(&["anna", "bob", "carl"]);
    assert!(replies["4"] >= 40 && replies["2"] >= 60, "{replies:?}");
}

/// tmp, fsync, link into new, fsync of the directory, the reply, and only then the removal from tmp: whoever is killed
/// before the reply leaves what the next attempt knows it by.
#[test]
fn the_order_of_a_delivery() {
    let scratch = Scratch::new("lmtpf");
    let server =
        LmtpServer::start(&scratch, "lmtp", Subject::Ours, &LmtpConf::new().user("anna").user("bob"));
    let calls = |users: &[&str], number: usize| {
        assert!(
            attempt(&server, users, number).iter().all(|code| code.as_ref().unwrap().starts_with("250 "))
        );
        let trace = scratch.file("trace");
        {
            let _strace = Strace::attach(server.pid(), &["-o", &trace.display().to_string()]);
            let codes = attempt(&server, users, number + 1);
            assert!(codes.iter().all(|code| code.as_ref().unwrap().starts_with("250 ")), "{codes:?}");
            assert!(users.iter().all(|user| server.left(user).is_empty()));
        }
        let calls = order(&trace, "linkat", &["fsync", "linkat", "unlink", "sendto"]);
        let begin = calls.iter().position(|call| call == "fsync").unwrap();
        calls[begin..].join(" ")
    };
    assert_eq!(calls(&["anna"], 1), "fsync linkat fsync sendto unlink");
    let both = "fsync linkat fsync sendto linkat linkat fsync sendto unlink unlink";
    assert_eq!(calls(&["anna", "bob"], 3), both);
}
