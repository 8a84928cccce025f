//! Scripts in the LMTP server, whose deliveries run side by side in threads: each has its child process, none hangs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, message, program};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(lab: &Lab) -> (Server, PathBuf) {
    let socket = lab.scratch.file("lmtp");
    let conf = lab.scratch.file("lda.toml");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{text}\n[lmtp]\nlisten = [\"unix:{}\"]\n", socket.display())).unwrap();
    let log = std::fs::File::create(lab.scratch.file("lmtp.log")).unwrap();
    let child = Command::new(program("postrider-lmtp"))
        .arg("-c")
        .arg(&conf)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let server = Server(child);
    let until = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < until, "{}", std::fs::read_to_string(lab.scratch.file("lmtp.log")).unwrap());
        thread::sleep(Duration::from_millis(20));
    }
    (server, socket)
}

/// Delivers on one connection, and gives the last replies.
fn session(socket: &Path, sender: &str, messages: &[String]) -> Vec<String> {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let say = |line: &str| (&stream).write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let mut reply = || {
        let mut line = String::new();
        while {
            line.clear();
            reader.read_line(&mut line).unwrap();
            line.as_bytes().get(3) == Some(&b'-')
        } {}
        line
    };
    reply();
    say("LHLO client.a.example");
    reply();
    let mut last = Vec::new();
    for message in messages {
        say(&format!("MAIL FROM:<{sender}>"));
        reply();
        say("RCPT TO:<joe@b.example>");
        reply();
        say("DATA");
        reply();
        say(&format!("{}\r\n.", message.trim_end().replace('\n', "\r\n")));
        last.push(reply());
    }
    say("QUIT");
    last
}

#[test]
fn scripts_run_side_by_side() {
    let lab = Lab::new("lmtp", "");
    lab.script(
        "require [\"vacation\",\"fileinto\",\"mailbox\",\"imap4flags\"]; vacation \"away\"; fileinto :create :flags \"Work\" \"A\";",
    );
    let (_server, socket) = start(&lab);
    thread::scope(|scope| {
        for client in 0..8 {
            let socket = &socket;
            scope.spawn(move || {
                let messages: Vec<_> = (0..10).map(|number| message(client * 10 + number, "")).collect();
                let sender = format!("anna{}@a.example", client % 2);
                for reply in session(socket, &sender, &messages) {
                    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
                }
            });
        }
    });
    assert_eq!(lab.messages("A").len(), 80);
    assert_eq!(lab.sent().len(), 2, "one answer for each of two senders");
}

#[test]
fn replies_say_what_scripts_decide() {
    let lab = Lab::new("lmtp-replies", "");
    let (_server, socket) = start(&lab);
    let one = |script: &str, number: usize| {
        lab.script(script);
        session(&socket, "anna@a.example", &[message(number, "")]).remove(0)
    };
    assert!(
        one("require \"reject\"; reject \"no thanks\";", 1)
            .starts_with("552 5.2.0 <joe@b.example> no thanks")
    );
    assert!(one("discard;", 2).starts_with("250 "));
    assert!(one("broken", 3).starts_with("250 "));
    assert!(one("redirect \"x@y.example\";", 4).starts_with("250 "));
    lab.sendmail("exit 75");
    assert!(one("redirect \"x@y.example\";", 5).starts_with("451 "));
    assert_eq!((lab.messages("").len(), lab.sent().len()), (1, 1));
}
