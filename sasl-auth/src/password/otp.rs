//! One-time passwords' stored state `algorithm sequence seed state` (RFC 2289), checked against the
//! pass phrase.

use base::secret::Secret;
use zeroize::Zeroizing;

use super::digest::Hash;
use super::encoding::{from_hex, to_hex};

/// Steps of the chain that RFC 2289 generators can count; beyond is no honest state.
const LONGEST_CHAIN: u32 = 9999;

/// A parsed state.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Otp {
    hash: Hash,
    sequence: u32,
    seed: String,
    state: Secret,
}

impl Otp {
    /// Reads `sha1 1024 seed 0123456789abcdef`.
    pub(super) fn parse(data: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(data).ok().ok_or("not text")?;
        let mut words = text.split(' ');
        let mut word = || words.next().filter(|word| !word.is_empty());
        let hash = match word().ok_or("no algorithm")?.to_ascii_lowercase().as_str() {
            "md4" => Hash::Md4,
            "md5" => Hash::Md5,
            "sha1" => Hash::Sha1,
            _ => return Err("unknown algorithm"),
        };
        let sequence = word().and_then(|word| word.parse().ok()).ok_or("no sequence number")?;
        if sequence > LONGEST_CHAIN {
            return Err("sequence number beyond 9999");
        }
        let seed = word().ok_or("no seed")?;
        let plausible = seed.len() <= 16 && seed.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let state = word().and_then(|word| from_hex(word.as_bytes())).ok_or("no state")?;
        match (plausible, state.expose().len(), words.next()) {
            (true, 8, None) => Ok(Self { hash, sequence, seed: seed.to_ascii_lowercase(), state }),
            (false, ..) => Err("bad seed"),
            (_, 8, Some(_)) => Err("text after the state"),
            _ => Err("a state of other than 8 bytes"),
        }
    }

    /// The text of a new state with SHA-1.
    pub(super) fn text(sequence: u32, seed: &str, password: &[u8]) -> String {
        let state = chain(Hash::Sha1, sequence, seed, password);
        format!("sha1 {sequence} {seed} {}", to_hex(&*state))
    }

    /// The state that this pass phrase gives.
    pub(super) fn of(&self, password: &[u8]) -> Secret {
        Secret::new(*chain(self.hash, self.sequence, &self.seed, password))
    }

    /// The stored state.
    pub(super) fn state(&self) -> &[u8] {
        self.state.expose()
    }
}

fn chain(hash: Hash, sequence: u32, seed: &str, password: &[u8]) -> Zeroizing<[u8; 8]> {
    let mut state = folded(hash, &[seed.as_bytes(), password]);
    for _ in 0..sequence {
        state = folded(hash, &[&*state]);
    }
    state
}

/// A digest folded to 64 bits (RFC 2289 appendix A): its words combined by exclusive or. SHA-1's
/// are words of the other byte order.
fn folded(hash: Hash, parts: &[&[u8]]) -> Zeroizing<[u8; 8]> {
    let digest = hash.of(parts);
    let mut words = Zeroizing::new([[0_u8; 4]; 2]);
    let (chunks, _) = digest.expose().as_chunks::<4>();
    for (number, chunk) in chunks.iter().enumerate() {
        if let Some(word) = words.get_mut(number % 2) {
            word.iter_mut().zip(chunk).for_each(|(byte, other)| *byte ^= other);
        }
    }
    if hash == Hash::Sha1 {
        words.iter_mut().for_each(|word| word.reverse());
    }
    let mut state = Zeroizing::new([0; 8]);
    state.iter_mut().zip(words.iter().flatten()).for_each(|(byte, other)| *byte = *other);
    state
}
