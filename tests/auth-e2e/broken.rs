//! Clients that break the protocol: each is shut out with a line in the log, and nobody else notices.

use std::time::Duration;

use harness::auth::{AuthClient, AuthServer};
use harness::milter::Subject;
use harness::sasl::Sasl;
use harness::scratch::Scratch;
use harness::wait::{PATIENCE, wait_up_to};

use crate::site::{PASSWORD, users};

/// A server with short patience.
fn server(scratch: &Scratch) -> AuthServer {
    let conf = users().setting("", "[limits]\nhandshake_timeout = 2\nrequest_timeout = 3");
    AuthServer::start(scratch, "auth", Subject::from_env(), &conf)
}

/// Somebody else logs in.
#[track_caller]
fn assert_serves(auth: &AuthServer) {
    AuthClient::connect(auth).assert_ok(&Sasl::new("PLAIN", "plain", PASSWORD));
}

/// Only our words are known here.
#[track_caller]
fn assert_logged(auth: &AuthServer, words: &str) {
    if auth.subject() == Subject::Ours {
        auth.wait_log(words);
    }
}

/// Resident memory of all the server's processes.
fn memory_kib(auth: &AuthServer) -> u64 {
    let of = |pid: nix::unistd::Pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    auth.processes().into_iter().map(of).sum()
}

#[test]
fn lines_that_break_the_protocol() {
    let scratch = Scratch::new("broken");
    let auth = server(&scratch);
    let long = format!("AUTH\t1\tPLAIN\tservice=smtp\tx={}", "x".repeat(16384));
    for (line, words) in [
        (long.as_str(), "16384"),
        ("AUTH\t1\tPLAIN\tservice=smtp\tresp=AHBsYWluAHNlY3JldA==\tsecured", "sent something after resp="),
        (
            "AUTH\t1\tPLAIN\tservice=smtp\nAUTH\t1\tPLAIN\tservice=smtp",
            "used request id 1 while it was in use",
        ),
        ("AUTH\t1\tNONSENSE\tservice=smtp", "asked for mechanism NONSENSE, which was not offered"),
        ("NONSENSE", "sent an unknown command"),
        ("VERSION\t1\t1", "VERSION and CPID"),
        ("AUTH\t1\tPLAIN", "without service="),
    ] {
        let mut client = AuthClient::connect(&auth);
        client.send(line);
        client.closed();
        assert_logged(&auth, words);
        assert_serves(&auth);
    }
    for (line, words) in
        [("VERSION\t2\t0", "protocol version 2"), ("CPID\t1", "VERSION and CPID"), ("x", "sent")]
    {
        let mut client = AuthClient::open(auth.client_socket());
        client.send(line);
        client.closed();
        assert_logged(&auth, words);
    }
    let log = auth.log();
    assert!(!log.contains("AHBsYWluAHNlY3JldA"), "a password in the log:\n{log}");
}

#[test]
fn a_line_that_never_ends() {
    let scratch = Scratch::new("broken");
    let auth = server(&scratch);
    assert_serves(&auth);
    let before = memory_kib(&auth);
    let mut client = AuthClient::connect(&auth);
    for _ in 0..2000 {
        client.send_bytes(&[b'x'; 4096]);
    }
    client.closed();
    assert!(memory_kib(&auth) < before + 4096, "{} KiB, then {} KiB", before, memory_kib(&auth));
    assert_serves(&auth);
}

#[test]
fn ten_thousand_open_requests() {
    let scratch = Scratch::new("broken");
    let auth = server(&scratch);
    assert_serves(&auth);
    let before = memory_kib(&auth);
    let mut client = AuthClient::connect(&auth);
    client.stream().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let all: String = (1..=10_000).map(|id| format!("AUTH\t{id}\tLOGIN\tservice=smtp\n")).collect();
    client.send_bytes(all.as_bytes());
    if auth.subject() == Subject::Ours {
        let said = client.closed();
        assert!(said.len() <= 1000, "{} challenges", said.len());
        auth.wait_log("has more than 1000 requests in hand");
    }
    assert_serves(&auth);
    assert!(memory_kib(&auth) < before + 65_536, "{} KiB, then {} KiB", before, memory_kib(&auth));
}

#[test]
fn half_a_handshake() {
    let scratch = Scratch::new("broken");
    let auth = server(&scratch);
    let mut clients: Vec<AuthClient> = (0..200).map(|_| AuthClient::open(auth.client_socket())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_bytes(match number % 3 {
            0 => b"",
            1 => b"VERSION\t1",
            _ => b"VERSION\t1\t1\nCPI",
        });
    }
    assert_serves(&auth);
    // Dovecot waits for ever.
    if auth.subject() == Subject::Ours {
        for client in &mut clients {
            client.closed();
        }
        assert_logged(&auth, "handshake");
        assert_serves(&auth);
    }
}

#[test]
fn a_client_that_never_reads() {
    let scratch = Scratch::new("broken");
    let auth = server(&scratch);
    assert_serves(&auth);
    let before = memory_kib(&auth);
    let mut client = AuthClient::connect(&auth);
    client.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Each is answered at once, with much more than a socket holds in all.
    let line = "AUTH\t1\tPLAIN\tservice=smtp\tresp=!\n".repeat(1000);
    for _ in 0..100 {
        client.send_bytes(line.as_bytes());
    }
    assert_serves(&auth);
    assert!(memory_kib(&auth) < before + 16_384, "{} KiB, then {} KiB", before, memory_kib(&auth));
    // Dovecot waits for ever.
    if auth.subject() == Subject::Ours {
        let logged = || auth.log().contains("has not read its answers").then_some(());
        assert!(wait_up_to(PATIENCE * 3, logged).is_some(), "{}", auth.log());
    }
}

#[test]
fn a_request_that_its_client_forgets() {
    let scratch = Scratch::new("broken");
    let auth = server(&scratch);
    if auth.subject().lacks("requests are forgotten after a time that can be set") {
        return;
    }
    // Postfix leaves a request open when its client says `*`; its number must become free in the end.
    let mut client = AuthClient::connect(&auth);
    for id in 101..=120 {
        client.send(&format!("AUTH\t{id}\tLOGIN\tservice=smtp"));
        assert_eq!(client.line(), format!("CONT\t{id}\tVXNlcm5hbWU6"));
    }
    let mut next = 101..=120;
    let answer = wait_up_to(PATIENCE * 3, || {
        std::thread::sleep(Duration::from_secs(4));
        client.send(&format!("CONT\t{}\tcGxhaW4=", next.next()?));
        Some(client.line()).filter(|line| line.starts_with("FAIL"))
    });
    let answer = answer.expect("the request is forgotten");
    assert!(answer.ends_with("reason=Authentication request timed out"), "{answer}");
    client.assert_ok(&Sasl::new("PLAIN", "plain", PASSWORD));
}
