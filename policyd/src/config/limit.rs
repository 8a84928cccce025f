//! From values to settings: limits, whose parts must go together.

use std::collections::HashMap;

use base::config::Report;
use base::config::toml::Table;

use super::build::{action, conditions};
use super::settings::{Count, Limit, LimitStage, RateForm, Reaction};
use crate::action::Action;
use crate::condition::Listing;
use crate::key::{Key, Prefixes};
use crate::limiter::{Algorithm, Level, Nanos};
use crate::rate;
use crate::store::{MOST_LEVELS, MOST_STEPS};

/// Reads a limit; `None` when it lacks what it cannot be without.
pub(super) fn limit(table: &Table, lists: &HashMap<&str, &Listing>, report: &mut Report) -> Option<Limit> {
    let count = count(table);
    let stage = stage(table);
    let rates = form(table, count);
    let levels = levels(table, rates, report);
    let key = key(table, report);
    together(table, key.as_ref(), count, stage, &levels, report);
    let count_refused = table.boolean("count_refused");
    let steps = steps(table, count_refused, report);
    let too_big = action(table, "too_big_action", report);
    let when = conditions(table, "when", lists, report);
    let except = conditions(table, "except", lists, report);
    let overrides = table.text("overrides");
    if let Some(name) = &overrides
        && !lists.contains_key(name.as_str())
    {
        report
            .error(&table.place("overrides"), format!("overrides: there is no list {name}"))
            .help(format!("write a [[list]] with name = \"{name}\""));
    }
    let prefix = |name: &str, networks: u8| {
        if count == Count::Networks && !table.is_set(name) { Some(networks) } else { table.integer(name) }
    };
    Some(Limit {
        name: name(table, report)?,
        key: key?,
        prefixes: Prefixes {
            ipv4: prefix("ipv4_prefix", 24).unwrap_or(32),
            ipv6: prefix("ipv6_prefix", 48).unwrap_or(64),
        },
        count,
        levels,
        stage,
        when,
        except,
        steps: steps?,
        too_big: too_big?,
        count_refused,
        dry_run: table.boolean("dry_run"),
        overrides,
        share: table.integer("share").unwrap_or(0),
        max_keys: table.integer("max_keys").unwrap_or(u32::MAX),
        rates,
    })
}

/// Whether there is a database where a limit needs one.
pub(super) fn places(table: &Table, limit: &Limit, geo: &Table, report: &mut Report) {
    let needed = match limit.count {
        Count::Countries => "country_file",
        Count::Asns => "asn_file",
        _ => return,
    };
    if !geo.is_set(needed) {
        report
            .warning(&table.place("count"), format!("{} counts nothing without a database", limit.name))
            .help(format!("set {needed} in [geo]"));
    }
}

fn name(table: &Table, report: &mut Report) -> Option<String> {
    let name = table.text("name")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        report
            .error(&table.place("name"), format!("'{name}' cannot be a limit's name"))
            .help("letters, digits, - _ and . make a name, at most 64");
        return None;
    }
    Some(name)
}

fn count(table: &Table) -> Count {
    match table.text("count").as_deref() {
        Some("recipients") => Count::Recipients,
        Some("bytes") => Count::Bytes,
        Some("networks") => Count::Networks,
        Some("countries") => Count::Countries,
        Some("asns") => Count::Asns,
        Some("new-recipients") => Count::NewRecipients,
        Some("unknown-recipients") => Count::UnknownRecipients,
        _ => Count::Messages,
    }
}

fn stage(table: &Table) -> LimitStage {
    match table.text("stage").as_deref() {
        Some("rcpt") => LimitStage::Rcpt,
        Some("data") => LimitStage::Data,
        Some("end-of-message") => LimitStage::EndOfMessage,
        _ => LimitStage::Auto,
    }
}

fn form(table: &Table, count: Count) -> RateForm {
    let algorithm = match table.text("algorithm").as_deref() {
        Some("gcra") => "gcra",
        Some("calendar") => "calendar",
        _ => "window",
    };
    let memory = table.duration("memory").unwrap_or_default();
    RateForm {
        algorithm,
        burst: table.is_set("burst").then(|| table.integer("burst")).flatten(),
        count,
        memory: Nanos::try_from(memory.as_nanos()).unwrap_or(Nanos::MAX),
    }
}

fn levels(table: &Table, form: RateForm, report: &mut Report) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    let texts = table.texts("rate");
    for (index, text) in texts.iter().enumerate() {
        match rate::parse(text, form) {
            Ok(level)
                if levels.iter().any(|other| other.tag() == level.tag() && other.period == level.period) =>
            {
                report
                    .error(
                        &table.element_place("rate", index),
                        format!("rate: {text} has the period of another"),
                    )
                    .help("keep the smaller one");
            }
            Ok(level) => levels.push(level),
            Err((text, help)) => {
                report.error(&table.element_place("rate", index), format!("rate: {text}")).help(help);
            }
        }
    }
    if table.is_set("rate") && texts.is_empty() {
        report.error(&table.place("rate"), "rate: is empty").help("write a rate, as in [\"100/hour\"]");
    }
    if levels.len() > MOST_LEVELS {
        report.error(&table.place("rate"), format!("rate: {MOST_LEVELS} levels are the most"));
        levels.truncate(MOST_LEVELS);
    }
    let gcra = levels.iter().filter(|level| matches!(level.algorithm, Algorithm::Gcra { .. })).count();
    if gcra > 1 && form.burst.is_some() {
        report
            .error(&table.place("burst"), "burst: there are several rates")
            .help("write limits of their own, or leave burst out: it is then each rate's number");
    }
    levels
}

