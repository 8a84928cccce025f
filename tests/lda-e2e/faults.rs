//! Each system call of a delivery fails once, in each way, at each occurrence: exit code and Maildir agree.

use std::collections::BTreeMap;
use std::process::Command;

use harness::faults::FAULTS;

use crate::lab::{Lab, message, program, run, said};

/// How often each call occurs in a delivery that goes well.
fn occurrences(lab: &Lab, arguments: &[&str], message: &[u8]) -> BTreeMap<String, usize> {
    let trace = lab.scratch.file("trace");
    let output = run(&mut strace(lab, &["-o", &trace.display().to_string()], arguments), message);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    harness::faults::occurrences(&trace, None)
}

fn strace(lab: &Lab, options: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(options).arg(program()).arg("-c").arg(&lab.conf).args(["-d", "joe"]).args(arguments);
    command.env("POSTRIDER_LOG", "stderr");
    command
}

/// Runs all faults; `fresh` begins without a Maildir each time.
fn matrix(name: &str, more: &str, arguments: &[&str], fresh: bool) -> BTreeMap<Option<i32>, usize> {
    let lab = Lab::new(name, more);
    let mut number = 0;
    let counted = occurrences(&lab, arguments, &message(number, "first"));
    if !fresh {
        // What only happens once (the Maildir is created) is counted no more.
        assert!(lab.root().join("cur").exists());
    }
    let counted = if fresh { counted } else { occurrences(&lab, arguments, &message(1, "second")) };
    number = 1;
    let mut codes = BTreeMap::new();
    for (call, errors) in FAULTS {
        for at in 1..=counted.get(call).copied().unwrap_or(0) {
            for error in errors {
                number += 1;
                if fresh {
                    let _ = std::fs::remove_dir_all(lab.root());
                }
                let what = format!("{call} {at} {error}");
                let inject = format!("inject={call}:error={error}:when={at}");
                let code = trial(&lab, arguments, number, &inject, &what);
                *codes.entry(code).or_insert(0) += 1;
            }
        }
    }
    println!("{name}: exit codes {codes:?}");
    codes
}

/// One delivery with a fault, and the attempt that follows when it failed.
fn trial(lab: &Lab, arguments: &[&str], number: usize, inject: &str, what: &str) -> Option<i32> {
    let message = message(number, &format!("body of {number}"));
    let out = lab.scratch.file("out").display().to_string();
    let there = || lab.everywhere().iter().filter(|path| std::fs::read(path).unwrap() == message).count();
    let output = run(&mut strace(lab, &["-o", &out, "-e", inject], arguments), &message);
    let code = output.status.code();
    let found = there();
    match code {
        Some(0) => {
            assert_eq!(found, 1, "{what}: reported as delivered, {found} times there\n{}", said(&output))
        }
        // The loader could not start it: nothing has happened. Postfix bounces with 127, as with any program.
        Some(127) => assert_eq!(found, 0, "{what}\n{}", said(&output)),
        Some(75) | None => {
            // Where even taking back is refused it may be there, and then the next attempt must notice.
            assert!(found <= 1, "{what}: {found} times there\n{}", said(&output));
            let injected_twice = what.starts_with("unlink");
            assert!(
                found == 0 || injected_twice,
                "{what}: reported as not delivered, but there\n{}",
                said(&output)
            );
        }
        other => panic!("{what}: exit code {other:?}\n{}", said(&output)),
    }
    if code != Some(0) {
        let again = lab.deliver(arguments, &message);
        assert_eq!(again.status.code(), Some(0), "{what}: the next attempt\n{}", said(&again));
        assert_eq!(there(), 1, "{what}: after the next attempt\n{}", said(&again));
    }
    code
}

impl Lab {
    /// The messages of all folders.
    fn everywhere(&self) -> Vec<std::path::PathBuf> {
        let mut all = self.messages();
        for entry in std::fs::read_dir(self.root()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                all.extend(crate::lab::messages(&entry.path()));
            }
        }
        all
    }
}

#[test]
fn a_delivery_into_a_mailbox_that_is_there() {
    let trials = matrix("faults", "", &[], false);
    assert!(trials[&Some(75)] >= 20 && trials[&Some(0)] >= 5, "{trials:?}");
}

#[test]
fn a_delivery_that_creates_all() {
    let more = "lda_mailbox_autocreate = true\nlda_mailbox_autosubscribe = true\n[quota]\nquota_rule = \"*:storage=10M\"";
    let trials = matrix("creation", more, &["-m", "Sub"], true);
    assert!(trials[&Some(75)] >= 20 && trials[&Some(0)] >= 5, "{trials:?}");
}

#[test]
fn a_delivery_with_quota() {
    let trials = matrix("quota", "[quota]\nquota_rule = \"*:storage=10M\"", &[], false);
    assert!(trials[&Some(75)] >= 20 && trials[&Some(0)] >= 5, "{trials:?}");
}

/// tmp, fsync, link into new, fsync of the directory, and the removal from tmp; by one thread that makes no other.
#[test]
fn the_order_of_a_delivery() {
    let lab = Lab::new("order", "");
    assert!(lab.deliver(&[], &message(1, "x")).status.success());
    let trace = lab.scratch.file("trace");
    let output = run(&mut strace(&lab, &["-f", "-o", &trace.display().to_string()], &[]), &message(2, "x"));
    assert!(output.status.success(), "{}", said(&output));
    let order = harness::faults::order(&trace, "linkat", &["fsync", "linkat", "unlink", "exit_group"]);
    assert_eq!(order, ["fsync", "linkat", "fsync", "unlink", "exit_group"]);
    let whole = std::fs::read_to_string(&trace).unwrap();
    assert!(!whole.contains("clone") && !whole.contains("fork("), "a thread or a process: {whole}");
}
