//! A data set that is asked for keys.

use base::config::Report;

use super::{
    dataset::{Case, DataSet, Kind, Record},
    pattern::{Index, Patterns, fold, has_operator},
};

/// A data set with an index over its keys, literal or patterns.
pub struct Table {
    set: DataSet,
    case: Case,
    keys: Keys,
}

enum Keys {
    Literal(Index),
    Patterns(Patterns),
}

impl Table {
    /// Builds the index. Patterns that cannot be compiled are reported as mistakes, patterns
    /// whose `|` reaches further than it seems to as warnings.
    #[must_use]
    pub fn new(set: DataSet, case: Case, report: &mut Report) -> Self {
        let keys = if set.kind() == Kind::Patterns {
            let (patterns, errors) =
                Patterns::new(case, (0..).zip(set.records()).map(|(index, record)| (index, record.key())));
            for (index, error) in errors {
                if let Some(record) = set.record(index) {
                    report
                        .error(&record.key_span(), error.to_string())
                        .help("in a refile: set all characters but * . + are those of a regular expression");
                }
            }
            for record in set.records().filter(|record| top_level_alternative(record.key())) {
                report
                    .warning(
                        &record.key_span(),
                        "here | means: begins with the left part, or ends with the right one",
                    )
                    .help("put ( ) around the alternatives");
            }
            Keys::Patterns(patterns)
        } else {
            let mut index = Index::default();
            for (number, record) in (0..).zip(set.records()) {
                index.insert(&fold(case, record.key()), number);
            }
            Keys::Literal(index)
        };
        Self { set, case, keys }
    }

    /// A table without records.
    #[must_use]
    pub fn empty() -> Self {
        Self { set: DataSet::empty(), case: Case::Insensitive, keys: Keys::Literal(Index::default()) }
    }

    /// Whether any record matches `key`.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.first(key).is_some()
    }

    /// The first record, in the order of the file, that matches `key`.
    #[must_use]
    pub fn first(&self, key: &str) -> Option<Record<'_>> {
        let index = match &self.keys {
            Keys::Literal(index) => index.first(&fold(self.case, key)),
            Keys::Patterns(patterns) => patterns.first(key),
        };
        self.set.record(index?)
    }

    /// All records that match `key`, in the order of the file.
    #[must_use]
    pub fn all(&self, key: &str) -> Vec<Record<'_>> {
        let indices = match &self.keys {
            Keys::Literal(index) => {
                let mut all = Vec::new();
                index.each(&fold(self.case, key), &mut |number| all.push(number));
                all
            }
            Keys::Patterns(patterns) => patterns.all(key),
        };
        indices.into_iter().filter_map(|index| self.set.record(index)).collect()
    }

    /// The data set itself.
    #[must_use]
    pub fn set(&self) -> &DataSet {
        &self.set
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({:?}, {} records)", self.set.kind(), self.set.len())
    }
}

/// Whether a `|` stands outside all parentheses and brackets.
fn top_level_alternative(pattern: &str) -> bool {
    if !has_operator(pattern) {
        return false;
    }
    let mut depth = 0_i32;
    let mut escaped = false;
    for c in pattern.chars() {
        match c {
            _ if escaped => {
                escaped = false;
                continue;
            }
            '\\' => escaped = true,
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::config::Source;

    fn table(text: &str, patterns: bool, case: Case) -> (Table, Report) {
        let mut report = Report::new();
        let set = DataSet::from_lines(&Source::new("t", text), patterns, &mut report);
        (Table::new(set, case, &mut report), report)
    }

    #[test]
    fn the_first_line_wins() {
        for patterns in [false, true] {
            let (table, _) = table("a 1\nA 2\nb 3\na 4\n", patterns, Case::Insensitive);
            assert_eq!(table.first("a").unwrap().value(), "1");
            let all: Vec<_> = table.all("A").iter().map(|record| record.value().to_owned()).collect();
            assert_eq!(all, ["1", "2", "4"]);
            assert!(!table.contains("c"));
        }
    }

    #[test]
    fn case_is_kept_where_it_matters() {
        let (table, _) = table("a 1\nA 2\n", false, Case::Sensitive);
        assert_eq!(table.first("A").unwrap().value(), "2");
    }

    #[test]
    fn broken_and_doubtful_patterns_are_reported_with_their_line() {
        let (_, report) = table("ok 1\na(b 2\na|b 3\n(a|b) 4\n", true, Case::Insensitive);
        let lines: Vec<_> = report.notes().iter().map(|note| note.span().unwrap().line()).collect();
        assert_eq!(lines, [2, 3]);
        assert_eq!((report.errors(), report.warnings()), (1, 1));
    }
}
