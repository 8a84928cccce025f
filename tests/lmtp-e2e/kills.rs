//! `kill -9` at random moments, and a client that tries again as Postfix does: everything is there.
//!
//! 25 kills; `LMTP_KILLS=1000` for the long form.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::lmtp::{LmtpClient, LmtpConf, LmtpServer};
use harness::scratch::Scratch;

use crate::service::{Attempt, attempt};

#[test]
fn killed_at_random_everything_is_there() {
    let kills: usize = std::env::var("LMTP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let scratch = Scratch::new("lmtpk");
    let users = ["u0", "u1", "u2", "u3"];
    let conf = users.iter().fold(LmtpConf::new(), |conf, user| conf.user(user));
    let mut server = LmtpServer::start_by_socket(&scratch, "lmtp", &conf);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = users
        .iter()
        .map(|user| {
            let (stop, socket, user) = (Arc::clone(&stop), server.socket(), (*user).to_owned());
            std::thread::spawn(move || deliver_until(&stop, &socket, &user))
        })
        .collect();
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(20_000 + random % 100_000));
        server.kill();
        server.start_again();
    }
    stop.store(true, Ordering::SeqCst);
    let (mut messages, mut doubts) = (0, 0);
    for (thread, user) in threads.into_iter().zip(users) {
        let (sent, unknown) = thread.join().unwrap();
        let mut found: HashMap<String, usize> = HashMap::new();
        for message in server.messages(user) {
            let text = String::from_utf8_lossy(&message).into_owned();
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
            assert!(text.ends_with("the end\n"), "{user}: {subject} is not whole");
            *found.entry(subject).or_default() += 1;
        }
        for number in 0..sent {
            assert_eq!(found.get(&number.to_string()), Some(&1), "{user}: message {number} of {sent}");
        }
        assert_eq!(found.len(), sent, "{user}");
        messages += sent;
        doubts += unknown;
        let old = server.files(user, "tmp").len();
        assert!(old <= kills, "{user}: {old} files in tmp");
    }
    println!(
        "{kills} kills, {messages} messages, {doubts} tried again without knowing: all there, none twice"
    );
}

/// Delivers messages one after the other, each until it is taken. The number of messages, and how many were tried
/// again although an earlier attempt may have been complete.
fn deliver_until(stop: &AtomicBool, socket: &std::path::Path, user: &str) -> (usize, usize) {
    let (mut sent, mut unknown) = (0, 0);
    let mut client = None;
    while !stop.load(Ordering::SeqCst) {
        let filling = "0123456789\r\n".repeat(if sent % 5 == 0 { 20_000 } else { 300 });
        // What Postfix puts in front is the same at each attempt; it names the queue file.
        let text = format!(
            "Received: by mx.a.example (Postfix, from userid 0)\r\n\tid 4bXQ{sent:06}z{user}; Thu, 26 Nov 2026 10:{:02}:{:02} \
             +0000 (UTC)\r\nSubject: {sent}\r\n\r\n{filling}the end\r\n.\r\n",
            sent / 60 % 60,
            sent % 60
        );
        loop {
            let Some(open) = client.as_mut() else {
                client = LmtpClient::try_connect(socket);
                continue;
            };
            match attempt(open, user, &text) {
                Attempt::Saved => break,
                Attempt::Closing => client = None,
                Attempt::Unknown => {
                    unknown += 1;
                    client = None;
                }
            }
        }
        sent += 1;
    }
    (sent, unknown)
}
