//! The output of `postconf -M`, or master.cf itself: which smtpd services there are, and their `-o` options.

use std::sync::Arc;

use base::config::{Source, Span};

use super::main_cf::{MainCf, Value};

/// A service that runs smtpd(8).
#[derive(Debug)]
pub(super) struct Service {
    /// As in `postconf -P`: `submission/inet`.
    pub(super) name: String,
    /// Whether it runs in a chroot; `None` where the column holds `-`.
    pub(super) chroot: Option<bool>,
    /// Its line.
    pub(super) span: Span,
    /// `-o name=value`, the last of a name wins.
    options: Vec<(String, Value)>,
}

impl Service {
    /// The value of a parameter in this service: its own option, or main.cf's.
    pub(super) fn value(&self, main: &MainCf, name: &str) -> Option<Value> {
        let own = self.options.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let mut value = own.or_else(|| main.raw(name))?;
        value.text = main.expand(&value.text);
        Some(value)
    }

    /// Whether the parameter is its own option.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.options.iter().any(|(known, _)| known == name)
    }

    /// Whether it runs in a chroot, with the default of the compatibility level (postconf(5): `y` below 1).
    pub(super) fn in_chroot(&self, main: &MainCf) -> bool {
        self.chroot.unwrap_or_else(|| main.compatibility_level() < 1)
    }
}

/// The services that run smtpd.
pub(super) fn read(source: &Arc<Source>) -> Vec<Service> {
    let mut services = Vec::new();
    let mut current: Option<(Span, Vec<(String, Span)>)> = None;
    for line in source.lines() {
        let text = line.text.trim_end();
        if text.trim_start().starts_with('#') || text.trim().is_empty() {
            continue;
        }
        let span = Span::new(source, line.number, line.start, line.start + text.len());
        let words = words(text).into_iter().map(|word| (word, span.clone()));
        if text.starts_with([' ', '\t']) {
            if let Some((_, all)) = &mut current {
                all.extend(words);
            }
            continue;
        }
        services.extend(current.take().and_then(|(span, words)| service(span, &words)));
        current = Some((span.clone(), words.collect()));
    }
    services.extend(current.take().and_then(|(span, words)| service(span, &words)));
    services
}

/// Words separated by blanks; `{ a b }` is one.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn service(span: Span, words: &[(String, Span)]) -> Option<Service> {
    let column = |at: usize| words.get(at).map(|(word, _)| word.as_str());
    if column(7)? != "smtpd" {
        return None;
    }
    let chroot = match column(4)? {
        "y" => Some(true),
        "n" => Some(false),
        _ => None,
    };
    let mut options = Vec::new();
    let mut rest = words.iter().skip(8);
    while let Some((word, at)) = rest.next() {
        let (option, at) = match word.strip_prefix("-o") {
            Some("") => match rest.next() {
                Some((option, at)) => (option.as_str(), at),
                None => break,
            },
            Some(option) => (option, at),
            None => continue,
        };
        let option = option.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(option);
        if let Some((name, value)) = option.split_once('=') {
            let value = Value { text: value.trim().to_owned(), span: Some(at.clone()) };
            options.push((name.trim().to_owned(), value));
        }
    }
    let name = format!("{}/{}", column(0)?, column(1)?);
    Some(Service { name, chroot, span, options })
}
