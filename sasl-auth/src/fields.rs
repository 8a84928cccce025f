//! Extra fields of a passdb or userdb entry, in Dovecot's names and in their order.

use std::fmt;

/// `key=value` and bare `key` fields. A name occurs once; setting it again replaces the value.
///
/// Values may be secrets (`pass=`), so `Debug` prints names only.
/// The suffixes of Dovecot are understood: `name:protected` keeps a later value from replacing this one,
/// `name:remove` takes an earlier one away.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

#[derive(Clone, PartialEq, Eq)]
struct Field {
    name: String,
    value: Option<String>,
    protected: bool,
    /// Not there; takes the field away where these fields are merged into others.
    removed: bool,
}

impl Fields {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`: `Some("")` for a bare field, `None` when it is absent.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value.unwrap_or(""))
    }

    /// Whether `name` is there, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|(key, _)| key == name)
    }

    /// Adds `name`, or replaces its value where it stands, unless that is protected. The name may have
    /// a suffix.
    pub fn set(&mut self, name: impl Into<String>, value: Option<String>) {
        let mut name = name.into();
        let (mut protected, mut removed) = (false, false);
        if let Some(base) = name.strip_suffix(":protected") {
            (name, protected) = (base.to_owned(), true);
        } else if let Some(base) = name.strip_suffix(":remove") {
            (name, removed) = (base.to_owned(), true);
        }
        self.put(Field { name, value, protected, removed });
    }

    /// Takes in all of `later`, whose values replace those here unless they are protected.
    pub fn merge(&mut self, later: Self) {
        for field in later.0 {
            self.put(field);
        }
    }

    fn put(&mut self, field: Field) {
        match self.0.iter_mut().find(|old| old.name == field.name) {
            Some(old) if old.protected => {}
            Some(old) => *old = field,
            None => self.0.push(field),
        }
    }

    /// Takes `name` out and gives its value, as [`Self::value`] does.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|field| field.name == name && !field.removed)?;
        Some(self.0.remove(at).value.unwrap_or_default())
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0
            .iter()
            .filter(|field| !field.removed)
            .map(|field| (field.name.as_str(), field.value.as_deref()))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        let mut first = Fields::new();
        first.set("allow_nets:protected", Some("192.0.2.0/24".into()));
        first.set("colour", Some("red".into()));
        first.set("nologin", None);
        assert_eq!(first.value("allow_nets"), Some("192.0.2.0/24"));
        let mut later = Fields::new();
        later.set("allow_nets", Some("0.0.0.0/0".into()));
        later.set("colour", Some("blue".into()));
        later.set("nologin:remove", None);
        assert!(!later.has("nologin") && later.len() == 2);
        first.merge(later);
        assert_eq!(first.value("allow_nets"), Some("192.0.2.0/24"));
        assert_eq!(first.value("colour"), Some("blue"));
        assert!(!first.has("nologin") && !first.has("nologin:remove"));
    }

    #[test]
    fn a_field_occurs_once_and_keeps_its_place() {
        let mut fields = Fields::new();
        fields.set("nologin", None);
        fields.set("pass", Some("secret".into()));
        fields.set("nologin", Some("closed".into()));
        assert_eq!(fields.value("nologin"), Some("closed"));
        assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["nologin", "pass"]);
        assert!(!format!("{fields:?}").contains("secret"));
        assert_eq!(fields.remove("pass").as_deref(), Some("secret"));
        assert!(!fields.has("pass"));
    }
}
