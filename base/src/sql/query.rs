//! Queries with variables as admins write them, made into statements with bound parameters. Pure.
//!
//! `WHERE name = '%n' AND domain = '%d'` becomes `WHERE name = $1 AND domain = $2`. A string literal that
//! holds variables is one parameter as a whole (`'%n@%d'`), a variable outside quotes is one as well. Values
//! are never part of the statement's text, so no value can change what the statement says.

use std::borrow::Cow;
use std::fmt;

use super::scan;

/// Whose SQL it is: literals, identifiers, comments and placeholders differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

/// A variable of a query.
pub trait Named: Clone {
    /// Its name, for mistakes.
    fn name(&self) -> Cow<'_, str>;
}

/// A part of a query as the admin wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<V> {
    /// Text that stands for itself.
    Literal(String),
    /// A variable.
    Variable(V),
}

/// A query with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<V> {
    text: Text,
    parameters: Vec<Vec<Piece<V>>>,
}

/// The text of a statement, with the places of its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(Vec<Part>);

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
pub enum QueryError {
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

impl<V: Named> Query<V> {
    /// Reads SQL in `dialect` with variables in it.
    ///
    /// # Errors
    /// A variable stands where no value can, or the text is no whole statement.
    pub fn parse(pieces: &[Piece<V>], dialect: Dialect) -> Result<Self, QueryError> {
        let (mut parts, parameters) = scan::scan(pieces, dialect)?;
        if let Some(Part::Sql(last)) = parts.last_mut() {
            last.truncate(last.trim_end_matches([';', ' ', '\t', '\r', '\n']).len());
        }
        if parts.iter().all(|part| matches!(part, Part::Sql(text) if text.trim().is_empty())) {
            return Err(QueryError::Empty);
        }
        Ok(Self { text: Text(parts), parameters })
    }

    /// The statement's text.
    pub(super) fn text(&self) -> &Text {
        &self.text
    }

    /// The parameters' values, in order; `value` gives what a variable stands for.
    pub fn values(&self, mut value: impl FnMut(&V) -> String) -> Vec<String> {
        let mut expand = |pieces: &Vec<Piece<V>>| {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Variable(variable) => text.push_str(&value(variable)),
                }
            }
            text
        };
        self.parameters.iter().map(&mut expand).collect()
    }

    /// All variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &V> {
        self.parameters.iter().flatten().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Variable(variable) => Some(variable),
        })
    }
}

impl Text {
    /// The statement, with what `placeholder` gives for each parameter (counted from 0).
    pub(super) fn sql(&self, mut placeholder: impl FnMut(usize) -> String) -> String {
        let mut sql = String::new();
        let mut number = 0;
        for part in &self.0 {
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
        self.0.iter().filter(|part| matches!(part, Part::Parameter)).count()
    }
}

#[cfg(test)]
mod tests;
