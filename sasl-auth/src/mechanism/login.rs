//! LOGIN (draft-murchison-sasl-login-00): the name, then the password, each after a prompt.

use base::secret::Secret;

use super::exchange::{Machine, invalid};
use super::plain::{PASSWORD_LIMIT, identity, name};
use super::{Identity, Step};

#[derive(Debug, Default)]
pub(super) struct Login {
    who: Option<Identity>,
    claimed: Option<String>,
}

impl Login {
    fn user(&mut self, bytes: &[u8]) -> Step {
        match name(bytes).and_then(|name| identity(name, None)) {
            Ok(who) => {
                self.who = Some(who);
                Step::Challenge(b"Password:".to_vec())
            }
            Err(why) => invalid(why),
        }
    }
}

impl Machine for Login {
    fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        // An empty initial response asks for the prompt: Exim sends `resp=` even without data.
        match initial {
            None | Some([]) => Step::Challenge(b"Username:".to_vec()),
            Some(bytes) => self.user(bytes),
        }
    }

    fn respond(&mut self, response: &[u8]) -> Step {
        match self.who.take() {
            None => self.user(response),
            Some(who) => {
                self.claimed = Some(who.authentication.clone());
                match response {
                    _ if response.len() > PASSWORD_LIMIT => invalid("password is too long"),
                    _ if response.contains(&0) => invalid("password holds a NUL"),
                    _ => Step::Verify(who, Secret::new(response)),
                }
            }
        }
    }

    fn claimed(&self) -> Option<&str> {
        self.claimed.as_deref()
    }
}
