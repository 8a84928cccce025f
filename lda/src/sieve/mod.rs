//! Sieve (RFC 5228): what a user's scripts say about a message, and doing it.
//!
//! ```text
//! script text ─ syntax ─ check (vocabulary, extensions) ─ rewrite ─► interpreter ─► actions ─► plan
//! ```

pub mod action;
pub mod address;
pub mod check;
pub mod confine;
pub mod duplicates;
pub mod evaluate;
pub mod extensions;
pub mod interpreter;
pub mod library;
pub mod mailto;
pub mod plan;
pub mod rewrite;
pub mod syntax;
pub mod vocabulary;
pub mod wire;
