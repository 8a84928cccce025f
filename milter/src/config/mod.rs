//! From opendkim.conf to checked settings.
//!
//! [`load`] reads text into [`Raw`] (names, values, places; nothing decided) and that into
//! [`Settings`] (nothing optional left undecided), with all mistakes in one report. `directives`
//! is the table of parameters that reading, checking and documentation share.

pub mod actions;
mod build;
pub mod check;
pub mod directives;
pub mod man;
mod parameters;
mod policy;
pub mod raw;
pub mod settings;
pub mod signed_headers;
pub mod socket;
mod values;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base::config::Report;

pub use actions::{Action, Actions};
pub use check::check;
pub use directives::{Parameter, Status};
pub use raw::{Origin, Raw};
pub use settings::Settings;
pub use signed_headers::SignedHeaders;
pub use socket::Socket;

/// What came of reading the configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The settings, unless there was a mistake.
    pub settings: Option<Settings>,
    /// Names and values as they were read, also when there were mistakes (for `-e`).
    pub raw: Arc<Raw>,
    /// All mistakes and warnings.
    pub report: Report,
}

/// Reads the configuration with the files it includes and the data sets it names.
///
/// `command_line` holds parameters that were given as options (`-p SOCKET` is
/// `("Socket", SOCKET)`, a flag without an argument is `yes`); they win over the text. Give the
/// same ones again at a reload, and they stay in force.
///
/// Key files of `KeyTable` are not read, only `KeyFile` is: call this with the privileges that
/// read it, and [`check()`] to look at everything else.
#[must_use]
pub fn load(origin: &Origin, command_line: &[(String, String)]) -> Loaded {
    let mut report = Report::new();
    let raw = Arc::new(Raw::read(origin, command_line, &mut report));
    let settings = build::settings(&raw, &mut report);
    report.sort_by_place();
    let settings = if report.has_errors() { None } else { Some(settings) };
    Loaded { settings, raw, report }
}
