//! Lists and overrides of our policy service in real databases, which are changed, stopped, silenced and started again;
//! needs what apt-packages names.
//!
//! One test per kind of database, since starting one takes longer than asking it; all tell the same story (`story.rs`).

mod around;
mod story;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::mariadb::MariaDb;
use harness::policyd::{Asked, Policyd, program};
use harness::postgres::Postgres;
use harness::redis::Redis;
use harness::scratch::Scratch;
use harness::wait::{output, wait_for};

use story::{Database, Story, tell};

/// The lists of the story in an SQL database.
fn sql(urls: &str) -> String {
    let list = |name: &str, query: &str| {
        format!(
            "[[list]]\nname = \"{name}\"\ndriver = \"sql\"\n{urls}\nquery = \"{query}\"\n{}\n",
            story::TIMES
        )
    };
    list("vip", "SELECT 1 FROM vip WHERE login = '%u'")
        + &list("rates", "SELECT rate FROM rates WHERE login = '%n@%d' -- by key")
}

/// The tables of the story, empty.
const TABLES: &str =
    "CREATE TABLE vip (login VARCHAR(200)); CREATE TABLE rates (login VARCHAR(200), rate VARCHAR(200));";

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What changes the tables as the story wants it.
fn statement(table: &str, login: &str, rate: Option<&str>) -> String {
    let login = literal(login);
    match (table, rate) {
        ("vip", Some(_)) => format!("INSERT INTO vip VALUES ({login});"),
        (table, None) => format!("DELETE FROM {table} WHERE login = {login};"),
        (_, Some(rates)) => {
            let rows: Vec<String> =
                rates.split(';').map(|rate| format!("({login}, {})", literal(rate))).collect();
            format!("DELETE FROM rates WHERE login = {login}; INSERT INTO rates VALUES {};", rows.join(", "))
        }
    }
}

impl Database for Postgres {
    fn set(&mut self, table: &str, login: &str, text: Option<&str>) {
        self.execute(&statement(table, login, text));
    }
    fn stop(&mut self) {
        Self::stop(self);
    }
    fn start(&mut self) {
        self.start_again();
    }
}

impl Database for MariaDb {
    fn set(&mut self, table: &str, login: &str, text: Option<&str>) {
        self.execute(&statement(table, login, text));
    }
    fn stop(&mut self) {
        Self::stop(self);
    }
    fn start(&mut self) {
        self.start_again();
    }
}

impl Database for Redis {
    fn set(&mut self, table: &str, login: &str, text: Option<&str>) {
        let text = text.map(|text| text.replace(';', ", "));
        let _said = match (table, &text) {
            ("vip", Some(_)) => self.command(&["SADD", "vip", login]),
            ("vip", None) => self.command(&["SREM", "vip", login]),
            (_, Some(text)) => self.command(&["HSET", "rates", login, text]),
            (_, None) => self.command(&["HDEL", "rates", login]),
        };
    }
    fn stop(&mut self) {
        Self::stop(self);
    }
    fn start(&mut self) {
        self.run();
    }
}

/// A file; "stopped" is moved away.
struct Sqlite(std::path::PathBuf);

