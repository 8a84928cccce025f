//! `driver = "static"`: the same fields for every user.

use std::path::{Component, Path};

use super::Entry;
use crate::field_templates::FieldTemplates;
use crate::fields::Fields;
use crate::passdb::Unavailable;
use crate::request::Request;
use crate::variables::Values;

/// What every user has.
pub(super) struct Constant {
    fields: FieldTemplates,
    allow_all_users: bool,
}

impl Constant {
    /// Names of `uid` and `gid` without variables are looked up now, once.
    pub(super) fn new(fields: &Fields, allow_all_users: bool) -> Result<Self, String> {
        let mut fields = fields.clone();
        for name in ["uid", "gid"] {
            let Some(value) = fields.value(name).filter(|value| !value.contains('%')).map(str::to_owned)
            else {
                continue;
            };
            let mut one = Fields::new();
            one.set(name, Some(value));
            if let Some(number) = Entry::from_fields(one)?.fields.remove(name) {
                fields.set(name, Some(number));
            }
        }
        Ok(Self { fields: FieldTemplates::compile(&fields)?, allow_all_users })
    }

    pub(super) const fn needs_passdb(&self) -> bool {
        !self.allow_all_users
    }

    /// Nobody whose name leads to a parent folder (`..@example.com`) has an entry.
    pub(super) fn lookup(&self, request: &Request) -> Result<Option<Entry>, Unavailable> {
        let entry = Entry::from_fields(self.fields.expand(&Values::of(request))).map_err(Unavailable::new)?;
        let home = Path::new(entry.fields.value("home").unwrap_or_default());
        Ok(home.components().all(|part| part != Component::ParentDir).then_some(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in() {
        let mut fields = Fields::new();
        fields.set("uid", Some("nobody".into()));
        fields.set("gid", Some("100".into()));
        fields.set("home", Some("/var/vmail/%d/%n".into()));
        let constant = Constant::new(&fields, false).unwrap();
        assert!(constant.needs_passdb());
        let request = Request { user: "joe@x".into(), ..Request::default() };
        let entry = constant.lookup(&request).unwrap().unwrap();
        assert_eq!(
            entry.fields.iter().collect::<Vec<_>>(),
            [("uid", Some("65534")), ("gid", Some("100")), ("home", Some("/var/vmail/x/joe"))]
        );
        let request_of = |user: &str| Request { user: user.into(), ..Request::default() };
        assert_eq!(constant.lookup(&request_of("..@x")), Ok(None));
        assert_eq!(constant.lookup(&request_of("a/../../b@x")), Ok(None));
        fields.set("uid", Some("%n".into()));
        assert!(
            Constant::new(&fields, true)
                .unwrap()
                .lookup(&request)
                .unwrap_err()
                .detail
                .contains("no user \"joe\"")
        );
        fields.set("uid", Some("0".into()));
        assert!(Constant::new(&fields, true).is_err());
    }
}
