//! From values to settings: Redis, greylisting, notices, and the smaller sections.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use base::config::Report;
use base::config::toml::{Document, Table};

use super::build::{action, conditions};
use super::settings::{Control, Geo, Greylist};
use crate::condition::Listing;
use crate::store::redis::{self, Servers, Topology};
use crate::{greylist, notice};

/// Where servers of Redis are, and how to log in.
pub(super) fn servers(table: &Table, report: &mut Report) -> Servers {
    let topology = match table.text("topology").as_deref() {
        Some("sentinel") => Topology::Sentinel(table.text("master").unwrap_or_default()),
        Some("cluster") => Topology::Cluster,
        _ => Topology::Single,
    };
    if table.is_set("master") && !matches!(topology, Topology::Sentinel(_)) {
        report
            .error(&table.key_place("master"), "master is for topology = \"sentinel\"")
            .help("set topology = \"sentinel\", or leave it out");
    }
    let addresses = table.texts("servers");
    for (index, address) in addresses.iter().enumerate() {
        if let Err(why) = redis::check_address(address) {
            report.error(&table.element_place("servers", index), format!("servers: {why}"));
        }
    }
    if addresses.is_empty() && table.is_set("servers") && !table.is_wrong("servers") {
        report.error(&table.place("servers"), "servers is empty").help("servers = [\"127.0.0.1:6379\"]");
    }
    Servers {
        topology,
        addresses,
        tls: table.boolean("tls"),
        ca_file: table.path("ca_file"),
        username: table.text("username"),
        password: table.secret("password"),
        sentinel_password: table.secret("sentinel_password"),
        database: table.integer("database").unwrap_or(0),
    }
}

/// The keys of `driver = "redis"`.
pub(super) fn redis(table: &Table, report: &mut Report) -> redis::Settings {
    let servers = servers(table, report);
    let prefix = table.text("prefix").unwrap_or_default();
    if prefix.is_empty() || prefix.len() > 64 || prefix.contains(['{', '}', ' ']) {
        report
            .error(&table.place("prefix"), "prefix must have 1 to 64 characters, without braces and blanks")
            .help("\"postrider\" for instance");
    }
    redis::Settings {
        servers,
        prefix,
        deadline: table.duration("deadline").unwrap_or(Duration::from_millis(100)),
        fallback: table.text("fallback").as_deref() != Some("none"),
        hosts: table.integer("hosts"),
    }
}

/// `[greylist]`, if it is on.
pub(super) fn greylist(
    table: &Table,
    lists: &HashMap<&str, &Listing>,
    report: &mut Report,
) -> Option<Greylist> {
    let enabled = if table.is_set("enabled") { table.boolean("enabled") } else { table.is_present() };
    let time = |name| table.duration(name).unwrap_or_default();
    let pooling = match table.text("pooling").as_deref() {
        Some("name") => greylist::Pooling::Name,
        _ => greylist::Pooling::Network,
    };
    let mut whitelist = Vec::new();
    for (index, path) in table.texts("whitelist").into_iter().enumerate() {
        if !path.starts_with('/') {
            report
                .error(
                    &table.element_place("whitelist", index),
                    format!("whitelist: `{path}` is not a full path"),
                )
                .help("paths begin with /");
        }
        whitelist.push(PathBuf::from(path));
    }
    if table.is_present() && time("retry_window") <= time("delay") {
        report
            .error(
                &table.place("retry_window"),
                "retry_window is not longer than delay: nobody could ever pass",
            )
            .help("two days are usual");
    }
    let rules = greylist::Settings {
        delay: time("delay"),
        retry_window: time("retry_window"),
        expiry: time("expiry"),
        ipv4_prefix: table.integer("ipv4_prefix").unwrap_or(24),
        ipv6_prefix: table.integer("ipv6_prefix").unwrap_or(64),
        pooling,
        trust_client_after: table.integer("trust_client_after").unwrap_or(0),
        trust_domain_after: table.integer("trust_domain_after").unwrap_or(0),
    };
    let found = Greylist {
        rules,
        when: conditions(table, "when", lists, report),
        except: conditions(table, "except", lists, report),
        shipped_whitelist: table.boolean("shipped_whitelist"),
        whitelist,
        action: action(table, "action", report)?,
        dry_run: table.boolean("dry_run"),
        max_entries: table.integer("max_entries").unwrap_or(1_000_000),
    };
    enabled.then_some(found)
}

/// All `[[notice]]`s.
pub(super) fn notices(document: &Document, report: &mut Report) -> Vec<notice::Settings> {
    let names: Vec<String> = document.tables("limit").filter_map(|limit| limit.text("name")).collect();
    document.tables("notice").map(|table| one_notice(table, &names, report)).collect()
}

fn one_notice(table: &Table, names: &[String], report: &mut Report) -> notice::Settings {
    let limits = table.texts("limits");
    for (index, limit) in limits.iter().enumerate() {
        if !names.contains(limit) {
            report
                .error(&table.element_place("limits", index), format!("limits: there is no limit {limit}"))
                .help(format!("there is {}", names.join(", ")));
        }
    }
    let mail_to = table.texts("mail_to");
    for (index, address) in mail_to.iter().enumerate() {
        if !notice::is_address(address) {
            let place = table.element_place("mail_to", index);
            report.error(&place, format!("mail_to: `{address}` is no address")).help("user@domain");
        }
    }
    let domain = mail_to.first().and_then(|address| address.rsplit_once('@')).map(|(_, domain)| domain);
    let found = domain.map(|domain| format!("postmaster@{domain}"));
    let mail_from = table.text("mail_from").or(found).unwrap_or_default();
    let mails = !mail_to.is_empty() || table.boolean("mail_user");
    if mails && !notice::is_address(&mail_from) {
        let place = if table.is_set("mail_from") { table.place("mail_from") } else { table.header().clone() };
        report.error(&place, "mail_from must be an address").help("mail_from = \"policyd@your.domain\"");
    }
    let command = table.texts("command");
    if table.is_set("command") && !command.first().is_some_and(|program| program.starts_with('/')) {
        report
            .error(&table.place("command"), "command must begin with the full path of a program")
            .help("command = [\"/usr/local/bin/tell\", \"argument\"]");
    }
    let webhook = table.text("webhook");
    if let Some(Err(why)) = webhook.as_deref().map(notice::check_url) {
        report.error(&table.place("webhook"), format!("webhook: {why}")).help("an https URL");
    }
    if !mails && command.is_empty() && webhook.is_none() {
        report
            .error(table.header(), "this notice tells nobody")
            .help("set mail_to, mail_user, command or webhook");
    }
    notice::Settings {
        limits,
        mail_to,
        mail_user: table.boolean("mail_user"),
        mail_from,
        sendmail: table.path("sendmail").unwrap_or_default().display().to_string(),
        command,
        webhook,
        webhook_authorization: table.secret("webhook_authorization"),
        timeout: table.duration("timeout").unwrap_or_default(),
        quiet: table.duration("quiet").unwrap_or_default(),
        dry_run: table.boolean("dry_run"),
    }
}

/// `[geo]`.
pub(super) fn geo(table: &Table) -> Geo {
    Geo { country_file: table.path("country_file"), asn_file: table.path("asn_file") }
}

/// `[control]`, if it is on.
pub(super) fn control(table: &Table) -> Option<Control> {
    let socket = table.path("socket")?;
    let found = || socket.parent().is_some_and(std::path::Path::is_dir);
    let enabled = if table.is_set("enabled") { table.boolean("enabled") } else { found() };
    enabled.then(|| Control { socket, admins: table.texts("admins") })
}
