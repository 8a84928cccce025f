//! EXTERNAL (RFC 4422 appendix A): the name in the TLS client certificate, which the SMTP server has checked.

use super::exchange::{Environment, Machine, invalid};
use super::plain::{identity, name};
use super::{Identity, Step};

#[derive(Debug)]
pub(super) struct External {
    valid_client_cert: bool,
    cert_username: Option<String>,
}

impl External {
    pub(super) fn new(environment: &Environment<'_>) -> Self {
        Self {
            valid_client_cert: environment.valid_client_cert,
            cert_username: environment.cert_username.map(str::to_owned),
        }
    }

    fn identity(&self, authorization: &[u8]) -> Result<Identity, &'static str> {
        if !self.valid_client_cert {
            return Err("no valid client certificate");
        }
        let user = self.cert_username.as_deref().unwrap_or_default();
        if user.is_empty() {
            return Err("the client certificate has no user name");
        }
        identity(name(user.as_bytes())?, Some(authorization))
    }
}

impl Machine for External {
    fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        match self.identity(initial.unwrap_or_default()) {
            Ok(who) => Step::Trusted(who),
            Err(why) => invalid(why),
        }
    }
}
