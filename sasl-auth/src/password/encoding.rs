//! From `{SCHEME.suffix}text` to a scheme and its bytes, and back.

use base::secret::Secret;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::SchemeError;
use super::scheme::{Encoding, Scheme};

/// Base64 as databases hold it: padded or not, and with any bits after the last whole byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The longest scheme name that an error repeats.
const LONGEST_NAME: usize = 24;

/// The scheme that `text` names, or else the default's, and the rest of the text.
///
/// Without a name in braces the text may also be crypt(3)'s `$1$salt$hash`, which Dovecot reads
/// whatever the default (2.3.19 observed), and, where the default is of the crypt family,
/// libpam-pwdfile's `hash[13]` (crypt), `hash[34]` (MD5) and `hash[56]` (DIGEST-MD5).
pub(super) fn split<'t>(
    text: &'t [u8],
    default_scheme: &str,
) -> Result<(Scheme, Option<Encoding>, &'t [u8]), SchemeError> {
    if text.starts_with(b"$1$")
        && let Some(data) = md5_crypt(text)
    {
        return Ok((Scheme::Md5Crypt, None, data));
    }
    if let Some(rest) = text.strip_prefix(b"{")
        && let Some(end) = rest.iter().position(|byte| *byte == b'}')
    {
        let (name, data) = rest.split_at(end);
        let data = data.get(1..).unwrap_or_default();
        let found = std::str::from_utf8(name).ok().and_then(Scheme::with_suffix);
        let (scheme, encoding) = found.ok_or_else(|| unknown(name))?;
        return Ok((scheme, encoding, data));
    }
    let (scheme, encoding) =
        Scheme::with_suffix(default_scheme).ok_or_else(|| unknown(default_scheme.as_bytes()))?;
    if scheme.is_crypt() && encoding.is_none() {
        for (mark, scheme) in
            [(b"[13]", Scheme::Crypt), (b"[34]", Scheme::PlainMd5), (b"[56]", Scheme::DigestMd5)]
        {
            if let Some(data) = text.strip_suffix(mark) {
                return Ok((scheme, None, data));
            }
        }
    }
    Ok((scheme, encoding, text))
}

/// `$1$salt$hash` up to a further `$`; `None` when there is no hash.
fn md5_crypt(text: &[u8]) -> Option<&[u8]> {
    let mut fields = text.split(|byte| *byte == b'$').skip(2);
    let (salt, hash) = (fields.next()?, fields.next()?);
    text.get(..3 + salt.len() + 1 + hash.len())
}

fn unknown(name: &[u8]) -> SchemeError {
    let plausible = name.len() <= LONGEST_NAME
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
    SchemeError::Unknown(match std::str::from_utf8(name) {
        Ok(name) if plausible => name.to_ascii_uppercase(),
        _ => String::new(),
    })
}

/// The bytes that `data` stands for. Where the scheme's length is fixed and no suffix was given,
/// the length of the text decides between hexadecimal and base64.
pub(super) fn decode(scheme: Scheme, suffix: Option<Encoding>, data: &[u8]) -> Result<Secret, SchemeError> {
    let malformed = |why| SchemeError::Malformed { scheme: scheme.name(), why };
    let encoding = match (suffix, scheme.raw_length()) {
        (Some(encoding), _) => encoding,
        (None, Some(length)) if data.len() == 2 * length => Encoding::Hex,
        (None, Some(_)) => Encoding::Base64,
        (None, None) => scheme.encoding(),
    };
    let bytes = match encoding {
        Encoding::Text => Secret::new(data),
        Encoding::Hex => from_hex(data).ok_or(malformed("bad hexadecimal digits"))?,
        Encoding::Base64 => from_base64(data).ok_or(malformed("bad base64"))?,
    };
    match scheme.raw_length() {
        Some(length) if bytes.expose().len() != length => Err(malformed("wrong length")),
        _ => Ok(bytes),
    }
}

/// `{NAME}` and the bytes in the scheme's encoding or in that of the suffix. Bytes that are no text
/// can only be written with a suffix.
pub(super) fn write(
    scheme: Scheme,
    suffix: Option<&str>,
    encoding: Encoding,
    bytes: &[u8],
) -> Result<String, SchemeError> {
    let data = match encoding {
        Encoding::Hex => to_hex(bytes),
        Encoding::Base64 => to_base64(bytes),
        Encoding::Text => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                let why = "it is not UTF-8; a .b64 suffix helps";
                return Err(SchemeError::Password { scheme: scheme.name(), why });
            }
        },
    };
    let name = scheme.name();
    Ok(match suffix {
        Some(suffix) => format!("{{{name}.{}}}{data}", suffix.to_ascii_uppercase()),
        None => format!("{{{name}}}{data}"),
    })
}

/// Bytes of hexadecimal digits in either case; `None` for anything else.
pub(super) fn from_hex(digits: &[u8]) -> Option<Secret> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect();
    bytes.map(Secret::new)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Lower case hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        for nibble in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        text
    })
}

/// Bytes of base64, padded or not.
pub(super) fn from_base64(text: &[u8]) -> Option<Secret> {
    BASE64.decode(text).ok().map(Secret::new)
}

/// Padded base64.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
