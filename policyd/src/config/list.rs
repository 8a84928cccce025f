//! From values to settings: lists, and what they must be for what they are used.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::config::Report;
use base::config::toml::{Document, Table};

use super::features;
use super::settings::{Limit, ListDriver, ListSource, StoreDriver};
use crate::condition::Listing;
use crate::list::List;
use crate::lookup::cache::Lifetimes;
use crate::lookup::source::{Origin, gives_text};
use crate::lookup::template::{Template, Variable};
use crate::lookup::{self, Lookup};

/// All lists, of which each has a name of its own.
pub(super) fn lists(document: &Document, store: &StoreDriver, report: &mut Report) -> Vec<ListSource> {
    let mut lists: Vec<ListSource> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for table in document.tables("list") {
        let Some(name) = table.text("name") else { continue };
        if names.contains(&name) {
            report
                .error(&table.place("name"), format!("there are two lists {name}"))
                .help("give each its own name");
        }
        names.push(name.clone());
        lists.extend(list(table, name, store, report));
    }
    lists
}

fn list(table: &Table, name: String, store: &StoreDriver, report: &mut Report) -> Option<ListSource> {
    let refresh = table.duration("refresh").unwrap_or_default();
    let origin = match table.text("driver").as_deref() {
        Some("sql") => sql(table, report),
        Some("redis") => redis(table, store, report)?,
        _ => {
            let driver = ListDriver::File { path: table.path("path")? };
            let content = Listing::Read(Arc::new(ArcSwap::from_pointee(List::default())));
            return Some(ListSource { name, driver, refresh, content });
        }
    };
    let query = query(table, &origin, report)?;
    let time = |name| table.duration(name).unwrap_or_default();
    let settings = lookup::Settings {
        name: name.clone(),
        origin,
        query,
        deadline: time("deadline"),
        lifetimes: Lifetimes {
            listed: time("ttl"),
            unlisted: time("negative_ttl"),
            stale: time("stale_ttl"),
            bytes: table.size("cache_size").unwrap_or_default(),
        },
        away_listed: table.text("unavailable").as_deref() == Some("listed"),
    };
    let content = Listing::Asked(Arc::new(Lookup::new(settings)));
    Some(ListSource { name, driver: ListDriver::Asked, refresh, content })
}

fn sql(table: &Table, report: &mut Report) -> Origin {
    match (table.is_set("url"), table.is_set("url_file")) {
        (true, true) => {
            report
                .error(&table.key_place("url_file"), "url and url_file are both set")
                .help("keep one of the two");
        }
        (false, false) if table.is_whole() => {
            report.error(&table.place("driver"), "sql needs url or url_file").help(
                "write url = \"postgres://user:password@host/database\", or mysql://... or sqlite:///path",
            );
        }
        _ => {}
    }
    Origin::Sql {
        urls: table.secrets("url"),
        url_file: table.path("url_file"),
        ca_file: table.path("ca_file"),
        connections: table.integer("connections").unwrap_or(4),
    }
}

/// Settings that say how the servers of a list are reached.
const REACH: [&str; 8] =
    ["topology", "master", "tls", "ca_file", "username", "password", "sentinel_password", "database"];

fn redis(table: &Table, store: &StoreDriver, report: &mut Report) -> Option<Origin> {
    if table.is_set("servers") {
        return Some(Origin::Redis(features::servers(table, report)));
    }
    for name in REACH.iter().filter(|name| table.is_set(name)) {
        report
            .error(&table.key_place(name), format!("{name} is set and servers is not"))
            .help("set servers as well; without it all that [store] says of its Redis holds");
    }
    match store {
        StoreDriver::Redis(store) => Some(Origin::Redis(store.servers.clone())),
        StoreDriver::Memory | StoreDriver::File { .. } => {
            if table.is_whole() {
                report
                    .error(
                        &table.place("driver"),
                        "redis needs servers, since that of [store] is another driver",
                    )
                    .help("servers = [\"127.0.0.1:6379\"]");
            }
            None
        }
    }
}

fn query(table: &Table, origin: &Origin, report: &mut Report) -> Option<Template> {
    let text = table.text("query")?;
    let query = match Template::parse(&text) {
        Ok(query) => query,
        Err(wrong) => {
            let (from, length) = wrong.at;
            let place =
                if text.is_empty() { table.place("query") } else { table.part_place("query", from, length) };
            report.error(&place, format!("query: {}", wrong.text)).help(wrong.help);
            return None;
        }
    };
    if matches!(origin, Origin::Redis(_))
        && let Err(why) = gives_text(&query)
    {
        report.error(&table.place("query"), format!("query: {why}"));
        return None;
    }
    Some(query)
}

/// Whether the list of a limit's overrides can say anything about its keys.
pub(super) fn overrides(table: &Table, limit: &Limit, lists: &HashMap<&str, &Listing>, report: &mut Report) {
    let Some(name) = limit.overrides.as_deref() else { return };
    let Some(Listing::Asked(list)) = lists.get(name) else { return };
    let place = table.place("overrides");
    let settings = list.settings();
    for variable in settings.query.variables() {
        match variable {
            Variable::Field(field) if limit.key.part_of(*field).is_none() => {
                report
                    .error(
                        &place,
                        format!("overrides: list {name} asks for {}, which is not in key", field.name()),
                    )
                    .help("rates go by the key alone: name only attributes of it, or use another list");
            }
            Variable::Local | Variable::Domain if limit.key.parts() > 1 => {
                report
                    .error(&place, format!("overrides: list {name} has %n or %d, and key has several parts"))
                    .help("name the attribute, as in %{sasl_domain}");
            }
            Variable::Value | Variable::Local | Variable::Domain | Variable::Field(_) => {}
        }
    }
    if matches!(settings.origin, Origin::Redis(_)) && gives_text(&settings.query) == Ok(false) {
        report
            .error(&place, format!("overrides: the query of list {name} gives no rates"))
            .help("GET and HGET give a text, as in \"HGET rates %u\"");
    }
}
