//! From other programs' configurations to ours: `postrider-policyd import`.
//!
//! `rate_limit` reads policyd-rate-limit.yaml (by `yaml`), `postfwd` the rate rules of postfwd (by `rules`);
//! `draft` writes what comes out as TOML, of which everything that our own reading would refuse is a
//! comment.

mod draft;
mod postfwd;
mod rate_limit;
mod rules;
mod yaml;

use std::fmt;

pub use postfwd::postfwd;
pub use rate_limit::policyd_rate_limit;

/// The longest text that is looked at, in bytes.
const MAX_BYTES: usize = 256 << 10;

/// A text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotKnown(String);

impl fmt::Display for NotKnown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotKnown {}

/// The beginning of a text that is too long.
fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_BYTES)).unwrap_or("")
}

/// A time of seconds in the largest unit that it is whole in: `1/day`.
fn rate(number: &str, secs: u64) -> String {
    let (length, unit) = [(86_400, "day"), (3600, "hour"), (60, "min")]
        .into_iter()
        .find(|(unit, _)| secs.is_multiple_of(*unit) && secs > 0)
        .unwrap_or((1, "s"));
    match (secs / length, unit) {
        (1, "min") => format!("{number}/minute"),
        (1, "s") => format!("{number}/second"),
        (1, unit) => format!("{number}/{unit}"),
        (count, "day") => format!("{number}/{count}d"),
        (count, "hour") => format!("{number}/{count}h"),
        (count, unit) => format!("{number}/{count}{unit}"),
    }
}

#[cfg(test)]
mod tests;
