//! Requests to the token issuer: which URLs may be asked, with what trust, and how much is read.

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, Url};

use super::keys::read_bounded;
use crate::config::settings::Oauth2;

/// The largest `ca_file`, in bytes: the whole bundle of a distribution fits.
const CA_LIMIT: u64 = 4 * 1024 * 1024;

/// A URL that tokens may be sent to or keys be fetched from: https, or http to this host itself.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text}: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{}: no user or password in a URL", place(&url)));
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => Err(format!("{text}: http is for loopback addresses only; use https")),
        _ => Err(format!("{text}: not an https URL")),
    }
}

/// A URL for the log, without what may be secret in it.
pub(super) fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// A client with the system's CA certificates and those of `ca_file`, that follows no redirect, uses no
/// proxy, and gives up after the timeout.
pub(super) fn client(settings: &Oauth2) -> Result<Client, String> {
    let mut builder = Client::builder()
        .timeout(settings.timeout)
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("postrider-sasl-auth/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &settings.ca_file {
        builder = builder.tls_certs_merge(certificates(path)?);
    }
    builder.build().map_err(|error| format!("cannot set up https: {}", reason(error)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let bytes = read_bounded(path, CA_LIMIT)?;
    match Certificate::from_pem_bundle(&bytes) {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(format!("{}: no certificate in it", path.display())),
        Err(error) => Err(format!("{}: {}", path.display(), reason(error))),
    }
}

/// The body, if it is not larger than `limit` bytes.
pub(super) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reason)? {
        if bytes.len().saturating_add(chunk.len()) > limit {
            return Err(format!("the answer is larger than {limit} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What went wrong, to the innermost cause, without the URL (it may hold a password).
pub(super) fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
