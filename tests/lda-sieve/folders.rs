//! Folders, flags and keywords, edited headers; the scripts before and after the user's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, USER, ended, message};

#[test]
fn flags_stand_in_names_and_dovecot_reads_them() {
    let lab = Lab::new("flags", "");
    lab.script("require [\"imap4flags\",\"fileinto\",\"mailbox\"]; setflag [\"\\\\Seen\",\"\\\\Flagged\",\"Work\",\"$Junk\"]; fileinto :create \"A.B\"; keep :flags \"Work\";");
    for number in 1..3 {
        let (code, said) = lab.deliver("anna@a.example", &message(number, ""));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&format!("msgid=<{number}@a.example>: saved mail to A.B")), "{said}");
    }
    let names: Vec<_> = lab.messages("A.B").iter().map(|path| path.to_string_lossy().into_owned()).collect();
    assert!(
        names.len() == 2 && names.iter().all(|name| name.ends_with(":2,FSab") && name.contains("/cur/")),
        "{names:?}"
    );
    let keywords = fs::read_to_string(lab.home.join("Maildir/.A.B/dovecot-keywords")).unwrap();
    assert_eq!(keywords, "0 Work\n1 $Junk\n");

    let config = lab.scratch.write(
        "dovecot.conf",
        format!(
            "base_dir = {0}/run\nmail_location = maildir:~/Maildir\nfirst_valid_uid = 1\nmail_uid = {USER}\nmail_gid = {USER}\nmail_home = {1}\n\
             log_path = {0}/dovecot.log\nssl = no\nnamespace inbox {{\n  inbox = yes\n  separator = /\n}}\nuserdb {{\n  driver = passwd-file\n  args = {0}/users\n}}\n",
            lab.scratch.path().display(),
            lab.home.display()
        ),
    );
    let fetched = |mailbox: &str| {
        let mut doveadm = Command::new("timeout");
        doveadm.args(["20", "doveadm", "-c"]).arg(&config).args(["-o", "stats_writer_socket_path="]);
        doveadm.args(["fetch", "flags", "mailbox", mailbox]);
        doveadm.env("USER", "joe@b.example").env("HOME", &lab.home);
        let (code, said) = ended(doveadm.output().unwrap());
        assert_eq!(code, 0, "{said}");
        said
    };
    let said = fetched("A/B");
    assert_eq!(said.matches("\\Seen").count(), 2, "{said}");
    assert_eq!(said.matches("\\Flagged").count(), 2, "{said}");
    assert_eq!(said.matches("$Junk").count(), 2, "{said}");
    let said = fetched("INBOX");
    assert_eq!((said.matches("Work").count(), said.matches("\\Seen").count()), (2, 0), "{said}");
}

#[test]
fn edited_headers_are_stored() {
    let lab = Lab::new("editheader", "extensions = [\"+editheader\"]");
    lab.script("require [\"editheader\",\"copy\",\"fileinto\",\"mailbox\"]; keep; addheader \"X-New\" \"yes\"; deleteheader \"Subject\"; fileinto :create \"A\"; redirect :copy \"x@y.example\";");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 0, "{said}");
    let inbox = fs::read_to_string(&lab.messages("")[0]).unwrap();
    assert_eq!(inbox, message(1, ""), "kept before it was edited");
    let edited = fs::read_to_string(&lab.messages("A")[0]).unwrap();
    let sent = &lab.sent()[0].message;
    assert!(
        sent.contains("X-New: yes\n") && !sent.contains("Subject") && sent.ends_with("\n\nbody 1\n"),
        "{sent}"
    );
    assert_eq!(edited, format!("X-New: yes\n{}", message(1, "").replace("Subject: number 1\n", "")));
}

#[test]
fn a_folder_that_is_not_there_means_inbox() {
    let lab = Lab::new("no-folder", "");
    lab.script("require \"fileinto\"; fileinto \"None\";");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!((code, lab.messages("").len()), (0, 1), "{said}");
    assert!(said.contains("None"), "{said}");
}

#[test]
fn scripts_before_after_and_default() {
    let lab = Lab::new("site-scripts", "");
    let script = |name: &str, text: &str| {
        let path = lab.scratch.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    };
    let into = |folder: &str| {
        format!("require [\"fileinto\",\"copy\",\"mailbox\"]; fileinto :copy :create \"{folder}\";")
    };
    let before = script("before.sieve", &into("Before"));
    let after = script("after.sieve", &into("After"));
    let default = script("default.sieve", &into("Default"));
    let conf = lab.scratch.file("lda.toml");
    let mut text = fs::read_to_string(&conf).unwrap();
    let shown = |path: &Path| path.display().to_string();
    text.push_str(&format!(
        "before = [\"{}\"]\nafter = [\"{}\"]\ndefault = \"{}\"\n",
        shown(&before),
        shown(&after),
        shown(&default)
    ));
    fs::write(&conf, text).unwrap();
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!(code, 0, "{said}");
    let counts = || ["Before", "Default", "User", "After", ""].map(|folder| lab.messages(folder).len());
    assert_eq!(counts(), [1, 1, 0, 1, 1], "{said}");
    lab.script(&into("User"));
    assert_eq!(lab.deliver("anna@a.example", &message(2, "")).0, 0);
    assert_eq!(counts(), [2, 1, 1, 2, 2]);
    lab.script("discard;");
    assert_eq!(lab.deliver("anna@a.example", &message(3, "")).0, 0);
    assert_eq!(counts(), [3, 1, 1, 2, 2], "a script that does not keep ends it");
}

#[test]
fn includes_look_in_the_users_directory() {
    let lab = Lab::new("include", "");
    lab.own(
        &lab.home.join("sieve/lists.sieve"),
        "require [\"fileinto\",\"mailbox\"]; fileinto :create \"Lists\";",
    );
    lab.script("require \"include\"; include \"lists\";");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!((code, lab.messages("Lists").len()), (0, 1), "{said}");
    let left: Vec<_> = fs::read_dir(lab.home.join("sieve")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is compiled to a file");
}

/// `sieve=` of the userdb names the script.
#[test]
fn the_userdb_names_the_script() {
    let lab = Lab::new("userdb-sieve", "");
    let users = lab.scratch.file("users");
    let line = fs::read_to_string(&users).unwrap();
    fs::write(&users, format!("{}::userdb_sieve=~/own.sieve\n", line.trim_end())).unwrap();
    lab.script("discard;");
    lab.own(&lab.home.join("own.sieve"), "require [\"fileinto\",\"mailbox\"]; fileinto :create \"Own\";");
    let (code, said) = lab.deliver("anna@a.example", &message(1, ""));
    assert_eq!((code, lab.messages("Own").len()), (0, 1), "{said}");
    lab.own(&lab.home.join("own.sieve"), "nonsense;");
    assert_eq!(lab.deliver("anna@a.example", &message(2, "")).0, 0);
    assert!(lab.home.join("own.sieve.log").exists(), "its log lies beside it");
}
