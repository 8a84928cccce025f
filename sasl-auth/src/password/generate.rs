//! New stored passwords in every scheme.

use std::num::NonZeroU32;

use argon2::Algorithm;
use aws_lc_rs::rand;
use base::secret::Secret;
use zeroize::Zeroizing;

use super::argon2::Argon2Hash;
use super::digest::{Hash, digest_md5};
use super::encoding::{to_hex, write};
use super::error::{HashError, SchemeError};
use super::otp::Otp;
use super::pbkdf2::Pbkdf2;
use super::scheme::Scheme;
use super::{cram_md5, crypt, scram};

/// How many one-time passwords a new OTP state is good for; as Dovecot's.
const OTP_SEQUENCE: u32 = 1024;

/// yescrypt by name. Not a scheme of Dovecot's: what is made is `{CRYPT}$y$...`, which it reads.
pub const YESCRYPT: &str = "YESCRYPT";

/// Makes `{SCHEME}data` for a new password. `scheme` is a name in any case, perhaps with `.hex`,
/// `.b64` or `.base64` after it. Salts are random. `user` is the full name, which DIGEST-MD5 hashes
/// along. CRYPT makes bcrypt, MD5 makes MD5-CRYPT, ARGON2 makes Argon2id. [`YESCRYPT`] is taken too.
///
/// `rounds` by scheme, with the default: BLF-CRYPT and CRYPT the logarithm 4 to 17 (10);
/// SHA256-CRYPT and SHA512-CRYPT 1000 to 10000000 (5000); ARGON2ID passes 1 to 64 over 64 MiB (3),
/// ARGON2I 3 to 64 over 32 MiB (4); PBKDF2 1 to 10000000 (100000); SCRAM iterations 4096 to
/// 10000000 (4096); YESCRYPT crypt(5)'s cost 1 to 9 (5), from 1 over 16 to 256 MiB. Dovecot's own defaults are 5 for bcrypt and 5000 for PBKDF2, otherwise the same.
///
/// # Errors
/// [`SchemeError`]: unknown scheme, rounds outside of the range, a password that is empty or that the
/// scheme cannot hold, no randomness.
pub fn generate(
    scheme: &str,
    rounds: Option<u32>,
    user: &str,
    password: &Secret,
) -> Result<String, SchemeError> {
    if scheme.eq_ignore_ascii_case(YESCRYPT) {
        let made = yescrypt(rounds, password.expose())?;
        return write(Scheme::Crypt, None, Scheme::Crypt.encoding(), made.as_bytes());
    }
    let (known, suffix) =
        Scheme::with_suffix(scheme).ok_or_else(|| SchemeError::Unknown(scheme.to_owned()))?;
    let data = data(known, rounds, user, password.expose())?;
    let written_suffix = scheme.split_once('.').map(|(_, suffix)| suffix);
    write(known, written_suffix, suffix.unwrap_or_else(|| known.encoding()), &data)
}

