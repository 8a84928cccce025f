//! Answers as text for people. Pure.

use std::fmt::Write as _;

use super::message::{Answer, Overridden, Standing, Status};

/// A table: columns as wide as they need to be, numbers are the caller's to align.
fn table(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ok = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Text from strangers, without what a terminal would obey.
fn plain(text: &str) -> String {
    base::log::escaped(text.as_bytes(), 200).to_string()
}

/// Seconds in the two largest units.
fn time(secs: u64) -> String {
    match secs {
        0 => "now".into(),
        1..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs.div_ceil(60)),
        7200..=172_799 => format!("{} h", secs.div_ceil(3600)),
        _ => format!("{} d", secs.div_ceil(86_400)),
    }
}

/// An answer as text; `now` is in seconds since 1970.
#[must_use]
pub fn text(answer: &Answer, now: u64) -> String {
    let mut out = String::new();
    match answer {
        Answer::Status(status) => show_status(&mut out, status, now),
        Answer::Top { held } if held.is_empty() => out.push_str("nobody has used anything\n"),
        Answer::Top { held } => standings(&mut out, held),
        Answer::Done { text } | Answer::Failed { text, .. } => {
            out.push_str(&plain(text));
            out.push('\n');
        }
        Answer::Explained { standings: held, refusals } => {
            if held.is_empty() {
                out.push_str("nothing is used at any limit\n");
            } else {
                standings(&mut out, held);
            }
            if refusals.is_empty() {
                out.push_str("\nno refusal is remembered (a restart forgets them; the log does not)\n");
                return out;
            }
            out.push('\n');
            let mut rows = vec![row(&["REFUSED", "LIMIT", "KEY", "USED", "ANSWER", "CLIENT", "FROM", "TO"])];
            for past in refusals {
                let dry = if past.dry_run { " (dry run)" } else { "" };
                rows.push(vec![
                    format!("{} ago", time(now.saturating_sub(past.time))),
                    past.limit.clone(),
                    plain(&past.key),
                    format!("{} of {} {}", past.used, past.allowed, past.count),
                    format!("{}{dry}", plain(&past.action)),
                    plain(&past.client),
                    plain(&past.sender),
                    plain(&past.recipient),
                ]);
            }
            table(&mut out, &rows);
        }
        Answer::Tried { action, limits } => {
            let _ok = writeln!(out, "Postfix would be told: {}\n", plain(action));
            let mut rows = vec![row(&["LIMIT", "KEY", "SAYS"])];
            for one in limits {
                let key = one.key.as_deref().map_or_else(|| "-".to_owned(), plain);
                let says = plain(&one.says);
                let from = one.overridden.as_ref().map(origin).unwrap_or_default();
                rows.push(vec![one.limit.clone(), key, format!("{says}{from}")]);
            }
            table(&mut out, &rows);
        }
    }
    out
}

/// Where rates come from, as the end of a sentence.
fn origin(overridden: &Overridden) -> String {
    format!(" (list {}: {})", plain(&overridden.list), plain(&overridden.text))
}

fn standings(out: &mut String, held: &[Standing]) {
    let mut rows = vec![row(&["LIMIT", "KEY", "USED", "RATE", "ROOM FOR ONE MORE"])];
    for one in held {
        for level in &one.levels {
            rows.push(vec![
                one.limit.clone(),
                plain(&one.key),
                format!("{} of {} {}", level.used, level.allowed, one.count),
                format!("{}{}", level.rate, one.overridden.as_ref().map(origin).unwrap_or_default()),
                time(level.retry_after),
            ]);
        }
    }
    table(out, &rows);
}

fn show_status(out: &mut String, status: &Status, now: u64) {
    let _ok =
        writeln!(out, "postrider-policyd {} on {}, pid {}", status.version, plain(&status.host), status.pid);
    let store = match (status.connected, status.hosts) {
        (Some(true), hosts) => format!("{}, shared by {}", status.store, hosts.unwrap_or(1)),
        (Some(false), hosts) => {
            format!("{} IS AWAY; one of {} decides alone", status.store, hosts.unwrap_or(1))
        }
        (None, _) => status.store.clone(),
    };
    let _ok = writeln!(out, "store: {store}; messages under way: {}", status.messages);
    if let Some(entries) = status.greylist {
        let _ok = writeln!(out, "greylist: {entries} entries");
    }
    out.push('\n');
    let mut rows = vec![row(&["LIMIT", "COUNTS", "KEYS", "RATES"])];
    for limit in &status.limits {
        let dry = if limit.dry_run { " (dry run)" } else { "" };
        rows.push(vec![
            limit.name.clone(),
            limit.count.clone(),
            limit.keys.map_or_else(|| "-".to_owned(), |keys| keys.to_string()),
            format!("{}{dry}", limit.rates.join("; ")),
        ]);
    }
    table(out, &rows);
    if !status.lists.is_empty() {
        out.push('\n');
        let mut rows = vec![row(&["LIST", "DRIVER", "ENTRIES", "STATE"])];
        for list in &status.lists {
            let state = match (list.connected, &list.trouble) {
                (Some(false), why) => format!("AWAY: {}", plain(why.as_deref().unwrap_or_default())),
                (Some(true), _) => "answers".to_owned(),
                (None, _) => "read".to_owned(),
            };
            rows.push(vec![list.name.clone(), list.driver.clone(), list.entries.to_string(), state]);
        }
        table(out, &rows);
    }
    if !status.raises.is_empty() {
        out.push('\n');
        let mut rows = vec![row(&["RAISED", "KEY", "TIMES", "ENDS IN"])];
        for raise in &status.raises {
            let times = format!("{}.{:02}", raise.hundredths / 100, raise.hundredths % 100);
            rows.push(vec![
                raise.limit.clone(),
                plain(&raise.key),
                times,
                time(raise.until.saturating_sub(now)),
            ]);
        }
        table(out, &rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::message::{LevelStanding, Past, Question};

    #[test]
    fn tables_line_up_and_obey_no_stranger() {
        let level = LevelStanding { rate: "100 in 1 h".into(), used: 100, allowed: 100, retry_after: 600 };
        let standing = Standing {
            limit: "per-user".into(),
            key: "joe@a.example\u{1b}[2J".into(),
            count: "recipients".into(),
            levels: vec![level],
            overridden: None,
        };
        let text = text(&Answer::Top { held: vec![standing] }, 0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].find("USED"), lines[1].find("100 of"));
        assert!(lines[1].ends_with("100 in 1 h  10 min"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn what_is_said_survives_the_wire() {
        let past = Past {
            time: 1,
            limit: "l".into(),
            key: "k".into(),
            used: 1,
            allowed: 2,
            count: "messages".into(),
            action: "DEFER".into(),
            client: String::new(),
            sender: String::new(),
            recipient: String::new(),
            dry_run: false,
        };
        let answers = [
            Answer::Status(Box::default()),
            Answer::Explained { standings: Vec::new(), refusals: vec![past] },
            Answer::Failed { text: "no".into(), yours: true },
        ];
        for answer in answers {
            let json = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&json).unwrap(), answer);
            assert!(!text(&answer, 100).is_empty());
        }
        let json = r#"{"question":"raise","limit":"l","key":"k","hundredths":200,"secs":60}"#;
        let raise = Question::Raise { limit: "l".into(), key: "k".into(), hundredths: 200, secs: 60 };
        assert_eq!(serde_json::from_str::<Question>(json).unwrap(), raise);
    }
}
