//! PostgreSQL: types of columns and of what they are compared with, hostile names, TLS, and a server that goes.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use base::secret::Secret;
use harness::postgres::Postgres;
use harness::scratch::Scratch;
use sasl_auth::passdb::Lookup;
use sasl_auth::sql::Database;

use crate::{HOSTILE, database, fields, found, once_back, passwords, request, runtime, soon, sql};

const TABLES: &str = "
    CREATE TYPE kind AS ENUM ('user', 'admin');
    CREATE DOMAIN address AS text;
    CREATE TABLE users (name text, domain varchar(80), password text, id int, big bigint, active boolean,
        quota numeric(10,2), created timestamp, expires timestamptz, key bytea, tags text[], code char(10),
        kind kind, net inet, uid uuid, note text, address address, weight float8, info jsonb);
    INSERT INTO users VALUES ('anna', 'a.example', '{PLAIN}secret', 7, 5000000000, true, 1.50,
        '2026-01-02 03:04:05', '2026-01-02 03:04:05+00', 'raw', '{x,y}', 'abc', 'admin', '10.1.2.0/24',
        '6ecd8c99-4036-403d-bf84-cf8400f67836', NULL, 'anna@a.example', 0.25, '{\"a\": 1}'),
      ('bob', 'a.example', NULL, 8, 8, false, NULL, NULL, NULL, NULL, NULL, NULL, 'user', NULL, NULL, NULL, NULL,
        NULL, NULL);
    INSERT INTO users (name, domain, password) VALUES ('twin', 'a.example', 'x'), ('twin', 'a.example', 'y');
    CREATE TABLE apps (name text, password text, label text, services text, expires timestamptz);
    INSERT INTO apps VALUES ('anna', 'a1', 'phone', 'smtp', '2027-01-01 00:00:00+00'),
        ('anna', 'a2', 'broken', 'smtp', '-infinity');";

#[test]
fn all() {
    let scratch = Scratch::new("postgres");
    let mut server = Postgres::start(&scratch);
    server.execute(TABLES);
    let runtime = runtime();
    runtime.block_on(async {
        rows_and_types(&server).await;
        comparisons_with_every_type(&server).await;
        hostile_names(&server).await;
        encryption(&server, &scratch).await;
        wrong_logins(&server).await;
        lost_connections(&server).await;
        abandoned_queries(&server).await;
        changed_tables(&server).await;
        many_at_once(&server).await;
        a_silent_server(&server).await;
    });
    let users = by_name(&server);
    runtime.block_on(async {
        found(users.lookup(&request("anna"), None).await);
    });
    server.stop();
    runtime.block_on(async {
        for _ in 0..20 {
            let began = Instant::now();
            let error = soon(began, users.lookup(&request("anna"), None).await);
            assert!(error.starts_with("sql: 127.0.0.1:") && !error.contains("ss/wo"), "{error}");
        }
    });
    server.start_again();
    runtime.block_on(async {
        let back = once_back(async || users.lookup(&request("anna"), None).await).await;
        assert_eq!(passwords(&found(Ok(back))), ["{PLAIN}secret"]);
    });
}

fn by_name(server: &Postgres) -> Database {
    database(&sql(&server.url("reader"), "SELECT password FROM users WHERE name = '%n'"))
}

async fn rows_and_types(server: &Postgres) {
    let mut settings = sql(
        &server.socket_url("reader"),
        "SELECT name AS username, domain, password, id, big, active, quota, created, expires, key AS raw, tags,
             code, kind, net AS allow_nets, uid AS \"Uid\", note, address, weight, info
         FROM users WHERE name = '%n' AND domain = '%d' -- at the end;",
    );
    settings.app_password_query = Some("SELECT * FROM apps WHERE name = '%n'".into());
    settings.iterate_query = Some("SELECT name AS username, domain FROM users ORDER BY 1".into());
    let users = database(&settings);
    let anna = found(users.lookup(&request("anna@a.example"), None).await);
    assert_eq!(passwords(&anna), ["{PLAIN}secret", "a1"]);
    assert_eq!(anna.passwords[1].expires, Some(1_798_761_600));
    let mut all = fields(&anna.fields);
    // A time with a zone is shown in the zone of the session.
    let expires = all.iter().position(|field| field.starts_with("expires=2026-01-0")).unwrap();
    all.remove(expires);
    assert_eq!(
        all,
        [
            "id=7",
            "big=5000000000",
            "active=t",
            "quota=1.50",
            "created=2026-01-02 03:04:05",
            "raw=raw",
            "tags={x,y}",
            "code=abc       ",
            "kind=admin",
            "allow_nets=10.1.2.0/24",
            "Uid=6ecd8c99-4036-403d-bf84-cf8400f67836",
            "address=anna@a.example",
            "weight=0.25",
            "info={\"a\": 1}"
        ]
    );
    let bob = found(users.lookup(&request("bob@a.example"), None).await);
    assert!(bob.passwords.is_empty());
    assert_eq!(fields(&bob.fields), ["id=8", "big=8", "active=f", "kind=user"]);
    assert_eq!(users.lookup(&request("nobody@a.example"), None).await, Ok(Lookup::Unknown));
    let twins = users.lookup(&request("twin@a.example"), None).await.unwrap_err();
    assert!(twins.detail.contains("returned multiple matches"), "{twins}");
    assert_eq!(
        users.list().await.unwrap(),
        ["anna@a.example", "bob@a.example", "twin@a.example", "twin@a.example"]
    );
}

