//! What policyd reads: requests, the configuration, counters' states.

use std::ops::ControlFlow;

use base::config::Source;
use policyd::key::{Form, Key, Prefixes};
use policyd::limiter::{Algorithm, Bounds, Level, Moment, SECOND, Unit};
use policyd::list::List;
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