fn data(
    scheme: Scheme,
    rounds: Option<u32>,
    user: &str,
    password: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SchemeError> {
    let name = scheme.name();
    if password.is_empty() {
        return Err(SchemeError::Password { scheme: name, why: "it is empty" });
    }
    let count = Rounds { scheme: name, given: rounds };
    let bytes = match scheme {
        Scheme::Plain | Scheme::Clear | Scheme::Cleartext => {
            count.none()?;
            password.to_vec()
        }
        Scheme::PlainTrunc => {
            count.none()?;
            // One more than there is: a text as long as its length counts as cut off.
            [format!("{}-", password.len() + 1).as_bytes(), password].concat()
        }
        Scheme::Crypt | Scheme::BlfCrypt => {
            let cost = count.within(4, 17, 10)?;
            crypt::make("$2y$", cost, &random::<16>()?, password)?.into_bytes()
        }
        Scheme::DesCrypt => {
            count.none()?;
            crypt::make("", 0, &random::<2>()?, password)?.into_bytes()
        }
        Scheme::Md5Crypt | Scheme::Md5 => {
            count.none()?;
            crypt::make("$1$", 0, &random::<6>()?, password)?.into_bytes()
        }
        Scheme::Sha256Crypt | Scheme::Sha512Crypt => {
            let count = count.within(1000, super::MOST_ROUNDS, 5000)?;
            let prefix = if scheme == Scheme::Sha256Crypt { "$5$" } else { "$6$" };
            crypt::make(prefix, count, &random::<12>()?, password)?.into_bytes()
        }
        Scheme::Argon2 | Scheme::Argon2id => {
            argon2(Algorithm::Argon2id, 65_536, count.within(1, 64, 3)?, password)?
        }
        Scheme::Argon2i => argon2(Algorithm::Argon2i, 32_768, count.within(3, 64, 4)?, password)?,
        Scheme::Pbkdf2 => {
            let rounds = count.within(1, super::MOST_ROUNDS, 100_000)?;
            let salt = to_hex(&random::<8>()?);
            let rounds = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
            Pbkdf2::text(rounds, &salt, password)?.into_bytes()
        }
        Scheme::ScramSha1 => scram_keys(Hash::Sha1, count, password)?,
        Scheme::ScramSha256 => scram_keys(Hash::Sha256, count, password)?,
        Scheme::Sha | Scheme::Sha1 => digest(Hash::Sha1, count, password)?,
        Scheme::Sha256 => digest(Hash::Sha256, count, password)?,
        Scheme::Sha512 => digest(Hash::Sha512, count, password)?,
        Scheme::PlainMd4 => digest(Hash::Md4, count, password)?,
        Scheme::PlainMd5 | Scheme::LdapMd5 => digest(Hash::Md5, count, password)?,
        Scheme::Ssha => salted(Hash::Sha1, count, password)?,
        Scheme::Ssha256 => salted(Hash::Sha256, count, password)?,
        Scheme::Ssha512 => salted(Hash::Sha512, count, password)?,
        Scheme::Smd5 => salted(Hash::Md5, count, password)?,
        Scheme::CramMd5 | Scheme::HmacMd5 => {
            count.none()?;
            let states = cram_md5::states(password);
            cram_md5::swapped(states.expose()).unwrap_or_default().expose().to_vec()
        }
        Scheme::DigestMd5 => {
            count.none()?;
            digest_md5(user, password).expose().to_vec()
        }
        Scheme::Otp => {
            count.none()?;
            let seed = to_hex(&random::<8>()?);
            Otp::text(OTP_SEQUENCE, &seed, password).into_bytes()
        }
    };
    Ok(Zeroizing::new(bytes))
}

fn yescrypt(rounds: Option<u32>, password: &[u8]) -> Result<String, SchemeError> {
    if password.is_empty() {
        return Err(SchemeError::Password { scheme: YESCRYPT, why: "it is empty" });
    }
    // Each step doubles the memory; 10 would take the hashing pool's whole default of 512 MiB.
    let cost = Rounds { scheme: YESCRYPT, given: rounds }.within(1, 9, 5)?;
    Ok(crypt::make("$y$", cost, &random::<16>()?, password)?)
}

fn digest(hash: Hash, count: Rounds, password: &[u8]) -> Result<Vec<u8>, SchemeError> {
    count.none()?;
    Ok(hash.of(&[password]).expose().to_vec())
}

fn salted(hash: Hash, count: Rounds, password: &[u8]) -> Result<Vec<u8>, SchemeError> {
    count.none()?;
    let salt = random::<8>()?;
    Ok([hash.of(&[password, &salt]).expose(), &salt].concat())
}

fn argon2(variant: Algorithm, memory_kib: u32, passes: u32, password: &[u8]) -> Result<Vec<u8>, SchemeError> {
    let salt = random::<16>()?.to_vec();
    Ok(Argon2Hash::text(variant, memory_kib, passes, salt, password)?.into_bytes())
}

fn scram_keys(hash: Hash, count: Rounds, password: &[u8]) -> Result<Vec<u8>, SchemeError> {
    let default = scram::ITERATIONS.get();
    let iterations = count.within(default, super::MOST_ROUNDS, default)?;
    let iterations = NonZeroU32::new(iterations).unwrap_or(scram::ITERATIONS);
    let keys = scram::derive(hash, iterations, &random::<{ scram::SALT }>()?, password)?;
    Ok(scram::text(&keys).into_bytes())
}

/// The rounds that were asked for.
#[derive(Clone, Copy)]
struct Rounds {
    scheme: &'static str,
    given: Option<u32>,
}

impl Rounds {
    fn within(self, least: u32, most: u32, default: u32) -> Result<u32, SchemeError> {
        let rounds = self.given.unwrap_or(default);
        if (least..=most).contains(&rounds) {
            Ok(rounds)
        } else {
            Err(SchemeError::Rounds { scheme: self.scheme, least, most })
        }
    }

    fn none(self) -> Result<(), SchemeError> {
        match self.given {
            None => Ok(()),
            Some(_) => Err(SchemeError::NoRounds { scheme: self.scheme }),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], SchemeError> {
    let mut bytes = [0; N];
    match rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(SchemeError::Library("no randomness".to_owned())),
    }
}

impl From<HashError> for SchemeError {
    fn from(error: HashError) -> Self {
        Self::Library(match error {
            HashError::Library(why) => why,
            other => other.to_string(),
        })
    }
}
