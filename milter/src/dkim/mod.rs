//! The DKIM core: signs and verifies without a socket, a file or a clock (RFC 6376, 8301, 8463, 8616).
//!
//! - Verifying: [`verify`] is the door; it reads [`signature`]s and key [`record`]s, both of
//!   them [`tags`], and gives [`result`]s.
//! - Signing: [`sign`] is the door; it takes a [`private_key`].
//! - Both need the [`headers`] of the message, hash them as [`canonical`] says, and hash the
//!   [`body`] while it arrives. [`domain`] says what a domain name is, [`crypto`] knows the library.
//!
//! Whatever a message or a key record holds, nothing here panics, and what is held
//! in memory depends on the header only, never on the body.

pub mod body;
pub mod canonical;
pub mod crypto;
pub mod domain;
pub mod headers;
pub mod private_key;
pub mod record;
pub mod result;
pub mod sign;
pub mod signature;
pub mod tags;
pub mod verify;

mod base64;

pub use canonical::Canonicalization;
pub use crypto::{KeyKind, SigningKey};
pub use domain::Domain;
pub use headers::{Field, HeaderBlock};
pub use private_key::KeyError;
pub use result::{AuthResult, BodyLength, Reason, SignatureResult};
pub use sign::{ReadyToSign, SignError, SignatureTemplate, SignedField, Signing};
pub use signature::{Algorithm, Claims};
pub use verify::{KeyAnswer, Verification, VerifyPolicy};
