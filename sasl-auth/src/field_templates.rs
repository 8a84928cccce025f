//! Extra fields whose values are templates: `default_fields`, `fields` of static databases.

use crate::fields::Fields;
use crate::variables::{Template, Values};

/// Fields, read once and filled in per request.
#[derive(Debug, Clone, Default)]
pub struct FieldTemplates(Vec<(String, Option<Template>)>);

impl FieldTemplates {
    /// Reads the values as templates.
    ///
    /// # Errors
    /// The first field whose value is no template.
    pub fn compile(fields: &Fields) -> Result<Self, String> {
        let read = |(name, value): (&str, Option<&str>)| match value.map(Template::parse).transpose() {
            Ok(template) => Ok((name.to_owned(), template)),
            Err(error) => Err(format!("field `{name}`: {error}")),
        };
        fields.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The fields of a request.
    #[must_use]
    pub fn expand(&self, values: &Values<'_>) -> Fields {
        let mut fields = Fields::new();
        for (name, template) in &self.0 {
            fields.set(name.as_str(), template.as_ref().map(|template| template.expand(values)));
        }
        fields
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;

    #[test]
    fn values_are_filled_in() {
        let mut fields = Fields::new();
        fields.set("home", Some("/home/%d/%n".into()));
        fields.set("nologin", None);
        let request = Request { user: "a@b".into(), ..Request::default() };
        let expanded = FieldTemplates::compile(&fields).unwrap().expand(&Values::of(&request));
        assert_eq!(expanded.value("home"), Some("/home/b/a"));
        assert_eq!(expanded.iter().last(), Some(("nologin", None)));
        fields.set("home", Some("%q".into()));
        assert!(FieldTemplates::compile(&fields).unwrap_err().contains("field `home`"));
    }
}
