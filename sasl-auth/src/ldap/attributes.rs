//! Which attributes are asked for, and which fields become of them. Pure.

use crate::record::Record;
use crate::request::Request;
use crate::variables::{Template, Values};

/// An entry as a search gives it.
#[derive(Default)]
pub(super) struct Entry {
    /// Its name.
    pub(super) dn: String,
    /// Attributes with their values.
    pub(super) attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// The fields of an entry: `(field, where from)`.
#[derive(Debug, Clone)]
pub(super) struct Attributes(Vec<(String, Source)>);

#[derive(Debug, Clone)]
enum Source {
    /// All values of an attribute for `password`, its first value for other fields.
    Attribute(String),
    /// A template, and the attributes in it.
    Template(Template, Vec<String>),
}

/// How a variable names an attribute.
const PREFIX: &str = "ldap:";

impl Entry {
    /// The values of an attribute, whatever the case of its name and whatever options it comes with.
    pub(super) fn values(&self, name: &str) -> &[Vec<u8>] {
        let has_name = |own: &str| own.split(';').next().is_some_and(|own| own.eq_ignore_ascii_case(name));
        self.attributes
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .or_else(|| self.attributes.iter().find(|(own, _)| has_name(own)))
            .map_or(&[], |(_, values)| values)
    }

    fn first_text(&self, name: &str) -> Option<String> {
        self.values(name).first().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

impl Attributes {
    /// Reads the setting.
    ///
    /// # Errors
    /// A text with `%` that is no template.
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let source = |(field, text): &(String, String)| {
            if !text.contains('%') {
                return Ok((field.clone(), Source::Attribute(text.clone())));
            }
            let template = Template::parse(text).map_err(|error| format!("{field}: {error}"))?;
            let names = template
                .variables()
                .filter_map(|variable| variable.name().strip_prefix(PREFIX).map(str::to_owned))
                .collect();
            Ok((field.clone(), Source::Template(template, names)))
        };
        pairs.iter().map(source).collect::<Result<_, String>>().map(Self)
    }

    /// The attributes to ask for; `1.1`, which is none, when there are none (RFC 4511 §4.5.1.8).
    pub(super) fn wanted(&self) -> Vec<String> {
        let mut wanted: Vec<String> = Vec::new();
        for (_, source) in &self.0 {
            let names = match source {
                Source::Attribute(name) => std::slice::from_ref(name),
                Source::Template(_, names) => names.as_slice(),
            };
            for name in names {
                if !wanted.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                    wanted.push(name.clone());
                }
            }
        }
        if wanted.is_empty() { vec!["1.1".to_owned()] } else { wanted }
    }

    /// The fields. An attribute without a value gives no field, and neither does a template in which no
    /// attribute has one.
    pub(super) fn record(&self, entry: &Entry, request: &Request) -> Record {
        let mut record = Record::default();
        for (field, source) in &self.0 {
            match source {
                Source::Attribute(name) if field == "password" => {
                    for value in entry.values(name) {
                        record.push(field, value.as_slice());
                    }
                }
                Source::Attribute(name) => {
                    if let Some(value) = entry.values(name).first() {
                        record.push(field, value.as_slice());
                    }
                }
                Source::Template(template, names) => {
                    let found: Vec<(String, String)> = names
                        .iter()
                        .filter_map(|name| Some((format!("{PREFIX}{name}"), entry.first_text(name)?)))
                        .collect();
                    if found.is_empty() && !names.is_empty() {
                        continue;
                    }
                    let extra: Vec<(&str, &str)> =
                        found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                    record.push(field, template.expand(&Values { extra: &extra, ..Values::of(request) }));
                }
            }
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_from_attributes_and_templates() {
        let pairs = [
            ("password", "userPassword"),
            ("user", "uid"),
            ("home", "/mail/%d/%{ldap:uid}"),
            ("quota_rule", "*:bytes=%{ldap:mailQuota}"),
            ("mail", "maildir:~/M/%n"),
            ("alias", "mail"),
            ("display", "cn"),
        ];
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(field, from)| ((*field).to_owned(), (*from).to_owned())).collect();
        let attributes = Attributes::parse(&pairs).unwrap();
        assert_eq!(attributes.wanted(), ["userPassword", "uid", "mailQuota", "mail", "cn"]);
        let entry = Entry {
            dn: "uid=anna".into(),
            attributes: vec![
                ("USERPASSWORD".into(), vec![b"{SSHA}x".to_vec(), vec![0xff]]),
                ("uid".into(), vec![b"Anna".to_vec(), b"second".to_vec()]),
                ("cn;lang-de".into(), vec![b"Anna B".to_vec()]),
            ],
        };
        let request = Request { user: "anna@a.example".into(), ..Request::default() };
        let found = attributes.record(&entry, &request).into_passdb_entry(&request);
        assert_eq!(found.passwords.len(), 2);
        assert_eq!(found.passwords[1].text.expose(), [0xff]);
        let fields: Vec<_> = found.fields.iter().map(|(name, value)| (name, value.unwrap_or(""))).collect();
        assert_eq!(
            fields,
            [
                ("home", "/mail/a.example/Anna"),
                ("mail", "maildir:~/M/anna"),
                ("display", "Anna B"),
                ("user", "Anna")
            ]
        );
        assert_eq!(Attributes::parse(&[]).unwrap().wanted(), ["1.1"]);
        assert!(
            Attributes::parse(&[("home".into(), "%{nonsense}".into())]).unwrap_err().starts_with("home: ")
        );
    }
}
