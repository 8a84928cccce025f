//! What a reload swaps as one: settings, private keys, and the way to public keys.

use std::sync::Arc;

use crate::config::Settings;
use crate::dkim::{KeyAnswer, KeyKind, SigningKey};
use crate::dns::{CacheLimits, Fixed, Keys, Source};
use crate::keys::{DecodeKey, KeyStore, RunUser};
use crate::table::{Algorithm, Table};

/// The configuration in force. A connection keeps the one that it began with.
#[derive(Debug)]
pub struct Active {
    /// The checked settings.
    pub settings: Settings,
    /// Private keys.
    pub keys: KeyStore<PrivateKeys>,
    /// Public keys of others.
    pub dns: Keys,
}

impl Active {
    /// Prepares what the settings need to work; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A sentence for the log when the resolver cannot be set up.
    pub fn new(mut settings: Settings) -> Result<Self, String> {
        let source = if let Some(table) = settings.dns.test_data.take() {
            Source::Fixed(Arc::new(TestKeys { table, missing: Missing::Error }))
        } else if let Some(table) = settings.dns.test_keys.take() {
            Source::Fixed(Arc::new(TestKeys { table, missing: Missing::NotFound }))
        } else if settings.dns.nameservers.is_empty() {
            Source::System
        } else {
            Source::Servers(settings.dns.nameservers.clone())
        };
        let dns = Keys::new(&source, settings.dns.timeout, CacheLimits::default())
            .map_err(|error| format!("no DNS look-ups are possible: {error}"))?;
        let keys = KeyStore::new(settings.signing.require_safe_keys, RunUser::effective());
        Ok(Self { settings, keys, dns })
    }
}

/// How the bytes of a private key are read.
#[derive(Debug)]
pub struct PrivateKeys;

impl DecodeKey for PrivateKeys {
    type Key = SigningKey;

    fn decode(bytes: &[u8]) -> Result<SigningKey, String> {
        SigningKey::parse(bytes).map_err(|error| error.to_string())
    }

    fn algorithm(key: &SigningKey) -> Algorithm {
        match key.kind() {
            KeyKind::Rsa => Algorithm::RsaSha256,
            KeyKind::Ed25519 => Algorithm::Ed25519Sha256,
        }
    }
}

/// What a name that is not in the table means.
#[derive(Debug, Clone, Copy)]
enum Missing {
    /// `TestDNSData`: the DNS does not answer.
    Error,
    /// `TestPublicKeys`: there is no such key.
    NotFound,
}

/// Keys out of a file instead of the DNS.
#[derive(Debug)]
struct TestKeys {
    table: Table,
    missing: Missing,
}

impl Fixed for TestKeys {
    fn answer(&self, name: &str) -> KeyAnswer {
        match (self.table.first(name), self.missing) {
            (Some(record), _) => KeyAnswer::Records(vec![record.value().as_bytes().to_vec()]),
            (None, Missing::Error) => KeyAnswer::TempFail("not in TestDNSData".to_owned()),
            (None, Missing::NotFound) => KeyAnswer::NotFound,
        }
    }
}
