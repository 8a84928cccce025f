//! The program's subcommands as an admin runs them: words and a password in, a text and an exit code out.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the program printed and how it ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(words: &[&str], input: &str) -> Ran {
    // Not for ever: status 124 after a minute.
    let mut child = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_postrider-sasl-auth")])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its arguments reads nothing.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A configuration with these passdbs and userdbs.
fn config(folder: &Path, databases: &str) -> String {
    let path = folder.join("sasl-auth.toml");
    let text = format!(
        "mechanisms = [\"PLAIN\"]\n[[listen]]\naddress = \"unix:{}/s\"\nkind = \"client\"\n{databases}",
        folder.display()
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A file of /etc/pam.d for one test; `None` for users who may not write there.
struct PamService(String);

impl PamService {
    fn new(name: &str, content: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let name = format!("postrider-test-{name}-{}", std::process::id());
        fs::write(format!("/etc/pam.d/{name}"), content).unwrap();
        Some(Self(name))
    }
}

impl Drop for PamService {
    fn drop(&mut self) {
        drop(fs::remove_file(format!("/etc/pam.d/{}", self.0)));
    }
}

#[test]
fn a_scheme_that_hashes_the_user_along_wants_one() {
    let sentence = "DIGEST-MD5 hashes the user's name along; give it by -u user@realm";
    for words in [
        &["password", "-s", "digest-md5"][..],
        &["password", "-s", "DIGEST-MD5.b64"],
        &["password", "-t", "{DIGEST-MD5}00112233445566778899aabbccddeeff"],
    ] {
        let ran = run(words, "secret\n");
        assert_eq!((ran.code, ran.out.as_str()), (Some(65), ""), "{words:?}");
        assert!(ran.err.contains(sentence), "{words:?}: {}", ran.err);
    }
    let made = run(&["password", "-s", "DIGEST-MD5", "-u", "joe@example.org"], "secret\n");
    // What md5sum makes of `joe:example.org:secret`.
    assert_eq!(made.out, "{DIGEST-MD5}9e350098094efc4af26cd456adf29a60\n");
}

#[test]
fn yescrypt_is_listed_made_and_compared() {
    let listed = run(&["password", "-l"], "");
    assert!(listed.out.split_whitespace().any(|name| name == "YESCRYPT"), "{}", listed.out);
    let made = run(&["password", "-s", "YESCRYPT", "-r", "1"], "secret\n");
    let hash = made.out.trim_end();
    assert!(hash.starts_with("{CRYPT}$y$j75$"), "{made:?}");
    let bare = hash.trim_start_matches("{CRYPT}");
    for words in [&["password", "-t", hash][..], &["password", "-s", "YESCRYPT", "-t", bare]] {
        let same = run(words, "secret\n");
        assert_eq!(same.code, Some(0), "{same:?}");
        assert_eq!(run(words, "other\n").code, Some(77));
    }
    assert_eq!(run(&["password", "-s", "YESCRYPT", "-r", "12"], "secret\n").code, Some(65));
}

#[test]
fn a_tested_login_shows_what_a_client_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, "joe:{PLAIN}secret::::::userdb_home=/home/joe quota=1G nodelay\n").unwrap();
    let passdb = format!("[[passdb]]\ndriver = \"passwd-file\"\npath = \"{}\"\n", users.display());
    let config = config(folder.path(), &passdb);
    let ran = run(&["-c", &config, "test", "joe"], "secret\n");
    assert_eq!(ran.out, "passdb: joe auth succeeded\nextra fields:\n  user=joe\n  quota=1G\n", "{ran:?}");
    let json = run(&["-c", &config, "test", "--json", "joe"], "secret\n").out;
    assert_eq!(
        json,
        "{\"fields\":{\"quota\":\"1G\",\"user\":\"joe\"},\"result\":\"succeeded\",\"user\":\"joe\"}\n"
    );
}

#[test]
fn an_expired_password_is_told_only_to_who_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, "joe:{PLAIN}secret::::::pass_expired\n").unwrap();
    let passdb = format!("[[passdb]]\ndriver = \"passwd-file\"\npath = \"{}\"\n", users.display());
    let config = config(folder.path(), &passdb);
    let ran = run(&["-c", &config, "test", "joe"], "secret\n");
    assert!(ran.out.contains("code=pass_expired\n"), "{ran:?}");
    let ran = run(&["-c", &config, "test", "joe"], "wrong\n");
    assert!(ran.out.contains("Password mismatch") && !ran.out.contains("expired"), "{ran:?}");
}

#[test]
fn pam_says_what_has_expired() {
    let text = "auth required pam_permit.so\naccount required pam_debug.so acct=new_authtok_reqd\n";
    let Some(service) = PamService::new("tool", text) else { return };
    let folder = tempfile::tempdir().unwrap();
    let passdb = format!("[[passdb]]\ndriver = \"pam\"\nservice = \"{}\"\n", service.0);
    let ran = run(&["-c", &config(folder.path(), &passdb), "test", "nobody"], "secret\n");
    assert_eq!(ran.code, Some(77), "{ran:?}");
    assert!(ran.out.contains("code=pass_expired\n") && ran.out.contains("reason=expired: "), "{ran:?}");
}

#[test]
fn a_passdb_that_only_checks_passwords_leaves_prefetch_without_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, "joe:{PLAIN}secret::::::userdb_home=/home/joe\n").unwrap();
    let databases = format!(
        "[[passdb]]\ndriver = \"pam\"\nservice = \"other\"\n\
         [[passdb]]\ndriver = \"passwd-file\"\npath = \"{}\"\n\
         [[userdb]]\ndriver = \"prefetch\"\n",
        users.display()
    );
    let config = config(folder.path(), &databases);
    let unknown = run(&["-c", &config, "lookup", "nobody"], "");
    assert_eq!(
        (unknown.code, unknown.out.as_str()),
        (Some(67), "userdb lookup: user nobody doesn't exist\n")
    );
    let joe = run(&["-c", &config, "lookup", "joe"], "");
    assert_eq!((joe.code, joe.out.as_str()), (Some(0), "field\tvalue\nhome\t/home/joe\n"), "{joe:?}");
}
