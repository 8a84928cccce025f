//! CRAM-MD5 (RFC 2195): the client proves its password by a keyed hash of our challenge.

use base::secret::Secret;
use md5::block_api::compress;

use super::crypto::same;
use super::exchange::{Environment, Machine, invalid, out_of_turn};
use super::plain::{identity, name};
use super::{CredentialKind, Credentials, Refusal, Step};

const BLOCK: usize = 64;

#[derive(Debug)]
pub(super) struct CramMd5 {
    challenge: Vec<u8>,
    digest: Option<Vec<u8>>,
}

impl CramMd5 {
    /// The challenge is `<16 digits.unixtime@hostname>`, as Dovecot's.
    pub(super) fn new(environment: &Environment<'_>) -> Self {
        let number =
            environment.random.iter().fold(0u128, |sum, byte| (sum << 8) ^ (sum >> 120) ^ u128::from(*byte));
        let host: String = environment
            .hostname
            .chars()
            .filter(|c| c.is_ascii_graphic() && !"<>@".contains(*c))
            .take(255)
            .collect();
        let challenge = format!("<{:016}.{}@{host}>", number % 10_000_000_000_000_000, environment.now_unix);
        Self { challenge: challenge.into_bytes(), digest: None }
    }
}

impl Machine for CramMd5 {
    fn begin(&mut self, _initial: Option<&[u8]>) -> Step {
        Step::Challenge(self.challenge.clone())
    }

    fn respond(&mut self, response: &[u8]) -> Step {
        match parse_cram_md5(response).and_then(|found| Ok((identity(found.user, None)?, found.digest))) {
            Ok((who, digest)) => {
                self.digest = Some(digest);
                Step::Credentials(who, CredentialKind::CramMd5)
            }
            Err(why) => invalid(why),
        }
    }

    fn credentials(&mut self, found: Option<Credentials>) -> Step {
        let Some(digest) = self.digest.take() else { return out_of_turn() };
        let states = match &found {
            Some(Credentials::CramMd5(states)) => states,
            Some(Credentials::Scram(_)) | None => return Step::Failure(Refusal::Mismatch),
        };
        match cram_md5_digest(states, &self.challenge) {
            Some(expected) if same(hex(expected).as_bytes(), &digest) => Step::Success { data: None },
            Some(_) | None => Step::Failure(Refusal::Mismatch),
        }
    }
}

/// A client's answer: `user SP digest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CramResponse {
    /// The user's name; may hold spaces.
    pub user: String,
    /// HMAC-MD5 of the challenge in lower-case hexadecimal digits, if the client is right. Anything else
    /// counts as a wrong password, as in Dovecot.
    pub digest: Vec<u8>,
}

/// Takes an answer apart at its last space.
///
/// # Errors
/// What is wrong with the answer, for the log.
pub fn parse_cram_md5(response: &[u8]) -> Result<CramResponse, &'static str> {
    let mut parts = response.rsplitn(2, |byte| *byte == b' ');
    let (Some(digest), Some(user)) = (parts.next(), parts.next()) else {
        return Err("CRAM-MD5 response without a digest");
    };
    Ok(CramResponse { user: name(user)?, digest: digest.to_vec() })
}

/// HMAC-MD5 of `message` from the two states in `states` (inner, outer; 16 bytes each, as RFC 1321 writes a
/// digest); `None` when `states` is not 32 bytes.
#[must_use]
pub fn cram_md5_digest(states: &Secret, message: &[u8]) -> Option<[u8; 16]> {
    let (inner, outer) = states.expose().split_first_chunk::<16>()?;
    let outer: &[u8; 16] = outer.try_into().ok()?;
    Some(resume(outer, &resume(inner, message)))
}

fn hex(digest: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(digest))
}

/// MD5 of a message whose first block has led to `state` and whose rest is `rest` (RFC 1321 §3).
fn resume(state: &[u8; 16], rest: &[u8]) -> [u8; 16] {
    let mut words = [0u32; 4];
    for (word, bytes) in words.iter_mut().zip(state.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let bits = u64::try_from(BLOCK + rest.len()).unwrap_or(u64::MAX).wrapping_mul(8);
    let mut padded = rest.to_vec();
    padded.push(0x80);
    let used = (padded.len() + 8) % BLOCK;
    padded.resize(padded.len() + (BLOCK - used) % BLOCK, 0);
    padded.extend_from_slice(&bits.to_le_bytes());
    compress(&mut words, padded.as_chunks::<BLOCK>().0);
    let mut digest = [0; 16];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    digest
}
