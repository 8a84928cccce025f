//! Disks that are full, read-only, without inodes, at a quota, or whose power is cut; others get their mail meanwhile.

use std::fs;

use harness::disk::{Disk, Small};
use harness::lmtp::{LmtpConf, LmtpServer};
use harness::milter::Subject;
use harness::scratch::Scratch;

/// A message with its end; the body is as long as asked for.
fn text(number: usize, length: usize) -> String {
    let lines = "0123456789abcde\r\n".repeat(length / 16);
    format!("Subject: {number}\r\n\r\n{lines}the end of {number}")
}

/// Anna's home is on a small disk, bob's is not. Fields are dropped in this order.
struct Site {
    server: LmtpServer,
    small: Small,
    _scratch: Scratch,
}

fn site(options: &str) -> Site {
    let scratch = Scratch::new("lmtpd");
    fs::create_dir_all(scratch.file("lmtp/mail")).unwrap();
    let small = Small::mount(&scratch.file("lmtp/mail/anna"), options);
    let conf = LmtpConf::new().user("anna").user("bob");
    Site { server: LmtpServer::start(&scratch, "lmtp", Subject::Ours, &conf), small, _scratch: scratch }
}

impl Site {
    fn deliver(&self, users: &[&str], message: &str) -> Vec<String> {
        let mut client = self.server.connect();
        client.begin(users);
        client.send(format!("{message}\r\n.\r\n"));
        users.iter().map(|_| client.hear()).collect()
    }

    /// Messages in `new`, files in `tmp`.
    fn count(&self, user: &str) -> (usize, usize) {
        (self.server.files(user, "new").len(), self.server.left(user).len())
    }
}

#[test]
fn a_full_disk_defers_its_own_mail_only() {
    let site = site("size=1m,mode=755");
    assert!(site.deliver(&["anna"], &text(1, 100))[0].starts_with("250 "));
    fs::write(site.small.path().join("filler"), vec![0; 300_000]).unwrap();
    let large = text(2, 900_000);
    assert_eq!(site.deliver(&["anna"], &large), ["452 4.3.1 Insufficient system storage"]);
    for users in [["anna", "bob"], ["bob", "anna"]] {
        for (user, reply) in users.iter().zip(site.deliver(&users, &large)) {
            assert!(reply.starts_with(if *user == "bob" { "250 " } else { "45" }), "{user}: {reply}");
        }
    }
    assert_eq!((site.count("anna"), site.count("bob")), ((1, 0), (2, 0)));
    for message in site.server.messages("bob") {
        assert!(message.ends_with(b"the end of 2\n") && message.len() > 890_000);
    }
    assert!(site.server.log().contains("No space left on device"));
    fs::remove_file(site.small.path().join("filler")).unwrap();
    assert!(site.deliver(&["anna"], &large)[0].starts_with("250 "));
    assert_eq!(site.count("anna"), (2, 0));
}

#[test]
fn a_disk_without_free_inodes_defers() {
    let site = site("nr_inodes=9,mode=755");
    let replies: Vec<String> =
        (0..6).map(|number| site.deliver(&["anna"], &text(number, 9)).remove(0)).collect();
    let taken = replies.iter().filter(|reply| reply.starts_with("250 ")).count();
    assert!(replies.iter().all(|reply| reply.starts_with("250 ") || reply.starts_with("45")), "{replies:?}");
    assert!(taken < 6, "{replies:?}");
    assert_eq!(site.count("anna"), (taken, 0));
}

#[test]
fn a_read_only_disk_defers() {
    let site = site("size=1m,mode=755");
    assert!(site.deliver(&["anna"], &text(1, 9))[0].starts_with("250 "));
    // A file that is still open for writing would not let it.
    assert_eq!(site.count("anna"), (1, 0));
    site.small.remount("ro");
    let replies = site.deliver(&["anna", "bob"], &text(2, 9));
    assert!(replies[0].starts_with("451 ") && replies[1].starts_with("250 "), "{replies:?}");
    assert!(site.server.log().contains("Read-only file system"));
    site.small.remount("rw");
    assert!(site.deliver(&["anna"], &text(2, 9))[0].starts_with("250 "));
    assert_eq!((site.count("anna"), site.count("bob")), ((2, 0), (1, 0)));
}

/// The quota is reached in the middle of a series, on one connection, for one of two.
#[test]
fn a_mailbox_reaches_its_quota() {
    let scratch = Scratch::new("lmtpd");
    let conf = LmtpConf::new()
        .user_as("anna", harness::lmtp::NOBODY, "userdb_quota_rule=*:bytes=20000")
        .user("bob")
        .ours("[quota]\nquota_grace = \"0\"");
    let server = LmtpServer::start(&scratch, "lmtp", Subject::Ours, &conf);
    let mut client = server.connect();
    let mut taken = 0;
    for number in 0..8 {
        let replies = client.deliver(&["anna", "bob"], &text(number, 4000));
        assert!(replies[1].starts_with("250 "), "{replies:?}");
        taken += usize::from(replies[0].starts_with("250 "));
        let full = "552 5.2.2 <anna> Quota exceeded (mailbox for user is full)";
        assert!(replies[0].starts_with("250 ") || replies[0] == full, "{replies:?}");
    }
    assert_eq!(taken, 4);
    assert_eq!((server.messages("anna").len(), server.messages("bob").len()), (4, 8));
    assert_eq!(server.left("anna").len() + server.left("bob").len(), 0);
    let size = fs::read_to_string(server.home("anna").join("Maildir/maildirsize")).unwrap();
    assert_eq!(size.lines().next(), Some("20000S"), "{size}");
}

/// 20 messages to two users of one owner, then the power goes. How many are whole in both mailboxes afterwards.
fn survive(line: &str) -> usize {
    let scratch = Scratch::new("lmtpd");
    let disk = Disk::new(&scratch);
    fs::create_dir(scratch.file("lmtp")).unwrap();
    std::os::unix::fs::symlink(disk.path(), scratch.file("lmtp/mail")).unwrap();
    let conf = LmtpConf::new().user("anna").user("bob").ours(line);
    let server = LmtpServer::start(&scratch, "lmtp", Subject::Ours, &conf);
    assert!(std::process::Command::new("sync").status().unwrap().success());
    let mut client = server.connect();
    for number in 0..20 {
        let replies = client.deliver(&["anna", "bob"], &text(number, 5000));
        assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
    }
    disk.power_cut();
    disk.power_on();
    let is_whole = |user: &str, number: usize| {
        let wanted = text(number, 5000).replace('\r', "") + "\n";
        server.messages(user).iter().any(|found| found.ends_with(wanted.as_bytes()))
    };
    (0..20).filter(|number| is_whole("anna", *number) && is_whole("bob", *number)).count()
}

#[test]
fn what_was_taken_survives_a_power_cut() {
    assert_eq!(survive(""), 20);
}

/// The trial tells a missing fsync.
#[test]
fn without_fsync_it_does_not() {
    let found = survive("mail_fsync = \"never\"");
    assert!(found < 20, "{found}");
}
