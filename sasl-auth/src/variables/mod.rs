//! Dovecot's variables in paths, queries and fields, in both notations: `%u %Ln %{user|lower}`.

mod filter;
mod name;
mod parse;

use std::borrow::Cow;
use std::fmt;

use base::secret::Secret;

use crate::request::Request;

use filter::{Filter, Window};
use name::Source;

/// A text with variables, read once and expanded per request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands for itself.
    Literal(String),
    /// A variable.
    Variable(Variable),
}

/// A variable with what is done to its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    source: Source,
    filters: Vec<Filter>,
    window: Window,
}

/// What variables stand for while one template is expanded.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The request.
    pub request: &'a Request,
    /// The clear-text password, for `%w`; empty text when there is none. Bytes that are not UTF-8
    /// become U+FFFD.
    pub password: Option<&'a Secret>,
    /// The home of the user, for `%h`.
    pub home: Option<&'a str>,
    /// Values of names with a colon (`ldap:uid`, `userdb:quota`): name with prefix, value.
    pub extra: &'a [(&'a str, &'a str)],
}

impl<'a> Values<'a> {
    /// The values of a request, without password, home or others.
    #[must_use]
    pub const fn of(request: &'a Request) -> Self {
        Self { request, password: None, home: None, extra: &[] }
    }
}

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The byte of the text where the mistake begins.
    pub offset: usize,
    /// What is wrong, and what was probably meant.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.offset)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a text in the notation of Dovecot 2.3 (`%u`, `%Ld`, `%5.3n`, `%{login_user}`,
    /// `%{sha256;rounds=2,salt=x:user}`), 2.4 (`%{user | domain | lower}`), or both; `%%` is a `%`.
    ///
    /// # Errors
    /// The place of the first variable, modifier or filter that is unknown or cannot be read.
    /// Dovecot expands an unknown variable to a text that says so; a query with it would fail later.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::template(text).map(|pieces| Self { pieces })
    }

    /// The parts in order. Two literals never follow each other.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The variables in order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Variable(variable) => Some(variable),
        })
    }

    /// Whether anything in it changes from request to request.
    #[must_use]
    pub fn has_variables(&self) -> bool {
        self.variables().next().is_some()
    }

    /// The text with every variable replaced. Values go in as they are: nothing is quoted.
    #[must_use]
    pub fn expand(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Variable(variable) => variable.append(values, &mut out),
            }
        }
        out
    }
}

impl Variable {
    /// The variable's name as documentation has it: `user`, `remote_ip`, `ldap:uid`.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        self.source.name()
    }

    /// Whether its value is the clear-text password or made of it.
    #[must_use]
    pub fn is_password(&self) -> bool {
        matches!(self.source, Source::Password)
    }

    /// Whether its value is a domain written as the inside of a DN (`%D`: `example,dc=com`), whose
    /// commas and equals signs are meant to be syntax.
    #[must_use]
    pub fn makes_dn(&self) -> bool {
        self.filters.last() == Some(&Filter::LdapDn)
    }

    /// What it stands for in these values; empty when there is no value.
    #[must_use]
    pub fn value(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        self.append(values, &mut out);
        out
    }

    fn append(&self, values: &Values<'_>, out: &mut String) {
        let value = self.source.value(values);
        if self.filters.is_empty() && self.window.is_whole() {
            out.push_str(&value);
        } else {
            out.push_str(&filter::run(value.into_owned(), &self.filters, self.window));
        }
    }
}

#[cfg(test)]
mod tests;
