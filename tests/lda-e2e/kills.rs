//! postrider-lda is killed at random moments and run again, as Postfix does: each message is there, once.
//!
//! 100 kills; 1,000 with `LONG=1`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::lab::{Lab, long, message};

/// Delivers like Postfix: again and again until the program says that it has been done. The number of kills.
fn until_delivered(
    lab: &Lab,
    message: &[u8],
    dice: &mut Dice,
    longest: Duration,
    between: impl Fn(),
) -> usize {
    let mut kills = 0;
    loop {
        let mut command = lab.command();
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let _ = input.write_all(message);
        drop(input);
        // Half of the attempts are killed.
        if dice.roll(2) == 0 {
            let wait = Duration::from_nanos(dice.roll(u64::try_from(longest.as_nanos()).unwrap()));
            let end = Instant::now() + wait;
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            // It may have ended already.
            let _ = child.kill();
        }
        let status = child.wait().unwrap();
        if status.code() == Some(0) {
            return kills;
        }
        assert_eq!(status.signal(), Some(9), "{status:?}");
        kills += 1;
        between();
    }
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// How long a delivery takes.
fn usual(lab: &Lab) -> Duration {
    let started = Instant::now();
    for number in 0..10 {
        assert!(lab.deliver(&[], &message(number, "warm")).status.success());
    }
    started.elapsed() / 10
}

fn trials(lab: &Lab, between: impl Fn(&Lab)) -> String {
    let wanted = if long() { 1000 } else { 100 };
    let longest = usual(lab) * 12 / 10;
    let mut dice = Dice(42);
    let (mut kills, mut number) = (0, 100);
    while kills < wanted {
        kills += until_delivered(lab, &message(number, "x"), &mut dice, longest, || between(lab));
        number += 1;
    }
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for path in lab.messages() {
        let text = std::fs::read_to_string(path).unwrap();
        *copies
            .entry(text.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(copies.len(), number - 100 + 10, "messages are missing");
    let twice = copies.values().filter(|count| **count > 1).count();
    assert_eq!(lab.left().len(), 0, "{:?}", lab.left());
    format!("{kills} kills, {} messages, {twice} of them twice", number - 100)
}

#[test]
fn nothing_is_lost_and_nothing_is_there_twice() {
    let lab = Lab::new("kills", "");
    let told = trials(&lab, |_| {});
    println!("{told}");
    assert!(told.ends_with(" 0 of them twice"), "{told}");
}

/// An IMAP server moves what has come to `cur` between the attempts.
#[test]
fn a_reader_in_between_does_not_matter() {
    let lab = Lab::new("killsread", "");
    let told = trials(&lab, |lab| {
        for entry in std::fs::read_dir(lab.root().join("new")).into_iter().flatten().flatten() {
            let name = format!("{}:2,S", entry.file_name().to_string_lossy());
            std::fs::rename(entry.path(), lab.root().join("cur").join(name)).unwrap();
        }
    });
    println!("{told}");
    // Killed between the removal from tmp and its exit there is nothing left to notice: a few in a thousand.
    let twice: usize = told.split(", ").last().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(twice <= 2 + 5 * usize::from(long()), "{told}");
}

/// What lies in tmp from older days goes; what is young stays.
#[test]
fn old_files_in_tmp_are_removed() {
    let lab = Lab::new("old", "");
    assert!(lab.deliver(&[], &message(1, "x")).status.success());
    let tmp = lab.root().join("tmp");
    let day = Duration::from_secs(86_400);
    let now = std::time::SystemTime::now();
    for (name, age) in [("old", day * 3), ("young", day)] {
        let file = std::fs::File::create(tmp.join(name)).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(now - age).set_accessed(now - age)).unwrap();
    }
    let seen = |time| {
        std::fs::File::open(&tmp).unwrap().set_times(std::fs::FileTimes::new().set_accessed(time)).unwrap()
    };
    let names = || {
        lab.left()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    seen(now);
    assert!(lab.deliver(&[], &message(2, "x")).status.success());
    assert_eq!(names().len(), 2, "looked through too early");
    seen(now - day);
    // The time of the last change (ctime) cannot be set back: the program's clock is put forward.
    let output = crate::lab::run(
        std::process::Command::new("faketime")
            .args(["-f", "+40h"])
            .arg(crate::lab::program())
            .arg("-c")
            .arg(&lab.conf)
            .args(["-d", "joe"]),
        &message(3, "x"),
    );
    assert!(output.status.success(), "{}", crate::lab::said(&output));
    assert_eq!(names(), Vec::<String>::new());
    // A folder's own, where a file is when it cannot be linked.
    let create = ["-o", "lda_mailbox_autocreate=yes", "-m", "Sub"];
    assert!(lab.deliver(&create, &message(4, "x")).status.success());
    let tmp = lab.root().join(".Sub/tmp");
    let file = std::fs::File::create(tmp.join("old")).unwrap();
    file.set_times(std::fs::FileTimes::new().set_modified(now - day * 3)).unwrap();
    let output = crate::lab::run(
        std::process::Command::new("faketime")
            .args(["-f", "+40h"])
            .arg(crate::lab::program())
            .arg("-c")
            .arg(&lab.conf)
            .args(["-d", "joe", "-m", "Sub"]),
        &message(5, "x"),
    );
    assert!(output.status.success(), "{}", crate::lab::said(&output));
    assert!(!tmp.join("old").exists());
}
