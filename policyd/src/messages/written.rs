//! Open messages as text: what was reserved for them must outlive a restart, as the counters do.
//!
//! A line for each charge: message, listener, port, kind, cost, when, limit, and the key in hexadecimal.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::limiter::Nanos;
use crate::limits::Limits;
use crate::store::Charge;

use super::{Kind, Messages, ServiceId};

/// Messages that are written at most; of those beyond, what was reserved stays counted.
const MOST: usize = 5000;

/// All that is reserved.
#[must_use]
pub fn write(messages: &Messages) -> Vec<u8> {
    let mut text = String::new();
    for (id, message) in messages.open_messages().filter(|(_, one)| !one.reserved.is_empty()).take(MOST) {
        for one in &message.reserved {
            let kind = match one.kind {
                Kind::Reserved => 'r',
                Kind::Final => 'f',
                Kind::Attempt => 'a',
            };
            let ServiceId { listener, port } = message.service;
            let Charge { rule, key, cost, when } = &one.charge;
            // Writing to a String cannot fail.
            let _ok = write!(text, "{id:x} {listener} {port} {kind} {cost} {when} {} ", rule.name);
            key.iter().for_each(|byte| {
                let _ok = write!(text, "{byte:02x}");
            });
            text.push('\n');
        }
    }
    text.into_bytes()
}

/// Opens the messages again, as if their connections had just closed; what cannot be read is left out, and
/// so is what was reserved for limits that are no more.
pub fn read(text: &[u8], limits: &Limits, messages: &mut Messages, now: Nanos) {
    for line in String::from_utf8_lossy(text).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let &[id, listener, port, kind, cost, when, name, key] = words.as_slice() else { continue };
        let (Ok(id), Ok(listener), Ok(port), Ok(cost), Ok(when)) = (
            u64::from_str_radix(id, 16),
            listener.parse(),
            port.parse(),
            cost.parse(),
            when.parse::<Nanos>(),
        ) else {
            continue;
        };
        let kind = match kind {
            "f" => Kind::Final,
            "a" => Kind::Attempt,
            _ => Kind::Reserved,
        };
        let bytes = key
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        let (Some(limit), Some(key)) = (limits.named(name), bytes.collect::<Option<Vec<u8>>>()) else {
            continue;
        };
        let charge = Charge { rule: Arc::clone(&limit.rule), key: key.into(), cost, when: when.min(now) };
        let message = messages.open(id, ServiceId { listener, port }, limits.generation, now);
        message.reserve(charge, kind);
        messages.closed(id, now);
    }
}
