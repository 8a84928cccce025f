//! What is done to a variable's value: Dovecot 2.3's modifier letters and 2.4's filters.

use aws_lc_rs::digest as aws;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest as _;

/// One step from text to text. Digests come out as bytes until [`Filter::Hex`], [`Filter::Base64`]
/// or the end, where they turn into hexadecimal digits, as in Dovecot 2.4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    /// `%L`, `lower`: ASCII letters only.
    Lower,
    /// `%U`, `upper`.
    Upper,
    /// `%T`: white space at the end goes.
    Trim,
    /// `%E`: backslashes before quotes and backslashes.
    Escape,
    /// `%R`, `reverse`.
    Reverse,
    /// `%X`: a decimal number in hexadecimal; 0 when it is no number.
    HexNumber,
    /// `%D`, `ldap_dn`: `example.com` becomes `example,dc=com`.
    LdapDn,
    /// `%M`: MD5 in hexadecimal.
    Md5Hex,
    /// `%H` and `%N`: a short hash, modulo the window's width, filled with zeros to its offset.
    Bucket(BucketHash),
    /// `username`: before the first `@`.
    Username,
    /// `domain`: after the first `@`.
    Domain,
    /// `sha256(rounds=…, salt=…)` and the like.
    Digest(Digest),
    /// `truncate(bytes)` or `truncate(bits=…)`, `truncate=` of 2.3.
    Truncate { bits: usize },
    /// `substr(offset, length)`; negative ones count from the end.
    Substring { offset: i64, length: Option<i64> },
    /// `hexlify`, `format=hex`; `hexlify(8)` has that many digits: the first ones, or zeros before them.
    Hex { digits: Option<usize> },
    /// `index('@', 1)`: the part of this number between separators, from the end when negative; empty
    /// when there are not so many.
    Index { separator: String, number: i64 },
    /// `base64`.
    Base64,
    /// `default("…")`: stands for an empty value.
    Default(String),
}

/// The hash of `%H` and of `%N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BucketHash {
    /// `%H`: P. J. Weinberger's.
    Pjw,
    /// `%N`: the first 64 bits of the MD5.
    Md5,
}

/// A digest with salt before the text, repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) algorithm: Algorithm,
    pub(super) rounds: u32,
    pub(super) salt: String,
}

/// Digest algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// `%5.3u`: what is cut out at the end. Whole when all is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Window {
    pub(super) offset: i64,
    pub(super) width: i64,
    pub(super) zeros: bool,
}

impl Window {
    pub(super) const fn is_whole(self) -> bool {
        self.offset == 0 && self.width == 0
    }
}

impl Algorithm {
    /// By Dovecot's names.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            _ => return None,
        })
    }

    fn of(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Md5 => return md5::Md5::digest(data).to_vec(),
            Self::Sha1 => &aws::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &aws::SHA256,
            Self::Sha384 => &aws::SHA384,
            Self::Sha512 => &aws::SHA512,
        };
        aws::digest(algorithm, data).as_ref().to_vec()
    }
}

