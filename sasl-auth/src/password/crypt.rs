//! crypt(3) hashes, checked and made by libxcrypt.
//!
//! The library reads whatever stands in the database, so nothing reaches it that is not of a known
//! form, and nothing whose rounds or memory go beyond what a login can wait for. It allocates its
//! 32 KiB of state per call and keeps none, so calls run side by side. Its own copy of the password
//! is on the heap and is not wiped: the binding offers no way.

use super::digest::equal;
use super::error::HashError;
use super::{MOST_MEMORY, MOST_ROUNDS};

/// Longest password and longest hash that libxcrypt takes (crypt(5), `CRYPT_MAX_PASSPHRASE_SIZE`
/// and `CRYPT_OUTPUT_SIZE`).
const LONGEST_PASSWORD: usize = 512;
const LONGEST_HASH: usize = 383;

/// Memory of a call besides what scrypt and yescrypt ask for.
const STATE: u64 = 64 * 1024;

/// bcrypt of a higher cost takes longer than a client waits; every step doubles.
const MOST_BCRYPT: u32 = 17;

/// DES iterations of the extended DES form.
const MOST_DES: u64 = 1 << 20;

/// The method that a hash's prefix names (crypt(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Traditional DES, and bigcrypt with its longer hashes.
    Des,
    /// BSDi's extended DES, `_`.
    ExtendedDes,
    /// `$1$`.
    Md5,
    /// `$md5`.
    SunMd5,
    /// `$3$`.
    Nt,
    /// `$sha1$`.
    Sha1,
    /// `$5$`.
    Sha256,
    /// `$6$`.
    Sha512,
    /// `$2a$` and its like.
    Bcrypt,
    /// `$7$`.
    Scrypt,
    /// `$y$`, `$gy$`, `$sm3y$`.
    Yescrypt,
}

const PREFIXES: [(&str, Method); 15] = [
    ("$1$", Method::Md5),
    ("$md5", Method::SunMd5),
    ("$3$", Method::Nt),
    ("$sha1$", Method::Sha1),
    ("$5$", Method::Sha256),
    ("$6$", Method::Sha512),
    ("$2a$", Method::Bcrypt),
    ("$2b$", Method::Bcrypt),
    ("$2x$", Method::Bcrypt),
    ("$2y$", Method::Bcrypt),
    ("$7$", Method::Scrypt),
    ("$y$", Method::Yescrypt),
    ("$gy$", Method::Yescrypt),
    ("$sm3y$", Method::Yescrypt),
    ("_", Method::ExtendedDes),
];

/// A hash of a known form.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct CryptHash {
    text: String,
    method: Method,
    memory_bytes: u64,
    excess: Option<HashError>,
}

impl CryptHash {
    /// Takes a hash whose form is known.
    pub(super) fn parse(data: &[u8]) -> Result<Self, &'static str> {
        let safe = |byte: &u8| byte.is_ascii_graphic() && !b":;*!\\".contains(byte);
        if data.len() > LONGEST_HASH || !data.iter().all(safe) {
            return Err("no crypt(3) hash");
        }
        let text = std::str::from_utf8(data).ok().ok_or("not text")?;
        let (method, rest) = PREFIXES
            .into_iter()
            .find_map(|(prefix, method)| Some((method, text.strip_prefix(prefix)?)))
            .unwrap_or((Method::Des, text));
        let work = Work::of(method, rest).ok_or("a hash that crypt(3) does not know")?;
        Ok(Self {
            text: text.to_owned(),
            method,
            memory_bytes: work.memory_bytes.saturating_add(STATE),
            excess: work.excess(),
        })
    }

    /// The method.
    pub(super) fn method(&self) -> Method {
        self.method
    }

    /// Whether Dovecot counts the method among the weak ones, whichever name it goes by.
    pub(super) fn is_weak(&self) -> bool {
        matches!(self.method, Method::Des | Method::ExtendedDes | Method::Md5 | Method::SunMd5 | Method::Nt)
    }

    /// Memory that a check takes, in bytes; 0 for a hash that [`Self::verify`] refuses.
    pub(super) fn memory_bytes(&self) -> u64 {
        if self.excess.is_some() { 0 } else { self.memory_bytes }
    }

    /// Whether this is the password. One that crypt(3) cannot take (with NUL, over 512 bytes, not
    /// UTF-8) is not.
    pub(super) fn verify(&self, password: &[u8]) -> Result<bool, HashError> {
        if let Some(error) = &self.excess {
            return Err(error.clone());
        }
        let Some(password) = acceptable(password) else { return Ok(false) };
        match xcrypt::crypt(password, &self.text) {
            // `*0` and `*1` are crypt(3)'s way to say that it cannot.
            Ok(hash) if hash.starts_with('*') => {
                Err(HashError::Library("crypt(3) does not know this hash".to_owned()))
            }
            Ok(hash) => Ok(equal(hash.as_bytes(), self.text.as_bytes())),
            Err(xcrypt::Error::PhraseTooLong) => Ok(false),
            Err(error) => Err(HashError::Library(format!("crypt(3): {error}"))),
        }
    }
}

