//! Settings of the lists that conditions and overrides look into: files, SQL databases, Redis.

use base::config::toml::{Fallback, Kind, Section, Setting};

use super::{DAY_MS, count, driver, setting, time};

const SQL: &[&str] = &["sql"];
const REDIS: &[&str] = &["redis"];
const ASKED: &[&str] = &["sql", "redis"];

const fn asked(name: &'static str, kind: Kind, default: Fallback, doc: &'static str) -> Setting {
    driver(ASKED, name, kind, default, doc)
}

pub(super) const LIST: Section = Section {
    name: "list",
    repeated: true,
    selector: Some("driver"),
    doc: "A list for conditions (\"sasl_username in list:NAME\") and for overrides. A file is read as a whole, at the start, at a \
          reload and every refresh; while it cannot be read the last reading holds. A database is asked about each value: see \
          LISTS IN DATABASES.",
    settings: &[
        setting("name", Kind::Text, Fallback::Required, "Its name."),
        setting(
            "driver",
            Kind::Word(&["file", "sql", "redis"]),
            Fallback::Value("file"),
            "file: one entry on a line; after white space, the rates of an override. # begins a comment. sql: SQLite, \
             PostgreSQL, MySQL or MariaDB. redis: Redis or Valkey.",
        ),
        driver(&["file"], "path", Kind::Path, Fallback::Required, "The file."),
        driver(
            &["file"],
            "refresh",
            time(1000, 30 * DAY_MS),
            Fallback::Value("1min"),
            "How often it is looked at whether the file has changed, and read again.",
        ),
        driver(
            SQL,
            "url",
            Kind::Secrets,
            Fallback::None,
            "The database: \"postgres://user:password@host/name\", \"mysql://user:password@host/name\" or \"sqlite:///path\"; \
             several are tried in order.",
        ),
        driver(
            SQL,
            "url_file",
            Kind::Path,
            Fallback::None,
            "A file that holds the URL, or one a line, instead of url. The user of the service must be able to read it.",
        ),
        driver(
            SQL,
            "connections",
            count(1, 1000),
            Fallback::Value("4"),
            "Connections to the database, at most.",
        ),
        driver(
            REDIS,
            "servers",
            Kind::Texts,
            Fallback::Found("those of [store], where its driver is redis, with all that belongs to them"),
            "The servers: host:port, or the path of a UNIX socket, as in [store].",
        ),
        driver(
            REDIS,
            "topology",
            Kind::Word(&["single", "sentinel", "cluster"]),
            Fallback::Value("single"),
            "What the servers are, as in [store].",
        ),
        driver(
            REDIS,
            "master",
            Kind::Text,
            Fallback::Value("mymaster"),
            "For sentinel: the name that the sentinels know the master by.",
        ),
        driver(
            REDIS,
            "tls",
            Kind::Boolean,
            Fallback::Value("false"),
            "Connect by TLS, to the sentinels as well.",
        ),
        driver(REDIS, "username", Kind::Text, Fallback::None, "The user to log in as, where there are ACLs."),
        driver(REDIS, "password", Kind::Secret, Fallback::None, "The password to log in with."),
        driver(
            REDIS,
            "sentinel_password",
            Kind::Secret,
            Fallback::None,
            "For sentinel: the sentinels' own password.",
        ),
        driver(
            REDIS,
            "database",
            count(0, 65_535),
            Fallback::Value("0"),
            "The number of the database; always 0 in a cluster.",
        ),
        asked(
            "ca_file",
            Kind::Path,
            Fallback::Found("the system's"),
            "CA certificates (PEM) that the servers' are checked against. Whether sql uses TLS is up to the URL.",
        ),
        asked(
            "query",
            Kind::Text,
            Fallback::Required,
            "What it is asked. sql: a statement that gives a row for what is listed. redis: one of GET, HGET, EXISTS, HEXISTS, \
             SISMEMBER, ZSCORE with its words. %u stands for the value that is looked for, %n and %d for what it has before and \
             after its @, %{attribute} for an attribute of the request, %% for a percent sign.",
        ),
        asked(
            "deadline",
            time(5, 5000),
            Fallback::Value("200ms"),
            "How long a request waits for the answer. After three failures in a row the database is not asked for five seconds.",
        ),
        asked(
            "ttl",
            time(1000, 30 * DAY_MS),
            Fallback::Value("1min"),
            "How long the answer holds that a value is listed.",
        ),
        asked(
            "negative_ttl",
            time(1000, 30 * DAY_MS),
            Fallback::Value("1min"),
            "How long the answer holds that it is not.",
        ),
        asked(
            "stale_ttl",
            time(0, 400 * DAY_MS),
            Fallback::Value("1d"),
            "How long an answer holds on while the database does not answer.",
        ),
        asked(
            "cache_size",
            Kind::Size { min: 1 << 20, max: 1 << 40 },
            Fallback::Value("16M"),
            "Memory for answers, about; half of it is for values that are listed, so that a flood of made-up ones pushes out none \
             of them.",
        ),
        asked(
            "unavailable",
            Kind::Word(&["not-listed", "listed"]),
            Fallback::Value("not-listed"),
            "What a value counts as in a condition while the database does not answer and nothing is known of it. An override of \
             which nothing is known does not hold: the limit's own rate does.",
        ),
    ],
};
