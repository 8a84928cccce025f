//! The name/value lines of opendkim.conf: text to a list of names and values with their places.

use std::sync::Arc;

use super::span::{Source, Span};

/// The longest configuration file that is read, in bytes.
pub const MAX_BYTES: u64 = 16 << 20;

/// One line that sets something.
#[derive(Clone, Debug)]
pub struct Directive {
    /// The name as written.
    pub name: Span,
    /// The rest of the line without blanks around it; `None` when nothing follows the name.
    pub value: Option<Span>,
}

/// Reads all lines of a source, without judging names or values.
///
/// A line ends at the first `#` or carriage return, wherever it stands: there is no quoting
/// and no continuation. Blanks and tabs around name and value are dropped, blanks within the
/// value stay. Empty lines are skipped. Lines may be of any length (OpenDKIM 2.11 observed).
#[must_use]
pub fn parse(source: &Arc<Source>) -> Vec<Directive> {
    let mut directives = Vec::new();
    for line in source.lines() {
        let text = line.text.split(['#', '\r']).next().unwrap_or("");
        let rest = text.trim_start_matches(BLANK);
        let name_start = line.start + (text.len() - rest.len());
        let name = rest.split(BLANK).next().unwrap_or("");
        if name.is_empty() {
            continue;
        }
        let name_end = name_start + name.len();
        let after = rest.get(name.len()..).unwrap_or("");
        let value = after.trim_start_matches(BLANK);
        let value_start = name_end + (after.len() - value.len());
        let value = value.trim_end_matches(BLANK);
        directives.push(Directive {
            name: Span::new(source, line.number, name_start, name_end),
            value: (!value.is_empty())
                .then(|| Span::new(source, line.number, value_start, value_start + value.len())),
        });
    }
    directives
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u32, String, Option<String>)> {
        parse(&Source::new("f", text))
            .iter()
            .map(|directive| {
                let value = directive.value.as_ref().map(|value| value.text().to_owned());
                (directive.name.line(), directive.name.text().to_owned(), value)
            })
            .collect()
    }

    #[test]
    fn lines_are_read_as_opendkim_reads_them() {
        let some = |line, name: &str, value: &str| vec![(line, name.to_owned(), Some(value.to_owned()))];
        for (text, want) in [
            ("Mode sv", some(1, "Mode", "sv")),
            ("\t Mode\t \tsv \t", some(1, "Mode", "sv")),
            ("Mode sv # comment", some(1, "Mode", "sv")),
            ("Mode s#v", some(1, "Mode", "s")),
            ("Mode \"s#v\"", some(1, "Mode", "\"s")),
            ("Mode sv\r\n", some(1, "Mode", "sv")),
            ("Mode s\rv", some(1, "Mode", "s")),
            ("\n\n# x\n  \nMode sv", some(5, "Mode", "sv")),
            ("OmitHeaders a , b\tc", some(1, "OmitHeaders", "a , b\tc")),
            ("Mode = sv", some(1, "Mode", "= sv")),
            ("Mode", vec![(1, "Mode".to_owned(), None)]),
            ("Mode #x", vec![(1, "Mode".to_owned(), None)]),
            ("", vec![]),
            ("#", vec![]),
            ("\r\n", vec![]),
        ] {
            assert_eq!(read(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_line_may_be_very_long() {
        let value = "x".repeat(1 << 20);
        let read = read(&format!("Domain {value}\nMode s"));
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].2.as_deref(), Some(value.as_str()));
    }
}
