//! Runs a dialogue with both servers.
//!
//! `C:` is sent with CR LF, `R:` as it stands with the escapes `\r \n \0 \x`; `S:` is how both answer, `O:` how ours
//! does and `D:` how Dovecot does, with the number of the difference in front. An answer is the beginning of the last
//! line of one reply, or `EOF` for the end of the connection.

use std::fmt::Write as _;

use harness::lmtp::{LmtpClient, LmtpConf, LmtpServer};
use harness::milter::Subject;
use harness::scratch::Scratch;

/// Users of all dialogues.
pub fn conf() -> LmtpConf {
    LmtpConf::new().user("anna").user("bob").user("carl@a.example")
}

/// Runs a dialogue with both.
#[track_caller]
pub fn check(text: &str) {
    let scratch = Scratch::new("lmtpc");
    let mut wrong = String::new();
    for (subject, name) in [(Subject::Reference, "dovecot"), (Subject::Ours, "ours")] {
        let server = LmtpServer::start(&scratch, name, subject, &conf());
        if let Err(failure) = run(&mut server.connect(), subject, text) {
            writeln!(wrong, "{name}: {failure}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Runs one side of a dialogue.
pub fn run(client: &mut LmtpClient, subject: Subject, text: &str) -> Result<(), String> {
    let mut said = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let wanted = match kind {
            "C:" => {
                rest.clone_into(&mut said);
                client.try_send(format!("{rest}\r\n"));
                continue;
            }
            "R:" => {
                rest.clone_into(&mut said);
                client.try_send(unescaped(rest));
                continue;
            }
            "S:" => rest,
            // The number of a difference.
            _ => match rest.split_once(' ') {
                Some(("O:", ours)) if subject == Subject::Ours => ours,
                Some(("D:", theirs)) if subject == Subject::Reference => theirs,
                Some(("O:" | "D:", _)) => continue,
                _ => panic!("{line}"),
            },
        };
        let reply = client.try_hear();
        let last = reply.as_deref().map_or("EOF", |reply| reply.lines().last().unwrap_or_default());
        // The last line of several has a blank behind its code like a single one.
        if !last.starts_with(wanted) {
            return Err(format!("{said:?} was answered with {last:?}, not {wanted:?}"));
        }
    }
    Ok(())
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push(match bytes.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                Some(b'x') => 0xff,
                other => panic!("{other:?}"),
            }),
            other => out.push(other),
        }
    }
    out
}
