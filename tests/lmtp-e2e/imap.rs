//! A real Dovecot serves over IMAP what we deliver by LMTP, and delivers into the same mailbox itself.
//!
//! 4 s of both at the same time; 60 s with `LONG=1`.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::imap::Dovecot;
use harness::lmtp::{LmtpClient, LmtpConf, LmtpServer, NOBODY};
use harness::milter::Subject;
use harness::scratch::Scratch;

use crate::long;

const CONF: &str =
    "namespace_separator = \"/\"\nlda_mailbox_autocreate = true\nlda_mailbox_autosubscribe = true";
const QUOTA: &str = "[quota]\nquota_rule = \"*:storage=1G\"";

fn conf() -> LmtpConf {
    LmtpConf::new().user("anna").ours(CONF).ours(QUOTA).lmtp("save_to_detail_mailbox = true")
}

#[test]
fn what_we_deliver_is_read_over_imap() {
    let scratch = Scratch::new("lmtpi");
    let server = LmtpServer::start(&scratch, "lmtp", Subject::Ours, &conf());
    let mut client = server.connect();
    let taken =
        |replies: Vec<String>| assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
    for number in 1..4 {
        taken(client.deliver(&["anna"], &format!("Subject: number {number}\r\n\r\nhello {number}")));
    }
    taken(client.deliver(&["anna+Work"], "Subject: in a folder\r\n\r\nx"));
    let dovecot = Dovecot::of(&scratch, "anna", &server.home("anna"), NOBODY);
    let mut imap = dovecot.imap();
    assert!(imap.say("LIST \"\" *").contains("Work") && imap.say("LSUB \"\" *").contains("Work"));
    assert!(imap.say("SELECT INBOX").contains("* 3 EXISTS"));
    let fetched = imap.say("FETCH 2 (FLAGS RFC822.SIZE BODY.PEEK[])");
    let name = server.files("anna", "cur")[1].display().to_string();
    let size = name.split(",W=").nth(1).unwrap().split(':').next().unwrap().to_owned();
    assert!(fetched.contains(&format!("RFC822.SIZE {size} ")), "{name}: {fetched}");
    assert!(
        fetched.contains("Return-Path: <s@x.example>\r\n") && fetched.contains("\r\n\r\nhello 2\r\n"),
        "{fetched}"
    );
    imap.say("STORE 1 +FLAGS (\\Seen \\Flagged work)");
    imap.say("STORE 2 +FLAGS (\\Deleted)");
    // What has come meanwhile is there at the next look.
    taken(client.deliver(&["anna"], "Subject: number 4\r\n\r\nlater"));
    assert!(imap.say("NOOP").contains("* 4 EXISTS"));
    // By the names that ours and Dovecot's quota go by.
    let used = || -> u64 {
        ["new", "cur", ".Work/new", ".Work/cur"]
            .iter()
            .flat_map(|folder| server.files("anna", folder))
            .map(|path| fs::metadata(path).unwrap().len())
            .sum()
    };
    let wanted = format!("(STORAGE {} 1048576)", used().div_ceil(1024));
    let said = imap.say("GETQUOTAROOT INBOX");
    assert!(said.contains(&wanted), "{wanted}: {said}");
    assert!(imap.say("STATUS Work (MESSAGES)").contains("(MESSAGES 1)"));
    assert!(imap.say("MOVE 1 Work").contains("* 1 EXPUNGE"));
    // Number 2 is the first now.
    assert!(imap.say("EXPUNGE").contains("* 1 EXPUNGE"));
    assert!(imap.say("SELECT Work").contains("* 2 EXISTS"));
    let fetched = imap.say("FETCH 2 (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])");
    for part in ["\\Seen", "\\Flagged", "work", "Subject: number 1\r\n"] {
        assert!(fetched.contains(part), "{part}: {fetched}");
    }
    let wanted = format!("(STORAGE {} 1048576)", used().div_ceil(1024));
    let said = imap.say("GETQUOTAROOT Work");
    assert!(said.contains(&wanted), "{wanted}: {said}");
    assert!(imap.say("SELECT INBOX").contains("* 2 EXISTS"));
    assert_eq!(dovecot.complaints(), "");
}

#[test]
fn dovecot_and_we_deliver_at_the_same_time() {
    let scratch = Scratch::new("lmtpi");
    let server = LmtpServer::start(&scratch, "ours", Subject::Ours, &conf());
    let theirs = LmtpServer::start(&scratch, "theirs", Subject::Reference, &LmtpConf::new().user("anna"));
    // One mailbox, two servers.
    fs::remove_dir_all(theirs.home("anna")).unwrap();
    std::os::unix::fs::symlink(server.home("anna"), theirs.home("anna")).unwrap();
    let dovecot = Dovecot::of(&scratch, "anna", &server.home("anna"), NOBODY);
    let end = Instant::now() + Duration::from_secs(if long() { 60 } else { 4 });
    let (ours, by_dovecot) = (AtomicUsize::new(0), AtomicUsize::new(0));
    assert!(server.connect().deliver(&["anna"], "first")[0].starts_with("250 "));
    let deliver = |socket: &std::path::Path, delivered: &AtomicUsize| {
        let mut client = LmtpClient::connect(socket);
        while Instant::now() < end {
            let replies = client.deliver(&["anna"], "Subject: x\r\n\r\nx");
            assert!(replies[0].starts_with("250 "), "{replies:?}");
            delivered.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let expunged = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| deliver(&server.socket(), &ours));
            scope.spawn(|| deliver(&theirs.socket(), &by_dovecot));
        }
        let reader = scope.spawn(|| {
            let mut imap = dovecot.imap();
            imap.say("SELECT INBOX");
            let mut expunged = 0;
            while Instant::now() < end {
                imap.say("FETCH 1:* (FLAGS UID)");
                imap.say("STORE 1:* +FLAGS (\\Deleted)");
                expunged += imap.say("EXPUNGE").matches(" EXPUNGE\r\n").count();
                while Instant::now() < end && imap.say("STATUS INBOX (MESSAGES)").contains("(MESSAGES 0)") {}
                std::thread::sleep(Duration::from_millis(50));
            }
            expunged
        });
        reader.join().unwrap()
    });
    let (ours, by_dovecot) = (ours.into_inner() + 1, by_dovecot.into_inner());
    println!("{ours} by us, {by_dovecot} by Dovecot's LMTP server, {expunged} expunged");
    assert!(ours > 50 && by_dovecot > 20, "{ours} {by_dovecot}");
    let left = ours + by_dovecot - expunged;
    let mut imap = dovecot.imap();
    assert!(imap.say("SELECT INBOX").contains(&format!("* {left} EXISTS")));
    assert_eq!(server.files("anna", "new").len() + server.files("anna", "cur").len(), left);
    assert_eq!(server.left("anna").len(), 0);
    assert_eq!(dovecot.complaints(), "");
    for log in [server.log(), theirs.log()] {
        let wrong =
            |line: &&str| ["rror", "arning", "Panic", "Fatal", "WARN"].iter().any(|word| line.contains(word));
        assert_eq!(log.lines().filter(wrong).collect::<String>(), "");
    }
}
