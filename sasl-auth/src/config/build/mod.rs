//! From values to settings: defaults that depend on others, files that hold secrets.

mod databases;

use std::io::IsTerminal;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use base::config::toml::{Document, Table};
use base::config::{Report, Source};
use base::secret::Secret;

use super::settings::{
    Cache, Hashing, InternalFailure, Limits, Listen, ListenKind, Log, Names, Networks, Oauth2, Settings,
    Throttle,
};

/// The longest file with a password or a URL, in bytes.
const MAX_SECRET_FILE: u64 = 64 << 10;

/// Makes settings of values. What had a mistake gets its default, so that the rest can be checked.
pub(super) fn settings(document: &Document, report: &mut Report) -> Settings {
    let top = document.section("");
    let passdb = document.tables("passdb").filter_map(|table| databases::passdb(table, report)).collect();
    let userdb: Vec<_> =
        document.tables("userdb").filter_map(|table| databases::userdb(table, report)).collect();
    Settings {
        mechanisms: mechanisms(top, report),
        names: names(top),
        allow_weak_schemes: top.boolean("allow_weak_schemes"),
        internal_failure: match top.text("internal_failure").as_deref() {
            Some("reply") => InternalFailure::Reply,
            _ => InternalFailure::Close,
        },
        limits: limits(document.section("limits")),
        hashing: hashing(document.section("hashing")),
        cache: cache(document.section("cache")),
        throttle: throttle(document.section("throttle")),
        oauth2: oauth2(document.section("oauth2"), !userdb.is_empty(), report),
        log: log(document.section("log")),
        metrics: document.section("metrics").address("listen"),
        networks: networks(document.section("networks")),
        run_as: run_as(top, report),
        listen: document.tables("listen").filter_map(listen).collect(),
        passdb,
        userdb,
    }
}

fn mechanisms(top: &Table, report: &mut Report) -> Vec<String> {
    if !top.is_set("mechanisms") {
        return vec!["PLAIN".to_owned(), "LOGIN".to_owned()];
    }
    let mut names: Vec<String> = Vec::new();
    for (index, name) in top.texts("mechanisms").iter().enumerate() {
        let name = name.to_ascii_uppercase();
        if names.contains(&name) {
            report.warning(&top.element_place("mechanisms", index), format!("{name} is named twice"));
        } else {
            names.push(name);
        }
    }
    names
}

fn names(top: &Table) -> Names {
    let text = |name| top.text(name).unwrap_or_default();
    Names {
        username_format: text("username_format"),
        username_chars: text("username_chars"),
        username_translation: text("username_translation"),
        default_realm: text("default_realm"),
        recipient_delimiter: text("recipient_delimiter"),
        master_user_separator: text("master_user_separator").chars().next(),
        anonymous_username: text("anonymous_username"),
        hostname: top.text("hostname").unwrap_or_else(own_hostname),
    }
}

fn own_hostname() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

/// `user[:group]`, as `base::service::privileges` reads it.
fn run_as(top: &Table, report: &mut Report) -> Option<String> {
    match (top.text("user"), top.text("group")) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user),
        (None, Some(_)) => {
            let note = report.error(&top.key_place("group"), "group is set and user is not");
            note.help("set user as well, or leave group out");
            None
        }
        (None, None) => None,
    }
}

fn limits(table: &Table) -> Limits {
    let time = |name| table.duration(name).unwrap_or_default();
    Limits {
        connections: table.integer("connections").unwrap_or_default(),
        requests_per_connection: table.integer("requests_per_connection").unwrap_or_default(),
        handshake_timeout: time("handshake_timeout"),
        request_timeout: time("request_timeout"),
        reply_within: time("reply_within"),
        drain_timeout: time("drain_timeout"),
    }
}

fn hashing(table: &Table) -> Hashing {
    let processors = || thread::available_parallelism().map_or(1, NonZero::get);
    Hashing {
        threads: table.integer("threads").unwrap_or_else(processors),
        memory_bytes: table.size("memory").unwrap_or_default(),
        queue: table.integer("queue").unwrap_or_default(),
    }
}

