//! Reads single values for the builder: numbers, words, paths, data sets.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use base::config::{Report, Source, Span};

use super::{
    actions::Action,
    directives::{self, Parameter},
    raw::Raw,
};
use crate::table::{
    Case, DataSet, Table,
    dataset::{Kind as SetKind, resolve},
};

/// Hands out the values in force, with defaults from the table, and reports what is wrong.
pub(super) struct Values<'a> {
    raw: &'a Raw,
    pub(super) report: &'a mut Report,
    directory: Option<PathBuf>,
    #[cfg(test)]
    pub(super) asked: std::collections::BTreeSet<&'static str>,
}

impl<'a> Values<'a> {
    pub(super) fn new(raw: &'a Raw, report: &'a mut Report) -> Self {
        Self {
            raw,
            report,
            directory: None,
            #[cfg(test)]
            asked: std::collections::BTreeSet::new(),
        }
    }

    /// From here on relative paths start at this directory.
    pub(super) fn start_paths_at(&mut self, directory: Option<PathBuf>) {
        self.directory = directory;
    }

    pub(super) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Where the value was set, when it was.
    pub(super) fn span(&mut self, name: &str) -> Option<&'a Span> {
        self.parameter(name);
        self.raw.span(name)
    }

    /// Where the name stands: to be marked instead of a value that may hold a key.
    pub(super) fn name_span(&mut self, name: &str) -> Option<&'a Span> {
        self.parameter(name);
        self.raw.name_span(name)
    }

    pub(super) fn boolean(&mut self, name: &str) -> bool {
        self.effective(name).as_deref().and_then(parse_boolean).unwrap_or(false)
    }

    /// A number within `range`; the default when it is outside, after reporting that.
    pub(super) fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> u64 {
        let default = self.parameter(name).and_then(|parameter| parse_integer(parameter.default));
        let mut value = self.effective(name).as_deref().and_then(parse_integer);
        if let (Some(number), Some(span)) = (value, self.raw.span(name))
            && !range.contains(&number)
        {
            self.report.error(span, format!("{name} is out of range")).help(format!(
                "write a number from {} to {}",
                range.start(),
                range.end()
            ));
            value = default;
        }
        value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.effective(name)
    }

    /// A path, from `BaseDirectory` on when it is relative.
    pub(super) fn path(&mut self, name: &str) -> Option<PathBuf> {
        let text = self.effective(name)?;
        Some(resolve(Path::new(&text), self.directory()))
    }

    /// The action that was set, without the default.
    pub(super) fn action(&mut self, name: &str) -> Option<Action> {
        self.span(name).and_then(|span| Action::parse(span.text()))
    }

    /// The action of the default.
    pub(super) fn default_action(&mut self, name: &str) -> Action {
        self.parameter(name).and_then(|parameter| Action::parse(parameter.default)).unwrap_or(Action::Accept)
    }

    /// A data set, that of the default when it is not set; `None` when it names none or cannot
    /// be read, which has been reported then.
    pub(super) fn set(&mut self, name: &str) -> Option<DataSet> {
        let parameter = self.parameter(name)?;
        let private = name == "KeyTable";
        if let Some(span) = self.raw.span(name) {
            return DataSet::open(span, self.directory.as_deref(), private, self.report);
        }
        (!parameter.default.is_empty()).then(|| {
            let source = Source::new("default", parameter.default);
            DataSet::from_list(&Span::new(&source, 1, 0, parameter.default.len()))
        })
    }

    /// A data set that is only asked for keys.
    pub(super) fn table(&mut self, name: &str, case: Case) -> Table {
        match self.set(name) {
            Some(set) => Table::new(set, case, self.report),
            None => Table::empty(),
        }
    }

    /// The keys of a data set in their order. Patterns cannot be enumerated and are a mistake.
    pub(super) fn names(&mut self, name: &str) -> Option<Vec<(String, Span)>> {
        let set = self.set(name)?;
        if set.kind() == SetKind::Patterns {
            if let Some(span) = self.raw.span(name) {
                self.report
                    .error(span, format!("{name} cannot be a refile: set, because its names are listed"))
                    .help("use file:, or write the names with commas between them");
            }
            return None;
        }
        // The names themselves are no secret, whatever the set's other uses.
        Some(set.records().map(|record| (record.key().to_owned(), record.key_span())).collect())
    }

    fn effective(&mut self, name: &str) -> Option<String> {
        self.parameter(name);
        self.raw.effective(name)
    }

    fn parameter(&mut self, name: &str) -> Option<&'static Parameter> {
        let parameter = directives::find(name);
        #[cfg(test)]
        self.asked.extend(parameter.map(|parameter| parameter.name));
        parameter
    }
}

/// Reads a boolean as OpenDKIM does: the first character decides.
pub(super) fn parse_boolean(text: &str) -> Option<bool> {
    match text.chars().next()? {
        'T' | 't' | 'Y' | 'y' | '1' => Some(true),
        'F' | 'f' | 'N' | 'n' | '0' => Some(false),
        _ => None,
    }
}

/// Reads an integer as `strtol` with base 0 does: `0x` hexadecimal, `0` octal, nothing may follow.
pub(super) fn parse_integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_makes_a_boolean() {
        for (text, want) in [
            ("true", Some(true)),
            ("Yes", Some(true)),
            ("1", Some(true)),
            ("false", Some(false)),
            ("nope", Some(false)),
            ("0", Some(false)),
            ("on", None),
            ("off", None),
            ("", None),
        ] {
            assert_eq!(parse_boolean(text), want, "{text}");
        }
    }

    #[test]
    fn integers_have_the_bases_of_c() {
        for (text, want) in [
            ("7", Some(7)),
            ("007", Some(7)),
            ("022", Some(18)),
            ("22", Some(22)),
            ("0x7f", Some(127)),
            ("-1", Some(-1)),
            ("+5", Some(5)),
            ("0", Some(0)),
            ("08", None),
            ("5s", None),
            ("", None),
            ("-", None),
            ("--5", None),
            ("0x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_integer(text), want, "{text}");
        }
    }
}
