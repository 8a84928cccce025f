//! Mistakes in configuration files, shown with file, line, the line itself and a mark.
//!
//! `span` says where a piece of text stands, `report` collects what is wrong
//! with it, `directives` reads the name/value lines of opendkim.conf, `toml` reads TOML by a table of
//! settings.

pub mod directives;
pub mod nearest;
pub mod report;
pub mod span;
pub mod toml;

pub use directives::Directive;
pub use report::{Note, Report, Severity};
pub use span::{Source, Span};
