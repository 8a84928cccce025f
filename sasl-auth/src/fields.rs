//! Extra fields of a passdb or userdb entry, in Dovecot's names and in their order.

use std::fmt;

/// `key=value` and bare `key` fields. A name occurs once; setting it again replaces the value.
///
/// Values may be secrets (`pass=`), so `Debug` prints names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, Option<String>)>);

impl Fields {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`: `Some("")` for a bare field, `None` when it is absent.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_deref().unwrap_or(""))
    }

    /// Whether `name` is there, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Adds `name`, or replaces its value where it stands.
    pub fn set(&mut self, name: impl Into<String>, value: Option<String>) {
        let name = name.into();
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes `name` out and gives its value, as [`Self::value`] does.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1.unwrap_or_default())
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
