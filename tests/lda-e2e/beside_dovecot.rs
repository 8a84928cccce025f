//! A real Dovecot serves the Maildir over IMAP while we deliver into it, and delivers there itself.
//!
//! 5 s of both at the same time; 60 s with `LONG=1`.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::imap::Dovecot;

use crate::lab::{Lab, USER, long, message, run, said};

fn dovecot(lab: &Lab) -> Dovecot {
    Dovecot::of(&lab.scratch, "joe", lab.root().parent().unwrap(), USER)
}

const CONF: &str = "namespace_separator = \"/\"\nlda_mailbox_autocreate = true\nlda_mailbox_autosubscribe = true\n[quota]\nquota_rule = \"*:storage=1G\"\n";

#[test]
fn what_we_deliver_is_read_over_imap() {
    let lab = Lab::new("imap", CONF);
    assert!(lab.deliver(&[], &message(1, "hello")).status.success());
    assert!(lab.deliver(&["-m", "B\u{fc}cher/Neu"], &message(2, "in a folder")).status.success());
    let dovecot = dovecot(&lab);
    let mut imap = dovecot.imap();
    let listed = imap.say("LIST \"\" *");
    assert!(listed.contains("B&APw-cher/Neu"), "{listed}");
    assert!(imap.say("LSUB \"\" *").contains("B&APw-cher/Neu"));
    assert!(imap.say("SELECT INBOX").contains("* 1 EXISTS"));
    let fetched = imap.say("FETCH 1 (FLAGS RFC822.SIZE BODY.PEEK[])");
    let size = message(1, "hello").len() + message(1, "hello").iter().filter(|byte| **byte == b'\n').count();
    assert!(
        fetched.contains(&format!("RFC822.SIZE {size}")) && fetched.contains("\r\n\r\nhello\r\n"),
        "{fetched}"
    );
    imap.say("STORE 1 +FLAGS (\\Seen \\Flagged work)");
    // What has come meanwhile is there at the next look.
    assert!(lab.deliver(&[], &message(3, "later")).status.success());
    assert!(imap.say("NOOP").contains("* 2 EXISTS"));
    let used = imap.say("GETQUOTAROOT INBOX");
    let total: u64 = lab.messages().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let total = total + u64::try_from(message(2, "in a folder").len()).unwrap();
    assert!(used.contains(&format!("(STORAGE {} ", total.div_ceil(1024))), "{total}: {used}");
    imap.say("STORE 1 +FLAGS (\\Deleted)");
    assert!(imap.say("EXPUNGE").contains("* 1 EXPUNGE"));
    assert_eq!(lab.messages().len(), 1);
    // What is left goes to the folder, keeps its flags there, and can be found by them.
    imap.say("STORE 1 +FLAGS (\\Answered)");
    assert!(imap.say("STATUS B&APw-cher/Neu (MESSAGES)").contains("(MESSAGES 1)"));
    assert!(imap.say("MOVE 1 B&APw-cher/Neu").contains("* 1 EXPUNGE"));
    assert_eq!(lab.messages().len(), 0);
    assert!(imap.say("SELECT B&APw-cher/Neu").contains("* 2 EXISTS"));
    let found = imap.say("SEARCH ANSWERED SUBJECT \"number 3\"");
    assert!(found.contains("* SEARCH 2\r\n"), "{found}");
    // Another delivery into that folder finds it in order.
    assert!(lab.deliver(&["-m", "B\u{fc}cher/Neu"], &message(4, "after")).status.success());
    assert!(imap.say("NOOP").contains("* 3 EXISTS"));
    assert_eq!(dovecot.complaints(), "");
}

#[test]
fn both_deliver_at_the_same_time() {
    let lab = Lab::new("beside", CONF);
    let dovecot = dovecot(&lab);
    assert!(lab.deliver(&[], &message(0, "first")).status.success());
    let end = Instant::now() + Duration::from_secs(if long() { 60 } else { 5 });
    let (ours, theirs) = (AtomicUsize::new(1), AtomicUsize::new(0));
    let expunged = std::thread::scope(|scope| {
        for thread in 0..2 {
            let (lab, ours) = (&lab, &ours);
            scope.spawn(move || {
                let mut number = 1;
                while Instant::now() < end {
                    let output = lab.deliver(&[], &message(number * 2 + thread, "ours"));
                    assert!(output.status.success(), "{}", said(&output));
                    ours.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
            });
        }
        scope.spawn(|| {
            let mut number = 0;
            while Instant::now() < end {
                number += 1;
                let output = run(&mut dovecot.command("dovecot-lda"), &message(number, "theirs"));
                assert!(output.status.success(), "{}\n{}", said(&output), dovecot.log());
                theirs.fetch_add(1, Ordering::Relaxed);
            }
        });
        let reader = scope.spawn(|| {
            let mut imap = dovecot.imap();
            imap.say("SELECT INBOX");
            let mut expunged = 0;
            while Instant::now() < end {
                imap.say("FETCH 1:* (FLAGS UID)");
                imap.say("STORE 1 +FLAGS (\\Deleted)");
                expunged += imap.say("EXPUNGE").matches(" EXPUNGE\r\n").count();
                // Until something is there again.
                while Instant::now() < end && !imap.say("STATUS INBOX (MESSAGES)").contains("MESSAGES ") {}
                std::thread::sleep(Duration::from_millis(100));
            }
            expunged
        });
        reader.join().unwrap()
    });
    let mut imap = dovecot.imap();
    let (ours, theirs) = (ours.into_inner(), theirs.into_inner());
    println!("{ours} by us, {theirs} by dovecot-lda, {expunged} expunged");
    assert!(ours > 10 && theirs > 5, "{ours} {theirs}");
    let left = ours + theirs - expunged;
    assert!(imap.say("SELECT INBOX").contains(&format!("* {left} EXISTS")));
    assert_eq!(lab.messages().len(), left);
    assert_eq!(dovecot.complaints(), "");
}
