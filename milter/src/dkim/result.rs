//! What verifying found about one signature, in the words of RFC 8601.

use std::fmt;

use super::record::RecordError;
use super::signature::{Claims, SignatureError};

/// The result of one signature (RFC 8601 §2.7.1). There is no `none`: that is a message without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum AuthResult {
    /// Signed, and the signature is good.
    Pass,
    /// The signature or the body hash does not match.
    Fail,
    /// Perhaps good, but not acceptable by the rules here.
    Policy,
    /// Not evaluated.
    Neutral,
    /// The key could not be fetched for now.
    TempError,
    /// The signature or its key breaks the rules; trying again will not help.
    PermError,
}

impl AuthResult {
    /// As in an Authentication-Results field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for AuthResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the result is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Pass: header and body are as they were signed.
    Verified,
    /// Fail: the body is not the one that was signed.
    BodyHashMismatch,
    /// Fail: the signature does not fit the header.
    SignatureMismatch,
    /// Policy: rsa-sha1 (RFC 8301 §3.1).
    WeakAlgorithm,
    /// Policy: the RSA key has fewer bits than is asked for.
    KeyTooSmall,
    /// Policy: the RSA key has more bits than can be handled.
    KeyTooLarge,
    /// Policy: `l=` leaves a part of the body unsigned; it may be anybody's.
    UnsignedTail,
    /// Policy: a field that must be signed is not, or not each instance of it.
    UnprotectedField(String),
    /// Neutral: there are more signatures than are evaluated.
    Ignored,
    /// TempError: the key was not to be had; the text says why.
    KeyLookupFailed(String),
    /// PermError: the signature breaks the rules.
    Signature(SignatureError),
    /// PermError: `x=` is over.
    Expired,
    /// PermError: `t=` is still to come.
    FromTheFuture,
    /// PermError: `l=` is more than the body has (RFC 6376 §3.5).
    LengthExceedsBody,
    /// PermError: there is no key record.
    KeyNotFound,
    /// PermError: the key record is of no use.
    Record(RecordError),
    /// PermError: the key is for another algorithm than `a=` says.
    KeyTypeMismatch,
    /// PermError: the key itself cannot be decoded.
    KeyCorrupt,
    /// PermError: the key has `t=s` and the domain of `i=` is below `d=`.
    UnauthorizedSubdomain,
}

impl Reason {
    /// The result that this reason leads to.
    pub fn result(&self) -> AuthResult {
        match self {
            Self::Verified => AuthResult::Pass,
            Self::BodyHashMismatch | Self::SignatureMismatch => AuthResult::Fail,
            Self::WeakAlgorithm
            | Self::KeyTooSmall
            | Self::KeyTooLarge
            | Self::UnsignedTail
            | Self::UnprotectedField(_) => AuthResult::Policy,
            Self::Ignored => AuthResult::Neutral,
            Self::KeyLookupFailed(_) => AuthResult::TempError,
            Self::Signature(_)
            | Self::Expired
            | Self::FromTheFuture
            | Self::LengthExceedsBody
            | Self::KeyNotFound
            | Self::Record(_)
            | Self::KeyTypeMismatch
            | Self::KeyCorrupt
            | Self::UnauthorizedSubdomain => AuthResult::PermError,
        }
    }
}

impl fmt::Display for Reason {
    /// Where OpenDKIM 2.11 has a text for it, it is the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnprotectedField(name) => return write!(f, "unprotected header field {name}"),
            Self::KeyLookupFailed(why) => return write!(f, "key DNS query failed: {why}"),
            Self::Signature(error) => return error.fmt(f),
            Self::Record(error) => return error.fmt(f),
            Self::Verified => "no signature error",
            Self::BodyHashMismatch => "body hash did not verify",
            Self::SignatureMismatch => "signature verification failed",
            Self::WeakAlgorithm => "rsa-sha1 is not accepted",
            Self::KeyTooSmall => "signing key too small",
            Self::KeyTooLarge => "signing key too large",
            Self::UnsignedTail => "body has an unsigned part beyond l=",
            Self::Ignored => "too many signatures, not evaluated",
            Self::Expired => "signature expired",
            Self::FromTheFuture => "signature timestamp in the future",
            Self::LengthExceedsBody => "length tag value exceeds body size",
            Self::KeyNotFound => "key not found in DNS",
            Self::KeyTypeMismatch => "key type does not fit the signature algorithm",
            Self::KeyCorrupt => "unable to apply public key",
            Self::UnauthorizedSubdomain => "unauthorized subdomain",
        })
    }
}

/// How much of the body a signature with `l=` covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLength {
    /// `l=`, in octets of the canonical body.
    pub signed: u64,
    /// All octets of the canonical body.
    pub total: u64,
}

/// What was found about one DKIM-Signature field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureResult {
    /// The result.
    pub result: AuthResult,
    /// Why.
    pub reason: Reason,
    /// What the signature says of itself, as far as it is fit to be printed.
    pub claims: Claims,
    /// Which field of the header it is, counted from 0 at the top.
    pub field: usize,
    /// The size of the key, once it was read; 256 for Ed25519.
    pub key_bits: Option<u32>,
    /// Whether the key record says `t=y`: the domain only tests DKIM.
    pub testing: bool,
    /// How much of the body is covered, when the signature has `l=` and was evaluated.
    pub body_length: Option<BodyLength>,
}
