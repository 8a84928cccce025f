//! Every bound has a test here, or among the unit tests of lda/src/lmtp: memory, connections, sizes, times.

use std::time::{Duration, Instant};

use harness::lmtp::{LmtpConf, LmtpServer};
use harness::milter::Subject;
use harness::scratch::Scratch;
use harness::wait::{wait_for, wait_up_to};

fn start(conf: &LmtpConf) -> (LmtpServer, Scratch) {
    let scratch = Scratch::new("lmtpb");
    (LmtpServer::start(&scratch, "lmtp", Subject::Ours, conf), scratch)
}

/// 100 clients in the middle of 10 MiB messages: at most 40 MB, as the issue wants it.
#[test]
fn memory_does_not_grow_with_messages() {
    let mut conf = LmtpConf::new().lmtp("connections = 200");
    for number in 0..100 {
        conf = conf.user(&format!("u{number}"));
    }
    let (server, _scratch) = start(&conf);
    let half = format!("Subject: x\r\n\r\n{}", "0123456789abcde\r\n".repeat(5 * 1024 * 1024 / 17));
    let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    let mut highest = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        client.begin(&[&format!("u{number}")]);
        client.send(&half);
        if number % 10 == 9 {
            highest = highest.max(server.resident_kib());
        }
    }
    highest = highest.max(server.resident_kib());
    let written = || {
        let file = server.files("u99", "tmp").pop()?;
        (std::fs::metadata(file).ok()?.len() > 4 * 1024 * 1024).then_some(())
    };
    wait_for("the body in the file while it arrives", written);
    highest = highest.max(server.resident_kib());
    println!("100 sessions in the middle of 10 MiB messages: {highest} KiB resident");
    assert!(highest <= 40_000, "{highest} KiB");
    drop(clients);
    let gone = || (0..100).all(|number| server.files(&format!("u{number}"), "tmp").is_empty()).then_some(());
    wait_for("nothing left of clients that stop in the middle", gone);
}

#[test]
fn connections_beyond_the_limit_wait() {
    let (server, _scratch) = start(&LmtpConf::new().user("anna").lmtp("connections = 3"));
    let held: Vec<_> = (0..3).map(|_| server.connect()).collect();
    let socket = server.socket();
    let fourth = std::thread::spawn(move || harness::lmtp::LmtpClient::connect(&socket));
    server.wait_log("all 3 connections are in use");
    assert!(!fourth.is_finished());
    drop(held);
    let mut fourth = fourth.join().unwrap();
    assert!(fourth.deliver(&["anna"], "x")[0].starts_with("250 "));
}

#[test]
fn messages_and_recipients_have_limits() {
    let conf = LmtpConf::new().user("anna").lmtp("message_size_limit = \"100k\"\nrecipient_limit = 2");
    let (server, _scratch) = start(&conf);
    let mut client = server.connect();
    assert!(client.say("LHLO c").contains("250-SIZE 102400\r\n"));
    assert!(client.say("MAIL FROM:<> SIZE=102401").starts_with("552 5.3.4 "));
    let replies = client.deliver(&["anna", "anna+x"], &"x".repeat(102_399));
    assert!(replies.iter().all(|reply| reply.starts_with("552 5.3.4 ")), "{replies:?}");
    assert!(server.left("anna").is_empty() && server.files("anna", "new").is_empty());
    assert!(client.deliver(&["anna"], &"x".repeat(102_398))[0].starts_with("250 "));
    client.say("MAIL FROM:<>");
    client.say("RCPT TO:<anna+1>");
    client.say("RCPT TO:<anna+2>");
    assert!(client.say("RCPT TO:<anna+3>").starts_with("452 4.5.3 "));
}

#[test]
fn silence_and_slowness_end_a_connection() {
    let conf = LmtpConf::new().user("anna").lmtp("idle_timeout = \"1s\"\nmessage_timeout = \"2s\"");
    let (server, _scratch) = start(&conf);
    let mut idle = server.connect();
    assert_eq!(idle.hear(), "421 4.4.2 mx.a.example Disconnected for inactivity");
    assert_eq!(idle.try_hear(), None);
    let mut slow = server.connect();
    slow.begin(&["anna"]);
    let began = Instant::now();
    while slow.try_send("x\r\n") {
        std::thread::sleep(Duration::from_millis(200));
        assert!(began.elapsed() < Duration::from_secs(20), "nobody minds");
    }
    assert!(server.left("anna").is_empty() && server.files("anna", "new").is_empty());
    server.wait_log("timed out");
}

#[test]
fn one_user_takes_so_many_transactions_only() {
    let conf = LmtpConf::new().user("anna").user("bob").lmtp("user_concurrency_limit = 2");
    let (server, _scratch) = start(&conf);
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.say("MAIL FROM:<>");
        let reply = client.say("RCPT TO:<anna>");
        let wanted = if number < 2 { "250 " } else { "451 4.3.0 Too many concurrent deliveries for user" };
        assert!(reply.starts_with(wanted), "{number}: {reply}");
    }
    assert!(clients[2].say("RCPT TO:<bob>").starts_with("250 "));
    clients[0].say("RSET");
    assert!(clients[2].say("RCPT TO:<anna>").starts_with("250 "));
}

/// A client that sends commands and reads nothing costs what its sockets hold, and its time.
#[test]
fn replies_that_nobody_reads_do_not_pile_up() {
    let (server, _scratch) = start(&LmtpConf::new().lmtp("idle_timeout = \"1s\""));
    let before = server.resident_kib();
    let mut client = server.connect();
    let flood = "LHLO x\r\n".repeat(10_000);
    let began = Instant::now();
    while client.try_send(&flood) {
        assert!(began.elapsed() < Duration::from_secs(25), "it goes on for ever");
    }
    assert!(server.resident_kib() < before + 4000, "{} KiB", server.resident_kib());
}

/// Threads end with their connections, and so do descriptors.
#[test]
fn nothing_is_left_of_connections() {
    let (server, _scratch) = start(&LmtpConf::new().user("anna"));
    let count = |name: &str| std::fs::read_dir(format!("/proc/{}/{name}", server.pid())).unwrap().count();
    let (threads, descriptors) = (count("task"), count("fd"));
    for round in 0..200 {
        let mut client = server.connect();
        match round % 4 {
            0 => drop(client.deliver(&["anna"], "x")),
            1 => client.begin(&["anna"]),
            2 => client.send("QUIT\r\nNOOP"),
            _ => client.send("\0\0\r\n"),
        }
    }
    let back = wait_up_to(Duration::from_secs(10), || {
        (count("task") <= threads + 1 && count("fd") <= descriptors).then_some(())
    });
    assert!(back.is_some(), "{} threads, {} descriptors", count("task"), count("fd"));
    assert_eq!(server.messages("anna").len(), 50);
}
