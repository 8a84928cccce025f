//! TLS to directories: rustls with aws-lc-rs, checked against the configured or the system's CA certificates.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Where Debian keeps the CA certificates that the system trusts.
const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What TLS connections are made with. The provider is named here, so no process-wide one is needed.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let path = ca_file.unwrap_or(Path::new(SYSTEM_CA_FILE));
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| format!("{}: {error}", path.display()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("{}: {error}", path.display()))?;
        // The system's file may hold certificates that rustls does not understand; a named one must not.
        if let Err(error) = roots.add(certificate)
            && ca_file.is_some()
        {
            return Err(format!("{}: {error}", path.display()));
        }
    }
    if roots.is_empty() {
        return Err(format!("{}: no CA certificates", path.display()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let versions = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(versions.with_root_certificates(roots).with_no_client_auth()))
}
