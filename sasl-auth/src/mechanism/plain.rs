//! PLAIN (RFC 4616): authzid NUL authcid NUL password, in one message.

use base::secret::Secret;

use super::exchange::{Machine, invalid};
use super::{Identity, Step};

/// The longest name of a user, in bytes.
pub(super) const NAME_LIMIT: usize = 1024;

/// The longest clear password, in bytes; tokens sent as passwords fit.
pub(super) const PASSWORD_LIMIT: usize = 8 * 1024;

#[derive(Debug)]
pub(super) struct Plain;

impl Machine for Plain {
    fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        match parse_plain(initial.unwrap_or_default()) {
            Ok((identity, password)) => Step::Verify(identity, password),
            Err(why) => invalid(why),
        }
    }
}

/// Takes a PLAIN message apart. The password may be empty and need not be UTF-8: clients send it in the
/// character set of their system, and stored hashes were made from such bytes.
///
/// # Errors
/// What is wrong with the message, for the log.
pub fn parse_plain(message: &[u8]) -> Result<(Identity, Secret), &'static str> {
    let mut parts = message.split(|byte| *byte == 0);
    let (Some(authorization), Some(authentication), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("PLAIN message without exactly two NULs");
    };
    if password.len() > PASSWORD_LIMIT {
        return Err("password is too long");
    }
    let authentication = name(authentication)?;
    Ok((identity(authentication, Some(authorization))?, Secret::new(password)))
}

/// A user's name as it stands in a message: UTF-8, not empty, without NUL, of bounded length.
pub(super) fn name(bytes: &[u8]) -> Result<String, &'static str> {
    if bytes.is_empty() {
        return Err("user name is empty");
    }
    if bytes.len() > NAME_LIMIT {
        return Err("user name is too long");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) => Err("user name holds a NUL"),
        Err(_) => Err("user name is not UTF-8"),
    }
}

/// Who it is, with an authorization name that is dropped when it is empty or says the same.
pub(super) fn identity(
    authentication: String,
    authorization: Option<&[u8]>,
) -> Result<Identity, &'static str> {
    let authorization = match authorization {
        None | Some([]) => None,
        Some(bytes) => Some(name(bytes)?).filter(|name| *name != authentication),
    };
    Ok(Identity { authentication, authorization })
}
