//! The daemon: reload, an orderly end, restarts while clients come, sockets of the service manager, rights.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use harness::lmtp::{LmtpClient, LmtpConf, LmtpServer};
use harness::milter::Subject;
use harness::scratch::Scratch;
use nix::sys::signal::Signal;

fn start(conf: &LmtpConf) -> (LmtpServer, Scratch) {
    let scratch = Scratch::new("lmtps");
    (LmtpServer::start(&scratch, "lmtp", Subject::Ours, conf), scratch)
}

#[test]
fn the_end_lets_a_transaction_finish() {
    let (mut server, _scratch) = start(&LmtpConf::new().user("anna"));
    let mut idle = server.connect();
    let mut busy = server.connect();
    busy.begin(&["anna"]);
    server.signal(Signal::SIGTERM);
    assert_eq!(idle.hear(), "421 4.3.2 mx.a.example Shutting down");
    assert_eq!(idle.try_hear(), None);
    busy.send("Subject: x\r\n\r\nx\r\n.\r\n");
    assert!(busy.hear().starts_with("250 2.0.0 <anna>"));
    assert_eq!(busy.hear(), "421 4.3.2 mx.a.example Shutting down");
    assert!(server.wait_for_end().success());
    assert_eq!(server.messages("anna").len(), 1);
    server.start_again();
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let (mut server, _scratch) = start(&LmtpConf::new().user("anna").lmtp("drain_timeout = \"500ms\""));
    let mut stuck = server.connect();
    stuck.begin(&["anna"]);
    stuck.send("half a message");
    server.signal(Signal::SIGTERM);
    assert!(server.wait_for_end().success());
    assert!(server.log().contains("1 connections had transactions in hand"));
    assert!(server.files("anna", "new").is_empty());
    server.start_again();
}

#[test]
fn a_reload_changes_what_comes_and_a_broken_one_nothing() {
    let conf = LmtpConf::new().user("anna");
    let (server, _scratch) = start(&conf);
    let mut client = server.connect();
    assert!(client.deliver(&["anna"], "x")[0].starts_with("250 "));
    std::fs::write(server.conf_path(), "nonsense = 1\n").unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.wait_log("the old configuration stays in force");
    assert!(line.contains("has mistakes"), "{line}");
    assert!(client.deliver(&["anna"], "x")[0].starts_with("250 "));
    server.configure(&conf.clone().user("bob").lmtp("add_received_header = false\nconnections = 7"));
    std::fs::create_dir(server.home("bob")).unwrap();
    std::os::unix::fs::chown(server.home("bob"), Some(65534), Some(65534)).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_log("configuration reloaded");
    server.wait_log("connections has changed; that comes into force at the next start only");
    assert!(client.deliver(&["bob"], "x")[0].starts_with("250 "), "the same connection");
    assert!(!String::from_utf8_lossy(&server.messages("bob")[0]).contains("Received:"));
}

