//! RSA keys of 1024 to 2047 bits, which old installations still sign with (RFC 8301 §3.2 allows
//! them): aws-lc-rs makes no signatures with less than 2048 bits, the library below it does.
//!
//! Holds `unsafe` calls: the C functions of AWS-LC that read such a key, sign and free it.
#![allow(unsafe_code, reason = "these functions of AWS-LC have no safe form for keys of this size")]

use std::ptr::{self, NonNull};

use aws_lc_sys as c;

use super::Refused;

/// An RSA private key; freed, and wiped by the library, when dropped.
pub(super) struct SmallRsa(NonNull<c::RSA>);

// SAFETY: AWS-LC allows private key operations on one RSA object from several threads at once
// (its blinding has locks), and nothing here changes the object after it was made.
unsafe impl Send for SmallRsa {}
// SAFETY: as above.
unsafe impl Sync for SmallRsa {}

impl SmallRsa {
    /// Reads DER, PKCS#1 or PKCS#8. The library checks that the numbers fit each other.
    pub(super) fn from_der(der: &[u8], pkcs8: bool) -> Result<Self, Refused> {
        let rsa = if pkcs8 { rsa_of_pkcs8(der) } else { rsa_of_pkcs1(der) };
        let key = NonNull::new(rsa).map(Self).ok_or(Refused)?;
        // SAFETY: the pointer is that of a live RSA object.
        let fits = unsafe { c::RSA_check_key(key.0.as_ptr()) };
        if fits == 1 { Ok(key) } else { Err(Refused) }
    }

    /// The size of the modulus in bits.
    pub(super) fn bits(&self) -> u32 {
        // SAFETY: the pointer is that of a live RSA object.
        unsafe { c::RSA_bits(self.0.as_ptr()) }
    }

    /// Signs a SHA-256 hash with PKCS#1 v1.5.
    pub(super) fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, Refused> {
        let mut signature = vec![0; self.bits().div_ceil(8) as usize];
        let mut length = 0;
        // SAFETY: the digest has the length that is given, the output has room for as many octets
        // as the modulus has, which is what RSA_sign writes at most.
        let done = unsafe {
            c::RSA_sign(
                c::NID_sha256,
                digest.as_ptr(),
                digest.len(),
                signature.as_mut_ptr(),
                &raw mut length,
                self.0.as_ptr(),
            )
        };
        if done == 1 && length as usize == signature.len() { Ok(signature) } else { Err(Refused) }
    }

    /// The public key as SubjectPublicKeyInfo.
    pub(super) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        let mut out = ptr::null_mut();
        // SAFETY: with a null pointer as output the library allocates the buffer itself.
        let length = unsafe { c::i2d_RSA_PUBKEY(self.0.as_ptr(), &raw mut out) };
        let (Ok(length), Some(out)) = (usize::try_from(length), NonNull::new(out)) else {
            return Err(Refused);
        };
        // SAFETY: on success `out` points to `length` octets.
        let octets = unsafe { std::slice::from_raw_parts(out.as_ptr(), length) }.to_vec();
        // SAFETY: the buffer came from the library's allocator and is not used after this.
        unsafe { c::OPENSSL_free(out.as_ptr().cast()) };
        Ok(octets)
    }
}

impl Drop for SmallRsa {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and the pointer is not used after this.
        unsafe { c::RSA_free(self.0.as_ptr()) };
    }
}

fn rsa_of_pkcs1(der: &[u8]) -> *mut c::RSA {
    // SAFETY: the pointer and the length are those of one slice.
    unsafe { c::RSA_private_key_from_bytes(der.as_ptr(), der.len()) }
}

fn rsa_of_pkcs8(der: &[u8]) -> *mut c::RSA {
    let mut reader = c::CBS { data: der.as_ptr(), len: der.len() };
    // SAFETY: the reader is over one slice that outlives the call.
    let pair = unsafe { c::EVP_parse_private_key(&raw mut reader) };
    if pair.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the pointer is that of a live EVP_PKEY; get1 gives a reference of its own, or null
    // when the key is not RSA.
    let rsa = unsafe { c::EVP_PKEY_get1_RSA(pair) };
    // SAFETY: the reference that parsing gave is not used after this.
    unsafe { c::EVP_PKEY_free(pair) };
    rsa
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused() {
        for pkcs8 in [false, true] {
            for der in [&b""[..], b"\x30", b"\x30\x03\x02\x01\x00", &[0xff; 64]] {
                assert!(SmallRsa::from_der(der, pkcs8).is_err());
            }
        }
    }
}
