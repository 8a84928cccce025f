//! The client's two messages (RFC 5802 §7), taken apart.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mechanism::plain::name as checked_name;

/// The longest nonce of a client, in bytes.
const NONCE_LIMIT: usize = 1024;

/// `client-first-message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// Everything up to and with the second comma; comes back in `c=`.
    pub gs2_header: String,
    /// The rest, which is signed.
    pub bare: String,
    /// `a=`, decoded; `None` when absent.
    pub authorization: Option<String>,
    /// `n=`, decoded.
    pub user: String,
    /// `r=`.
    pub nonce: String,
}

/// `client-final-message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFinal {
    /// Everything before `,p=`, which is signed.
    pub without_proof: String,
    /// `c=`, decoded.
    pub channel_binding: Vec<u8>,
    /// `r=`.
    pub nonce: String,
    /// `p=`, decoded.
    pub proof: Vec<u8>,
}

/// Takes a `client-first-message` apart.
///
/// # Errors
/// What is wrong with the message, for the log.
pub fn parse_client_first(message: &[u8]) -> Result<ClientFirst, &'static str> {
    let text = std::str::from_utf8(message).ok().ok_or("client-first message is not UTF-8")?;
    let mut parts = text.splitn(3, ',');
    let (Some(flag), Some(authorization), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("client-first message without a gs2 header");
    };
    match flag {
        // "y": the client could bind but believes that we cannot, which is true.
        "n" | "y" => {}
        _ if flag.starts_with("p=") => return Err("channel binding was not offered"),
        _ => return Err("malformed channel binding flag"),
    }
    let authorization = match authorization.strip_prefix("a=") {
        Some(name) => Some(decode_name(name)?),
        None if authorization.is_empty() => None,
        None => return Err("malformed authorization name"),
    };
    let gs2_header = text.strip_suffix(bare).unwrap_or_default().to_owned();
    let mut attributes = bare.split(',');
    let first = attributes.next().unwrap_or_default();
    if first.starts_with("m=") {
        return Err("mandatory extensions are not supported");
    }
    let user = decode_name(first.strip_prefix("n=").ok_or("client-first message without a user name")?)?;
    let nonce = nonce(attributes.next())?;
    extensions(attributes)?;
    Ok(ClientFirst { gs2_header, bare: bare.to_owned(), authorization, user, nonce })
}

/// Takes a `client-final-message` apart.
///
/// # Errors
/// What is wrong with the message, for the log.
pub fn parse_client_final(message: &[u8]) -> Result<ClientFinal, &'static str> {
    let text = std::str::from_utf8(message).ok().ok_or("client-final message is not UTF-8")?;
    let (without_proof, proof) = text.rsplit_once(',').ok_or("client-final message without a proof")?;
    let proof = proof.strip_prefix("p=").ok_or("client-final message does not end in a proof")?;
    let proof = STANDARD.decode(proof).ok().ok_or("proof is not base64")?;
    let mut attributes = without_proof.split(',');
    let channel_binding = attributes
        .next()
        .and_then(|attribute| attribute.strip_prefix("c="))
        .ok_or("client-final message without channel binding data")?;
    let channel_binding =
        STANDARD.decode(channel_binding).ok().ok_or("channel binding data are not base64")?;
    let nonce = nonce(attributes.next())?;
    extensions(attributes)?;
    Ok(ClientFinal { without_proof: without_proof.to_owned(), channel_binding, nonce, proof })
}

/// Undoes `=2C` and `=3D` of a `saslname`; any other `=` is an error, and so is a name that is empty, holds
/// a NUL or is longer than 1024 bytes.
///
/// # Errors
/// What is wrong with the name, for the log.
pub fn decode_name(text: &str) -> Result<String, &'static str> {
    let mut name = String::with_capacity(text.len());
    let mut pieces = text.split('=');
    name.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        if let Some(rest) = piece.strip_prefix("2C") {
            name.push(',');
            name.push_str(rest);
        } else if let Some(rest) = piece.strip_prefix("3D") {
            name.push('=');
            name.push_str(rest);
        } else {
            return Err("user name with = that is neither =2C nor =3D");
        }
    }
    checked_name(name.as_bytes())
}

/// `r=` with printable ASCII but no comma (the caller has split at commas).
fn nonce(attribute: Option<&str>) -> Result<String, &'static str> {
    let nonce =
        attribute.and_then(|attribute| attribute.strip_prefix("r=")).ok_or("message without a nonce")?;
    if nonce.is_empty() || nonce.len() > NONCE_LIMIT || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("malformed nonce");
    }
    Ok(nonce.to_owned())
}

/// Optional extensions are let pass if they have the form `letter=value`; `m=` is never optional.
fn extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
    for attribute in attributes {
        match attribute.as_bytes() {
            [b'm', b'=', ..] => return Err("mandatory extensions are not supported"),
            [letter, b'=', _, ..] if letter.is_ascii_alphabetic() => {}
            _ => return Err("malformed extension"),
        }
    }
    Ok(())
}
