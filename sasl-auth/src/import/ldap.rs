//! Dovecot's LDAP settings: servers, and attributes in `pass_attrs` and `fields {}`.

use super::draft::{Section, Value};
use super::fields::{is_yes, words};

/// What 2.3 and 2.4 call differently.
#[derive(Debug, Default, Clone)]
pub(super) struct Server<'a> {
    pub(super) uris: Option<&'a str>,
    /// `hosts` of 2.3: names with or without ports.
    pub(super) hosts: Option<&'a str>,
    pub(super) starttls: Option<&'a str>,
    pub(super) ca_file: Option<&'a str>,
    pub(super) dn: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) base: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
}

impl Server<'_> {
    /// Writes the server's lines.
    pub(super) fn write(&self, section: &mut Section) {
        let mut uris = self.uris.map(words).unwrap_or_default();
        if uris.is_empty() {
            let hosts = self.hosts.map(words).unwrap_or_default();
            uris.extend(hosts.iter().map(|host| format!("ldap://{host}")));
        }
        let all_tls = uris.iter().all(|uri| !uri.starts_with("ldap://"));
        section.set("uris", &Value::Texts(uris));
        if self.starttls.is_some_and(is_yes) && !all_tls {
            section.set("starttls", &Value::Boolean(true));
        }
        section.text("tls_ca_file", self.ca_file.unwrap_or(""));
        match (self.dn.filter(|dn| !dn.is_empty()), self.password.filter(|password| !password.is_empty())) {
            (Some(dn), Some(password)) => {
                section.text("bind_dn", dn);
                section.text("bind_password", password);
            }
            (Some(dn), None) => {
                section.note(format!("Not carried over, for want of its password: bind_dn = {dn}"));
            }
            (None, _) => {}
        }
        section.text("base", self.base.unwrap_or(""));
        section.text("scope", self.scope.unwrap_or(""));
    }
}

/// Fields from attributes, and fields that are the same for everybody.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    from: Vec<(String, Option<String>)>,
    fixed: Vec<(String, Option<String>)>,
}

impl Attributes {
    /// Reads `pass_attrs` or `user_attrs` of 2.3: `attribute=field`, `=field=text` with
    /// `%{ldap:attribute}`, or `attribute=field=text` in which `%$` stands for the attribute.
    pub(super) fn of_list(text: &str) -> Self {
        let mut attributes = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let mut parts = item.splitn(3, '=');
            let attribute = parts.next().unwrap_or("").trim().trim_start_matches('@');
            match (parts.next().map(str::trim), parts.next()) {
                (Some(field), Some(text)) => {
                    attributes.add(field, &text.replace("%$", &format!("%{{ldap:{attribute}}}")));
                }
                (Some(field), None) if !attribute.is_empty() => attributes.take(field, attribute),
                (None, _) => attributes.take(attribute, attribute),
                (Some(_), None) => {}
            }
        }
        attributes
    }

    /// Takes the fields of 2.4, whose values are texts with `%{ldap:attribute}`.
    pub(super) fn of_fields(fields: &[(String, Option<String>)]) -> Self {
        let mut attributes = Self::default();
        for (field, value) in fields {
            attributes.add(field, value.as_deref().unwrap_or(""));
        }
        attributes
    }

    fn take(&mut self, field: &str, attribute: &str) {
        self.from.push((field.to_owned(), Some(attribute.to_owned())));
    }

    /// A text that is nothing but one attribute is that attribute; one without variables is fixed.
    fn add(&mut self, field: &str, text: &str) {
        let whole = text
            .strip_prefix("%{ldap:")
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ';')));
        match whole {
            Some(attribute) => self.take(field, attribute),
            None if text.contains('%') => self.from.push((field.to_owned(), Some(text.to_owned()))),
            None => self.fixed.push((field.to_owned(), Some(text.to_owned()))),
        }
    }

    /// Writes them; `others` are fields that belong to the fixed ones as well.
    pub(super) fn write(self, section: &mut Section, others: Vec<(String, Option<String>)>) {
        section.fields("attributes", unique(self.from));
        let mut fixed = self.fixed;
        fixed.extend(others);
        section.fields("override_fields", unique(fixed));
    }
}

/// The last of each name: a name occurs once in a TOML table.
pub(super) fn unique(fields: Vec<(String, Option<String>)>) -> Vec<(String, Option<String>)> {
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    for field in fields {
        match found.iter_mut().find(|(name, _)| *name == field.0) {
            Some(old) => *old = field,
            None => found.push(field),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_2_3_are_read() {
        let text = "uid=user, userPassword=password,=userdb_mail=maildir:/m/%{ldap:uid},quota=userdb_quota_rule=*:bytes=%$,=proxy=y,mail";
        let found = Attributes::of_list(text);
        let field = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!(
            found.from,
            [
                field("user", "uid"),
                field("password", "userPassword"),
                field("userdb_mail", "maildir:/m/%{ldap:uid}"),
                field("userdb_quota_rule", "*:bytes=%{ldap:quota}"),
                field("mail", "mail"),
            ]
        );
        assert_eq!(found.fixed, [field("proxy", "y")]);
    }
}
