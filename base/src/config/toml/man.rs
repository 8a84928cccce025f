//! The manual page of a table of settings, in roff.

use std::fmt::Write as _;

use super::value::or;
use super::{Fallback, Kind, Section, Setting, duration_text, size_text};

/// One `.SH` for each section with all its settings, for man(7). What stands before and after is the
/// service's own text.
#[must_use]
pub fn roff(sections: &[Section]) -> String {
    let mut out = String::new();
    for section in sections {
        let title = match (section.name, section.repeated) {
            ("", _) => "TOP LEVEL".to_owned(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        };
        push(&mut out, &format!(".SH \"{title}\""));
        push(&mut out, &prose(section.doc));
        for setting in section.settings {
            one(&mut out, setting);
        }
    }
    out
}

fn one(out: &mut String, setting: &Setting) {
    push(out, &format!(".TP\n\\fB{}\\fR ({})", prose(setting.name), prose(&kind(setting.kind))));
    if !setting.only.is_empty() {
        push(out, &prose(&format!("Driver {} only.", or(setting.only))));
    }
    push(out, &prose(setting.doc));
    match setting.default {
        Fallback::Required => push(out, "Must be set."),
        Fallback::None => {}
        Fallback::Value("") => push(out, "Default: empty."),
        Fallback::Value(text) => push(out, &format!("Default: \\fB{}\\fR.", prose(text))),
        Fallback::Found(text) => push(out, &prose(&format!("Default: {text}."))),
    }
}

/// A kind with its bounds.
fn kind(kind: Kind) -> String {
    match kind {
        Kind::Integer { min, max: i64::MAX } => format!("integer, at least {min}"),
        Kind::Integer { min, max } => format!("integer, {min} to {max}"),
        Kind::Duration { min_ms, max_ms } => {
            let text = |ms| duration_text(std::time::Duration::from_millis(ms));
            format!("duration, {} to {}", text(min_ms), text(max_ms))
        }
        Kind::Size { min, max: u64::MAX } => format!("size, at least {}", size_text(min)),
        Kind::Size { min, max } => format!("size, {} to {}", size_text(min), size_text(max)),
        Kind::Word(words) => or(words),
        other => other.word().to_owned(),
    }
}

/// Text in which nothing means anything to roff. A `.` or `'` at the start of a line would be a request.
#[must_use]
pub fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        for c in line.chars() {
            match c {
                '\\' => out.push_str("\\e"),
                '-' => out.push_str("\\-"),
                '~' => out.push_str("\\(ti"),
                '^' => out.push_str("\\(ha"),
                c => out.push(c),
            }
        }
    }
    out
}

fn push(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ok = writeln!(out, "{text}");
}
