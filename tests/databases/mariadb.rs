//! MariaDB: types of columns, hostile names in other character sets, TLS, and a server that goes.

use std::time::Instant;

use harness::mariadb::MariaDb;
use harness::scratch::Scratch;
use sasl_auth::passdb::Lookup;
use sasl_auth::sql::Database;

use crate::{HOSTILE, database, fields, found, once_back, passwords, request, runtime, soon, sql};

const TABLES: &str = "
    CREATE TABLE users (name VARCHAR(80) COLLATE utf8mb4_bin, domain VARCHAR(80) CHARACTER SET latin1,
        password TEXT, id INT UNSIGNED, big BIGINT UNSIGNED, small TINYINT, active BOOLEAN, quota DECIMAL(10,2),
        created DATETIME, expires TIMESTAMP NULL, born DATE, at TIME, y YEAR, raw VARBINARY(20), b BIT(8),
        kind ENUM('user','admin'), tags SET('x','y'), weight DOUBLE, note TEXT, info JSON) CHARACTER SET utf8mb4;
    INSERT INTO users VALUES ('anna', 'a.example', '{PLAIN}secret', 4000000000, 18446744073709551615, -5, TRUE,
        1.50, '2026-01-02 03:04:05', '2026-01-02 03:04:05', '1999-12-31', '03:04:05', 2026, 'raw', b'101',
        'admin', 'x,y', 0.25, NULL, '{\"a\": 1}');
    INSERT INTO users (name, domain, password) VALUES ('bob', 'a.example', NULL), ('twin', 'a.example', 'x'),
        ('twin', 'a.example', 'y');
    CREATE TABLE apps (name TEXT, password TEXT, label TEXT, services TEXT, expires DATETIME);
    INSERT INTO apps VALUES ('anna', 'a1', 'phone', 'smtp', '2027-01-01 00:00:00');";

