//! `driver = "static"`: the same password and fields for every user.

use base::secret::Secret;

use super::{Entry, Lookup, StoredPassword};
use crate::field_templates::FieldTemplates;
use crate::fields::Fields;
use crate::request::Request;
use crate::variables::Values;

/// What every user has.
pub struct Constant {
    password: Secret,
    fields: FieldTemplates,
}

impl Constant {
    /// Takes the password in any scheme, and fields whose values are templates.
    ///
    /// # Errors
    /// A field that is no template; neither a password nor the field `nopassword`.
    pub fn new(password: &Secret, fields: &Fields) -> Result<Self, String> {
        if password.is_empty() && !fields.has("nopassword") {
            return Err("a static passdb needs `password`, or `nopassword` among its fields".into());
        }
        Ok(Self { password: password.clone(), fields: FieldTemplates::compile(fields)? })
    }

    /// The entry of the request's user; everybody has one.
    #[must_use]
    pub fn lookup(&self, request: &Request, password: Option<&Secret>) -> Lookup {
        let mut entry = Entry {
            passwords: Vec::new(),
            fields: self.fields.expand(&Values { password, ..Values::of(request) }),
        };
        if !self.password.is_empty() {
            entry.passwords.push(StoredPassword { text: self.password.clone(), ..StoredPassword::default() });
        }
        Lookup::Found(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_the_password() {
        let mut fields = Fields::new();
        assert!(Constant::new(&Secret::default(), &fields).is_err());
        fields.set("user", Some("%Lu".into()));
        let constant = Constant::new(&Secret::from("{PLAIN}x%u"), &fields).unwrap();
        let request = Request { user: "JOE".into(), ..Request::default() };
        let Lookup::Found(entry) = constant.lookup(&request, None) else { panic!("nobody") };
        assert_eq!(entry.passwords[0].text, Secret::from("{PLAIN}x%u"));
        assert_eq!(entry.fields.value("user"), Some("joe"));
        fields.set("nopassword", None);
        let constant = Constant::new(&Secret::default(), &fields).unwrap();
        let Lookup::Found(entry) = constant.lookup(&request, None) else { panic!("nobody") };
        assert!(entry.passwords.is_empty() && entry.fields.has("nopassword"));
    }
}
