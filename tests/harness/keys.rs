//! Fixed signing keys for tests, with their DNS records.

use crate::dns::Zone;

/// A private key of the tests and what its DNS record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestKey {
    /// The file name part before `.private`.
    pub name: &'static str,
    /// PKCS#8 PEM, as `openssl genpkey` writes it.
    pub pem: &'static str,
    /// The text of the TXT record, ending in LF.
    record: &'static str,
    /// The value of `a=` in signatures by this key.
    pub algorithm: &'static str,
}

impl TestKey {
    /// The TXT record's text (RFC 6376 §3.6.1).
    #[must_use]
    pub fn record(&self) -> &'static str {
        self.record.trim_end()
    }

    /// Publishes the key in `zone` under `SELECTOR._domainkey.DOMAIN`.
    #[must_use]
    pub fn publish(&self, zone: Zone, selector: &str, domain: &str) -> Zone {
        zone.txt(&format!("{selector}._domainkey.{domain}"), self.record())
    }
}

/// A 2048-bit RSA key.
pub const RSA: TestKey = TestKey {
    name: "rsa2048",
    pem: include_str!("../keys/rsa2048.private"),
    record: include_str!("../keys/rsa2048.txt"),
    algorithm: "rsa-sha256",
};

/// Another 2048-bit RSA key, for signatures that must not verify.
pub const OTHER_RSA: TestKey = TestKey {
    name: "other-rsa2048",
    pem: include_str!("../keys/other-rsa2048.private"),
    record: include_str!("../keys/other-rsa2048.txt"),
    algorithm: "rsa-sha256",
};

/// An Ed25519 key (RFC 8463).
pub const ED25519: TestKey = TestKey {
    name: "ed25519",
    pem: include_str!("../keys/ed25519.private"),
    record: include_str!("../keys/ed25519.txt"),
    algorithm: "ed25519-sha256",
};