#[test]
fn all() {
    let scratch = Scratch::new("mariadb");
    let mut server = MariaDb::start(&scratch);
    server.execute(TABLES);
    let runtime = runtime();
    runtime.block_on(async {
        rows_and_types(&server).await;
        hostile_names(&server).await;
        encryption(&server, &scratch).await;
        lost_connections(&server).await;
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

fn by_name(server: &MariaDb) -> Database {
    database(&sql(&server.url("reader"), "SELECT password FROM users WHERE name = \"%n\""))
}

async fn rows_and_types(server: &MariaDb) {
    let mut settings = sql(
        &server.socket_url("reader"),
        "SELECT name AS username, domain, password, id, big, small, active, quota, created, expires, born, at, y,
             raw, b, kind, tags, weight, note, info, 'a' || 'b' AS logic
         FROM users WHERE name = '%n' AND domain = '%d' # at the end;",
    );
    settings.app_password_query = Some("SELECT * FROM apps WHERE name = '%n'".into());
    settings.iterate_query = Some("SELECT name AS username, domain FROM users ORDER BY 1".into());
    let users = database(&settings);
    let anna = found(users.lookup(&request("anna@a.example"), None).await);
    assert_eq!(passwords(&anna), ["{PLAIN}secret", "a1"]);
    assert_eq!(anna.passwords[1].expires, Some(1_798_761_600));
    assert_eq!(
        fields(&anna.fields),
        [
            "id=4000000000",
            "big=18446744073709551615",
            "small=-5",
            "active=1",
            "quota=1.50",
            "created=2026-01-02 03:04:05",
            "expires=2026-01-02 03:04:05",
            "born=1999-12-31",
            "at=03:04:05",
            "y=2026",
            "raw=raw",
            "b=5",
            "kind=admin",
            "tags=x,y",
            "weight=0.25",
            "info={\"a\": 1}",
            // The session is as the server has it: || is OR, as in the admin's own client.
            "logic=0"
        ]
    );
    let bob = found(users.lookup(&request("bob@a.example"), None).await);
    assert!(bob.passwords.is_empty());
    assert_eq!(fields(&bob.fields), ["logic=0"]);
    assert_eq!(users.lookup(&request("nobody@a.example"), None).await, Ok(Lookup::Unknown));
    let twins = users.lookup(&request("twin@a.example"), None).await.unwrap_err();
    assert!(twins.detail.contains("returned multiple matches"), "{twins}");
    assert_eq!(users.list().await.unwrap().len(), 4);
    let broken = database(&sql(&server.url("reader"), "SELECT nothing FROM users WHERE name = '%n'"));
    let error = broken.lookup(&request("anna"), None).await.unwrap_err();
    assert!(error.detail.contains("nothing"), "{error}");
}

async fn hostile_names(server: &MariaDb) {
    let mut statements = String::new();
    for name in HOSTILE {
        let quoted = name.replace('\\', "\\\\").replace('\'', "''");
        let row = format!("INSERT INTO users (name, password) VALUES ('{quoted}', 'of <{quoted}>');\n");
        statements.push_str(&row);
    }
    server.execute(&statements);
    let query = "SELECT password FROM users WHERE name = '%u' AND password <> '\\'%u'";
    let users = database(&sql(&server.url("reader"), query));
    for name in HOSTILE {
        assert_eq!(passwords(&found(users.lookup(&request(name), None).await)), [format!("of <{name}>")]);
        let near = format!("{name}'");
        assert_eq!(users.lookup(&request(&near), None).await, Ok(Lookup::Unknown));
    }
    assert_eq!(users.lookup(&request("anna\0"), None).await, Ok(Lookup::Unknown));
    // A column that can hold Latin letters only.
    let latin = database(&sql(&server.url("reader"), "SELECT name FROM users WHERE domain = '%u'"));
    for name in HOSTILE {
        assert_eq!(latin.lookup(&request(name), None).await, Ok(Lookup::Unknown), "{name}");
    }
    let numbers = database(&sql(&server.url("reader"), "SELECT name FROM users WHERE id = '%u'"));
    assert_eq!(found(numbers.lookup(&request("4000000000"), None).await).fields.value("name"), Some("anna"));
    assert_eq!(numbers.lookup(&request("anna"), None).await, Ok(Lookup::Unknown));
}

async fn encryption(server: &MariaDb, scratch: &Scratch) {
    let query = "SELECT variable_value <> '' AS encrypted FROM information_schema.session_status
                 WHERE variable_name = 'ssl_cipher' AND '%u' <> ''";
    for (mode, with_ca, encrypted) in [
        ("?ssl-mode=disabled", false, "0"),
        ("?ssl-mode=required", false, "1"),
        ("?ssl-mode=verify_identity", true, "1"),
        ("?ssl-mode=required", true, "1"),
        ("", true, "1"),
    ] {
        let mut settings = sql(&format!("{}{mode}", server.url("reader")), query);
        settings.tls_ca_file = with_ca.then(|| server.ca_file());
        let entry = found(database(&settings).lookup(&request("x"), None).await);
        assert_eq!(entry.fields.value("encrypted"), Some(encrypted), "{mode} {with_ca}");
    }
    let stranger = harness::certificates::Certificates::new(&scratch.file("stranger"));
    let mut settings = sql(&server.url("reader"), query);
    settings.tls_ca_file = Some(stranger.ca());
    let error = database(&settings).lookup(&request("x"), None).await.unwrap_err();
    assert!(error.detail.contains("certificate") && error.detail.contains("stranger"), "{error}");
    let url = server.url("reader").replace("pa%40ss", "sesame");
    let error = database(&sql(&url, query)).lookup(&request("x"), None).await.unwrap_err();
    assert!(error.detail.contains("Access denied") && !error.detail.contains("sesame"), "{error}");
}

async fn lost_connections(server: &MariaDb) {
    let users = by_name(server);
    found(users.lookup(&request("anna"), None).await);
    server.execute("KILL USER reader");
    found(users.lookup(&request("anna"), None).await);
    server.execute("SET GLOBAL wait_timeout = 1");
    let idle = by_name(server);
    found(idle.lookup(&request("anna"), None).await);
    tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
    found(idle.lookup(&request("anna"), None).await);
    server.execute("SET GLOBAL wait_timeout = 28800");
}
