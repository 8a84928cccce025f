//! A real Postfix delivers by `virtual_transport` and by `mailbox_transport`; a real Dovecot reads the result.

use std::process::Command;

use harness::lmtp::{LmtpConf, LmtpServer};
use harness::milter::Subject;
use harness::postfix::Postfix;
use harness::scratch::Scratch;

const MESSAGE: &[u8] =
    b"From: s@x.example\r\nSubject: hello\r\nMessage-ID: <1@x.example>\r\n\r\n.dot\r\nHello!\r\n";

#[test]
fn virtual_transport() {
    let scratch = Scratch::new("lmtpp");
    let conf = LmtpConf::new().user("anna@a.example").user("bob@a.example");
    let server = LmtpServer::start(&scratch, "lmtp", Subject::Ours, &conf);
    let postfix = Postfix::build(&scratch, "mx", "mx.a.example")
        .mailbox("anna@a.example")
        .mailbox("bob@a.example")
        .mailbox("nosuch@a.example")
        .main(&format!("virtual_transport = {}", server.for_postfix()))
        .main("recipient_delimiter = +")
        .start();
    postfix.sendmail("s@x.example", &["anna+work@a.example", "bob@a.example"], MESSAGE);
    postfix.wait_queue_empty();
    for user in ["anna@a.example", "bob@a.example"] {
        let messages = server.messages(user);
        assert_eq!(messages.len(), 1);
        let text = String::from_utf8_lossy(&messages[0]).into_owned();
        assert!(
            text.starts_with(
                "Return-Path: <s@x.example>\nReceived: from mx.a.example\n\tby mx.a.example with LMTP\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("\n\n.dot\nHello!\n"), "{text}");
    }
    assert_eq!(postfix.log().matches("status=sent (250 2.0.0 <").count(), 2);
    postfix.sendmail("s@x.example", &["anna+work@a.example"], MESSAGE);
    postfix.wait_queue_empty();
    let both = server.messages("anna@a.example");
    assert!(
        both.iter()
            .any(|text| String::from_utf8_lossy(text).contains("\nDelivered-To: anna+work@a.example\n"))
    );
    postfix.sendmail("", &["nosuch@a.example"], MESSAGE);
    let line = postfix.wait_log("status=bounced");
    assert!(line.contains("550 5.1.1 <nosuch@a.example> User doesn't exist: nosuch@a.example"), "{line}");
    read_by_dovecot(&scratch, &server, "anna@a.example", 2);
}

/// local(8) hands its mail over; users have no domain then.
#[test]
fn mailbox_transport() {
    let scratch = Scratch::new("lmtpp");
    let conf = LmtpConf::new().user("anna").ours("username_format = \"%Ln\"");
    let server = LmtpServer::start(&scratch, "lmtp", Subject::Ours, &conf);
    let postfix = Postfix::build(&scratch, "mx", "mx.a.example")
        .main("mydestination = mx.a.example")
        .main(&format!("mailbox_transport = {}", server.for_postfix()))
        .start();
    postfix.sendmail("s@x.example", &["Anna@mx.a.example"], MESSAGE);
    postfix.wait_queue_empty();
    let messages = server.messages("anna");
    assert_eq!(messages.len(), 1, "{}", postfix.log());
    let text = String::from_utf8_lossy(&messages[0]).into_owned();
    assert!(text.contains("\nDelivered-To: "), "{text}");
}

/// doveadm reads the mailbox as an IMAP session does: all messages are seen, with the sizes that their names tell.
fn read_by_dovecot(scratch: &Scratch, server: &LmtpServer, user: &str, count: usize) {
    let conf = LmtpConf::new().user(user);
    let dovecot = LmtpServer::start(scratch, "dovecot", Subject::Reference, &conf);
    let home = dovecot.home(user);
    std::fs::remove_dir_all(&home).unwrap();
    std::os::unix::fs::symlink(server.home(user), &home).unwrap();
    let doveadm = |arguments: &[&str]| {
        let output =
            Command::new("doveadm").arg("-c").arg(dovecot.conf_path()).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let listed = doveadm(&[
        "-f",
        "tab",
        "fetch",
        "-u",
        user,
        "uid hdr.subject size.physical size.virtual",
        "mailbox",
        "INBOX",
    ]);
    assert_eq!(listed.lines().count(), count + 1, "{listed}");
    for file in server.files(user, "cur") {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let sizes = name.split_once(",S=").unwrap().1.split(":2,").next().unwrap().replace(",W=", "\t");
        assert!(listed.contains(&sizes), "{name}: {listed}");
    }
    doveadm(&["flags", "add", "-u", user, "\\Deleted", "mailbox", "INBOX", "1"]);
    doveadm(&["expunge", "-u", user, "mailbox", "INBOX", "deleted"]);
    let status = doveadm(&["-f", "tab", "mailbox", "status", "-u", user, "messages", "INBOX"]);
    assert!(status.contains(&format!("INBOX\t{}", count - 1)), "{status}");
    let log = dovecot.log();
    assert!(!log.contains("Error"), "{log}");
}