/// A new hash with `prefix` (empty for DES), a count that crypt(3) understands for it (0 for its
/// own default), and these random bytes for the salt. `Err` with the library's words, or when the
/// password is not one that crypt(3) can take.
pub(super) fn make(prefix: &str, count: u32, random: &[u8], password: &[u8]) -> Result<String, HashError> {
    let refused = |error: xcrypt::Error| HashError::Library(format!("crypt(3): {error}"));
    let password = acceptable(password).ok_or_else(|| {
        HashError::Library("crypt(3) takes up to 512 bytes of UTF-8 without NUL".to_owned())
    })?;
    let setting = xcrypt::crypt_gensalt(Some(prefix), count.into(), Some(random)).map_err(refused)?;
    match xcrypt::crypt(password, &setting).map_err(refused)? {
        hash if hash.starts_with('*') => {
            Err(HashError::Library("this crypt(3) does not make such hashes".to_owned()))
        }
        hash => Ok(hash),
    }
}

fn acceptable(password: &[u8]) -> Option<&str> {
    if password.len() > LONGEST_PASSWORD || password.contains(&0) {
        return None;
    }
    std::str::from_utf8(password).ok()
}

/// What a hash asks for.
#[derive(Default)]
struct Work {
    /// Rounds that take about as long as SHA-512's.
    rounds: u64,
    /// The logarithm of bcrypt's rounds.
    bcrypt: u32,
    des: u64,
    memory_bytes: u64,
    /// Memory times passes.
    traffic: u64,
}

impl Work {
    /// `rest` is what follows the prefix. `None` if it is not of the method's form.
    fn of(method: Method, rest: &str) -> Option<Self> {
        let mut work = Self::default();
        match method {
            Method::Des => {
                if rest.len() < 13 || !rest.bytes().all(|byte| sextet(byte).is_some()) {
                    return None;
                }
            }
            Method::ExtendedDes => {
                if rest.len() != 19 {
                    return None;
                }
                work.des = number(rest.get(..4)?)?;
            }
            Method::Md5 | Method::Nt => {
                rest.split_once('$')?;
            }
            Method::SunMd5 => {
                let (parameters, _) = rest.split_once('$')?;
                let rounds = parameters.strip_prefix(",rounds=");
                work.rounds = rounds.map_or(Some(0), |text| text.parse().ok())?;
            }
            Method::Sha1 => work.rounds = rest.split_once('$')?.0.parse().ok()?,
            Method::Sha256 | Method::Sha512 => {
                let (first, _) = rest.split_once('$')?;
                let rounds = first.strip_prefix("rounds=");
                work.rounds = rounds.map_or(Some(5000), |text| text.parse().ok())?;
            }
            Method::Bcrypt => {
                let (cost, data) = rest.split_once('$')?;
                if cost.len() != 2 || data.len() != 53 {
                    return None;
                }
                work.bcrypt = cost.parse().ok()?;
            }
            Method::Scrypt => {
                let (log_n, r, p) = (rest.get(..1)?, rest.get(1..6)?, rest.get(6..11)?);
                work.memory(number(log_n)?, number(r)?, 1);
                work.traffic = work.traffic.saturating_mul(number(p)?.max(1));
            }
            Method::Yescrypt => {
                let (parameters, _) = rest.split_once('$')?;
                let mut digits = parameters.bytes();
                compact(&mut digits, 0)?;
                let (log_n, r) = (compact(&mut digits, 1)?, compact(&mut digits, 1)?);
                let mut passes = 1;
                if digits.len() > 0 {
                    let present = compact(&mut digits, 1)?;
                    // Bits: parallelism, time, upgrades, shared read-only memory.
                    if present & 1 != 0 {
                        passes = compact(&mut digits, 2)?;
                    }
                    if present & 2 != 0 {
                        passes = passes.saturating_mul(compact(&mut digits, 1)?.saturating_add(1));
                    }
                    if present & 12 != 0 {
                        return None;
                    }
                }
                work.memory(log_n, r, passes);
            }
        }
        Some(work)
    }

    fn memory(&mut self, log_n: u64, r: u64, passes: u64) {
        let n = u32::try_from(log_n).ok().and_then(|shift| 1_u64.checked_shl(shift));
        self.memory_bytes = n.unwrap_or(u64::MAX).saturating_mul(r).saturating_mul(128);
        self.traffic = self.memory_bytes.saturating_mul(passes);
    }

