//! What is known of one authentication or lookup: who, from where, through which service.

use std::net::IpAddr;

use base::dovecot::request::Parameters;

/// One request as the drivers see it. Text from the client is never longer than a line of the
/// protocol (16 KiB) and holds no control characters once it is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The user that is looked up: normalised (`username_format`), with the default realm added.
    /// While a master user is authenticated this is the master user.
    pub user: String,
    /// The user's name in a passwd-file, where `username_format` of the passdb or userdb makes another
    /// of it; paths with `%d` go by `user`.
    pub key: Option<String>,
    /// The name as the client sent it.
    pub original_user: String,
    /// The user that a master user wants to act for, normalised.
    pub login_user: Option<String>,
    /// The master user who has authenticated, once he has.
    pub master_user: Option<String>,
    /// `service=`, `smtp` from Postfix.
    pub service: String,
    /// The mechanism's name in capitals; empty in a plain lookup.
    pub mechanism: &'static str,
    /// `lip=`, `rip=` and the ports; absent or unreadable ones are `None` and 0.
    pub local_ip: Option<IpAddr>,
    /// The client's address.
    pub remote_ip: Option<IpAddr>,
    /// The port that the client reached.
    pub local_port: u16,
    /// The client's port.
    pub remote_port: u16,
    /// `real_rip=`: the address behind a proxy; the same as `remote_ip` when not given.
    pub real_remote_ip: Option<IpAddr>,
    /// `real_lip=`, likewise.
    pub real_local_ip: Option<IpAddr>,
    /// `local_name=`: the name that the client asked for by TLS (SNI).
    pub local_name: String,
    /// `session=`.
    pub session: String,
    /// `client_id=`.
    pub client_id: String,
    /// `secured`: the connection to the client is encrypted.
    pub secured: bool,
    /// `valid-client-cert`: the client has shown a certificate that the server trusts.
    pub valid_client_cert: bool,
    /// `cert_username=`: the name in that certificate.
    pub cert_username: Option<String>,
}

impl Request {
    /// The name to look for in a file of users.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.user)
    }

    /// The part of the user before the last `@`; the whole user when there is none.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.user.rsplit_once('@').map_or(self.user.as_str(), |(local, _)| local)
    }

    /// The part of the user after the last `@`; empty when there is none.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.user.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// What a client can do, from its AUTH line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `final-resp-ok`.
    pub final_resp_ok: bool,
    /// `no-penalty`.
    pub no_penalty: bool,
}

/// Reads what an AUTH or lookup line tells about the connection. Unknown and unreadable fields are
/// passed over, as Dovecot does.
#[must_use]
pub fn described(parameters: Parameters<'_>, mechanism: &'static str) -> (Request, Options) {
    let mut request = Request { mechanism, ..Request::default() };
    let mut options = Options::default();
    for (key, value) in parameters.iter() {
        let Ok(value) = std::str::from_utf8(&value) else { continue };
        // Letter by letter only where it is not plain ASCII.
        if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.contains(char::is_control) {
            continue;
        }
        match key {
            b"service" | b"protocol" => value.clone_into(&mut request.service),
            b"lip" => request.local_ip = value.parse().ok(),
            b"rip" => request.remote_ip = value.parse().ok(),
            b"lport" => request.local_port = value.parse().unwrap_or(0),
            b"rport" => request.remote_port = value.parse().unwrap_or(0),
            b"real_rip" => request.real_remote_ip = value.parse().ok(),
            b"real_lip" => request.real_local_ip = value.parse().ok(),
            b"local_name" => value.clone_into(&mut request.local_name),
            b"session" => value.clone_into(&mut request.session),
            b"client_id" => value.clone_into(&mut request.client_id),
            b"secured" => request.secured = true,
            b"valid-client-cert" => request.valid_client_cert = true,
            b"cert_username" => request.cert_username = Some(value.to_owned()),
            b"final-resp-ok" => options.final_resp_ok = true,
            b"no-penalty" => options.no_penalty = true,
            _ => {}
        }
    }
    (request, options)
}
