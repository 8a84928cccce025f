//! Whom TLS servers are checked against, and TLS connections to directories: rustls with aws-lc-rs.
//!
//! The provider is named wherever a connection is set up, here and inside sqlx, so no process-wide one has to
//! be installed for databases and directories.

use std::path::Path;
use std::sync::Arc;

use base::sql::SYSTEM_CA_FILE;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The CA certificates in a PEM file, or the system's.
///
/// # Errors
/// The file cannot be read or holds no certificate, or the named file holds one that cannot be used.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let path = ca_file.unwrap_or(Path::new(SYSTEM_CA_FILE));
    let about = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| about(&error))? {
        let added = roots.add(certificate.map_err(|error| about(&error))?);
        // The system's file may hold certificates that rustls does not understand; a named one must not.
        if let Err(error) = added
            && ca_file.is_some()
        {
            return Err(about(&error));
        }
    }
    if roots.is_empty() { Err(about(&"no CA certificates in it")) } else { Ok(roots) }
}

/// What TLS connections are made with.
///
/// # Errors
/// As [`roots`].
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let roots = roots(ca_file)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let versions = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(versions.with_root_certificates(roots).with_no_client_auth()))
}