    fn excess(&self) -> Option<HashError> {
        if self.rounds > MOST_ROUNDS.into() {
            Some(super::pbkdf2::TOO_MANY_ROUNDS)
        } else if self.bcrypt > MOST_BCRYPT {
            Some(HashError::TooCostly("bcrypt of a cost beyond 17"))
        } else if self.des > MOST_DES {
            Some(HashError::TooCostly("more than 1048576 iterations of DES"))
        } else if self.memory_bytes > MOST_MEMORY {
            Some(HashError::TooCostly("more than 1 GiB of memory"))
        } else if self.traffic > 4 * MOST_MEMORY {
            Some(HashError::TooCostly("memory times passes beyond 4 GiB"))
        } else {
            None
        }
    }
}

/// The value of a digit of crypt(3)'s base 64.
fn sextet(digit: u8) -> Option<u64> {
    Some(u64::from(match digit {
        b'.' => 0,
        b'/' => 1,
        b'0'..=b'9' => digit - b'0' + 2,
        b'A'..=b'Z' => digit - b'A' + 12,
        b'a'..=b'z' => digit - b'a' + 38,
        _ => return None,
    }))
}

/// A number of fixed width, its lowest digit first.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().rev().try_fold(0, |value, digit| Some(value << 6 | sextet(digit)?))
}

/// A number of yescrypt's parameters: the first digit tells how many follow. Digits 0 to 47 stand
/// for themselves; of the rest each longer form has half of what is left. `least` is the value of
/// the first number.
fn compact(digits: &mut impl Iterator<Item = u8>, least: u64) -> Option<u64> {
    let first = sextet(digits.next()?)?;
    let (mut value, mut start, mut end, mut bits) = (least, 0, 47, 0);
    while first > end {
        value += (end + 1 - start) << bits;
        start = end + 1;
        end = start + (62 - end) / 2;
        bits += 6;
    }
    value += (first - start) << bits;
    while bits > 0 {
        bits -= 6;
        value += sextet(digits.next()?)? << bits;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_yescrypt_and_scrypt_is_read_from_their_parameters() {
        // 128 bytes times r = 32 times N = 4096: what crypt_gensalt(3) makes by default.
        let memory = |text: &[u8]| CryptHash::parse(text).map(|hash| hash.memory_bytes());
        assert_eq!(memory(b"$y$j9T$abcd$hash"), Ok((16 << 20) + STATE));
        assert_eq!(memory(b"$7$CU..../....abcd$hash"), Ok((64 << 20) + STATE));
        assert_eq!(memory(b"$6$abcd$hash"), Ok(STATE));
    }

    #[test]
    fn hashes_that_ask_for_too_much_are_refused_before_the_library_sees_them() {
        for (hash, limit) in [
            ("$6$rounds=10000001$abcd$hash", "more than 10000000 rounds"),
            ("$sha1$10000001$abcd$hash", "more than 10000000 rounds"),
            ("$2y$18$abcdefghijklmnopqrstuOroRESim0kFUuK2zl1qwNsb16XQnMm4a", "beyond 17"),
            ("_zzzzabcdefghijklmno", "iterations of DES"),
            ("$y$jKT$abcd$hash", "more than 1 GiB"),
            ("$7$KU..../....abcd$hash", "more than 1 GiB"),
            ("$7$CU....zzzzzabcd$hash", "beyond 4 GiB"),
        ] {
            let parsed = CryptHash::parse(hash.as_bytes()).unwrap();
            let error = parsed.verify(b"x").unwrap_err();
            assert!(error.to_string().contains(limit), "{hash}: {error}");
            assert_eq!(parsed.memory_bytes(), 0);
        }
    }

    #[test]
    fn unknown_forms_never_reach_the_library() {
        for hash in [
            "",
            "x",
            "abc",
            "$",
            "$6$",
            "$9$abc$def",
            "$2y$05$short",
            "$y$",
            "$y$j9T",
            "$7$C",
            "_J9..abcd",
            "abcdefghijkl!",
            "$6$rounds=x$abc$def",
            "$6$salt:$hash",
            "$y$j9TM$a$b",
        ] {
            assert!(CryptHash::parse(hash.as_bytes()).is_err(), "{hash}");
        }
    }

    #[test]
    fn passwords_that_crypt_cannot_take_are_wrong() {
        let text = make("$1$", 0, b"saltsalt", "a".as_bytes()).unwrap();
        let hash = CryptHash::parse(text.as_bytes()).unwrap();
        assert_eq!(hash.verify(b"a"), Ok(true));
        for password in [&b"a\0"[..], b"\0", &[b'a'; 513], b"a\xff"] {
            assert_eq!(hash.verify(password), Ok(false));
        }
        assert!(make("$1$", 0, b"saltsalt", b"a\0b").is_err());
    }
}