/// Dovecot put quoted values into the statement, which PostgreSQL reads as whatever type is wanted there.
async fn comparisons_with_every_type(server: &Postgres) {
    for (condition, finds, misses) in [
        ("id = '%u'", "7", &["anna", "99999999999999999999", "", "7.5", "9"][..]),
        ("big = '%u'", "5000000000", &["anna", "1"]),
        ("domain = '%d' AND name = '%n'", "anna@a.example", &["anna@b.example"]),
        ("code = '%u'", "abc", &["ab", "abcdefghijklmnop"]),
        ("kind = '%u'", "admin", &["king"]),
        ("net >> '%u'", "10.1.2.3", &["10.2.0.1", "anna"]),
        ("uid = '%u'", "6ecd8c99-4036-403d-bf84-cf8400f67836", &["anna"]),
        ("created = '%u'", "2026-01-02 03:04:05", &["yesteryear", "2026-01-03"]),
        ("active AND quota > '%u'", "1", &["2", "anna"]),
        ("address = '%u'", "anna@a.example", &["anna"]),
        ("concat(name, '@', domain) = concat('%n', '@', '%d')", "anna@a.example", &["anna@b"]),
        ("'%u' = ANY(tags)", "x", &["z"]),
        ("lower(name) = lower('%u')", "ANNA", &["b"]),
        ("name LIKE '%%%u%%'", "nn", &["zz"]),
        ("name = %u", "anna", &["' OR 1=1"]),
        ("name = '%u'::text AND id = 7 LIMIT 1", "anna", &["bob"]),
        ("name IN ('%n', E'it\\'s %u', $q$%u$q$)", "anna", &["anne"]),
    ] {
        let query = format!("SELECT name FROM users WHERE {condition}");
        let users = database(&sql(&server.socket_url("reader"), &query));
        for _ in 0..2 {
            let entry = found(users.lookup(&request(finds), None).await);
            assert!(["anna", finds].contains(&entry.fields.value("name").unwrap()), "{condition}");
            for miss in misses {
                assert_eq!(
                    users.lookup(&request(miss), None).await,
                    Ok(Lookup::Unknown),
                    "{condition}: {miss}"
                );
            }
        }
    }
}

async fn hostile_names(server: &Postgres) {
    let mut statements = String::new();
    for name in HOSTILE {
        let quoted = name.replace('\'', "''");
        let row = format!("INSERT INTO users (name, password) VALUES ('{quoted}', 'of <{quoted}>');\n");
        statements.push_str(&row);
    }
    server.execute(&statements);
    let query = "SELECT password FROM users WHERE name = '%u' AND password <> E'\\'%u'";
    let users = database(&sql(&server.url("reader"), query));
    for name in HOSTILE {
        assert_eq!(passwords(&found(users.lookup(&request(name), None).await)), [format!("of <{name}>")]);
        let near = format!("{name}'");
        assert_eq!(users.lookup(&request(&near), None).await, Ok(Lookup::Unknown));
    }
    assert_eq!(users.lookup(&request("anna\0"), None).await, Ok(Lookup::Unknown));
    assert_eq!(passwords(&found(users.lookup(&request("anna"), None).await)), ["{PLAIN}secret"]);
}

