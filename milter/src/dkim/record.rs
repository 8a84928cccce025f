//! Key records, the TXT records at `selector._domainkey.domain` (RFC 6376 §3.6.1, RFC 8463 §4).

use std::fmt;

use super::base64;
use super::crypto::KeyKind;
use super::tags::{TagError, TagList, items};

/// A key record that can be used for verifying mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// `k=`, or RSA.
    pub kind: KeyKind,
    /// `p=`, decoded.
    pub public_key: Vec<u8>,
    /// Flag `t=y`: the domain only tests DKIM.
    pub testing: bool,
    /// Flag `t=s`: the domain of `i=` must be `d=` itself.
    pub strict_identity: bool,
}

/// Why a record is of no use. Each is a `permerror`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// It is no tag list.
    Syntax(TagError),
    /// `v=` is not DKIM1, or not the first tag.
    Version,
    /// There is no `p=`.
    NoKey,
    /// `p=` is empty: the key is revoked.
    Revoked,
    /// `p=` is not base64.
    KeyData,
    /// `k=` is neither rsa nor ed25519.
    KeyType,
    /// `h=` does not allow SHA-256.
    Hash,
    /// `s=` does not allow mail.
    Service,
}

impl fmt::Display for RecordError {
    /// Where OpenDKIM 2.11 has a text for it, it is the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax(error) => return write!(f, "key record syntax error: {error}"),
            Self::Version => "unknown key version",
            Self::NoKey => "key record has no p= tag",
            Self::Revoked => "key revoked",
            Self::KeyData => "key data corrupt",
            Self::KeyType => "unknown key type",
            Self::Hash => "signature-key hash mismatch",
            Self::Service => "not an e-mail key",
        })
    }
}

impl KeyRecord {
    /// Reads one TXT record whose strings are already joined without anything between them.
    ///
    /// White space after the last tag is let through also where it is a bare line end, as
    /// records pasted into web forms often end so. `g=` and `n=` mean nothing here.
    ///
    /// # Errors
    /// The first [`RecordError`] that was found.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        let tags = TagList::parse(text.trim_ascii_end()).map_err(RecordError::Syntax)?;
        if let Some(version) = tags.tag("v")
            && (version.value != b"DKIM1" || tags.first() != Some(version))
        {
            return Err(RecordError::Version);
        }
        let public_key = tags.value("p").ok_or(RecordError::NoKey)?;
        if public_key.is_empty() {
            return Err(RecordError::Revoked);
        }
        let kind = match tags.value("k").map(<[u8]>::to_ascii_lowercase).as_deref() {
            None | Some(b"rsa") => KeyKind::Rsa,
            Some(b"ed25519") => KeyKind::Ed25519,
            Some(_) => return Err(RecordError::KeyType),
        };
        let lists = |tag: &str, word: &[u8]| {
            tags.value(tag).is_some_and(|value| items(value).any(|item| item.eq_ignore_ascii_case(word)))
        };
        if tags.value("h").is_some() && !lists("h", b"sha256") {
            return Err(RecordError::Hash);
        }
        if tags.value("s").is_some() && !lists("s", b"*") && !lists("s", b"email") {
            return Err(RecordError::Service);
        }
        Ok(Self {
            kind,
            public_key: base64::decode(public_key).ok_or(RecordError::KeyData)?,
            testing: lists("t", b"y"),
            strict_identity: lists("t", b"s"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_record_may_say() {
        let plain = KeyRecord {
            kind: KeyKind::Rsa,
            public_key: b"foob".to_vec(),
            testing: false,
            strict_identity: false,
        };
        for text in [
            "p=Zm9vYg==",
            "v=DKIM1; p=Zm9vYg==",
            "v=DKIM1;k=rsa;h=sha1:sha256;s=email;p=Zm9v\tYg==;",
            "v = DKIM1 ; k = RSA ; s = other : * ; p = Zm 9v Yg == ; n=hello world",
            "v=DKIM1; h=sha512 : sha256; g=; x_y=z; p=Zm9vYg\r\n",
            "v=DKIM1; t=x; g=nobody; p=Zm9vYg==\n",
        ] {
            assert_eq!(KeyRecord::parse(text.as_bytes()).as_ref(), Ok(&plain), "{text:?}");
        }
        let flags = KeyRecord::parse(b"v=DKIM1; k=ed25519; t=y : s; p=Zm9vYg==").unwrap();
        assert!(flags.testing && flags.strict_identity && flags.kind == KeyKind::Ed25519);
        assert!(KeyRecord::parse(b"t=s;p=eA==").unwrap().strict_identity);
        assert!(!KeyRecord::parse(b"t=ys;p=eA==").unwrap().strict_identity);
    }

    #[test]
    fn what_is_no_use() {
        for (text, error) in [
            ("", RecordError::Syntax(TagError::Empty)),
            ("v=spf1 -all", RecordError::Version),
            ("hello", RecordError::Syntax(TagError::Name)),
            ("v=DKIM1; k=rsa", RecordError::NoKey),
            ("v=DKIM1; p=", RecordError::Revoked),
            ("v=DKIM1; p= ;", RecordError::Revoked),
            ("v=DKIM2; p=eA==", RecordError::Version),
            ("v=dkim1; p=eA==", RecordError::Version),
            ("v=DKIM1\\; p=eA==", RecordError::Version),
            ("k=rsa; v=DKIM1; p=eA==", RecordError::Version),
            ("v=DKIM1; k=rsa; k=rsa; p=eA==", RecordError::Syntax(TagError::Duplicate)),
            ("v=DKIM1; k=dsa; p=eA==", RecordError::KeyType),
            ("v=DKIM1; k=; p=eA==", RecordError::KeyType),
            ("v=DKIM1; h=sha1; p=eA==", RecordError::Hash),
            ("v=DKIM1; h=; p=eA==", RecordError::Hash),
            ("v=DKIM1; s=tlsrpt; p=eA==", RecordError::Service),
            ("v=DKIM1; s=e-mail:mail; p=eA==", RecordError::Service),
            ("v=DKIM1; p=\"eA==\"", RecordError::KeyData),
            ("v=DKIM1; p=e*A==", RecordError::KeyData),
        ] {
            assert_eq!(KeyRecord::parse(text.as_bytes()), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..80), tail in "[vkhpstg=;: DKIM1a-z]{0,40}") {
            assert!(KeyRecord::parse(&text).is_err() || text.contains(&b'p'));
            let text = [b"v=DKIM1; p=eA==;", tail.as_bytes()].concat();
            if let Ok(record) = KeyRecord::parse(&text) {
                prop_assert_eq!(record.public_key, b"x");
            }
        }
    }
}