fn cache(table: &Table) -> Option<Cache> {
    let time = |name| table.duration(name).unwrap_or_default();
    let size_bytes = table.size("size").unwrap_or_default();
    (table.is_present() && size_bytes > 0).then(|| Cache {
        size_bytes,
        ttl: time("ttl"),
        negative_ttl: time("negative_ttl"),
        stale_ttl: time("stale_ttl"),
    })
}

fn throttle(table: &Table) -> Throttle {
    let time = |name| table.duration(name).unwrap_or_default();
    Throttle {
        failure_delay: time("failure_delay"),
        max_delay: time("max_delay"),
        forget_after: time("forget_after"),
        entries: table.integer("entries").unwrap_or_default(),
        ipv4_prefix: table.integer("ipv4_prefix").unwrap_or_default(),
        ipv6_prefix: table.integer("ipv6_prefix").unwrap_or_default(),
    }
}

fn oauth2(table: &Table, has_userdb: bool, report: &mut Report) -> Option<Oauth2> {
    let text = |name| table.text(name).unwrap_or_default();
    table.is_present().then(|| Oauth2 {
        keys: table.texts("keys").into_iter().map(PathBuf::from).collect(),
        jwks: table.text("jwks"),
        introspection_url: table.text("introspection_url"),
        client_id: text("client_id"),
        client_secret: secret(table, "client_secret", "client_secret_file", report),
        issuers: table.texts("issuers"),
        audiences: table.texts("audiences"),
        scopes: table.texts("scopes"),
        username_claim: text("username_claim"),
        active: table.text("active_claim").map(|claim| (claim, text("active_value"))),
        ca_file: table.path("ca_file"),
        timeout: table.duration("timeout").unwrap_or_default(),
        require_user: if table.is_set("require_user") { table.boolean("require_user") } else { has_userdb },
    })
}

fn log(table: &Table) -> Log {
    let text = |name| table.text(name).unwrap_or_default();
    Log {
        syslog: if table.is_set("syslog") {
            table.boolean("syslog")
        } else {
            Path::new("/dev/log").exists() && !std::io::stderr().is_terminal()
        },
        facility: text("facility"),
        tag: text("tag"),
        level: text("level"),
    }
}

fn networks(table: &Table) -> Networks {
    Networks {
        users: table.integer("users").unwrap_or_default(),
        per_user: table.integer("per_user").unwrap_or_default(),
        ipv4_prefix: table.integer("ipv4_prefix").unwrap_or_default(),
        ipv6_prefix: table.integer("ipv6_prefix").unwrap_or_default(),
        country_database: table.path("country_database"),
    }
}

/// A listener; `None` when its address has been complained about.
fn listen(table: &Table) -> Option<Listen> {
    Some(Listen {
        address: table.address("address")?,
        kind: match table.text("kind").as_deref() {
            Some("userdb") => ListenKind::Userdb,
            _ => ListenKind::Client,
        },
        mode: table.mode("mode").unwrap_or_default(),
        user: table.text("user"),
        group: table.text("group"),
    })
}

/// A secret that is written as it is in `name`, or stands in the file that `file` names.
fn secret(table: &Table, name: &str, file: &str, report: &mut Report) -> Secret {
    if one_of(table, name, file, report)
        && let Some(path) = table.path(file)
    {
        let text = secret_file(table, file, &path, report).unwrap_or_default();
        return Secret::from(text.trim());
    }
    table.secret(name).unwrap_or_default()
}

/// Complains when both are set.
fn one_of(table: &Table, name: &str, file: &str, report: &mut Report) -> bool {
    let both = table.is_set(name) && table.is_set(file);
    if both {
        report
            .error(&table.key_place(file), format!("{name} and {file} are both set"))
            .help("keep one of the two");
    }
    !both
}

/// The text of a file that holds a secret.
fn secret_file(table: &Table, name: &str, path: &Path, report: &mut Report) -> Option<String> {
    let why = match Source::read(path, path.display().to_string(), MAX_SECRET_FILE) {
        Ok(source) if source.text().trim().is_empty() => "is empty".to_owned(),
        Ok(source) => return Some(source.text().to_owned()),
        Err(error) => error.to_string(),
    };
    report.error(&table.place(name), format!("{}: {why}", path.display()));
    None
}
