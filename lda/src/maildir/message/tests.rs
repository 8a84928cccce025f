//! Tests of placing: marks, messages that are there already, names that are taken, what is taken back.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::*;
use crate::location::Location;
use crate::variables::Values;

struct Lab {
    home: tempfile::TempDir,
    boxes: Mailboxes,
}

const HEAD: &str =
    "Received: from a by b (Postfix) with ESMTP id 1E2405A0B3; Thu, 26 Nov 2026 09:53:13 +0000\n";

impl Lab {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let values = Values { home: home.path().to_str().unwrap(), ..Values::default() };
        let place = Location::home_maildir().expand(&values).unwrap();
        let boxes = Mailboxes::open(place, Some('/'), "", true, "h").unwrap();
        Self { home, boxes }
    }

    fn message(&self, text: &str) -> Message {
        let mut incoming = Incoming::begin(&self.boxes, b"", &[b"joe"], false, Duration::from_secs(9));
        incoming.write(&self.boxes, text.as_bytes()).unwrap();
        incoming.finish(&self.boxes).unwrap()
    }

    fn place(&self, message: &mut Message, folder: &str, marks: &Marks) -> Placed {
        let folder = self.boxes.folder(folder).unwrap();
        self.boxes.create(&folder).unwrap();
        let placed = message.place(&self.boxes, &folder, marks, true).unwrap();
        message.delivered();
        placed
    }

    /// What an IMAP server does with new mail.
    fn read(&self) {
        for new in self.files("new") {
            let name = format!("{}:2,S", new.file_name().unwrap().display());
            fs::rename(&new, self.home.path().join("Maildir/cur").join(name)).unwrap();
        }
    }

    fn files(&self, below: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = fs::read_dir(self.home.path().join("Maildir").join(below))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        all.sort();
        all
    }
}

#[test]
fn marks_stand_in_the_name_and_keywords_in_their_file() {
    let lab = Lab::new();
    let marks = |flags: &str, keywords: &[&str]| Marks {
        flags: flags.to_owned(),
        keywords: keywords.iter().map(|keyword| (*keyword).to_owned()).collect(),
    };
    let mut one = lab.message("a: b\n\none\n");
    assert_eq!(lab.place(&mut one, "INBOX", &marks("SF", &["work", "$Forwarded"])), Placed::New);
    let mut two = lab.message("a: b\n\ntwo\n");
    assert_eq!(lab.place(&mut two, "INBOX", &marks("", &["$forwarded", "new"])), Placed::New);
    let names: Vec<String> = lab.files("cur").iter().map(|path| path.display().to_string()).collect();
    assert!(names.iter().any(|name| name.ends_with(":2,FSab")), "{names:?}");
    assert!(names.iter().any(|name| name.ends_with(":2,bc")), "{names:?}");
    let file = lab.home.path().join("Maildir/dovecot-keywords");
    assert_eq!(fs::read_to_string(&file).unwrap(), "0 work\n1 $Forwarded\n2 new\n");
    // A folder has no letter for a 27th keyword.
    let many: Vec<String> = (0..30).map(|number| format!("k{number}")).collect();
    let mut three = lab.message("a: b\n\nthree\n");
    lab.place(&mut three, "Many", &Marks { flags: String::new(), keywords: many });
    let names = lab.files(".Many/cur");
    assert!(names[0].display().to_string().ends_with(":2,abcdefghijklmnopqrstuvwxyz"), "{names:?}");
}

#[test]
fn a_message_that_is_there_is_not_put_there_again() {
    let lab = Lab::new();
    let text = format!("{HEAD}\nbody\n");
    assert_eq!(lab.place(&mut lab.message(&text), "INBOX", &Marks::default()), Placed::New);
    assert_eq!(lab.place(&mut lab.message(&text), "INBOX", &Marks::default()), Placed::Already);
    assert_eq!(lab.files("new").len(), 1);
    // The same name by accident or by malice: another message, with the same size, goes in under another name.
    assert_eq!(
        lab.place(&mut lab.message(&format!("{HEAD}\nBODY\n")), "INBOX", &Marks::default()),
        Placed::New
    );
    assert_eq!(lab.files("new").len(), 2);
    assert_eq!(lab.files("tmp").len(), 0);
}

#[test]
fn what_a_killed_attempt_left_is_noticed() {
    let lab = Lab::new();
    let text = format!("{HEAD}\nbody\n");
    let killed = |placed: bool| {
        let mut message = lab.message(&text);
        if placed {
            lab.place(&mut message, "INBOX", &Marks::default());
        }
        message.open.keep = true;
    };
    // Killed before it placed anything: what it left is of no use.
    killed(false);
    assert_eq!(lab.files("tmp").len(), 1);
    killed(true);
    // A reader takes the message to cur, or to another folder.
    let new = lab.files("new").remove(0);
    let read =
        lab.home.path().join("Maildir/cur").join(format!("{}:2,S", new.file_name().unwrap().display()));
    fs::rename(&new, &read).unwrap();
    assert_eq!(lab.place(&mut lab.message(&text), "INBOX", &Marks::default()), Placed::Already);
    assert_eq!((lab.files("tmp").len(), lab.files("new").len(), lab.files("cur").len()), (0, 0, 1));
    fs::remove_file(&read).unwrap();
    killed(true);
    lab.boxes.create(&lab.boxes.folder("Other").unwrap()).unwrap();
    let new = lab.files("new").remove(0);
    fs::rename(&new, lab.home.path().join("Maildir/.Other/cur/moved:2,S")).unwrap();
    assert_eq!(lab.place(&mut lab.message(&text), "INBOX", &Marks::default()), Placed::Already);
    // The user has deleted it: only that the first attempt had come so far is lost.
    fs::remove_file(lab.home.path().join("Maildir/.Other/cur/moved:2,S")).unwrap();
    assert_eq!(lab.place(&mut lab.message(&text), "INBOX", &Marks::default()), Placed::New);
}

