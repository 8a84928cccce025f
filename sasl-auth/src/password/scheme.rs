//! The names of the schemes, how each is encoded, and which are weak.

/// A password scheme, one for each name that Dovecot knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Clear text.
    Plain,
    /// Clear text.
    Clear,
    /// Clear text.
    Cleartext,
    /// Clear text that a database has cut off, as `length-text`.
    PlainTrunc,
    /// Whatever crypt(3) knows, by the hash's own prefix.
    Crypt,
    /// The traditional crypt(3): 56 bit DES, 8 characters.
    DesCrypt,
    /// crypt(3) `$1$`.
    Md5Crypt,
    /// crypt(3) `$5$`.
    Sha256Crypt,
    /// crypt(3) `$6$`.
    Sha512Crypt,
    /// crypt(3) `$2a$`, `$2b$`, `$2x$`, `$2y$`.
    BlfCrypt,
    /// Argon2 (RFC 9106) of the variant that the hash names.
    Argon2,
    /// The same; new ones are Argon2i.
    Argon2i,
    /// The same; new ones are Argon2id.
    Argon2id,
    /// PBKDF2 with HMAC-SHA-1 in Dovecot's own form `$1$salt$rounds$hex`.
    Pbkdf2,
    /// A SCRAM verifier (RFC 5802).
    ScramSha1,
    /// A SCRAM verifier (RFC 7677).
    ScramSha256,
    /// SHA-1.
    Sha,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// SHA-1 of password and salt, then the salt.
    Ssha,
    /// The same with SHA-256.
    Ssha256,
    /// The same with SHA-512.
    Ssha512,
    /// The same with MD5.
    Smd5,
    /// MD4.
    PlainMd4,
    /// MD5 in hexadecimal.
    PlainMd5,
    /// MD5 in base64.
    LdapMd5,
    /// crypt(3) `$1$`, or MD5 in hexadecimal or base64.
    Md5,
    /// The two inner states of HMAC-MD5.
    CramMd5,
    /// Another name of `CRAM-MD5`.
    HmacMd5,
    /// MD5 of `user:realm:password` (RFC 2831).
    DigestMd5,
    /// A one-time password's state (RFC 2289).
    Otp,
}

/// How the bytes of a scheme are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As they are.
    Text,
    /// In hexadecimal digits.
    Hex,
    /// In base64.
    Base64,
}

const ALL: [Scheme; 32] = [
    Scheme::Plain,
    Scheme::Clear,
    Scheme::Cleartext,
    Scheme::PlainTrunc,
    Scheme::Crypt,
    Scheme::DesCrypt,
    Scheme::Md5Crypt,
    Scheme::Sha256Crypt,
    Scheme::Sha512Crypt,
    Scheme::BlfCrypt,
    Scheme::Argon2,
    Scheme::Argon2i,
    Scheme::Argon2id,
    Scheme::Pbkdf2,
    Scheme::ScramSha1,
    Scheme::ScramSha256,
    Scheme::Sha,
    Scheme::Sha1,
    Scheme::Sha256,
    Scheme::Sha512,
    Scheme::Ssha,
    Scheme::Ssha256,
    Scheme::Ssha512,
    Scheme::Smd5,
    Scheme::PlainMd4,
    Scheme::PlainMd5,
    Scheme::LdapMd5,
    Scheme::Md5,
    Scheme::CramMd5,
    Scheme::HmacMd5,
    Scheme::DigestMd5,
    Scheme::Otp,
];

/// The names of all schemes, in capitals.
pub fn schemes() -> impl Iterator<Item = &'static str> {
    ALL.into_iter().map(Scheme::name)
}

impl Scheme {
    /// The scheme called `name`, in any case and without a suffix for the encoding.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    /// The scheme and encoding that `name` asks for: `SSHA.hex`, `plain.b64`, `SHA.base64`; without
    /// a suffix the encoding is `None`.
    #[must_use]
    pub fn with_suffix(name: &str) -> Option<(Self, Option<Encoding>)> {
        match name.split_once('.') {
            None => Some((Self::named(name)?, None)),
            Some((name, suffix)) => {
                let encoding = match suffix.to_ascii_lowercase().as_str() {
                    "hex" => Encoding::Hex,
                    "b64" | "base64" => Encoding::Base64,
                    _ => return None,
                };
                Some((Self::named(name)?, Some(encoding)))
            }
        }
    }

