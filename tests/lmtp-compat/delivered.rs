//! What lies in the Maildirs after the same transactions: content, names, modes, owners, links.

use std::fs;
use std::os::unix::fs::MetadataExt;

use harness::lmtp::LmtpServer;
use harness::milter::Subject;
use harness::scratch::Scratch;

use crate::dialogue::conf;

/// A message as it lies there, with what is different each time taken out: ids, dates, sizes.
fn normalised(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).into_owned();
    let mut in_trace = true;
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        in_trace &=
            ["Return-Path:", "Delivered-To:", "Received:", "\t"].iter().any(|start| line.starts_with(start));
        match line.split_once(';') {
            _ if in_trace && line.starts_with("\tid ") => out.push_str("\tid ID\n"),
            Some((before, _)) if in_trace => out.push_str(&format!("{before}; DATE\n")),
            _ => out.push_str(line),
        }
    }
    out
}

/// `SEC.MusecPpid.host,S=size,W=virtual`, and both sizes right.
fn assert_name(name: &str, content: &[u8]) {
    let (base, sizes) = name.split_once(",S=").unwrap();
    let parts: Vec<&str> = base.splitn(3, '.').collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (micros, process) = parts[1].strip_prefix('M').unwrap().split_once('P').unwrap();
    assert!(digits(parts[0]) && digits(micros) && digits(process) && !parts[2].is_empty(), "{name}");
    let bare = |at: usize| content[at] == b'\n' && (at == 0 || content[at - 1] != b'\r');
    let lines = (0..content.len()).filter(|&at| bare(at)).count();
    assert_eq!(sizes, format!("{},W={}", content.len(), content.len() + lines), "{name}");
}

/// What a server makes of these messages to these recipients.
fn delivered(subject: Subject, messages: &[(&str, &[&str], &str)]) -> Vec<String> {
    let scratch = Scratch::new("lmtpc");
    let server = LmtpServer::start(&scratch, "lmtp", subject, &conf());
    let mut client = server.connect();
    client.say("LHLO c.example");
    for (sender, recipients, message) in messages {
        client.say(&format!("MAIL FROM:<{sender}>"));
        for recipient in *recipients {
            assert!(client.say(&format!("RCPT TO:<{recipient}>")).starts_with("250 "));
        }
        client.say("DATA");
        client.send(format!("{message}.\r\n"));
        for _ in *recipients {
            let reply = client.hear();
            assert!(reply.starts_with("250 2.0.0 "), "{subject:?}: {message:?}: {reply}");
        }
    }
    let mut found = Vec::new();
    for user in ["anna", "bob", "carl@a.example"] {
        assert!(server.left(user).is_empty());
        for path in server.files(user, "new") {
            let content = fs::read(&path).unwrap();
            assert_name(path.file_name().unwrap().to_str().unwrap(), &content);
            let about = fs::metadata(&path).unwrap();
            found.push(format!(
                "{user} {:o} {} {}\n{}",
                about.mode(),
                about.uid(),
                about.nlink(),
                normalised(&content)
            ));
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_lies_in_the_maildirs() {
    let messages: [(&str, &[&str], &str); 9] = [
        ("s@x.example", &["anna"], "Subject: x\r\nMessage-ID: <1@x>\r\n\r\n..dot\r\nend\r\n"),
        ("", &["CARL+Foo@a.example"], "Subject: y\r\n\r\n"),
        ("x@", &["bob"], "no header\r\n"),
        ("\".x y\"@a.example", &["\"anna\""], "a\0b\rc\r\n"),
        ("@r:s@x", &["bob"], "From joe Thu Nov 26\r\nA: b\r\n\r\n"),
        ("s@x", &["anna", "bob"], "Subject: both\r\n\r\n"),
        ("s@x", &["anna", "anna", "anna+x"], "Subject: twice\r\n\r\n"),
        ("s@x", &["bob"], "a\nb\r\n\r\r\n"),
        ("s@x", &["anna"], "\r\n\r\n"),
    ];
    assert_eq!(delivered(Subject::Ours, &messages), delivered(Subject::Reference, &messages));
}

/// L8: a dot behind a lone LF is a dot like others.
#[test]
fn a_dot_behind_a_lone_lf() {
    let messages: [(&str, &[&str], &str); 1] = [("s@x", &["anna"], "a\n..b\r\n")];
    let last = |subject| delivered(subject, &messages)[0].lines().last().unwrap().to_owned();
    assert_eq!((last(Subject::Ours), last(Subject::Reference)), ("..b".to_owned(), ".b".to_owned()));
}

/// L9: dates are in UTC, wherever the machine stands.
#[test]
fn dates_are_in_utc() {
    let scratch = Scratch::new("lmtpc");
    let server = LmtpServer::start(&scratch, "lmtp", Subject::Ours, &conf());
    server.connect().deliver(&["anna"], "x");
    let text = String::from_utf8_lossy(&server.messages("anna")[0]).into_owned();
    assert!(
        text.lines().any(|line| line.starts_with("\tfor <anna>; ") && line.ends_with(" +0000")),
        "{text}"
    );
}
