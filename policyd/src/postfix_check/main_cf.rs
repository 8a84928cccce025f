//! The output of `postconf -n`: names, values, and `$name` in them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::config::{Source, Span};

/// How deep `$name` may lead to a value with another `$name`.
const DEEPEST: usize = 8;
/// Names that are replaced in one value: values that name each other several times would have no end.
const MOST_NAMES: usize = 1000;
/// The longest value after expansion.
const LONGEST: usize = 64 << 10;

/// Postfix' default queue directory.
const QUEUE: &str = "/var/spool/postfix";

/// Parameters that are asked about, and what holds when they are not set (postconf(5), Postfix 3.7).
const DEFAULTS: [(&str, &str); 9] = [
    ("queue_directory", QUEUE),
    ("smtpd_delay_reject", "yes"),
    ("smtpd_policy_service_timeout", "100s"),
    ("smtpd_policy_service_default_action", "451 4.3.5 Server configuration problem"),
    ("smtpd_policy_service_try_limit", "2"),
    ("smtpd_policy_service_retry_delay", "1s"),
    ("smtpd_policy_service_request_limit", "0"),
    ("smtpd_relay_restrictions", "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"),
    ("compatibility_level", "0"),
];

/// A value, and where it stands; nowhere when it is a default.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) span: Option<Span>,
}

/// All that is set.
#[derive(Debug)]
pub(super) struct MainCf {
    set: HashMap<String, Value>,
}

impl MainCf {
    /// Reads `name = value` lines. Lines that begin with a blank go on with the value before.
    pub(super) fn read(source: &Arc<Source>) -> Self {
        let mut set: HashMap<String, Value> = HashMap::new();
        let mut last: Option<String> = None;
        for line in source.lines() {
            let text = line.text.trim_end();
            if text.starts_with('#') || text.is_empty() {
                continue;
            }
            if text.starts_with([' ', '\t']) {
                if let Some(value) = last.as_ref().and_then(|name| set.get_mut(name)) {
                    value.text.push(' ');
                    value.text.push_str(text.trim_start());
                }
                continue;
            }
            let Some((name, value)) = text.split_once('=') else { continue };
            let span = Span::new(source, line.number, line.start, line.start + text.len());
            let name = name.trim().to_owned();
            set.insert(name.clone(), Value { text: value.trim().to_owned(), span: Some(span) });
            last = Some(name);
        }
        Self { set }
    }

    /// The value as it is set, or Postfix' default where it is one that is asked about.
    pub(super) fn raw(&self, name: &str) -> Option<Value> {
        self.set.get(name).cloned().or_else(|| {
            let (_, default) = DEFAULTS.iter().find(|(known, _)| *known == name)?;
            Some(Value { text: (*default).to_owned(), span: None })
        })
    }

    /// `text` with `$name`, `${name}` and `$(name)` replaced. Conditional forms (`${name?text}`) are left.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut names = MOST_NAMES;
        self.expand_into(text, DEEPEST, &mut names, &mut out);
        out
    }

    fn expand_into(&self, text: &str, depth: usize, names: &mut usize, out: &mut String) {
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let bare = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
            let (name, tail) = match after.chars().next() {
                Some('{') => after.get(1..).and_then(|inner| inner.split_once('}')).unwrap_or(("", after)),
                Some('(') => after.get(1..).and_then(|inner| inner.split_once(')')).unwrap_or(("", after)),
                Some('$') => {
                    out.push('$');
                    rest = after.get(1..).unwrap_or_default();
                    continue;
                }
                _ => after.split_at(bare),
            };
            match self.raw(name) {
                Some(value) if depth > 0 && *names > 0 && out.len() < LONGEST => {
                    *names -= 1;
                    self.expand_into(&value.text, depth - 1, names, out);
                }
                _ => {
                    out.push('$');
                    out.push_str(after.strip_suffix(tail).unwrap_or_default());
                }
            }
            rest = tail;
        }
        out.push_str(rest);
    }

    /// The directory that Postfix' chroot is. With an empty one Postfix does not start: the default is as good.
    pub(super) fn queue_directory(&self) -> PathBuf {
        let text = self.raw("queue_directory").map(|value| self.expand(&value.text));
        text.filter(|text| !text.trim().is_empty()).map_or_else(|| PathBuf::from(QUEUE), PathBuf::from)
    }

    /// The compatibility level's first number.
    pub(super) fn compatibility_level(&self) -> u32 {
        let text = self.raw("compatibility_level").map_or_else(String::new, |value| self.expand(&value.text));
        text.split('.').next().and_then(|first| first.trim().parse().ok()).unwrap_or(0)
    }

    /// Whether anything at all was read.
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}
