//! SQLite files: rows and types, hostile names, files that come, go and are replaced.

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::scratch::Scratch;
use harness::wait::output;
use proptest::prelude::*;
use sasl_auth::passdb::Lookup;

use crate::{HOSTILE, database, fields, found, once_back, passwords, request, runtime, sql};

/// Runs SQL on a file by Python's sqlite3, which is a writer of its own.
#[track_caller]
fn write(path: &Path, statements: &str) {
    let script =
        "import sqlite3,sys\ndb=sqlite3.connect(sys.argv[1])\ndb.executescript(sys.argv[2])\ndb.commit()";
    let mut command = Command::new("python3");
    let done = output(command.args(["-c", script]).arg(path).arg(statements), b"");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

const USERS: &str = "BEGIN; CREATE TABLE users (name TEXT, domain TEXT, password TEXT, quota INTEGER, share REAL,
    key BLOB, note TEXT, nopassword TEXT);
    INSERT INTO users VALUES ('anna', 'a.example', '{PLAIN}secret', 5000000000, 0.5, x'6b6579', NULL, NULL),
    ('open', 'a.example', NULL, NULL, NULL, NULL, NULL, 'Y'), ('none', 'a.example', NULL, 1, 1, 'k', 'n', NULL),
    ('twin', 'a.example', 'x', 1, 1, 'k', 'n', NULL), ('twin', 'a.example', 'y', 1, 1, 'k', 'n', NULL); COMMIT;";

#[test]
fn rows_and_types() {
    let scratch = Scratch::new("sqlite");
    let path = scratch.file("users.db");
    write(&path, USERS);
    write(
        &path,
        "CREATE TABLE apps (name TEXT, password TEXT, label TEXT, services TEXT, expires);
         INSERT INTO apps VALUES ('anna', 'a1', 'phone', 'smtp,imap', '2027-01-01 00:00:00'),
             ('anna', 'a2', NULL, NULL, 1798761600), ('anna', NULL, 'broken', NULL, NULL);",
    );
    let mut settings = sql(
        &url(&path),
        "SELECT name AS username, domain, password, quota, share, key, note, nopassword, 'x' AS userdb_home
         FROM users WHERE name = '%n' AND domain = '%{user|domain}';",
    );
    settings.app_password_query = Some("SELECT * FROM apps WHERE name = '%n'".into());
    settings.iterate_query = Some("SELECT name AS username, domain FROM users ORDER BY 1".into());
    let users = database(&settings);
    runtime().block_on(async {
        let anna = found(users.lookup(&request("anna@a.example"), None).await);
        assert_eq!(passwords(&anna), ["{PLAIN}secret", "a1", "a2"]);
        assert_eq!(fields(&anna.fields), ["quota=5000000000", "share=0.5", "key=key", "userdb_home=x"]);
        assert_eq!(anna.passwords[1].label.as_deref(), Some("phone"));
        assert_eq!(anna.passwords[1].services, ["smtp", "imap"]);
        assert_eq!([anna.passwords[1].expires, anna.passwords[2].expires], [Some(1_798_761_600); 2]);
        let open = found(users.lookup(&request("open@a.example"), None).await);
        assert_eq!(passwords(&open), [""]);
        assert_eq!(fields(&open.fields), ["nopassword=Y", "userdb_home=x"]);
        assert!(found(users.lookup(&request("none@a.example"), None).await).passwords.is_empty());
        assert_eq!(users.lookup(&request("nobody@a.example"), None).await, Ok(Lookup::Unknown));
        let twins = users.lookup(&request("twin@a.example"), None).await.unwrap_err();
        assert!(twins.detail.contains("returned multiple matches"), "{twins}");
        let entry = users.user(&request("anna@a.example")).await.unwrap().unwrap();
        assert_eq!(entry.user, None);
        assert_eq!(fields(&entry.fields), ["quota=5000000000", "share=0.5", "key=key", "userdb_home=x"]);
        assert_eq!(users.user(&request("nobody@a.example")).await, Ok(None));
        let names = users.list().await.unwrap();
        assert_eq!(names.first().map(String::as_str), Some("anna@a.example"));
        assert_eq!(names.len(), 5);
        let broken = database(&sql(&url(&path), "SELECT * FROM nowhere WHERE name = '%n'"));
        let error = broken.lookup(&request("anna"), None).await.unwrap_err();
        assert!(error.detail.contains("no such table: nowhere"), "{error}");
        assert!(broken.list().await.unwrap_err().detail.contains("no iterate_query"));
    });
}

