//! The configuration: TOML text to checked settings.
//!
//! [`load`] reads the text by the table in `parameters` and makes [`Settings`] of it (`build`, `limit`, `features`),
//! with all mistakes in one report.

mod build;
mod check;
mod features;
mod limit;
mod list;
pub mod man;
pub mod parameters;
pub mod settings;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base::config::toml::{self, Document};
use base::config::{Report, Source};

pub use check::check;
pub use settings::Settings;

/// Where the configuration is when `-c` does not say.
pub const DEFAULT_PATH: &str = "/etc/postrider/policyd.toml";

/// What came of reading the configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The settings, unless there was a mistake.
    pub settings: Option<Settings>,
    /// Values with their places, unless the text could not be read at all.
    pub document: Option<Document>,
    /// All mistakes and warnings, in the order of the lines.
    pub report: Report,
}

impl Loaded {
    /// The deep check of `-n`, with its findings among the others; see [`check`].
    pub fn check(&mut self) {
        if let (Some(settings), Some(document)) = (&self.settings, &self.document) {
            check(settings, document, &mut self.report);
        }
    }
}

/// Reads a configuration. Nothing besides the text is read.
#[must_use]
pub fn load(source: &Arc<Source>) -> Loaded {
    let mut report = Report::new();
    let document = toml::read(source, &parameters::SECTIONS, &mut report);
    let settings = document.as_ref().map(|document| build::settings(document, &mut report));
    report.sort_by_place();
    let settings = settings.filter(|_| !report.has_errors());
    Loaded { settings, document, report }
}
