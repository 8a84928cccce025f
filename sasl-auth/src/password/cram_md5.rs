//! The two states of HMAC-MD5 that CRAM-MD5 needs in place of the password (RFC 2195, RFC 2104).

use base::secret::Secret;
use md5::block_api::compress;
use zeroize::{Zeroize, Zeroizing};

use super::digest::Hash;

const BLOCK: usize = 64;

/// MD5's initial state (RFC 1321 §3.3).
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The states after the inner and after the outer padded key, 16 bytes each, in this order.
pub(super) fn states(password: &[u8]) -> Secret {
    let hashed;
    let key = if password.len() > BLOCK {
        hashed = Hash::Md5.of(&[password]);
        hashed.expose()
    } else {
        password
    };
    let mut both = Vec::with_capacity(32);
    for pad in [0x36, 0x5c] {
        let mut block = Zeroizing::new([pad; BLOCK]);
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let mut state = INITIAL;
        compress(&mut state, std::slice::from_ref(&*block));
        both.extend(state.iter().flat_map(|word| word.to_le_bytes()));
        state.zeroize();
    }
    Secret::new(both)
}

/// Dovecot stores the outer state first; this turns one order into the other. `None` unless there
/// are 32 bytes.
pub(super) fn swapped(states: &[u8]) -> Option<Secret> {
    let (first, second) = states.split_at_checked(16).filter(|(_, rest)| rest.len() == 16)?;
    Some(Secret::new([second, first].concat()))
}
