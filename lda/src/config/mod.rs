//! The configuration: TOML text to checked settings.
//!
//! [`load`] reads the text by the table in `parameters` and makes [`Settings`] of it (`build`), with all mistakes in
//! one report. [`Loaded::check`] is the deep check of `-n`, which looks at files, sockets and programs.

mod build;
mod check;
pub mod man;
pub mod parameters;
pub mod settings;

use std::sync::Arc;

use base::config::toml::{self, Document};
use base::config::{Report, Source};

pub use settings::Settings;

/// Where the configuration is when `-c` does not say.
pub const DEFAULT_PATH: &str = "/etc/postrider/lda.toml";

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
    /// The deep check of `-n`, with its findings among the others.
    pub fn check(&mut self) {
        if let (Some(settings), Some(document)) = (&self.settings, &self.document) {
            check::check(settings, document, &mut self.report);
            self.report.sort_by_place();
        }
    }
}

/// Reads a configuration. No file but the text is read.
#[must_use]
pub fn load(source: &Arc<Source>) -> Loaded {
    load_with(source, &[])
}

/// Reads a configuration, with settings of the command line (`-o name=value`, `plugin/name=value`) before the text's.
#[must_use]
pub fn load_with(source: &Arc<Source>, overrides: &[(String, String)]) -> Loaded {
    let mut report = Report::new();
    let mut document = toml::read(source, &parameters::SECTIONS, &mut report);
    if let Some(document) = &mut document {
        for (name, value) in overrides {
            if let Err(error) = over(document, name, value) {
                report.error_anywhere(format!("-o {name}={value}: {error}"));
            }
        }
    }
    let settings = document.as_ref().map(|document| build::settings(document, &mut report));
    report.sort_by_place();
    let settings = settings.filter(|_| !report.has_errors());
    Loaded { settings, document, report }
}

/// Sets one value: of the top level, or `section/name`; `plugin/name` as Dovecot 2.3 writes it.
fn over(document: &mut Document, name: &str, value: &str) -> Result<(), String> {
    let value = match value {
        "yes" => "true",
        "no" => "false",
        other => other,
    };
    let (section, name) = name.split_once('/').unwrap_or(("", name));
    if section != "plugin" {
        return document.set(section, name, value);
    }
    let sieve = name.strip_prefix("sieve_").unwrap_or(name);
    let known = |section: &str, name: &str| {
        parameters::SECTIONS.iter().any(|known| known.name == section && known.setting(name).is_some())
    };
    match name {
        _ if known("quota", name) => document.set("quota", name, value),
        _ if known("sieve", sieve) => document.set("sieve", sieve, value),
        _ => Err(format!("there is no setting {name}")),
    }
}
