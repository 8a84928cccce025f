//! Directory servers as their URIs name them, and connections to them.

use std::sync::Arc;

use base::secret::Secret;
use base::servers::Connect;
use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{
    DerefAliases, Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, ResultEntry, Scope,
    SearchOptions,
};
use rustls::ClientConfig;

use super::attributes::Entry;
use crate::config::settings;
use crate::tls;

/// One server, and who is logged in on connections to it.
pub(super) struct Server {
    uri: String,
    starttls: bool,
    tls: Option<Arc<ClientConfig>>,
    /// The entry that searches, with its password; `None` on connections that users' passwords are tried on,
    /// and for anonymous searching.
    login: Option<(String, Secret)>,
}

/// An open connection.
pub(super) struct Connection(Ldap);

/// What to search for.
pub(super) struct Search {
    pub(super) base: String,
    pub(super) scope: Scope,
    pub(super) filter: String,
    pub(super) attributes: Vec<String>,
}

/// What came of an operation; the texts are for the log.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is lost; another one may do better.
    Dead(String),
    /// The server's answer, by its result code (RFC 4511 §4.1.9).
    Result(u32, String),
    /// The server's answer is not understood.
    Broken(String),
}

/// Which sign-on the connections of [`servers`] have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Search,
    Bind,
}

/// The servers of the settings.
///
/// # Errors
/// A URI that is none, or CA certificates that cannot be read.
pub(super) fn servers(settings: &settings::Ldap, purpose: Purpose) -> Result<Vec<Server>, String> {
    let encrypts = settings.starttls || settings.uris.iter().any(|uri| has_scheme(uri, "ldaps"));
    let tls = if encrypts || settings.tls_ca_file.is_some() {
        Some(
            tls::client_config(settings.tls_ca_file.as_deref())
                .map_err(|error| format!("tls_ca_file: {error}"))?,
        )
    } else {
        None
    };
    let login = (purpose == Purpose::Search && !settings.bind_dn.is_empty())
        .then(|| (settings.bind_dn.clone(), settings.bind_password.clone()));
    if login.as_ref().is_some_and(|(_, password)| password.is_empty()) {
        return Err(
            "bind_dn is set, but bind_password is empty: servers take that for no login at all".into()
        );
    }
    if settings.uris.is_empty() {
        return Err("no uri is given".into());
    }
    let server = |uri: &String| {
        check_uri(uri)?;
        let starttls = settings.starttls && has_scheme(uri, "ldap");
        Ok(Server { uri: uri.clone(), starttls, tls: tls.clone(), login: login.clone() })
    };
    settings.uris.iter().map(server).collect()
}

fn has_scheme(uri: &str, scheme: &str) -> bool {
    uri.split_once("://").is_some_and(|(own, _)| own.eq_ignore_ascii_case(scheme))
}

fn check_uri(uri: &str) -> Result<(), String> {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let host = rest.trim_end_matches('/');
    let is_path = scheme.eq_ignore_ascii_case("ldapi");
    let known = is_path || ["ldap", "ldaps"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let plain = |own: char| own.is_ascii_alphanumeric() || ".-_:[]%".contains(own);
    if !known || host.is_empty() || host.starts_with(':') || !host.chars().all(plain) {
        return Err(format!(
            "uri {}: write ldap://host:port, ldaps://host:port or ldapi://%2Fpath%2Fof%2Fsocket",
            // Whoever writes a password into a URI must not find it in the log.
            if uri.contains('@') { "with an @" } else { uri }
        ));
    }
    Ok(())
}

impl Connect for Server {
    type Connection = Connection;

    fn name(&self) -> String {
        self.uri.clone()
    }

    async fn connect(&self) -> Result<Connection, String> {
        let mut settings = LdapConnSettings::new().set_starttls(self.starttls);
        if let Some(tls) = &self.tls {
            settings = settings.set_config(Arc::clone(tls));
        }
        let connected = LdapConnAsync::with_settings(settings, &self.uri).await;
        let (driver, ldap) = connected.map_err(|error| connect_text(&error))?;
        tokio::spawn(async move {
            // Its end shows in the operations that wait for it.
            drop(driver.drive().await);
        });
        let mut connection = Connection(ldap);
        if let Some((dn, password)) = &self.login {
            connection
                .bind(dn, password)
                .await
                .map_err(|failure| format!("bind as {dn}: {}", failure.text()))?;
        }
        Ok(connection)
    }

    fn is_usable(&self, connection: &mut Connection) -> bool {
        !connection.0.is_closed()
    }
}

impl Connection {
    /// Logs in by a simple bind. A password that is empty or not UTF-8 must not come here: the first would be
    /// an unauthenticated bind, which succeeds (RFC 4513 §5.1.2).
    pub(super) async fn bind(&mut self, dn: &str, password: &Secret) -> Result<(), Failure> {
        let Some(password) = password.expose_text().filter(|text| !text.is_empty() && !dn.is_empty()) else {
            return Err(Failure::Broken("an empty name or password is no login".into()));
        };
        let result = self.0.simple_bind(dn, password).await.map_err(|error| failure(&error))?;
        succeeded(&result)
    }

    /// The entries found, at most `most`; more are [`Failure::Result`] 4 (sizeLimitExceeded).
    pub(super) async fn find(&mut self, search: &Search, most: i32) -> Result<Vec<Entry>, Failure> {
        let options = SearchOptions::new().deref(DerefAliases::Never).sizelimit(most);
        let mut stream = self
            .0
            .with_search_options(options)
            .streaming_search(&search.base, search.scope, &search.filter, search.attributes.as_slice())
            .await
            .map_err(|error| failure(&error))?;
        let mut entries = Vec::new();
        while let Some(found) = stream.next().await.map_err(|error| failure(&error))? {
            if !found.is_ref() && !found.is_intermediate() {
                entries.push(entry(found).ok_or_else(|| Failure::Broken("an entry that is none".into()))?);
            }
            if i32::try_from(entries.len()).is_ok_and(|found| found > most) {
                return Err(Failure::Result(SIZE_LIMIT_EXCEEDED, "too many entries".into()));
            }
        }
        succeeded(&stream.finish().await)?;
        Ok(entries)
    }

    /// The first value of `attribute` of every entry, in pages (RFC 2696), at most `most` of them.
    pub(super) async fn list(
        &mut self,
        search: &Search,
        attribute: &str,
        most: usize,
    ) -> Result<Vec<String>, Failure> {
        let adapters: Vec<Box<dyn Adapter<'_, _, _>>> =
            vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(PAGE))];
        let wanted = vec![attribute.to_owned()];
        let mut stream = self
            .0
            .streaming_search_with(adapters, &search.base, search.scope, &search.filter, wanted)
            .await
            .map_err(|error| failure(&error))?;
        let mut users = Vec::new();
        while let Some(found) = stream.next().await.map_err(|error| failure(&error))? {
            let found = entry(found).ok_or_else(|| Failure::Broken("an entry that is none".into()))?;
            if let Some(value) = found.values(attribute).first() {
                users.push(String::from_utf8_lossy(value).into_owned());
            }
            if users.len() > most {
                return Err(Failure::Result(SIZE_LIMIT_EXCEEDED, "too many entries".into()));
            }
        }
        succeeded(&stream.finish().await)?;
        Ok(users)
    }
}

