//! `MacroList`: milter macros that mark a message as one to sign.

use super::dataset::DataSet;

/// Names of macros, each with the values that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MacroList(Vec<(String, Vec<String>)>);

impl MacroList {
    /// Reads `name=v1|v2` items of a list, or `name v1|v2` lines of a file. A name without a
    /// value asks only that the macro is there (OpenDKIM 2.11 observed).
    #[must_use]
    pub fn new(set: &DataSet) -> Self {
        let values = |text: &str| {
            text.split('|').map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
        };
        Self(set.records().map(|record| (record.key().to_owned(), values(record.value()))).collect())
    }

    /// Whether a macro of the list is set to a value that counts, or to anything when the list
    /// gives no value. An empty macro does not count. `value_of` is asked for each name, as
    /// written in the list (without braces); names and values are compared exactly.
    pub fn matches<'a>(&self, mut value_of: impl FnMut(&str) -> Option<&'a str>) -> bool {
        self.0.iter().any(|(name, values)| {
            value_of(name).is_some_and(|value| {
                !value.is_empty() && (values.is_empty() || values.iter().any(|wanted| wanted == value))
            })
        })
    }

    /// The names, in the order of the list.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether the list names no macro.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::config::{Report, Source, Span};

    fn check(list: &MacroList, set: &[(&str, &'static str)]) -> bool {
        list.matches(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
    }

    #[test]
    fn a_macro_counts_by_presence_or_by_value() {
        let text = "auth_type,daemon_name=ORIG|SUB";
        let from_list =
            MacroList::new(&DataSet::from_list(&Span::new(&Source::new("t", text), 1, 0, text.len())));
        let lines = Source::new("t", "auth_type\ndaemon_name ORIG|SUB\n");
        let from_file = MacroList::new(&DataSet::from_lines(&lines, false, &mut Report::new()));
        assert_eq!(from_list, from_file);
        for (set, want) in [
            (&[("auth_type", "PLAIN")][..], true),
            (&[("auth_type", "")], false),
            (&[("daemon_name", "SUB")], true),
            (&[("daemon_name", "sub")], false),
            (&[("daemon_name", "OTHER")], false),
            (&[("Auth_type", "PLAIN")], false),
            (&[], false),
        ] {
            assert_eq!(check(&from_list, set), want, "{set:?}");
        }
        assert_eq!(from_list.names().collect::<Vec<_>>(), ["auth_type", "daemon_name"]);
    }
}
