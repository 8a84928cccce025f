//! SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding.
//!
//! An unknown user, and one whose password cannot serve SCRAM, goes through the whole exchange with
//! keys that match nothing, so that a client cannot tell them from a wrong password. The keys are made
//! from the name in lower case; whoever answers [`Step::Credentials`] and knows better how names are
//! normalised passes such keys itself instead of `None`. Of failures only FAIL tells: server-final
//! messages with `e=` are not sent, as Dovecot sends none.

mod message;
#[cfg(test)]
mod tests;

use base::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use message::{ClientFinal, ClientFirst, decode_name, parse_client_final, parse_client_first};

use super::crypto::{Sha, same};
use super::exchange::{Environment, Machine, invalid, out_of_turn};
use super::plain::identity;
use super::{Credentials, Refusal, ScramKeys, Step};

/// Iterations of keys that match nothing; Dovecot's default for real ones, too.
const DECOY_ITERATIONS: u32 = 4096;

/// Bytes of salt in such keys, as in Dovecot's.
const DECOY_SALT: usize = 16;

pub(super) struct Scram {
    sha: Sha,
    server_nonce: String,
    decoy_secret: Secret,
    state: State,
}

enum State {
    Begin,
    /// The user's keys are being looked up.
    First(ClientFirst),
    /// The server-first message is out.
    Challenged {
        first: ClientFirst,
        server_first: String,
        keys: ScramKeys,
        known: bool,
    },
    Over,
}

impl Scram {
    pub(super) fn new(sha: Sha, environment: &Environment<'_>) -> Self {
        Self {
            sha,
            server_nonce: STANDARD.encode(environment.random),
            decoy_secret: Secret::new(environment.decoy_secret),
            state: State::Begin,
        }
    }

    /// Keys that are complete and fit the hash, or keys that match nothing.
    fn usable(&self, found: Option<Credentials>, user: &str) -> (ScramKeys, bool) {
        if let Some(Credentials::Scram(keys)) = found
            && keys.iterations > 0
            && [&keys.stored_key, &keys.server_key]
                .iter()
                .all(|key| key.expose().len() == self.sha.output_len())
        {
            return (keys, true);
        }
        (decoy_keys(self.sha, self.decoy_secret.expose(), user), false)
    }

    fn finish(&self, last: &ClientFinal, first: &ClientFirst, server_first: &str, keys: &ScramKeys) -> Proof {
        if last.channel_binding != first.gs2_header.as_bytes() {
            return Proof::Malformed("channel binding data differ from the gs2 header");
        }
        let nonce = last.nonce.strip_prefix(first.nonce.as_str());
        if nonce != Some(self.server_nonce.as_str()) {
            return Proof::Malformed("wrong nonce");
        }
        let transcript = format!("{},{server_first},{}", first.bare, last.without_proof);
        let signature = self.sha.hmac(keys.stored_key.expose(), transcript.as_bytes());
        if last.proof.len() != signature.len() {
            return Proof::Malformed("proof of the wrong length");
        }
        let client_key =
            Secret::new(last.proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect::<Vec<u8>>());
        let stored = self.sha.hash(client_key.expose());
        if !same(&stored, keys.stored_key.expose()) {
            return Proof::Wrong;
        }
        let server_signature = self.sha.hmac(keys.server_key.expose(), transcript.as_bytes());
        Proof::Right(format!("v={}", STANDARD.encode(server_signature)))
    }
}

/// What a client-final message proves.
enum Proof {
    Malformed(&'static str),
    Wrong,
    Right(String),
}

impl Machine for Scram {
    fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        let first = match parse_client_first(initial.unwrap_or_default()) {
            Ok(first) => first,
            Err(why) => return invalid(why),
        };
        let authorization = first.authorization.as_deref().map(str::as_bytes);
        match identity(first.user.clone(), authorization) {
            Ok(who) => {
                self.state = State::First(first);
                Step::Credentials(who, self.sha.kind())
            }
            Err(why) => invalid(why),
        }
    }

    fn credentials(&mut self, found: Option<Credentials>) -> Step {
        let State::First(first) = std::mem::replace(&mut self.state, State::Over) else {
            return out_of_turn();
        };
        let (keys, known) = self.usable(found, &first.user.to_lowercase());
        let server_first = format!(
            "r={}{},s={},i={}",
            first.nonce,
            self.server_nonce,
            STANDARD.encode(&keys.salt),
            keys.iterations
        );
        let challenge = server_first.clone().into_bytes();
        self.state = State::Challenged { first, server_first, keys, known };
        Step::Challenge(challenge)
    }

    fn respond(&mut self, response: &[u8]) -> Step {
        let State::Challenged { first, server_first, keys, known } =
            std::mem::replace(&mut self.state, State::Over)
        else {
            return out_of_turn();
        };
        let last = match parse_client_final(response) {
            Ok(last) => last,
            Err(why) => return invalid(why),
        };
        match self.finish(&last, &first, &server_first, &keys) {
            Proof::Right(server_final) if known => Step::Success { data: Some(server_final.into_bytes()) },
            Proof::Right(_) | Proof::Wrong => Step::Failure(Refusal::Mismatch),
            Proof::Malformed(why) => invalid(why),
        }
    }
}

/// Keys for a user that does not exist: always the same for the same name, and they match nothing.
fn decoy_keys(sha: Sha, secret: &[u8], user: &str) -> ScramKeys {
    let derive = |purpose: &str| sha.hmac(secret, format!("{} {purpose} {user}", sha.mechanism()).as_bytes());
    let mut salt = derive("salt");
    salt.truncate(DECOY_SALT);
    ScramKeys {
        iterations: DECOY_ITERATIONS,
        salt,
        stored_key: Secret::new(derive("stored key")),
        server_key: Secret::new(derive("server key")),
    }
}
