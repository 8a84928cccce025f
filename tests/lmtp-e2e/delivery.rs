//! One message to one recipient and to several: content, names, owners, shared files, what stands in the way of one only.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use harness::lmtp::{LmtpConf, LmtpServer, NOBODY};
use harness::milter::Subject;
use harness::scratch::Scratch;

/// www-data of Debian, who owns some mailboxes.
const OTHER: u32 = 33;

fn start(conf: &LmtpConf) -> (LmtpServer, Scratch) {
    let scratch = Scratch::new("lmtp");
    (LmtpServer::start(&scratch, "lmtp", Subject::Ours, conf), scratch)
}

fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message).into_owned()
}

/// A message without the fields that our server has put in front.
fn without_trace(message: &[u8]) -> Vec<u8> {
    let (mut rest, mut in_trace) = (message, true);
    while in_trace {
        let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
        let line = &rest[..end];
        in_trace = [&b"Return-Path:"[..], b"Delivered-To:", b"Received:", b"\t"]
            .iter()
            .any(|start| line.starts_with(start));
        if in_trace {
            rest = &rest[end..];
        }
    }
    rest.to_vec()
}

#[test]
fn one_message() {
    let (server, _scratch) = start(&LmtpConf::new().user("anna"));
    let mut client = server.connect();
    assert_eq!(client.greeting, "220 mx.a.example Postrider ready.");
    assert!(client.say("LHLO c.example").contains("250-SIZE"));
    let replies = client.deliver(&["anna+x"], "Subject: hi\r\nMessage-ID: <1@x>\r\n\r\n.dot\r\nend");
    assert!(replies[0].starts_with("250 2.0.0 <anna+x> ") && replies[0].ends_with(" Saved"), "{replies:?}");
    assert!(server.left("anna").is_empty());
    let files = server.files("anna", "new");
    let message = fs::read(&files[0]).unwrap();
    let shown = text(&message);
    assert!(shown.starts_with("Return-Path: <s@x.example>\nDelivered-To: anna+x\nReceived: from c.example\n\tby mx.a.example with LMTP\n\tid "), "{shown}");
    assert!(shown.contains("\n\t(envelope-from <s@x.example>)\n\tfor <anna+x>; "), "{shown}");
    assert!(shown.ends_with(" +0000\nSubject: hi\nMessage-ID: <1@x>\n\n.dot\nend\n"), "{shown}");
    let name = files[0].file_name().unwrap().to_str().unwrap().to_owned();
    let virtual_size = message.len() + shown.lines().count();
    assert!(name.ends_with(&format!(".mx.a.example,S={},W={virtual_size}", message.len())), "{name}");
    let found = fs::metadata(&files[0]).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777, found.nlink()), (NOBODY, NOBODY, 0o600, 1));
    let line = server.wait_log("saved mail");
    assert!(line.contains("lmtp(anna)<") && line.contains(">: msgid=<1@x>: saved mail to INBOX"), "{line}");
}

#[test]
fn one_owner_shares_a_file_and_others_get_their_own() {
    let conf = LmtpConf::new()
        .user("anna")
        .user("bob")
        .user_as("carl", OTHER, "")
        .user_as("dora", OTHER, "")
        .user("emil");
    let (server, _scratch) = start(&conf);
    for size in [100, 300_000] {
        let message = format!("Subject: x\r\n\r\n{}", "x".repeat(size));
        let users = ["anna", "bob", "carl", "dora", "emil"];
        let replies = server.connect().deliver(&users, &message);
        assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
        assert!(users.iter().all(|user| server.left(user).is_empty()));
        let found: Vec<(u64, u64, u32)> = users
            .iter()
            .map(|user| {
                let newest = server.files(user, "new").pop().unwrap();
                assert!(!text(&fs::read(&newest).unwrap()).contains("Delivered-To"));
                assert_eq!(
                    without_trace(&fs::read(&newest).unwrap()),
                    format!("{}\n", message.replace('\r', "")).into_bytes()
                );
                let found = fs::metadata(newest).unwrap();
                (found.ino(), found.nlink(), found.uid())
            })
            .collect();
        let (first, other) = ((found[0].0, 3, NOBODY), (found[2].0, 2, OTHER));
        assert_eq!(found, [first, first, other, other, first]);
        assert_ne!(first.0, other.0);
        for user in users {
            assert!(server.left(user).is_empty());
            fs::remove_dir_all(server.home(user).join("Maildir/new")).unwrap();
        }
    }
}

