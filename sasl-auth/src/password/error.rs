//! What can be wrong with a stored password, and with the attempt to verify one.

use std::fmt;

/// A stored password that cannot be read, or one that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemeError {
    /// No scheme has this name. Empty when the text between the braces does not look like a name:
    /// it may then be part of a password.
    Unknown(String),
    /// The data does not fit its scheme; the text says how and holds nothing of the data.
    Malformed {
        /// The scheme's name.
        scheme: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Rounds outside of what a scheme can be made with.
    Rounds {
        /// The scheme's name.
        scheme: &'static str,
        /// The fewest.
        least: u32,
        /// The most.
        most: u32,
    },
    /// This scheme counts no rounds, yet some were asked for.
    NoRounds {
        /// The scheme's name.
        scheme: &'static str,
    },
    /// The scheme cannot hold this password.
    Password {
        /// The scheme's name.
        scheme: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The library that makes the hash refused; its words.
    Library(String),
}

impl fmt::Display for SchemeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) if name.is_empty() => f.write_str("unknown password scheme"),
            Self::Unknown(name) => write!(f, "unknown password scheme {name}"),
            Self::Malformed { scheme, why } => write!(f, "not a {scheme} password: {why}"),
            Self::Rounds { scheme, least, most } => {
                write!(f, "{scheme} takes {least} to {most} rounds")
            }
            Self::NoRounds { scheme } => write!(f, "{scheme} counts no rounds"),
            Self::Password { scheme, why } => {
                write!(f, "{scheme} cannot hold this password: {why}")
            }
            Self::Library(why) => write!(f, "the password cannot be hashed: {why}"),
        }
    }
}

impl std::error::Error for SchemeError {}

/// A check that came to no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashError {
    /// The stored hash asks for more work or memory than any honest one; the text names the limit.
    TooCostly(&'static str),
    /// There was no memory for the check.
    OutOfMemory,
    /// The library refused the stored hash; its words.
    Library(String),
    /// The check panicked. A bug, of which the other checks notice nothing.
    Panicked,
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooCostly(limit) => write!(f, "the stored hash is too costly: {limit}"),
            Self::OutOfMemory => f.write_str("no memory for the check"),
            Self::Library(why) => write!(f, "the stored hash was refused: {why}"),
            Self::Panicked => f.write_str("the check panicked"),
        }
    }
}

impl std::error::Error for HashError {}