impl Sqlite {
    /// Runs SQL by Python's sqlite3, which is a writer of its own.
    #[track_caller]
    fn execute(&self, statements: &str) {
        let script =
            "import sqlite3,sys\ndb=sqlite3.connect(sys.argv[1])\ndb.executescript(sys.argv[2])\ndb.commit()";
        let mut command = Command::new("python3");
        let done = output(command.args(["-c", script]).arg(&self.0).arg(statements), b"");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn away(&self) -> std::path::PathBuf {
        self.0.with_extension("away")
    }
}

impl Database for Sqlite {
    fn set(&mut self, table: &str, login: &str, text: Option<&str>) {
        self.execute(&statement(table, login, text));
    }
    fn stop(&mut self) {
        fs::rename(&self.0, self.away()).unwrap();
    }
    fn start(&mut self) {
        fs::rename(self.away(), &self.0).unwrap();
    }
}

#[test]
fn postgres() {
    let scratch = Scratch::new("listspg");
    let server = Postgres::start(&scratch);
    server.execute(TABLES);
    around::networks(&scratch, &server);
    let lists = sql(&format!("url = \"{}\"", server.url("reader")));
    tell(Story { scratch: &scratch, lists: &lists, keeps: true }, server);
}

#[test]
fn mariadb() {
    let scratch = Scratch::new("listsmaria");
    let server = MariaDb::start(&scratch);
    server.execute(TABLES);
    // The URL in a file of its own.
    let file = scratch.file("url");
    fs::write(&file, format!("{}\n", server.socket_url("reader"))).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let lists = sql(&format!("url_file = \"{}\"", file.display()));
    tell(Story { scratch: &scratch, lists: &lists, keeps: true }, server);
}

#[test]
fn sqlite() {
    let scratch = Scratch::new("listssqlite");
    let file = Sqlite(scratch.file("lists.db"));
    file.execute(TABLES);
    file.execute("CREATE TABLE hosts (login, host, rate); INSERT INTO hosts VALUES ('joe@a.example', '192.0.2.0/24', '3/hour');");
    around::parts_of_a_key(&scratch, &file.0);
    let lists = sql(&format!("url = \"sqlite://{}\"", file.0.display()));
    tell(Story { scratch: &scratch, lists: &lists, keeps: true }, file);
}

#[test]
fn redis() {
    let scratch = Scratch::new("listsredis");
    let server = Redis::start(&scratch, "redis");
    let list = |name: &str, query: &str| {
        format!(
            "[[list]]\nname = \"{name}\"\ndriver = \"redis\"\nservers = [\"{}\"]\nquery = \"{query}\"\n{}\n",
            server.address(),
            story::TIMES
        )
    };
    let lists = list("vip", "SISMEMBER vip %u") + &list("rates", "HGET rates %n@%d");
    // It holds nothing on disk: what it knew is gone when it starts again.
    tell(Story { scratch: &scratch, lists: &lists, keeps: false }, server);
}

/// A database that takes connections and says nothing more: three requests wait for it, and no more.
#[test]
fn silence() {
    let scratch = Scratch::new("listssilence");
    let server = Redis::start(&scratch, "redis");
    let text = format!(
        "listen = [\"unix:{{dir}}/policy\"]\n[store]\ndriver = \"memory\"\n[[list]]\nname = \"block\"\ndriver = \"redis\"\n\
         servers = [\"{}\"]\nquery = \"GET block:%d\"\ndeadline = \"300ms\"\nunavailable = \"listed\"\n\
         [[limit]]\nname = \"l\"\nkey = [\"sasl_username\"]\nrate = [\"1000/hour\"]\nexcept = [\"sasl_username in list:block\"]\n",
        server.address()
    );
    let policyd = Policyd::start(&scratch, "policyd", &text);
    let mut client = policyd.connect();
    let mut ask = |user: &str| {
        let began = Instant::now();
        let asked = Asked { state: "DATA", instance: user, user, count: 1, ..Asked::default() };
        assert_eq!(client.ask(&asked), "DUNNO");
        began.elapsed()
    };
    let _soon = ask("a@a.example");
    server.freeze();
    let deadline = Duration::from_millis(300);
    for number in 0..3 {
        let took = ask(&format!("{number}@b{number}.example"));
        assert!(took >= deadline && took < deadline + Duration::from_secs(4), "{took:?}");
    }
    let began = Instant::now();
    for number in 0..100 {
        let _soon = ask(&format!("{number}@c{number}.example"));
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let log = policyd.log();
    assert_eq!(log.matches("list block: no answer within 300ms; ").count(), 1, "{log}");
    server.thaw();
    let mut number = 0;
    wait_for("an answer", || {
        number += 1;
        let _soon = ask(&format!("{number}@d{number}.example"));
        policyd.log().contains("list block: answers again").then_some(())
    });
}

/// `-n` of a configuration.
fn check(folder: &Path, text: &str, mode: u32) -> String {
    let conf = folder.join("conf");
    fs::write(&conf, text).unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(mode)).unwrap();
    let done = output(Command::new(program()).arg("-n").arg("-c").arg(&conf), b"");
    String::from_utf8_lossy(&done.stderr).into_owned()
}

#[test]
fn the_check_names_what_starting_would_refuse() {
    let scratch = Scratch::new("listscheck");
    let folder = scratch.file("check");
    fs::create_dir(&folder).unwrap();
    let conf = |list: &str| {
        format!(
            "listen = [\"unix:{0}/policy\"]\n[store]\npath = \"{0}/state\"\n[[list]]\nname = \"vip\"\ndriver = \"sql\"\n{list}\n\
             [[limit]]\nname = \"l\"\nkey = [\"sender\"]\nrate = [\"1/hour\"]\nexcept = [\"sender in list:vip\"]\n",
            folder.display()
        )
    };
    let url = folder.join("url");
    fs::write(&url, "postgres://u:sesame@127.0.0.1:1/d\n").unwrap();
    fs::set_permissions(&url, fs::Permissions::from_mode(0o644)).unwrap();
    let query = "query = \"SELECT 1 FROM vip WHERE login = '%u'\"";
    let secret = format!("url = \"postgres://u:sesame@127.0.0.1:1/d\"\n{query}");
    for (list, mode, parts) in [
        (secret.as_str(), 0o600, &[][..]),
        (&secret, 0o644, &["holds a password, and every local user may read it"]),
        ("url = \"nonsense\"\nquery = \"SELECT '%u'\"", 0o600, &[":7:1: error: url: url 1 has no scheme"]),
        (
            "url = \"sqlite:///a\"\nquery = \"SELECT 1 FROM [%u]\"",
            0o600,
            &[
                ":8:9: error: query: the variable u stands within a quoted identifier",
                "7:1: error: /a: No such file",
            ],
        ),
        ("url_file = \"{url}\"\nquery = \"SELECT '%u'\"", 0o600, &[": warning: every local user may read "]),
        ("url_file = \"/nowhere\"\nquery = \"SELECT '%u'\"", 0o600, &[":7:12: error: url_file: /nowhere: "]),
    ] {
        let list = list.replace("{url}", &url.display().to_string());
        let said = check(&folder, &conf(&list), mode);
        for part in parts {
            assert!(said.contains(part), "{list}: {said}");
        }
        assert!(!said.contains("sesame"), "{said}");
        assert!(!parts.is_empty() || !said.contains("error"), "{said}");
    }
}
