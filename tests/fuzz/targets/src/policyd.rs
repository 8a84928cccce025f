//! What policyd reads: requests, the configuration, queries, counters' states, other programs' configurations.

use std::ops::ControlFlow;
use std::time::Duration;

use base::config::Source;
use base::service::listen::Address;
use base::sql::{Dialect, Query, Statement};
use policyd::key::{Field, Form, Key, Prefixes};
use policyd::limiter::{Algorithm, Bounds, Level, Moment, SECOND, Unit};
use policyd::list::List;
use policyd::lookup::template::Template;
use policyd::postfix_check::Ours;
use policyd::protocol::{Attribute, Request, Requests, reply};

use crate::choice;

/// A client's stream, in one piece and in small ones: the requests are the same, and every reply is one line.
pub fn policy_requests(bytes: &[u8]) {
    let (size, bytes) = choice(bytes);
    let whole = requests(bytes, usize::MAX);
    let pieces = requests(bytes, usize::from(size).max(1));
    assert_eq!(whole, pieces);
}

fn requests(bytes: &[u8], size: usize) -> Vec<String> {
    let mut reader = Requests::default();
    let mut seen = Vec::new();
    for piece in bytes.chunks(size.min(bytes.len().max(1))) {
        let flow = reader.feed(piece, |request| {
            let broken = request.is_err();
            match request {
                Ok(request) => seen.push(one(&request)),
                // Which mistake is found first depends on how much is seen at once.
                Err(_) => seen.push("broken".to_owned()),
            }
            if broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if flow.is_break() {
            break;
        }
    }
    seen
}

/// What comes of a request: its key, and a reply with its values in it.
fn one(request: &Request<'_>) -> String {
    let names = ["sasl_username|sender", "client_address", "recipient_domain"].map(str::to_owned);
    let key = Key::parse(&names).unwrap();
    let form = Form { prefixes: Prefixes { ipv4: 24, ipv6: 64 }, delimiter: b"+" };
    let mut out = Vec::new();
    if key.write(request, &form, &mut out) {
        assert!(out.len() <= policyd::store::LONGEST_KEY);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2);
    }
    let mut line = Vec::new();
    reply(&format!("DEFER {}", request.text(Attribute::HeloName)), &mut line);
    let text = String::from_utf8(line).unwrap();
    assert!(text.starts_with("action=DEFER") && text.ends_with("\n\n") && text.len() <= 8192);
    assert!(!text[..text.len() - 2].contains(['\n', '\r', '\0']));
    let mut again = Vec::new();
    request.write(&mut again);
    let lines = again.strip_suffix(b"\n\n").unwrap();
    assert_eq!(format!("{:?}", Request::parse(lines).unwrap()), format!("{request:?}"));
    format!("{request:?} {out:?}")
}

/// A configuration, and a list: never a panic, and whatever is said of them is fit for a terminal.
pub fn policy_configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let loaded = policyd::config::load(&Source::new("policyd.toml", text.as_ref()));
    let said = loaded.report.to_string();
    crate::assert_printable(&said);
    assert_eq!(loaded.settings.is_none(), loaded.report.has_errors());
    let list = List::parse(&text);
    let _found = list.has(bytes, true) || list.has(bytes, false);
    query(&text);
}

/// What a list is asked: in each dialect every placeholder is a value, and none is part of the statement.
fn query(text: &str) {
    let Ok(template) = Template::parse(text) else { return };
    let mut request = Request::default();
    request.set(Attribute::Sender, b"o'brien\\\"; -- @a.example");
    let sought = template.of_request(Field::of("sender").unwrap(), &request);
    for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
        let Ok(query) = Query::parse(template.pieces(), dialect) else { continue };
        if let Some(sought) = &sought {
            let values = query.values(|variable| template.value(*variable, sought).to_owned());
            assert!(values.len() <= text.len());
        }
        let _statement = Statement::new(&query);
    }
}

/// Another program's configuration: what comes out is taken by our own reading, and all its lines can be printed.
pub fn policy_import(bytes: &[u8]) {
    let (which, bytes) = choice(bytes);
    let text = String::from_utf8_lossy(bytes);
    let imported = match which % 2 {
        0 => policyd::import::postfwd(&text),
        _ => policyd::import::policyd_rate_limit(&text),
    };
    match imported {
        Ok(toml) => {
            let loaded = policyd::config::load(&Source::new("imported", toml.as_str()));
            assert!(loaded.settings.is_some(), "{}\n{toml}", loaded.report);
            assert!(!toml.contains(|c: char| c.is_control() && c != '\n'), "{toml:?}");
        }
        Err(why) => crate::assert_printable(&why.to_string()),
    }
}

/// What `postconf -n` says, and behind a line `==MASTER==` what `postconf -M` says: never a panic, findings that can be
/// printed.
pub fn postfix_check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (main, master) = text.split_once("==MASTER==\n").unwrap_or((&text, ""));
    let (main, master) = (Source::new("postconf -n", main), Source::new("postconf -M", master));
    let names = |name: &str| vec![name.to_owned()];
    for listen in [
        Address::Unix("/var/spool/postfix/private/policy".into()),
        Address::Inet { host: Some("127.0.0.1".to_owned()), port: 10040, only_v6: false },
    ] {
        let ours = Ours {
            listen: vec![listen],
            reply_within: Duration::from_millis(100),
            by_login: names("login"),
            by_recipient: names("recipient"),
            by_bytes: names("bytes"),
            at_rcpt: names("rcpt"),
            at_data: names("data"),
            at_end: names("end"),
            greylisting: true,
        };
        crate::assert_printable(&policyd::postfix_check::check(&main, &master, &ours).to_string());
    }
    assert!(!policyd::postfix_check::queue_directory(&main).as_os_str().is_empty());
}

/// The state of a counter, as a damaged file may have it: arithmetic of any numbers.
pub fn policy_state(bytes: &[u8]) {
    let (which, bytes) = choice(bytes);
    let now = 1_790_000_000 * SECOND;
    let algorithm = match which % 5 {
        0 => Algorithm::Gcra { burst: u64::from(which) + 1 },
        1 => Algorithm::Window,
        2 => Algorithm::Calendar(Unit::Day),
        3 => Algorithm::Distinct { memory: 0 },
        _ => Algorithm::Distinct { memory: 60 * SECOND },
    };
    let level = Level { algorithm, limit: u64::from(which) + 1, period: 60 * SECOND };
    let at = Moment { now, bounds: Bounds::default() };
    let (state, _) = level.tag().cut(bytes);
    let cost = bytes.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte));
    let standing = level.stands(state, cost, &at);
    assert!(standing.total >= standing.used);
    let _times = (level.retry_after(state, cost, &at), level.expires(state, &at), level.is_ahead(state, &at));
    let mut out = Vec::new();
    level.add(state, cost, &at, &mut out);
    let mut mended = Vec::new();
    level.clamp(&out, &at, &mut mended);
    let mut less = Vec::new();
    level.take_back(&mended, cost, now, &at, &mut less);
    assert!(level.stands(&less, 0, &at).used <= level.stands(&mended, 0, &at).used);
}