/// A transaction with two recipients is killed; the next attempt names one of them alone, with fields of its own in front.
#[test]
fn several_recipients_are_told_apart() {
    let text = format!("{HEAD}\nbody\n");
    for (both, read) in [(false, false), (true, false), (true, true)] {
        let (anna, bob) = (Lab::new(), Lab::new());
        let begin = |lab: &Lab, trace: &str, key: &[u8]| {
            Incoming::begin(&lab.boxes, trace.as_bytes(), &[key], false, Duration::from_secs(9))
        };
        let finish = |lab: &Lab, mut incoming: Incoming| {
            incoming.write(&lab.boxes, text.as_bytes()).unwrap();
            incoming.finish(&lab.boxes).unwrap()
        };
        let mut message = finish(&anna, begin(&anna, "R: x\n", b"anna").for_several());
        message.next_recipient(&anna.boxes, &[b"anna"]).unwrap();
        assert_eq!(anna.place(&mut message, "INBOX", &Marks::default()), Placed::New);
        message.next_recipient(&bob.boxes, &[b"bob"]).unwrap();
        assert_eq!(bob.files("tmp").len(), 1);
        if both {
            bob.place(&mut message, "INBOX", &Marks::default());
        }
        // A kill: nothing is removed.
        (message.keep, message.open.keep) = (true, true);
        drop(message);
        if read {
            anna.read();
            bob.read();
        }
        let again = |lab: &Lab, key: &[u8]| {
            let mut message = finish(lab, begin(lab, "Delivered-To: bob\nR: x\n", key));
            message.next_recipient(&lab.boxes, &[key]).unwrap();
            lab.place(&mut message, "INBOX", &Marks::default())
        };
        // That anna has it is no reason to think that bob has.
        assert_eq!(again(&bob, b"bob"), if both { Placed::Already } else { Placed::New }, "{both} {read}");
        assert_eq!(again(&anna, b"anna"), Placed::Already);
        for lab in [&anna, &bob] {
            assert_eq!((lab.files("tmp").len(), lab.files("new").len() + lab.files("cur").len()), (0, 1));
        }
    }
}

/// While a transaction is in hand, no other attempt delivers to one of its recipients; afterwards nothing is left.
#[test]
fn a_recipient_of_several_is_held() {
    let (anna, bob) = (Lab::new(), Lab::new());
    let text = format!("{HEAD}\nbody\n");
    let mut incoming =
        Incoming::begin(&anna.boxes, b"", &[b"anna"], false, Duration::from_secs(9)).for_several();
    incoming.write(&anna.boxes, text.as_bytes()).unwrap();
    let mut message = incoming.finish(&anna.boxes).unwrap();
    message.next_recipient(&bob.boxes, &[b"bob"]).unwrap();
    let mut other = Incoming::begin(&bob.boxes, b"", &[b"bob"], false, Duration::from_secs(9));
    other.write(&bob.boxes, text.as_bytes()).unwrap();
    assert!(matches!(other.finish(&bob.boxes), Err(StoreError::Busy(_))));
    drop(message);
    assert_eq!((anna.files("tmp").len(), bob.files("tmp").len()), (0, 0));
}

/// A delivery that fails leaves what an earlier attempt left: the next one needs it.
#[test]
fn a_failed_attempt_leaves_the_trace_of_an_earlier_one() {
    let lab = Lab::new();
    let text = format!("{HEAD}\nbody\n");
    let mut message = lab.message(&text);
    lab.place(&mut message, "INBOX", &Marks::default());
    message.keep_for_another_attempt();
    drop(message);
    lab.read();
    let mut failed = lab.message(&text);
    failed.take_back();
    drop(failed);
    assert_eq!(lab.files("tmp").len(), 1);
    let mut message = lab.message(&text);
    let inbox = lab.boxes.inbox().unwrap();
    assert!(message.is_there(&lab.boxes, &inbox, &Marks::default(), true).unwrap());
    assert_eq!(lab.place(&mut message, "INBOX", &Marks::default()), Placed::Already);
    drop(message);
    assert_eq!(lab.files("tmp").len(), 0);
}

#[test]
fn another_process_with_the_same_message_has_the_right_of_way() {
    let lab = Lab::new();
    let text = format!("{HEAD}\nbody\n");
    let first = lab.message(&text);
    let mut incoming = Incoming::begin(&lab.boxes, b"", &[b"joe"], false, Duration::from_secs(9));
    incoming.write(&lab.boxes, text.as_bytes()).unwrap();
    assert!(matches!(incoming.finish(&lab.boxes), Err(StoreError::Busy(_))));
    drop(first);
    assert_eq!(lab.place(&mut lab.message(&text), "INBOX", &Marks::default()), Placed::New);
}

#[test]
fn what_was_placed_is_taken_back() {
    let lab = Lab::new();
    let mut message = lab.message("a: b\n\nc\n");
    lab.place(&mut message, "INBOX", &Marks::default());
    lab.place(&mut message, "Sub", &Marks::default());
    assert_eq!(message.placed().len(), 2);
    assert_eq!(fs::metadata(&message.placed()[0]).unwrap().nlink(), 3);
    message.take_back();
    drop(message);
    assert_eq!((lab.files("new").len(), lab.files(".Sub/new").len(), lab.files("tmp").len()), (0, 0, 0));
    let nowhere = lab.boxes.folder("Nowhere").unwrap();
    let error = lab.message("x\n").place(&lab.boxes, &nowhere, &Marks::default(), true).unwrap_err();
    assert_eq!(error.to_string(), "Mailbox doesn't exist: Nowhere");
}
