//! Queries as Dovecot's admins write them, made into statements with bound parameters. Pure.
//!
//! `WHERE name = '%n' AND domain = '%d'` becomes `WHERE name = $1 AND domain = $2`. A string literal that
//! holds variables is one parameter as a whole (`'%n@%d'`), a variable outside quotes is one as well. Values
//! are never part of the statement's text, so no value can change what the statement says.

use std::fmt;

use super::scan;
use crate::variables::{Piece, Template, Values};

/// Whose SQL it is: literals, identifiers, comments and placeholders differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    MySql,
}

/// A query with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    parts: Vec<Part>,
    parameters: Vec<Vec<Piece>>,
}

/// A part of the statement's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// The admin's own text.
    Sql(String),
    /// The place of the next parameter.
    Parameter,
}

/// Why a query cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum QueryError {
    /// The template cannot be read.
    Template(String),
    /// The text holds no statement.
    Empty,
    /// A literal, identifier or comment has no end.
    Open(&'static str),
    /// A variable stands where no value can stand: in an identifier, a comment, or after a prefix.
    Variable {
        /// The variable's name.
        name: String,
        /// What it is in.
        place: &'static str,
    },
    /// The text has a placeholder of the database's own (`?`, `$1`, `:name`).
    Placeholder(String),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(text) => f.write_str(text),
            Self::Empty => f.write_str("the query is empty"),
            Self::Open(what) => write!(f, "the query ends within {what}"),
            Self::Variable { name, place } => {
                write!(f, "the variable {name} stands {place}; it must be a value, as in '%{{{name}}}'")
            }
            Self::Placeholder(text) => write!(
                f,
                "the query has the placeholder {text}; use variables such as %u, or quote it if it is text"
            ),
        }
    }
}

impl Query {
    /// Reads `text`, a template with SQL in `dialect`.
    ///
    /// # Errors
    /// The text is no template, or a variable stands where no value can.
    pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Self, QueryError> {
        let template = Template::parse(text).map_err(|error| QueryError::Template(error.to_string()))?;
        let (mut parts, parameters) = scan::scan(template.pieces(), dialect)?;
        if let Some(Part::Sql(last)) = parts.last_mut() {
            last.truncate(last.trim_end_matches([';', ' ', '\t', '\r', '\n']).len());
        }
        if parts.iter().all(|part| matches!(part, Part::Sql(text) if text.trim().is_empty())) {
            return Err(QueryError::Empty);
        }
        Ok(Self { parts, parameters })
    }

    /// The statement, with what `placeholder` gives for each parameter (counted from 0).
    pub(super) fn sql(&self, mut placeholder: impl FnMut(usize) -> String) -> String {
        let mut sql = String::new();
        let mut number = 0;
        for part in &self.parts {
            match part {
                Part::Sql(text) => sql.push_str(text),
                Part::Parameter => {
                    sql.push_str(&placeholder(number));
                    number += 1;
                }
            }
        }
        sql
    }

    /// How many parameters there are.
    pub(super) fn parameters(&self) -> usize {
        self.parameters.len()
    }

    /// The parameters' values, in order.
    pub(super) fn values(&self, values: &Values<'_>) -> Vec<String> {
        let expand = |pieces: &Vec<Piece>| {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Variable(variable) => text.push_str(&variable.value(values)),
                }
            }
            text
        };
        self.parameters.iter().map(expand).collect()
    }

    /// Whether the clear-text password is among the values, so that no message of the server may be shown.
    pub(super) fn holds_password(&self) -> bool {
        self.parameters
            .iter()
            .flatten()
            .any(|piece| matches!(piece, Piece::Variable(variable) if variable.is_password()))
    }
}

#[cfg(test)]
mod tests;
