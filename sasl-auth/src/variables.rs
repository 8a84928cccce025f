//! Dovecot's variables in paths, queries and fields, in both notations: `%u %Ln %{user|lower}`.

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
}
