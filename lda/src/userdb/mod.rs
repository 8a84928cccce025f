//! Users are looked up here: in order, until a userdb knows the name. Blocking, each with a time limit.

pub mod auth_userdb;
mod passwd_file;
pub mod system;

use crate::config::settings::{Driver, Settings, Userdb};
use crate::variables::{Template, Values};

/// The fields of a user: `uid`, `gid`, `home`, `mail`, `quota_rule`, `sieve` and what else the userdb says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    fields: Vec<(String, String)>,
}

impl Fields {
    /// The value of a field.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Sets a field.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.into(),
            None => self.fields.push((name.to_owned(), value.into())),
        }
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What a userdb says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The user is there.
    Found(Fields),
    /// There is no such user.
    Unknown,
    /// It cannot be said now; the text is for the log.
    Temporary(String),
}

/// Looks a user up by a name that [`crate::recipient::normalised`] made.
///
/// `service` is `lda` or `lmtp`. A userdb that cannot answer ends the search: the mail is to be tried again.
#[must_use]
pub fn look_up(settings: &Settings, name: &str, service: &str) -> Answer {
    if !is_sound(name) {
        return Answer::Unknown;
    }
    for userdb in &settings.userdb {
        match ask(userdb, &settings.hostname, name, service) {
            Answer::Unknown => {}
            answer => return answer,
        }
    }
    Answer::Unknown
}

/// Whether a name can be a user's: paths are made of names, and must not lead elsewhere.
fn is_sound(name: &str) -> bool {
    let parts = || name.split('@');
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.chars().any(|letter| letter == '/' || letter.is_control())
        && !parts().any(|part| part == "." || part == "..")
}

/// The longest name that is looked up, in bytes.
const LONGEST_NAME: usize = 512;

fn ask(userdb: &Userdb, hostname: &str, name: &str, service: &str) -> Answer {
    let values = Values { user: name, service, hostname, ..Values::default() };
    let key =
        userdb.username_format.as_ref().map_or_else(|| name.to_owned(), |format| format.expand(&values));
    match &userdb.driver {
        Driver::PasswdFile(path) => passwd_file::look_up(path, &key, &values),
        Driver::AuthUserdb { path, timeout } => auth_userdb::look_up(path, &key, service, *timeout),
        Driver::System { timeout } => system::look_up(&key, *timeout, service),
        Driver::Static(templates) => constant(templates, &values),
    }
}

fn constant(templates: &[(String, Option<Template>)], values: &Values<'_>) -> Answer {
    let mut fields = Fields::default();
    for (name, template) in templates {
        let value = template.as_ref().map_or_else(|| "yes".to_owned(), |template| template.expand(values));
        fields.set(name, value);
    }
    Answer::Found(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        for name in ["joe", "joe.doe@a.example", ".joe", "j\u{fc}rgen@x", "a b"] {
            assert!(is_sound(name), "{name}");
        }
        for name in ["", "..", "..@a", "joe@..", ".@x", "a/b", "../x", "a\0", "a\nb", &"x".repeat(513)] {
            assert!(!is_sound(name), "{name:?}");
        }
    }
}
