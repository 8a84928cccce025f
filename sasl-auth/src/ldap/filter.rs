//! Filters and names of entries with a user's values in them, escaped so that they stay values. Pure.

use ldap3::{dn_escape, ldap_escape, parse_filter};

use crate::request::Request;
use crate::variables::{Piece, Template, Values, Variable};

/// A filter (RFC 4515) with variables.
#[derive(Debug, Clone)]
pub(super) struct Filter(Template);

/// The name of an entry (RFC 4514) with variables.
#[derive(Debug, Clone)]
pub(super) struct Name(Template);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// It is no template, or no filter once its variables have values.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let filter = Self(Template::parse(text).map_err(|error| error.to_string())?);
        let sample = Request { user: "user@domain".into(), ..Request::default() };
        match parse_filter(filter.expand(&Values::of(&sample))) {
            Ok(_) => Ok(filter),
            Err(()) => Err(format!("{text} is not a filter as RFC 4515 defines it, such as (uid=%u)")),
        }
    }

    /// The filter with values; in them `( ) * \` and NUL are escaped.
    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        expand(&self.0, values, |variable| ldap_escape(variable.value(values)).into_owned())
    }
}

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// It is no template.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Template::parse(text).map(Self).map_err(|error| error.to_string())
    }

    /// Whether it differs from user to user.
    pub(super) fn has_variables(&self) -> bool {
        self.0.has_variables()
    }

    /// The name with values; in them everything that is syntax in a name is escaped. A domain that the
    /// variable itself turns into `example,dc=com` is left so, unless the user has put syntax into it.
    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        expand(&self.0, values, |variable| {
            let value = variable.value(values);
            if variable.makes_dn() && !holds_syntax(values.request) {
                value
            } else {
                dn_escape(value).into_owned()
            }
        })
    }
}

fn expand(template: &Template, _: &Values<'_>, escaped: impl Fn(&Variable) -> String) -> String {
    let mut text = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Variable(variable) => text.push_str(&escaped(variable)),
        }
    }
    text
}

/// Whether any text that came with the request has characters that mean something in a name.
fn holds_syntax(request: &Request) -> bool {
    let syntax = [',', '=', '+', '"', '\\', '<', '>', ';', '#', '\0'];
    let optional = [&request.login_user, &request.master_user, &request.cert_username];
    [&request.user, &request.original_user, &request.service, &request.local_name]
        .into_iter()
        .chain([&request.session, &request.client_id])
        .chain(optional.into_iter().flatten())
        .any(|text| text.contains(syntax))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(user: &str) -> Request {
        Request { user: user.into(), ..Request::default() }
    }

    #[test]
    fn values_stay_values_in_filters() {
        let filter = Filter::parse("(&(objectClass=person)(|(uid=%n)(mail=%{user})))").unwrap();
        let of = |user: &str| filter.expand(&Values::of(&request(user)));
        assert_eq!(of("anna@a.example"), "(&(objectClass=person)(|(uid=anna)(mail=anna@a.example)))");
        assert_eq!(
            of("*)(uid=*))(|(uid=*\\\0"),
            "(&(objectClass=person)(|(uid=\\2a\\29\\28uid=\\2a\\29\\29\\28|\\28uid=\\2a\\5c\\00)\
             (mail=\\2a\\29\\28uid=\\2a\\29\\29\\28|\\28uid=\\2a\\5c\\00)))"
        );
        for text in ["(uid=%u", "uid=%u)", "(&(uid=%u)", "(uid=%{nonsense})"] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_stay_values_in_names() {
        let name = Name::parse("uid=%n,ou=people,dc=%Dd").unwrap();
        let of = |user: &str| name.expand(&Values::of(&request(user)));
        assert_eq!(of("anna@a.example"), "uid=anna,ou=people,dc=a,dc=example");
        assert_eq!(of("a,ou=b@c"), "uid=a\\2cou\\3db,ou=people,dc=c");
        assert_eq!(of("anna@a,ou=b.example"), "uid=anna,ou=people,dc=a\\2cou\\3db\\2cdc\\3dexample");
        assert_eq!(of(" #x "), "uid=\\20#x\\20,ou=people,dc=");
        assert!(!Name::parse("dc=a").unwrap().has_variables());
    }

    proptest! {
        /// Two users never get the same filter, and the filter's shape does not depend on the user.
        #[test]
        fn no_value_changes_a_filter(user in "[a-c*()\\\\&|=\u{0}é@]{0,12}", other in "[a-c*()\\\\&|=\u{0}é@]{0,12}") {
            let filter = Filter::parse("(&(a=%u)(b=c))").unwrap();
            let of = |user: &str| filter.expand(&Values::of(&request(user)));
            prop_assert_eq!(user == other, of(&user) == of(&other));
            let shape: String = of(&user).chars().filter(|own| "()*".contains(*own)).collect();
            prop_assert_eq!(shape, "(()())");
            prop_assert!(parse_filter(of(&user)).is_ok());
        }
    }
}