    /// Its name in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Clear => "CLEAR",
            Self::Cleartext => "CLEARTEXT",
            Self::PlainTrunc => "PLAIN-TRUNC",
            Self::Crypt => "CRYPT",
            Self::DesCrypt => "DES-CRYPT",
            Self::Md5Crypt => "MD5-CRYPT",
            Self::Sha256Crypt => "SHA256-CRYPT",
            Self::Sha512Crypt => "SHA512-CRYPT",
            Self::BlfCrypt => "BLF-CRYPT",
            Self::Argon2 => "ARGON2",
            Self::Argon2i => "ARGON2I",
            Self::Argon2id => "ARGON2ID",
            Self::Pbkdf2 => "PBKDF2",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Sha => "SHA",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Ssha => "SSHA",
            Self::Ssha256 => "SSHA256",
            Self::Ssha512 => "SSHA512",
            Self::Smd5 => "SMD5",
            Self::PlainMd4 => "PLAIN-MD4",
            Self::PlainMd5 => "PLAIN-MD5",
            Self::LdapMd5 => "LDAP-MD5",
            Self::Md5 => "MD5",
            Self::CramMd5 => "CRAM-MD5",
            Self::HmacMd5 => "HMAC-MD5",
            Self::DigestMd5 => "DIGEST-MD5",
            Self::Otp => "OTP",
        }
    }

    /// How its data is written unless a suffix says otherwise (Dovecot 2.3.19 observed).
    #[must_use]
    pub fn encoding(self) -> Encoding {
        match self {
            Self::Sha
            | Self::Sha1
            | Self::Sha256
            | Self::Sha512
            | Self::Ssha
            | Self::Ssha256
            | Self::Ssha512
            | Self::Smd5
            | Self::LdapMd5 => Encoding::Base64,
            Self::PlainMd4 | Self::PlainMd5 | Self::CramMd5 | Self::HmacMd5 | Self::DigestMd5 => {
                Encoding::Hex
            }
            Self::Plain
            | Self::Clear
            | Self::Cleartext
            | Self::PlainTrunc
            | Self::Crypt
            | Self::DesCrypt
            | Self::Md5Crypt
            | Self::Sha256Crypt
            | Self::Sha512Crypt
            | Self::BlfCrypt
            | Self::Argon2
            | Self::Argon2i
            | Self::Argon2id
            | Self::Pbkdf2
            | Self::ScramSha1
            | Self::ScramSha256
            | Self::Md5
            | Self::Otp => Encoding::Text,
        }
    }

    /// The number of bytes that its data always has, for those where the length of the text tells
    /// hexadecimal from base64.
    #[must_use]
    pub fn raw_length(self) -> Option<usize> {
        match self {
            Self::PlainMd4 | Self::PlainMd5 | Self::LdapMd5 | Self::DigestMd5 => Some(16),
            Self::Sha | Self::Sha1 => Some(20),
            Self::Sha256 | Self::CramMd5 | Self::HmacMd5 => Some(32),
            Self::Sha512 => Some(64),
            _ => None,
        }
    }

    /// Whether Dovecot 2.4 refuses it without `auth_allow_weak_schemes`: everything of MD4, MD5 and
    /// DES but CRAM-MD5 and DIGEST-MD5 (doc.dovecot.org, Password Schemes, and the scheme table of
    /// its source). SHA and SSHA are not among them.
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(
            self,
            Self::DesCrypt
                | Self::Md5Crypt
                | Self::Md5
                | Self::Smd5
                | Self::PlainMd4
                | Self::PlainMd5
                | Self::LdapMd5
                | Self::HmacMd5
        )
    }

    /// Whether the data is for crypt(3).
    pub(super) fn is_crypt(self) -> bool {
        matches!(
            self,
            Self::Crypt
                | Self::DesCrypt
                | Self::Md5Crypt
                | Self::Sha256Crypt
                | Self::Sha512Crypt
                | Self::BlfCrypt
        )
    }
}