/// A server that is restarted again and again while clients deliver, with the socket held as systemd holds it: no
/// connection is refused, no message is lost, none comes twice.
#[test]
fn restarts_under_load_lose_nothing() {
    let scratch = Scratch::new("lmtps");
    let mut server = LmtpServer::start_by_socket(&scratch, "lmtp", &LmtpConf::new().user("anna").user("bob"));
    let (stop, delivered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = ["anna", "bob", "anna", "bob"]
        .iter()
        .enumerate()
        .map(|(thread, user)| {
            let (stop, delivered, socket) = (Arc::clone(&stop), Arc::clone(&delivered), server.socket());
            std::thread::spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    let mut client = LmtpClient::connect(&socket);
                    for _ in 0..20 {
                        let text = format!("Subject: {thread}-{number}\r\n\r\nx\r\n.\r\n");
                        match attempt(&mut client, user, &text) {
                            Attempt::Saved => {
                                number += 1;
                                delivered.fetch_add(1, Ordering::SeqCst);
                            }
                            Attempt::Closing => break,
                            Attempt::Unknown => panic!("an orderly end leaves no doubt"),
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(120));
        server.stop();
        std::thread::sleep(Duration::from_millis(30));
        server.start_again();
    }
    stop.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    let found = server.messages("anna").len() + server.messages("bob").len();
    assert_eq!(found, delivered.load(Ordering::SeqCst));
    assert!(found > 50, "only {found}");
}

/// How one try to deliver a message has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Saved,
    /// The server said it ends, or was gone before the message was complete.
    Closing,
    /// The message was complete, and nobody answered.
    Unknown,
}

/// Tries to deliver `text` (with its dot) to one user.
pub fn attempt(client: &mut LmtpClient, user: &str, text: &str) -> Attempt {
    if !client.try_send(format!("MAIL FROM:<s@x.example>\r\nRCPT TO:<{user}>\r\nDATA\r\n")) {
        return Attempt::Closing;
    }
    for wanted in ["250 2.1.0", "250 2.1.5", "354 "] {
        match client.try_hear() {
            Some(reply) if reply.starts_with(wanted) => {}
            Some(reply) if reply.starts_with("421 4.3.2") => return Attempt::Closing,
            None => return Attempt::Closing,
            Some(reply) => panic!("{reply}"),
        }
    }
    if !client.try_send(text) {
        return Attempt::Closing;
    }
    match client.try_hear() {
        Some(reply) if reply.starts_with("250 2.0.0") => Attempt::Saved,
        Some(reply) => panic!("{reply}"),
        None => Attempt::Unknown,
    }
}

#[test]
fn wrong_starts_say_what_to_do() {
    let scratch = Scratch::new("lmtps");
    let run = |arguments: &[&str]| {
        let program = harness::lmtp::program(Subject::Ours);
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), text + &String::from_utf8_lossy(&output.stdout))
    };
    assert_eq!(run(&["--nonsense"]).0, 64);
    assert_eq!(run(&["-V"]).0, 0);
    let (code, text) = run(&["-c", "/nonexistent"]);
    assert!(code == 78 && text.contains("-c"), "{code} {text}");
    let path =
        scratch.write("conf", "mail_location = \"maildir:~/Maildir\"\n[[userdb]]\ndriver = \"system\"\n");
    let path = path.to_str().unwrap();
    assert_eq!(run(&["-n", "-c", path]).0, 0);
    let (code, text) = run(&["-c", path]);
    assert!(code == 78 && text.contains("listen = [\"unix:/path\"] under [lmtp]"), "{code} {text}");
    scratch.write("conf", "mail_location = 3\n[lmtp]\nlisten = [\"lmtp\"]\nfoo = 1\n");
    let (code, text) = run(&["-n", "-c", path]);
    assert_eq!(code, 78);
    for part in ["mail_location", "listen: this is no address", "foo"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// What Prometheus is told agrees with what happened.
#[test]
fn figures() {
    use std::io::{Read as _, Write as _};
    let port = harness::ports::Port::new();
    let conf = LmtpConf::new()
        .user("anna")
        .user_as("bob", 65534, "userdb_quota_rule=*:bytes=10")
        .user_as("carl", 65534, "")
        .lmtp(&format!("[metrics]\nlisten = \"127.0.0.1:{}\"", port.number()));
    let (server, _scratch) = start(&conf);
    // Carl's mailbox cannot be written to.
    let maildir = server.home("carl").join("Maildir");
    std::fs::write(&maildir, "").unwrap();
    let mut client = server.connect();
    client.say("MAIL FROM:<>");
    assert!(client.say("RCPT TO:<nosuch>").starts_with("550 "));
    client.say("RSET");
    let replies = client.deliver(&["anna", "bob", "carl"], &"x".repeat(100));
    assert!(replies[0].starts_with("250 ") && replies[1].starts_with("552 "), "{replies:?}");
    assert!(replies[2].starts_with("451 "), "{replies:?}");
    assert!(client.deliver(&["carl"], "x")[0].starts_with("451 "));
    drop(server.connect());
    let text = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port.number())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let size = std::fs::metadata(&server.files("anna", "new")[0]).unwrap().len();
    for line in [
        "recipients_total{result=\"accepted\"} 4",
        "recipients_total{result=\"unknown\"} 1",
        "deliveries_total{result=\"delivered\"} 1",
        "deliveries_total{result=\"full\"} 1",
        "deliveries_total{result=\"temporary\"} 2",
        &format!("delivered_bytes_total {size}"),
        "delivery_seconds_count 4",
        "panics_total 0",
    ] {
        let line = format!("postrider_lmtp_{line}");
        assert!(text().lines().any(|found| found == line), "{line}\n{}\n{}", text(), server.log());
    }
    harness::wait::wait_for("the end of the idle connection", || {
        let text = text();
        // One was the harness's, when it waited for the greeting.
        let gone = text.lines().any(|line| line == "postrider_lmtp_connections_ended_total{how=\"gone\"} 2");
        (gone && text.contains("postrider_lmtp_connections 1\n")).then_some(())
    });
}