/// Entries of one page.
const PAGE: i32 = 500;

/// sizeLimitExceeded.
pub(super) const SIZE_LIMIT_EXCEEDED: u32 = 4;

impl Failure {
    /// What the log says.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Dead(text) | Self::Broken(text) => text.clone(),
            Self::Result(code, text) if text.is_empty() => format!("result {code} ({})", meaning(*code)),
            Self::Result(code, text) => format!("result {code} ({}): {text}", meaning(*code)),
        }
    }
}

/// The names of the result codes that happen (RFC 4511 §4.1.9).
fn meaning(code: u32) -> &'static str {
    match code {
        1 => "operationsError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        12 => "unavailableCriticalExtension",
        13 => "confidentialityRequired",
        19 => "constraintViolation",
        32 => "noSuchObject",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        80 => "other",
        _ => "see RFC 4511",
    }
}

fn succeeded(result: &LdapResult) -> Result<(), Failure> {
    match result.rc {
        0 => Ok(()),
        // What ldap3 says of a connection that ended, and servers of one that they end.
        code @ (51 | 52 | 88) => Err(Failure::Dead(Failure::Result(code, result.text.clone()).text())),
        code => Err(Failure::Result(code, result.text.clone())),
    }
}

fn failure(error: &LdapError) -> Failure {
    match error {
        LdapError::LdapResult { result } => Failure::Result(result.rc, result.text.clone()),
        LdapError::FilterParsing => Failure::Broken("the filter is none".into()),
        LdapError::Io { .. } | LdapError::EndOfStream | LdapError::Timeout { .. } => {
            Failure::Dead(error.to_string())
        }
        _ => Failure::Dead("the server has closed the connection".into()),
    }
}

fn connect_text(error: &LdapError) -> String {
    match error {
        LdapError::Io { source } => {
            let text = source.to_string();
            if text.contains("certificate") { format!("TLS: {text}; see tls_ca_file") } else { text }
        }
        LdapError::LdapResult { result } => {
            format!("STARTTLS: {}", Failure::Result(result.rc, result.text.clone()).text())
        }
        other => other.to_string(),
    }
}

/// Reads a search result entry (RFC 4511 §4.5.2); `None` when it is not built like one.
fn entry(found: ResultEntry) -> Option<Entry> {
    let mut parts = found.0.match_id(4)?.expect_constructed()?.into_iter();
    let dn = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
    let mut attributes = Vec::new();
    for attribute in parts.next()?.expect_constructed()? {
        let mut parts = attribute.expect_constructed()?.into_iter();
        let name = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
        let values =
            parts.next()?.expect_constructed()?.into_iter().map(ldap3::asn1::StructureTag::expect_primitive);
        attributes.push((name, values.collect::<Option<Vec<_>>>()?));
    }
    Some(Entry { dn, attributes })
}

/// The scope of a search by its name in the settings.
pub(super) fn scope(name: &str) -> Result<Scope, String> {
    match name.to_ascii_lowercase().as_str() {
        "base" => Ok(Scope::Base),
        "onelevel" | "one" => Ok(Scope::OneLevel),
        "subtree" | "sub" | "" => Ok(Scope::Subtree),
        _ => Err(format!("scope {name}: base, onelevel and subtree are known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_checked_and_passwords_in_them_not_shown() {
        for uri in
            ["ldap://h", "LDAPS://ldap.example:636", "ldapi://%2Frun%2Fslapd%2Fldapi", "ldap://[::1]:389/"]
        {
            assert_eq!(check_uri(uri), Ok(()), "{uri}");
        }
        for uri in ["h", "ldap://", "ldap:///", "ldap://:389", "http://h", "ldap:h", "ldap://cn=x:sesame@h"] {
            let error = check_uri(uri).expect_err(uri);
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
