//! base64 as DKIM has it: with white space in it and with or without padding (RFC 6376 §2.10).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::tags::without_white_space;

/// Decodes; `None` for a character that is not base64.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    ENGINE.decode(without_white_space(text)).ok()
}

/// Encodes, with padding.
pub(crate) fn encode(octets: &[u8]) -> String {
    ENGINE.encode(octets)
}

/// RFC 6376 makes the padding optional, and says nothing about bits that are left over.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_padding_do_not_matter() {
        for text in ["Zm9vYg==", "Zm9vYg", " Z m\r\n\t9vYg == ", "Zm9vYh=="] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(&b"foob"[..]), "{text:?}");
        }
        assert_eq!(decode(b"").as_deref(), Some(&b""[..]));
        for text in ["Zm9v*", "Z", "Zm9v=Yg=", "-_", "Zm9vYg==="] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(encode(b"foob"), "Zm9vYg==");
    }
}