#[test]
fn files_come_go_and_are_replaced() {
    let scratch = Scratch::new("sqlite");
    let path = scratch.file("users.db");
    let users = database(&sql(&url(&path), "SELECT password FROM users WHERE name = '%n'"));
    runtime().block_on(async {
        let missing = users.lookup(&request("anna"), None).await.unwrap_err();
        assert!(missing.detail.contains(&path.display().to_string()), "{missing}");
        assert!(!path.exists(), "a look-up makes no file");
        write(&path, USERS);
        let ask = async || users.lookup(&request("anna"), None).await;
        assert_eq!(passwords(&found(Ok(once_back(ask).await))), ["{PLAIN}secret"]);
        // Written by somebody else, in WAL mode from here on.
        write(&path, "PRAGMA journal_mode=WAL; UPDATE users SET password = 'second' WHERE name = 'anna'");
        assert_eq!(passwords(&found(ask().await)), ["second"]);
        // A new file under the old name.
        let next = scratch.file("next.db");
        write(&next, USERS);
        write(&next, "UPDATE users SET password = 'third' WHERE name = 'anna'");
        fs::rename(&next, &path).unwrap();
        for leftover in ["users.db-wal", "users.db-shm"] {
            let _ = fs::remove_file(scratch.file(leftover));
        }
        assert_eq!(passwords(&found(ask().await)), ["third"]);
        // Nothing is ever written, not even by the query itself.
        let writer = database(&sql(&url(&path), "DELETE FROM users WHERE name = '%n' RETURNING password"));
        let error = writer.lookup(&request("anna"), None).await.unwrap_err();
        assert!(error.detail.contains("readonly"), "{error}");
        fs::write(&path, "no database at all").unwrap();
        let error = users.lookup(&request("anna"), None).await.unwrap_err();
        assert!(error.detail.contains("not a database"), "{error}");
    });
}

#[test]
fn hostile_names_find_themselves_only() {
    let scratch = Scratch::new("sqlite");
    let path = scratch.file("users.db");
    let mut statements =
        "CREATE TABLE users (name TEXT, password TEXT); INSERT INTO users VALUES ('anna', 'x');".to_owned();
    for name in HOSTILE {
        let quoted = name.replace('\'', "''");
        statements.push_str(&format!("INSERT INTO users VALUES ('{quoted}', 'of <{quoted}>');"));
    }
    write(&path, &format!("BEGIN; {statements} COMMIT;"));
    let query = "SELECT password FROM users WHERE name = '%u' AND password <> \"<%u>\"";
    let users = database(&sql(&url(&path), query));
    let runtime = runtime();
    runtime.block_on(async {
        for name in HOSTILE {
            let entry = found(users.lookup(&request(name), None).await);
            assert_eq!(passwords(&entry), [format!("of <{name}>")]);
        }
        assert_eq!(users.lookup(&request("anna\0"), None).await, Ok(Lookup::Unknown));
    });
    proptest!(|(name in "['\"\\\\;%_$?a-c -]{0,10}")| {
        let outcome = runtime.block_on(users.lookup(&request(&name), None));
        let expected = HOSTILE.contains(&name.as_str());
        prop_assert_eq!(matches!(outcome, Ok(Lookup::Found(_))), expected, "{:?}: {:?}", name, outcome);
        prop_assert!(outcome.is_ok());
    });
}
