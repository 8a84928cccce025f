//! From values to settings: the service as a whole, the store, lists.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::Path;

use base::config::Report;
use base::config::toml::{Document, Table};

use super::settings::{Log, Server, Settings, Socket, Store, StoreDriver};
use super::{features, limit, list};
use crate::action::Action;
use crate::condition::{Condition, Listing};

/// Makes settings of values. What had a mistake gets its default, so that the rest can be checked.
pub(super) fn settings(document: &Document, report: &mut Report) -> Settings {
    let top = document.section("");
    let store = store(document.section("store"), report);
    let lists = list::lists(document, &store.driver, report);
    let known: HashMap<&str, &Listing> =
        lists.iter().map(|list| (list.name.as_str(), &list.content)).collect();
    let mut limits = Vec::new();
    for table in document.tables("limit") {
        if let Some(limit) = limit::limit(table, &known, report) {
            list::overrides(table, &limit, &known, report);
            limit::places(table, &limit, document.section("geo"), report);
            if limits.iter().any(|other: &super::settings::Limit| other.name == limit.name) {
                report
                    .error(&table.place("name"), format!("there are two limits {}", limit.name))
                    .help("counters go by the name: give each its own");
            }
            limits.push(limit);
        }
    }
    if document.is_whole() && document.tables("limit").next().is_none() {
        report.warning_anywhere("there is no [[limit]]: every request is answered DUNNO");
    }
    if limits.len() > MOST_LIMITS {
        report.error_anywhere(format!("there are {} limits, {MOST_LIMITS} is the most", limits.len()));
    }
    let server = document.section("server");
    let time = |name| server.duration(name).unwrap_or_default();
    if top.is_set("listen") && !top.is_wrong("listen") && top.addresses("listen").is_empty() {
        report.error(&top.place("listen"), "listen is empty").help("name a socket: \"unix:/path\"");
    }
    let exempt = conditions(top, "exempt", &known, report);
    Settings {
        listen: top.addresses("listen"),
        socket: Socket {
            mode: top.mode("socket_mode").unwrap_or(0o660),
            user: top.text("socket_user"),
            group: top.text("socket_group"),
        },
        run_as: run_as(top, report),
        exempt,
        recipient_delimiter: top.text("recipient_delimiter").unwrap_or_default().into_bytes(),
        timezone: timezone(top, report),
        server: Server {
            connections: server.integer("connections").unwrap_or(1),
            client_timeout: time("client_timeout"),
            reservation_timeout: time("reservation_timeout"),
            drain_timeout: time("drain_timeout"),
        },
        store,
        limits,
        lists: lists.clone(),
        greylist: features::greylist(document.section("greylist"), &known, report),
        notices: features::notices(document, report),
        geo: features::geo(document.section("geo")),
        control: features::control(document.section("control")),
        log: log(document.section("log")),
        metrics: document.section("metrics").address("listen"),
    }
}

/// Limits that there may be: a request remembers for each whether it has been asked.
const MOST_LIMITS: usize = 64;

fn timezone(top: &Table, report: &mut Report) -> Option<String> {
    let name = top.text("timezone")?;
    if let Err(why) = crate::timezone::Zone::named(Some(&name)) {
        report
            .error(&top.place("timezone"), format!("timezone: {why}"))
            .help("names are those below /usr/share/zoneinfo, as \"Europe/Berlin\"; is tzdata installed?");
    }
    Some(name)
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

fn store(table: &Table, report: &mut Report) -> Store {
    let driver = match table.text("driver").as_deref() {
        Some("memory") => StoreDriver::Memory,
        Some("redis") => StoreDriver::Redis(features::redis(table, report)),
        _ => StoreDriver::File { path: table.path("path").unwrap_or_default() },
    };
    let closed = table.text("unavailable").as_deref() == Some("closed");
    let action = action(table, "unavailable_action", report);
    if table.is_set("unavailable_action") && !closed {
        report
            .error(
                &table.key_place("unavailable_action"),
                "unavailable_action is for unavailable = \"closed\"",
            )
            .help("set unavailable = \"closed\", or leave it out");
    }
    Store { driver, unavailable: action.filter(|_| closed) }
}

/// An action, checked.
pub(super) fn action(table: &Table, name: &str, report: &mut Report) -> Option<Action> {
    let text = table.text(name)?;
    match Action::parse(&text) {
        Ok(action) => Some(action),
        Err(wrong) => {
            let (from, len) = wrong.at;
            let place = if text.is_empty() { table.place(name) } else { table.part_place(name, from, len) };
            report.error(&place, format!("{name}: {}", wrong.text)).help(wrong.help);
            None
        }
    }
}

/// A list of conditions, checked.
pub(super) fn conditions(
    table: &Table,
    name: &str,
    lists: &HashMap<&str, &Listing>,
    report: &mut Report,
) -> Vec<Condition> {
    let mut found = Vec::new();
    for (index, text) in table.texts(name).iter().enumerate() {
        match Condition::parse(text, |list| lists.get(list).map(|list| (*list).clone())) {
            Ok(condition) => found.push(condition),
            Err(wrong) => {
                let place = table.element_place(name, index);
                report.error(&place, format!("{name}: {}", wrong.text)).help(wrong.help);
            }
        }
    }
    found
}

fn log(table: &Table) -> Log {
    let text = |name| table.text(name).unwrap_or_default();
    let found = || Path::new("/dev/log").exists() && !std::io::stderr().is_terminal();
    Log {
        syslog: if table.is_set("syslog") { table.boolean("syslog") } else { found() },
        facility: text("facility"),
        tag: text("tag"),
        level: text("level"),
    }
}