#[test]
fn a_mailbox_that_cannot_take_it_keeps_nobody_elses_mail() {
    let conf = LmtpConf::new().user("anna").user("bob").user_as("carl", OTHER, "").user("dora");
    let (server, _scratch) = start(&conf);
    // anna's home belongs to root; dora's INBOX has no new, and cannot get one.
    let home = server.home("anna");
    std::os::unix::fs::chown(&home, Some(0), Some(0)).unwrap();
    let maildir = server.home("dora").join("Maildir");
    for folder in ["", "tmp", "cur"] {
        fs::create_dir(maildir.join(folder)).unwrap();
        std::os::unix::fs::chown(maildir.join(folder), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(&maildir, fs::Permissions::from_mode(0o500)).unwrap();
    for (size, count) in [(100, 1), (300_000, 2)] {
        let message = format!("Subject: x\r\n\r\n..{}\r\n", "x\r\n".repeat(size / 3));
        for users in [["anna", "dora", "bob", "carl"], ["dora", "carl", "anna", "bob"]] {
            let mut client = server.connect();
            client.begin(&users);
            client.send(format!("{message}.\r\n"));
            for user in users {
                let reply = client.hear();
                let wanted = if ["bob", "carl"].contains(&user) { "250 2.0.0" } else { "451 4." };
                assert!(reply.starts_with(wanted), "{user}: {reply}");
            }
        }
        let wanted = message.replace('\r', "").replacen("..", ".", 1);
        for user in ["bob", "carl"] {
            let messages = server.messages(user);
            assert_eq!(messages.len(), 2 * count);
            let last = messages.iter().filter(|found| without_trace(found) == wanted.as_bytes()).count();
            assert_eq!(last, 2, "{user}");
            assert!(server.left(user).is_empty());
        }
        assert!(server.left("dora").is_empty());
    }
}

#[test]
fn recipients_are_checked_at_rcpt() {
    let conf = LmtpConf::new().user("anna").user_as("root", 0, "");
    let (server, _scratch) = start(&conf);
    let mut client = server.connect();
    client.say("MAIL FROM:<>");
    let reply = client.say("RCPT TO:<nosuch+x@a.example>");
    assert_eq!(reply, "550 5.1.1 <nosuch+x@a.example> User doesn't exist: nosuch@a.example");
    assert_eq!(client.say("RCPT TO:<root>"), "451 4.3.0 Temporary internal error");
    assert!(server.wait_log("mail is not delivered as root").contains("lmtp(root)"));
    assert_eq!(client.say("RCPT TO:<ANNA>"), "250 2.1.5 OK");
    fs::remove_file(server.conf_path().with_file_name("users")).unwrap();
    assert_eq!(client.say("RCPT TO:<bob>"), "451 4.3.0 Temporary internal error");
}

#[test]
fn quota_at_the_end_and_at_rcpt() {
    let conf = LmtpConf::new().user_as("anna", NOBODY, "userdb_quota_rule=*:bytes=2000").user("bob");
    let (server, _scratch) = start(&conf.clone().ours("[quota]\nquota_grace = \"0\""));
    let big = format!("Subject: x\r\n\r\n{}", "x\r\n".repeat(1500));
    let replies = server.connect().deliver(&["anna", "bob"], &big);
    assert_eq!(replies[0], "552 5.2.2 <anna> Quota exceeded (mailbox for user is full)");
    assert!(replies[1].starts_with("250 2.0.0 <bob>"), "{replies:?}");
    assert_eq!((server.messages("anna").len(), server.messages("bob").len()), (0, 1));
    assert!(server.left("anna").is_empty());
    let small = format!("Subject: x\r\n\r\n{}", "x\r\n".repeat(600));
    assert!(server.connect().deliver(&["anna"], &small)[0].starts_with("250 "));
    let mut client = server.connect();
    client.say("MAIL FROM:<>");
    assert_eq!(client.say("RCPT TO:<anna>"), "250 2.1.5 OK");
    fs::write(server.home("anna").join("Maildir/maildirsize"), "2000S\n2000 1\n").unwrap();
    server.configure(&conf.lmtp("rcpt_check_quota = true").ours("[quota]\nquota_grace = \"0\""));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_log("configuration reloaded");
    let mut client = server.connect();
    client.say("MAIL FROM:<>");
    assert_eq!(client.say("RCPT TO:<bob>"), "250 2.1.5 OK");
    assert_eq!(client.say("RCPT TO:<anna>"), "552 5.2.2 <anna> Quota exceeded (mailbox for user is full)");
}

#[test]
fn settings_of_the_fields_in_front() {
    let conf = LmtpConf::new()
        .user("anna")
        .lmtp("add_received_header = false\nhdr_delivery_address = \"none\"\nlogin_greeting = \"Hello\"")
        .lmtp("save_to_detail_mailbox = true")
        .ours("lda_mailbox_autocreate = true\nmail_save_crlf = true");
    let (server, _scratch) = start(&conf);
    let mut client = server.connect();
    assert_eq!(client.greeting, "220 mx.a.example Hello");
    client.deliver(&["anna+Work"], "Subject: x\r\n\r\nx");
    let files = server.files("anna", ".Work/new");
    assert_eq!(fs::read(&files[0]).unwrap(), b"Return-Path: <s@x.example>\r\nSubject: x\r\n\r\nx\r\n");
}

/// Messages that are no good RFC 5322 arrive byte for byte, but for line ends.
#[test]
fn odd_messages_arrive_as_they_are() {
    let (server, _scratch) = start(&LmtpConf::new().user("anna"));
    let long = "x".repeat(1 << 20);
    let mut client = server.connect();
    let mut count = 0;
    for (sent, stored) in [
        ("\r\n", "\n"),
        ("no header\r\n", "no header\n"),
        ("Subject: only\r\n", "Subject: only\n"),
        ("From joe Thu Nov 26\r\nA: b\r\n\r\n", "From joe Thu Nov 26\nA: b\n\n"),
        ("a\0b\rc\nd\r\r\n", "a\0b\rc\nd\r\n"),
        ("A: b\r\n\r\n\u{e9}\u{20ac}\r\n", "A: b\n\n\u{e9}\u{20ac}\n"),
        ("a\n.\nb\r\n", "a\n.\nb\n"),
    ] {
        client.begin(&["anna"]);
        client.send(format!("{sent}.\r\n"));
        assert!(client.hear().starts_with("250 "), "{sent:?}");
        count += 1;
        let mut found = server.messages("anna");
        assert_eq!(found.len(), count);
        let last = found.iter_mut().find(|message| without_trace(message) == stored.as_bytes());
        assert!(last.is_some(), "{sent:?} came as {:?}", text(&without_trace(found.last().unwrap())));
    }
    assert!(client.deliver(&["anna"], &format!("{long}\r\n\r\n{long}"))[0].starts_with("250 "));
    let wanted = format!("{long}\n\n{long}\n").into_bytes();
    assert!(server.messages("anna").iter().any(|message| without_trace(message) == wanted));
    // The same by chunks, cut where it hurts.
    client.say("MAIL FROM:<>");
    client.say("RCPT TO:<anna>");
    for chunk in ["Subject: x\r", "\n\r", "\n.\r\n", "..\r"] {
        client.send(format!("BDAT {}\r\n{chunk}", chunk.len()));
        assert!(client.hear().starts_with("250 2.0.0"));
    }
    client.send("BDAT 1 LAST\r\n\n");
    assert!(client.hear().starts_with("250 2.0.0 <anna>"));
    assert!(server.messages("anna").iter().any(|message| without_trace(message) == b"Subject: x\n\n.\n..\n"));
    let mut client = server.connect();
    assert!(client.say("MAIL FROM:<> SMTPUTF8 BODY=8BITMIME").starts_with("250 "));
    assert!(client.say("RCPT TO:<anna+z\u{eb}>").starts_with("250 "));
}
