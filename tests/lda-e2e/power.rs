//! The power goes: an ext4 on a loop device is shut down without writing its log; what was reported as delivered is there.

use std::fs;

use harness::disk::Disk;
use harness::scratch::Scratch;

use crate::lab::{Lab, message, said};

/// Delivers 20 messages, cuts the power, and counts what is whole afterwards.
fn survive(name: &str, more: &str) -> usize {
    let scratch = Scratch::new(name);
    let disk = Disk::new(&scratch);
    let home = disk.path().join("joe");
    fs::create_dir(&home).unwrap();
    assert!(std::process::Command::new("sync").status().unwrap().success());
    let mut lab = Lab::at(scratch, home, more);
    for number in 0..20 {
        let output = lab
            .deliver(&["-m", if number % 2 == 0 { "" } else { "Sub" }], &message(number, &"x".repeat(5000)));
        assert!(output.status.success(), "{}", said(&output));
    }
    disk.power_cut();
    disk.power_on();
    lab.disk = Some(Box::new(disk));
    let mut all = lab.messages();
    all.extend(crate::lab::messages(&lab.root().join(".Sub")));
    let whole = |number: &usize| {
        all.iter().any(|path| fs::read(path).unwrap_or_default() == message(*number, &"x".repeat(5000)))
    };
    (0..20).filter(whole).count()
}

#[test]
fn what_was_reported_as_delivered_is_there() {
    assert_eq!(survive("power", "lda_mailbox_autocreate = true"), 20);
}

/// The trial tells a missing fsync.
#[test]
fn without_fsync_it_is_not() {
    let found = survive("powernever", "lda_mailbox_autocreate = true\nmail_fsync = \"never\"");
    assert!(found < 20, "{found}");
}