/// Runs all filters over a value, then cuts the window out.
pub(super) fn run(value: String, filters: &[Filter], mut window: Window) -> String {
    let mut bytes = value.into_bytes();
    let mut binary = false;
    for filter in filters {
        bytes = step(bytes, &mut binary, filter, &mut window);
    }
    if binary {
        bytes = hex(&bytes).into_bytes();
    }
    // A window in the middle of a character leaves bytes that are no text.
    String::from_utf8(cut(bytes, window))
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn step(mut bytes: Vec<u8>, binary: &mut bool, filter: &Filter, window: &mut Window) -> Vec<u8> {
    match filter {
        Filter::Lower => bytes.make_ascii_lowercase(),
        Filter::Upper => bytes.make_ascii_uppercase(),
        Filter::Trim => bytes.truncate(bytes.trim_ascii_end().len()),
        Filter::Escape => {
            let mut out = Vec::with_capacity(bytes.len());
            for byte in bytes {
                if matches!(byte, b'"' | b'\'' | b'\\') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            return out;
        }
        Filter::Reverse => return reverse(bytes),
        Filter::HexNumber => {
            let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<u64>().ok());
            return format!("{:x}", number.unwrap_or(0)).into_bytes();
        }
        Filter::LdapDn => return bytes.split(|byte| *byte == b'.').collect::<Vec<_>>().join(&b",dc="[..]),
        Filter::Md5Hex => return hex(&Algorithm::Md5.of(&bytes)).into_bytes(),
        Filter::Bucket(hash) => return bucket(*hash, &bytes, window).into_bytes(),
        Filter::Username => {
            let end = bytes.iter().position(|byte| *byte == b'@').unwrap_or(bytes.len());
            bytes.truncate(end);
        }
        Filter::Domain => {
            let start = bytes.iter().position(|byte| *byte == b'@').map_or(bytes.len(), |at| at + 1);
            bytes.drain(..start);
        }
        Filter::Digest(digest) => {
            *binary = true;
            // The salt goes before the input of every round (Dovecot 2.3.19 observed).
            for _ in 0..digest.rounds {
                bytes = digest.algorithm.of(&[digest.salt.as_bytes(), &bytes].concat());
            }
        }
        Filter::Truncate { bits } => truncate(&mut bytes, *bits),
        Filter::Substring { offset, length } => return substring(&bytes, *offset, *length),
        Filter::Hex { digits } => {
            *binary = false;
            let mut text = hex(&bytes);
            if let Some(digits) = *digits {
                text.truncate(digits);
                text.insert_str(0, &"0".repeat(digits - text.len()));
            }
            return text.into_bytes();
        }
        Filter::Index { separator, number } => return index(&bytes, separator, *number),
        Filter::Base64 => {
            *binary = false;
            return STANDARD.encode(&bytes).into_bytes();
        }
        Filter::Default(text) if bytes.is_empty() => return text.clone().into_bytes(),
        Filter::Default(_) => {}
    }
    bytes
}

/// Characters in reverse, so that text stays text.
fn reverse(bytes: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(bytes) {
        Ok(text) => text.chars().rev().collect::<String>().into_bytes(),
        Err(error) => error.into_bytes().into_iter().rev().collect(),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// The first `bits` as a number that ends at a byte's end: 13 bits of `6810` are `0d02`
/// (Dovecot 2.3.19 observed).
fn truncate(bytes: &mut Vec<u8>, bits: usize) {
    if bits >= bytes.len().saturating_mul(8) {
        return;
    }
    bytes.truncate(bits.div_ceil(8));
    let over = bytes.len() * 8 - bits;
    let mut above = 0_u8;
    for byte in bytes {
        let shifted = u16::from_be_bytes([above, *byte]) >> over;
        above = *byte;
        *byte = shifted.to_be_bytes()[1];
    }
}

fn bucket(hash: BucketHash, bytes: &[u8], window: &mut Window) -> String {
    let mut value: u64 = match hash {
        BucketHash::Pjw => u64::from(bytes.iter().fold(0_u32, |sum, byte| {
            let sum = (sum << 4).wrapping_add(u32::from(*byte));
            let top = sum & 0xf000_0000;
            (sum ^ (top >> 24)) ^ top
        })),
        BucketHash::Md5 => {
            Algorithm::Md5.of(bytes).iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
        }
    };
    if let Ok(width) = u64::try_from(window.width)
        && width != 0
    {
        value %= width;
    }
    let digits = usize::try_from(window.offset).unwrap_or(0);
    *window = Window::default();
    // Dovecot prints the lower 32 bits.
    format!("{:0digits$x}", value & 0xffff_ffff)
}

fn index(bytes: &[u8], separator: &str, number: i64) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let part = match usize::try_from(number) {
        Ok(number) => text.split(separator).nth(number),
        Err(_negative) => {
            let back = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
            text.rsplit(separator).nth(back - 1)
        }
    };
    part.unwrap_or_default().as_bytes().to_vec()
}

fn substring(bytes: &[u8], offset: i64, length: Option<i64>) -> Vec<u8> {
    let total = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let start = if offset < 0 { total.saturating_add(offset).max(0) } else { offset.min(total) };
    let end = match length {
        None => total,
        Some(length) if length < 0 => total.saturating_add(length),
        Some(length) => start.saturating_add(length).min(total),
    };
    let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end.max(start)).unwrap_or(0);
    bytes.get(range).unwrap_or_default().to_vec()
}

fn cut(mut bytes: Vec<u8>, window: Window) -> Vec<u8> {
    let length = |bytes: &[u8]| i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    if window.offset < 0 {
        // A text shorter than the offset stays whole.
        if length(&bytes) > -window.offset {
            bytes = substring(&bytes, window.offset, None);
        }
    } else if window.offset > 0 {
        bytes = substring(&bytes, window.offset, None);
    }
    if window.width == 0 {
        bytes
    } else if window.zeros {
        let missing = usize::try_from(window.width - length(&bytes)).unwrap_or(0);
        bytes.splice(..0, std::iter::repeat_n(b'0', missing));
        bytes
    } else {
        // More than all taken from the end takes nothing (Dovecot 2.3.19 observed).
        let width = Some(window.width).filter(|width| length(&bytes) + width >= 0);
        substring(&bytes, 0, width)
    }
}
