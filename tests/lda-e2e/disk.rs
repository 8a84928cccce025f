//! Disks that are full, read-only, or at their quota in the middle of a message.

use std::fs;

use harness::disk::Small;
use harness::scratch::Scratch;

use crate::lab::{Lab, message, said};

/// A mailbox on a small file system, which is unmounted before the folder is removed.
fn lab(name: &str, options: &str) -> (Lab, std::sync::Arc<Small>) {
    let scratch = Scratch::new(name);
    let small = std::sync::Arc::new(Small::mount(&scratch.file("disk"), options));
    let home = small.path().join("joe");
    fs::create_dir(&home).unwrap();
    let mut lab = Lab::at(scratch, home, "");
    lab.disk = Some(Box::new(std::sync::Arc::clone(&small)));
    (lab, small)
}

#[test]
fn a_full_disk_defers_and_is_used_again_when_there_is_room() {
    let (lab, _small) = lab("full", "size=1m,mode=755");
    assert!(lab.deliver(&[], &message(1, "fits")).status.success());
    let large = message(2, &"x".repeat(900_000));
    fs::write(lab.scratch.file("disk/filler"), vec![0; 300_000]).unwrap();
    let output = lab.deliver(&[], &large);
    assert_eq!(output.status.code(), Some(75), "{}", said(&output));
    assert!(said(&output).contains("No space left"), "{}", said(&output));
    assert_eq!((lab.messages().len(), lab.left().len()), (1, 0));
    fs::remove_file(lab.scratch.file("disk/filler")).unwrap();
    assert!(lab.deliver(&[], &large).status.success());
    assert_eq!(lab.messages().len(), 2);
}

#[test]
fn a_disk_without_free_inodes_defers() {
    let (lab, _small) = lab("inodes", "nr_inodes=9,mode=755");
    let codes: Vec<_> = (0..5).map(|number| lab.deliver(&[], &message(number, "x")).status.code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), lab.messages().len(), "{codes:?}");
    assert!(codes.contains(&Some(75)), "{codes:?}");
    assert_eq!(lab.left().len(), 0);
}

#[test]
fn a_read_only_disk_defers() {
    let (lab, small) = lab("readonly", "size=1m,mode=755");
    assert!(lab.deliver(&[], &message(1, "x")).status.success());
    small.remount("ro");
    let output = lab.deliver(&[], &message(2, "x"));
    assert_eq!(output.status.code(), Some(75), "{}", said(&output));
    assert!(said(&output).contains("Read-only"), "{}", said(&output));
    small.remount("rw");
    assert!(lab.deliver(&[], &message(2, "x")).status.success());
    assert_eq!(lab.messages().len(), 2);
}

#[test]
fn a_mailbox_reaches_its_quota() {
    let lab = Lab::new("quotafull", "[quota]\nquota_rule = \"*:bytes=20480\"");
    let of_4096 = |number: usize| {
        let empty = message(number, "").len();
        message(number, &"x".repeat(4096 - empty))
    };
    let codes: Vec<_> =
        (0..6).map(|number| lab.deliver(&[], &of_4096(number)).status.code().unwrap()).collect();
    // Dovecot 2.3.19: five mails of 4096 bytes go in, the sixth does not.
    assert_eq!(codes, [0, 0, 0, 0, 0, 77]);
    let output = lab.deliver(&[], &of_4096(7));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Quota exceeded (mailbox for user is full)"));
    assert!(said(&output).contains("save failed to INBOX: Quota exceeded"), "{}", said(&output));
    assert_eq!((lab.messages().len(), lab.left().len()), (5, 0));
    let size = fs::read_to_string(lab.root().join("maildirsize")).unwrap();
    assert_eq!(size.lines().next(), Some("20480S"), "{size}");
    let output = lab.deliver(&["-o", "quota_full_tempfail=yes"], &of_4096(8));
    assert_eq!(output.status.code(), Some(75));
    // Who removes mail tells maildirsize, or does not: then a count finds it.
    fs::remove_file(&lab.messages()[0]).unwrap();
    fs::remove_file(lab.root().join("maildirsize")).unwrap();
    assert_eq!(lab.deliver(&[], &of_4096(9)).status.code(), Some(0));
}

/// A `maildirsize` that somebody else made is kept, and its limit holds, without any rule of ours.
#[test]
fn a_maildirsize_that_is_there_is_kept() {
    let lab = Lab::new("sizekept", "");
    assert!(lab.deliver(&[], &message(1, "x")).status.success());
    let file = lab.root().join("maildirsize");
    assert!(!file.exists(), "none is made without a limit");
    let size = message(2, "x").len();
    fs::write(&file, format!("{}S\n0 0\n", size + 10)).unwrap();
    std::os::unix::fs::chown(&file, Some(crate::lab::USER), Some(crate::lab::USER)).unwrap();
    assert!(lab.deliver(&["-o", "plugin/quota_grace=0"], &message(2, "x")).status.success());
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}S\n0 0\n{size} 1\n", size + 10));
    assert_eq!(lab.deliver(&["-o", "plugin/quota_grace=0"], &message(3, "x")).status.code(), Some(77));
}
