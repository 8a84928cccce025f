//! The data sets that opendkim.conf names: lists, files and patterns, and what is looked up in them.
//!
//! `dataset` reads a set, `pattern` and `lookup` find things in one, the others give a set its
//! meaning: `key_table`, `signing_table` (both behind `policy`), `hosts`, `macros`.

pub mod dataset;
pub mod hosts;
pub mod key_table;
pub mod lookup;
pub mod macros;
pub mod pattern;
pub mod policy;
pub mod signing_table;

pub use dataset::{Case, DataSet, Record};
pub use hosts::HostSet;
pub use key_table::{Algorithm, KeyEntry, KeySource, KeyTable, KeyTableError};
pub use lookup::Table;
pub use macros::MacroList;
pub use policy::{KeysFor, SigningChoice, SigningPolicy};
pub use signing_table::{Sender, SigningTable};
