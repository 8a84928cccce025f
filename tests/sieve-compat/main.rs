//! Compatibility of Sieve: the same scripts and messages with Debian's `sieve-test` and `postrider-lda sieve-test`,
//! action for action.
//!
//! Where the two differ, the case has the number under which docs/differences/pigeonhole.md tells why; [`differences`]
//! holds the numbers and the cases together.

mod case;
mod differences;

mod actions;
mod bodies;
mod flow;
mod headers;
mod mistakes;
mod variables;
