//! What a database knows of a user, as columns or attributes, made into passdb and userdb entries. Pure.

use base::secret::Secret;

use crate::fields::Fields;
use crate::passdb::{self, StoredPassword};
use crate::request::Request;
use crate::userdb;

/// Named values of one user; what was NULL or absent is not in it. Values may be secrets: no `Debug`.
#[derive(Default, Clone, PartialEq, Eq)]
pub(crate) struct Record(Vec<(String, Vec<u8>)>);

impl From<Vec<(String, Vec<u8>)>> for Record {
    fn from(values: Vec<(String, Vec<u8>)>) -> Self {
        Self(values)
    }
}

impl Record {
    /// Adds a value. Names are as the database gives them, in its order.
    pub(crate) fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// The first value of `name`, whatever its case.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The passdb entry: every `password` is a stored password, `user`, `username` and `domain` give the name,
    /// everything else is an extra field (Dovecot 2.3 observed).
    ///
    /// An empty password counts only beside `nopassword`; without it nobody gets in by it.
    pub(crate) fn into_passdb_entry(self, request: &Request) -> passdb::Entry {
        let mut name = Name::of(request);
        let mut entry = passdb::Entry::default();
        for (field, value) in self.0 {
            if field.eq_ignore_ascii_case("password") {
                let password = StoredPassword { text: Secret::new(value), ..StoredPassword::default() };
                entry.passwords.push(password);
            } else if !name.take(&field, &value) {
                entry.fields.set(field, Some(String::from_utf8_lossy(&value).into_owned()));
            }
        }
        if let Some(user) = name.changed(request) {
            entry.fields.set("user", Some(user));
        }
        if entry.fields.has("nopassword") {
            if entry.passwords.is_empty() {
                entry.passwords.push(StoredPassword::default());
            }
        } else {
            entry.passwords.retain(|password| !password.text.is_empty());
        }
        entry
    }

    /// The fields of a user whose password the database checks itself.
    pub(crate) fn into_fields(self, request: &Request) -> Fields {
        self.into_passdb_entry(request).fields
    }

    /// The userdb entry; `uid` and `gid` as they are, names or numbers. A `password` is left out.
    pub(crate) fn into_userdb_entry(self, request: &Request) -> userdb::Entry {
        let mut name = Name::of(request);
        let mut fields = Fields::new();
        for (field, value) in self.0 {
            if !field.eq_ignore_ascii_case("password") && !name.take(&field, &value) {
                fields.set(field, Some(String::from_utf8_lossy(&value).into_owned()));
            }
        }
        userdb::Entry { user: name.changed(request), fields }
    }

    /// The user's name in a list: `user`, or `username` with `domain`.
    pub(crate) fn listed_user(&self) -> Option<String> {
        let user = self.text("user").or_else(|| self.text("username"))?;
        match self.text("domain") {
            Some(domain) if !user.contains('@') && !domain.is_empty() => Some(format!("{user}@{domain}")),
            _ => Some(user),
        }
    }
}

/// A user's name while fields change it.
struct Name(String);

impl Name {
    fn of(request: &Request) -> Self {
        Self(request.user.clone())
    }

    /// Applies the field if it is about the name: `user` replaces all of it, `username` the part before the
    /// `@` unless it has a domain itself, `domain` the part after it.
    fn take(&mut self, field: &str, value: &[u8]) -> bool {
        let value = String::from_utf8_lossy(value);
        let (local, domain) = match self.0.split_once('@') {
            Some((local, domain)) => (local, Some(domain)),
            None => (self.0.as_str(), None),
        };
        self.0 = if field.eq_ignore_ascii_case("user") {
            value.into_owned()
        } else if field.eq_ignore_ascii_case("username") {
            match domain {
                Some(domain) if !value.contains('@') => format!("{value}@{domain}"),
                _ => value.into_owned(),
            }
        } else if field.eq_ignore_ascii_case("domain") {
            format!("{local}@{value}")
        } else {
            return false;
        };
        true
    }

    /// The name, if it is another one than was asked for, and one at all.
    fn changed(self, request: &Request) -> Option<String> {
        Some(self.0).filter(|name| *name != request.user && !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(values: &[(&str, &str)]) -> Record {
        let mut record = Record::default();
        for (name, value) in values {
            record.push(name, *value);
        }
        record
    }

    fn anna() -> Request {
        Request { user: "anna@example.com".into(), ..Request::default() }
    }

    #[test]
    fn names_change_as_in_dovecot() {
        for (values, user) in [
            (&[("user", "anna@example.com")][..], None),
            (&[("user", "bob")], Some("bob")),
            (&[("USERNAME", "bob")], Some("bob@example.com")),
            (&[("username", "bob@b.example")], Some("bob@b.example")),
            (&[("username", "anna"), ("domain", "example.com")], None),
            (&[("user", "anna"), ("domain", "b.example")], Some("anna@b.example")),
            (&[("domain", "b.example")], Some("anna@b.example")),
            (&[("user", "")], None),
        ] {
            let entry = record(values).into_passdb_entry(&anna());
            assert_eq!(entry.fields.value("user"), user, "{values:?}");
            assert_eq!(record(values).into_userdb_entry(&anna()).user.as_deref(), user, "{values:?}");
        }
    }

    #[test]
    fn passwords_and_extra_fields() {
        let entry = record(&[("Password", "{PLAIN}x"), ("allow_nets", "10.0.0.0/8"), ("userdb_home", "/h")])
            .into_passdb_entry(&anna());
        assert_eq!(entry.passwords.len(), 1);
        assert_eq!(entry.passwords[0].text.expose(), b"{PLAIN}x");
        assert_eq!(
            entry.fields.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["allow_nets", "userdb_home"]
        );
        assert!(record(&[("password", "")]).into_passdb_entry(&anna()).passwords.is_empty());
        assert!(record(&[]).into_passdb_entry(&anna()).passwords.is_empty());
        let open = record(&[("nopassword", "Y")]).into_passdb_entry(&anna());
        assert_eq!(open.passwords, [StoredPassword::default()]);
    }

    #[test]
    fn users_of_a_list() {
        assert_eq!(record(&[("user", "anna@a.example")]).listed_user().unwrap(), "anna@a.example");
        let pair = record(&[("username", "anna"), ("domain", "a.example")]);
        assert_eq!(pair.listed_user().unwrap(), "anna@a.example");
        assert_eq!(record(&[("name", "anna")]).listed_user(), None);
    }
}