fn key(table: &Table, report: &mut Report) -> Option<Key> {
    let texts = table.texts("key");
    match Key::parse(&texts) {
        Ok(_) if texts.is_empty() => {
            if table.is_set("key") && !table.is_wrong("key") {
                report
                    .error(&table.place("key"), "key: is empty")
                    .help("name an attribute, as \"sasl_username\"");
            }
            None
        }
        Ok(key) => Some(key),
        Err((index, name)) => {
            let help = match base::config::nearest::nearest(&name, crate::key::Field::names()) {
                Some(name) => format!("did you mean {name}?"),
                None => {
                    "it may be sasl_username, sender, client_address, recipient_domain and others".to_owned()
                }
            };
            report
                .error(&table.element_place("key", index), format!("key: '{name}' is no attribute"))
                .help(help);
            None
        }
    }
}

/// What does not go together.
fn together(
    table: &Table,
    key: Option<&Key>,
    count: Count,
    stage: LimitStage,
    levels: &[Level],
    report: &mut Report,
) {
    let by_recipient = key.is_some_and(|key| key.fields().any(crate::key::Field::is_of_recipient));
    let late = matches!(stage, LimitStage::Data | LimitStage::EndOfMessage);
    let at = table.place("stage");
    if by_recipient && late {
        report
            .error(&at, "stage: Postfix names no recipient then, unless there is only one")
            .help("a limit by recipient is counted at stage rcpt or auto");
    }
    if count == Count::NewRecipients && late {
        report
            .error(&at, "stage: Postfix names no recipient then, unless there is only one")
            .help("new-recipients are counted at stage rcpt or auto");
    }
    if count == Count::UnknownRecipients && table.is_set("stage") {
        report
            .error(&at, "stage does not go with unknown-recipients")
            .help("they are known when the message comes to DATA: leave stage out");
    }
    if count == Count::Bytes && stage == LimitStage::Rcpt {
        report
            .warning(&at, "stage: at RCPT the size is what the client declares, or nothing")
            .help("leave stage out, and ask us in smtpd_end_of_data_restrictions as well");
    }
    let own = |name: &str, fits: bool| (table.is_set(name) && !fits).then(|| table.key_place(name));
    if let Some(place) = own("memory", count == Count::NewRecipients) {
        report.error(&place, "memory is for count = \"new-recipients\"").help("leave it out");
    }
    if let Some(place) = own("share", count == Count::UnknownRecipients) {
        report.error(&place, "share is for count = \"unknown-recipients\"").help("leave it out");
    }
    if let Some(place) = own("algorithm", !count.is_distinct()) {
        report
            .error(&place, format!("algorithm does not go with {}", count.word()))
            .help("different ones are counted within a window: leave it out");
    }
    let gcra = levels.iter().any(|level| matches!(level.algorithm, Algorithm::Gcra { .. }));
    if let Some(place) = own("burst", gcra || levels.is_empty()) {
        report
            .error(&place, "burst is for algorithm = \"gcra\"")
            .help("set the algorithm, or leave burst out");
    }
}

/// The action and what it escalates to.
fn steps(table: &Table, count_refused: bool, report: &mut Report) -> Option<Vec<(u32, Reaction)>> {
    let first = action(table, "action", report)?;
    let mut steps = vec![(100, Reaction { action: first, run: None })];
    for (index, text) in table.texts("escalate").iter().enumerate() {
        let place = table.element_place("escalate", index);
        let before = steps.last().map_or(100, |(hundredths, _)| *hundredths);
        let last = steps.last().map(|(_, reaction)| reaction.action.clone())?;
        match step(text, last) {
            Ok((hundredths, _)) if hundredths <= before => {
                let text = format!("escalate: {text} is not above the step before it");
                report.error(&place, text).help("write the multiples in rising order, above 1x");
            }
            Ok((hundredths, reaction)) => {
                let stuck = steps.last().is_some_and(|(_, before)| !before.action.passes());
                if stuck && !count_refused {
                    report
                        .error(&place, format!("escalate: {text} can never be reached"))
                        .help("what the step before refuses is not counted: set count_refused = true");
                }
                steps.push((hundredths, reaction));
            }
            Err((text, help)) => {
                report.error(&place, format!("escalate: {text}")).help(help);
            }
        }
    }
    if steps.len() > MOST_STEPS {
        report.error(&table.place("escalate"), format!("escalate: {} steps are the most", MOST_STEPS - 1));
        steps.truncate(MOST_STEPS);
    }
    Some(steps)
}

/// `2x ACTION` or `10x RUN /program arguments`, which keeps the action before it.
fn step(text: &str, before: Action) -> Result<(u32, Reaction), (String, String)> {
    let help =
        || "write a multiple and an action, as in \"2x HOLD\" or \"10x RUN /path/program {key}\"".to_owned();
    let (multiple, rest) =
        text.trim().split_once(' ').ok_or_else(|| (format!("'{text}' is no step"), help()))?;
    let hundredths = multiple
        .strip_suffix(['x', 'X'])
        .and_then(hundredths)
        .filter(|hundredths| (100..=100_000).contains(hundredths))
        .ok_or_else(|| (format!("'{multiple}' is no multiple"), help()))?;
    if let Some(program) = rest.trim().strip_prefix("RUN ") {
        let program = program.trim();
        if !program.starts_with('/') {
            return Err((format!("'{program}' is no absolute path"), help()));
        }
        Action::parse(&format!("INFO {program}")).map_err(|wrong| (wrong.text, wrong.help))?;
        return Ok((hundredths, Reaction { action: before, run: Some(program.to_owned()) }));
    }
    let action = Action::parse(rest.trim()).map_err(|wrong| (wrong.text, wrong.help))?;
    Ok((hundredths, Reaction { action, run: None }))
}

/// `2`, `2.5`: in hundredths.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part = format!("{part:0<2}").parse::<u32>().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}
