//! `kill -9` of the server at random moments under a real Postfix, which tries again by itself: all is there, once.
//!
//! 60 messages; 1,000 with `LONG=1`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::lmtp::{LmtpConf, LmtpServer};
use harness::postfix::Postfix;
use harness::scratch::Scratch;
use harness::wait::wait_up_to;

use crate::long;

const USERS: [&str; 3] = ["anna@a.example", "bob@a.example", "carl@a.example"];

/// Messages to one and to several recipients; meanwhile a reader takes to `cur` what has come, as an IMAP server does.
#[test]
fn killed_under_postfix() {
    let count = if long() { 1000 } else { 60 };
    let scratch = Scratch::new("lmtpu");
    // The third mailbox has another owner, and gets a file of its own.
    let conf = LmtpConf::new().user(USERS[0]).user(USERS[1]).user_as(USERS[2], 33, "");
    let mut server = LmtpServer::start_by_socket(&scratch, "lmtp", &conf);
    let builder = USERS
        .iter()
        .fold(Postfix::build(&scratch, "mx", "mx.a.example"), |builder, user| builder.mailbox(user));
    let postfix = builder
        .main(&format!("virtual_transport = {}", server.for_postfix()))
        // A server that is killed is no reason to leave it alone for a while.
        .main("lmtp_destination_concurrency_failed_cohort_limit = 0")
        .start();
    let homes = USERS.map(|user| server.home(user));
    let done = AtomicBool::new(false);
    let kills = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for home in &homes {
                    let new = fs::read_dir(home.join("Maildir/new")).into_iter().flatten().flatten();
                    for entry in new {
                        let name = format!("{}:2,S", entry.file_name().display());
                        // What is gone meanwhile was taken back.
                        drop(fs::rename(entry.path(), home.join("Maildir/cur").join(name)));
                    }
                }
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let sender = scope.spawn(|| {
            for number in 0..count {
                let filling = "0123456789\n".repeat(if number % 5 == 0 { 20_000 } else { 300 });
                let text = format!("From: s@x.example\nSubject: {number}\n\n{filling}the end\n");
                postfix.sendmail("s@x.example", recipients(number), text.as_bytes());
            }
        });
        let mut dice = 88_172_645_463_325_252_u64;
        let mut kills = 0;
        let mut empty = || (sender.is_finished() && postfix.queued() == 0).then_some(());
        let limit = std::time::Instant::now() + Duration::from_secs(if long() { 900 } else { 60 });
        while empty().is_none() && std::time::Instant::now() < limit {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            // Every sixth run is long enough for what waits.
            let longest = if kills % 6 == 5 { 800_000 } else { 60_000 };
            let _ended = wait_up_to(Duration::from_micros(dice % longest), &mut empty);
            server.kill();
            kills += 1;
            server.start_again();
        }
        let emptied = wait_up_to(Duration::from_secs(60), &mut empty);
        done.store(true, Ordering::Relaxed);
        assert!(emptied.is_some(), "{} messages are still in the queue", postfix.queued());
        kills
    });
    let log = postfix.log();
    assert!(!log.contains("status=bounced"), "{log}");
    let (mut deliveries, mut lost, mut twice, mut left) = (0, Vec::new(), Vec::new(), 0);
    for user in USERS {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for path in [server.files(user, "new"), server.files(user, "cur")].concat() {
            let text = fs::read_to_string(path).unwrap();
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
            assert!(text.ends_with("the end\n"), "{user}: {subject} is not whole");
            *found.entry(subject).or_default() += 1;
        }
        for number in (0..count).filter(|number| recipients(*number).contains(&user)) {
            deliveries += 1;
            match found.remove(&number.to_string()) {
                None => lost.push((user, number)),
                Some(1) => {}
                Some(_) => twice.push((user, number)),
            }
        }
        assert!(found.is_empty(), "{user}: {found:?}");
        left += server.files(user, "tmp").len();
    }
    let deferred = log.matches("status=deferred").count();
    let noticed = server.log().matches("(by an earlier attempt)").count();
    println!(
        "{count} messages, {deliveries} deliveries, {kills} kills, {deferred} times deferred, {noticed} noticed that an \
         earlier attempt had been complete; lost {}, twice {}, left in tmp {left}",
        lost.len(),
        twice.len()
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(twice.is_empty(), "twice: {twice:?}");
    assert!(deferred > 0, "no kill was felt, so nothing was tried");
    // A server that is killed after its reply and before the removal leaves a file until it is old.
    assert!(left <= kills, "{left} files in tmp");
}

fn recipients(number: usize) -> &'static [&'static str] {
    match number % 4 {
        0 => &USERS[..1],
        1 => &USERS[..2],
        2 => &USERS,
        _ => &USERS[2..],
    }
}
