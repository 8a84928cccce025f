//! What all connections share: the settings in force, places per user, figures.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::metrics::Metrics;
use super::slots::Slots;
use crate::config::Settings;

/// One running LMTP server.
#[derive(Debug)]
pub struct Service {
    settings: ArcSwap<Settings>,
    /// Transactions of each user.
    pub slots: Arc<Slots>,
    /// Figures.
    pub metrics: Metrics,
}

impl Service {
    /// With these settings, all figures at zero.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), slots: Arc::default(), metrics: Metrics::new() }
    }

    /// The settings in force now.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Puts other settings into force, for transactions that begin from now on.
    pub fn replace(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }
}
