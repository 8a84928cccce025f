//! The configuration: TOML text to checked settings.

pub mod settings;
