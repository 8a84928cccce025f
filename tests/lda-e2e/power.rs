//! The power goes: an ext4 on a loop device is shut down without writing its log; what was reported as delivered is there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::scratch::Scratch;

use crate::lab::{Lab, message, said};

/// A file system in a file.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn new(scratch: &Scratch) -> Self {
        let (image, at) = (scratch.file("image"), scratch.file("disk"));
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        tool("mkfs.ext4", &["-q", "-F", &image.display().to_string()]);
        fs::create_dir(&at).unwrap();
        let disk = Self { image, at };
        disk.mount();
        disk
    }

    fn mount(&self) {
        // A long commit interval: nothing gets to the disk by chance.
        tool(
            "mount",
            &["-o", "loop,commit=600", &self.image.display().to_string(), &self.at.display().to_string()],
        );
    }
}

/// As if the machine had been switched off: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
fn power_cut(at: &Path) {
    let script = "import fcntl,os,struct,sys; \
                  fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
    tool("python3", &["-c", script, &at.display().to_string()]);
}

fn tool(name: &str, arguments: &[&str]) {
    let output =
        Command::new(name).args(arguments).output().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Delivers 20 messages, cuts the power, and counts what is whole afterwards.
fn survive(name: &str, more: &str) -> usize {
    let scratch = Scratch::new(name);
    let disk = Disk::new(&scratch);
    let home = disk.at.join("joe");
    fs::create_dir(&home).unwrap();
    tool("sync", &[]);
    let mut lab = Lab::at(scratch, home, more);
    for number in 0..20 {
        let output = lab
            .deliver(&["-m", if number % 2 == 0 { "" } else { "Sub" }], &message(number, &"x".repeat(5000)));
        assert!(output.status.success(), "{}", said(&output));
    }
    power_cut(&disk.at);
    tool("umount", &[&disk.at.display().to_string()]);
    disk.mount();
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
