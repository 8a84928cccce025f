//! The lines of the table of parameters, by subject.

pub(super) mod absent;
pub(super) mod clients;
pub(super) mod own;
pub(super) mod process;
pub(super) mod signing;
pub(super) mod verifying;
