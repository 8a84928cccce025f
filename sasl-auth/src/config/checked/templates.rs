//! Variables in settings, checked where they stand.

use base::config::Report;
use base::config::toml::Table;

use crate::variables::Template;

/// Checks texts with variables.
pub(super) fn check(table: &Table, names: &[&str], report: &mut Report) {
    for name in names {
        if let Some(text) = table.text(name)
            && let Err(error) = Template::parse(&text)
        {
            let rest = text.get(error.offset..).unwrap_or("");
            let place = table.part_place(name, error.offset, marked_length(rest));
            report.error(&place, format!("{name}: {}", error.message));
        }
    }
}

/// Checks fields, whose values are texts with variables. Values are not shown.
pub(super) fn check_fields(table: &Table, name: &str, report: &mut Report) {
    for field in table.fields(name) {
        if let Err(error) = Template::parse(field.value.as_deref().unwrap_or("")) {
            let text = format!("{name}.{}: {}", field.name, error.message);
            report.error(&table.key_place(name).into_private(), text);
        }
    }
}

/// The bytes of what a mistake is about, for the mark: a variable, or a name within one.
fn marked_length(text: &str) -> usize {
    if text.starts_with("%{") {
        text.find('}').map_or(2, |end| end + 1)
    } else if text.starts_with('%') {
        text.chars().take(2).map(char::len_utf8).sum()
    } else {
        text.find(['|', '}', ':', '(', ' ']).unwrap_or(text.len())
    }
}