async fn encryption(server: &Postgres, scratch: &Scratch) {
    let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND '%u' <> ''";
    for (mode, with_ca, encrypted) in [
        ("?sslmode=disable", false, "t=f"),
        ("?sslmode=require", false, "t=t"),
        ("?sslmode=verify-full", true, "t=t"),
        ("?sslmode=require", true, "t=t"),
        ("", true, "t=t"),
    ] {
        let mut settings = sql(&format!("{}{mode}", server.url("reader")), query);
        settings.tls_ca_file = with_ca.then(|| server.ca_file());
        let entry = found(database(&settings).lookup(&request("x"), None).await);
        assert_eq!(format!("t={}", entry.fields.value("ssl").unwrap()), encrypted, "{mode} {with_ca}");
    }
    let stranger = harness::certificates::Certificates::new(&scratch.file("stranger"));
    for (mode, ca_file) in [("", Some(stranger.ca())), ("?sslmode=verify-full", None)] {
        let mut settings = sql(&format!("{}{mode}", server.url("reader")), query);
        settings.tls_ca_file = ca_file;
        let error = database(&settings).lookup(&request("x"), None).await.unwrap_err();
        assert!(error.detail.contains("certificate") && error.detail.contains("CA"), "{error}");
    }
}

async fn wrong_logins(server: &Postgres) {
    let url = server.url("reader").replace("pa%40ss", "sesame");
    let error = database(&sql(&url, "SELECT 1")).lookup(&request("x"), None).await.unwrap_err();
    assert!(error.detail.contains("password authentication failed"), "{error}");
    assert!(!error.detail.contains("sesame"), "{error}");
    // The server quotes a value that it cannot read, which may be a password.
    let quoting = database(&sql(&server.url("reader"), "SELECT CAST('%w' || 'x' AS int) AS id"));
    let error = quoting.lookup(&request("x"), Some(&Secret::from("sesame"))).await.unwrap_err();
    assert!(!error.detail.contains("sesame"), "{error}");
}

async fn lost_connections(server: &Postgres) {
    let users = by_name(server);
    found(users.lookup(&request("anna"), None).await);
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'");
    found(users.lookup(&request("anna"), None).await);
}

/// Whoever asks may stop waiting at any moment.
async fn abandoned_queries(server: &Postgres) {
    let sleeping = "SELECT password, pg_sleep('%u') IS NULL AS late FROM users WHERE name = 'anna'";
    let users = database(&sql(&server.url("reader"), sleeping));
    for _ in 0..5 {
        let limit = Duration::from_millis(100);
        assert!(tokio::time::timeout(limit, users.lookup(&request("1"), None)).await.is_err());
        found(users.lookup(&request("0"), None).await);
    }
}

async fn changed_tables(server: &Postgres) {
    let by_id = database(&sql(&server.url("reader"), "SELECT id, quota FROM users WHERE id = '%u'"));
    assert_eq!(fields(&found(by_id.lookup(&request("7"), None).await).fields), ["id=7", "quota=1.50"]);
    server.execute("ALTER TABLE users ALTER id TYPE text; ALTER TABLE users ALTER quota TYPE text");
    assert_eq!(fields(&found(by_id.lookup(&request("7"), None).await).fields), ["id=7", "quota=1.50"]);
    assert_eq!(by_id.lookup(&request("anna"), None).await, Ok(Lookup::Unknown));
}

async fn many_at_once(server: &Postgres) {
    let users = std::sync::Arc::new(by_name(server));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let users = std::sync::Arc::clone(&users);
            tokio::spawn(async move { users.lookup(&request("anna"), None).await })
        })
        .collect();
    for task in tasks {
        found(task.await.unwrap());
    }
    let counting =
        "SELECT count(*) AS open FROM pg_stat_activity WHERE usename = 'reader' AND pid <> pg_backend_pid()";
    let open = found(database(&sql(&server.url("reader"), counting)).lookup(&request("x"), None).await);
    let open: u32 = open.fields.value("open").unwrap().parse().unwrap();
    // Two of ours, and what the server has not yet noticed to be closed: queries that sleep, for example.
    assert!(open <= 12, "{open} connections");
}

/// A server that takes connections and says nothing: the next one stands in, and only the first login waits.
async fn a_silent_server(server: &Postgres) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = sql(
        &format!("postgres://u:p@127.0.0.1:{}/mail", silent.local_addr().unwrap().port()),
        "SELECT password FROM users WHERE name = '%n'",
    );
    settings.urls.push(Secret::from(server.url("reader")));
    let users = database(&settings);
    found(users.lookup(&request("anna"), None).await);
    for _ in 0..25 {
        let began = Instant::now();
        found(users.lookup(&request("anna"), None).await);
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
