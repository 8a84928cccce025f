//! Sieve (RFC 5228): what a user's scripts say is to be done with a message.
//!
//! ```text
//! script text ─ syntax ─ check (vocabulary, extensions) ─ rewrite ─► interpreter ─► actions ─► plan
//! ```
//!
//! `delivery.rs` is the story; all up to the plan runs in a process of its own (`confine.rs`).

pub mod action;
pub mod address;
pub mod check;
pub mod compose;
pub mod confine;
mod delivery;
pub mod display;
pub mod duplicates;
pub mod evaluate;
pub mod extensions;
pub mod interpreter;
pub mod library;
pub mod mailto;
pub mod options;
pub mod plan;
pub mod rewrite;
pub mod syntax;
pub mod tools;
pub mod user_log;
pub mod vacation;
pub mod vocabulary;
pub mod wire;
pub mod zone;

pub use self::delivery::{run, send};
