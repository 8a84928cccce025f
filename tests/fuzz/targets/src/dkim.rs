//! Signatures and key records, and whole messages: what is signed verifies, however it is cut.

use std::sync::{Arc, LazyLock};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use milter::dkim::record::KeyRecord;
use milter::dkim::signature::Signature;
use milter::dkim::tags::TagList;
use milter::dkim::{
    AuthResult, Canonicalization, HeaderBlock, KeyAnswer, SignError, SignatureResult, SignatureTemplate,
    Signing, SigningKey, Verification, VerifyPolicy,
};
use milter::report::{Style, authentication_results};

use crate::{assert_field_value, choice};

/// Any time; signatures are made and verified at it.
const NOW: u64 = 1_700_000_000;
const DOMAIN: &str = "example.com";

static KEY: LazyLock<Arc<SigningKey>> =
    LazyLock::new(|| Arc::new(SigningKey::parse(BASE64_STANDARD.encode([0x42; 32]).as_bytes()).unwrap()));
static PUBLIC: LazyLock<Vec<u8>> = LazyLock::new(|| KEY.public_key().unwrap());
static RECORD: LazyLock<KeyAnswer> = LazyLock::new(|| {
    let text = format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(&*PUBLIC));
    KeyAnswer::Records(vec![text.into_bytes()])
});

/// A tag list. A tag that is found stands where it says that it stands.
pub fn tag_list(bytes: &[u8]) {
    let Ok(tags) = TagList::parse(bytes) else { return };
    let first = tags.first().expect("a list without a tag is an error");
    let named = ["v", "a", "b", "bh", "d", "h", "i", "s", "p", "k", "t"]
        .into_iter()
        .filter_map(|name| tags.tag(name));
    for tag in named.chain([first]) {
        assert!(tag.name[0].is_ascii_alphabetic());
        let span = &bytes[tag.span.clone()];
        assert!(tag.value.is_empty() || span.windows(tag.value.len()).any(|window| window == tag.value));
        assert!(!span.contains(&b';') && bytes[tag.span.start - 1] == b'=');
        assert_eq!(tag.value, tag.value.trim_ascii());
    }
}

/// The value of a DKIM-Signature field. What is claimed can be shown, whatever the rest says.
pub fn signature(bytes: &[u8]) {
    let (claims, signature) = Signature::parse(bytes);
    let is_name = |text: &str| {
        text.len() <= 253
            && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c))
    };
    assert!(claims.domain.as_deref().is_none_or(is_name), "{claims:?}");
    assert!(claims.selector.as_deref().is_none_or(is_name), "{claims:?}");
    if let Ok(signature) = signature {
        assert!(signature.query_name().len() <= 253);
        assert!(signature.signed_names().any(|name| name.eq_ignore_ascii_case(b"from")));
    }
    let mut headers = HeaderBlock::new();
    headers.push(b"DKIM-Signature", bytes);
    headers.push(b"From", b" a@example.com");
    headers.push(b"DKIM-Signature", bytes);
    let results = verify(&headers, b"body", &[64], false, &RECORD);
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| result.result != AuthResult::Pass));
    let value = authentication_results(Style { authserv_id: "mx.test", job: None, header_b: true }, &results);
    assert_field_value(&value);
    assert!(value.len() < 8192, "{value:?}");
    assert!(!value.contains("dkim=pass"), "{value:?}");
}

/// Key records, one a line. Only the key that has signed makes a signature pass.
pub fn key_record(bytes: &[u8]) {
    let records: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let ours = |record: &Vec<u8>| KeyRecord::parse(record).is_ok_and(|record| record.public_key == *PUBLIC);
    let signs = records.iter().any(ours);
    let mut headers = HeaderBlock::new();
    headers.push(b"From", b" a@example.com");
    let signed =
        sign(&headers, b"body", &[64], (Canonicalization::Relaxed, Canonicalization::Simple), false).unwrap();
    let results = verify(&signed, b"body", &[3], false, &KeyAnswer::Records(records));
    assert_eq!(results.len(), 1);
    assert!(results[0].result != AuthResult::Pass || signs, "{results:?}");
}

/// A message: fields of `name:value` up to an empty line, then the body; 0x1f is a fold. What is
/// signed passes, and does not with another body.
pub fn header_and_body(bytes: &[u8]) {
    let (first, rest) = choice(bytes);
    let (second, rest) = choice(rest);
    let how = |bit: u8| if first & bit == 0 { Canonicalization::Simple } else { Canonicalization::Relaxed };
    let canonicalization = (how(1), how(2));
    let fix_crlf = first & 4 != 0;
    let end = rest.windows(2).position(|pair| pair == b"\n\n");
    let (header, body) = end.map_or((rest, &b""[..]), |at| (&rest[..at], &rest[at + 2..]));
    let mut headers = HeaderBlock::new();
    for line in header.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value: Vec<u8> = value
            .iter()
            .flat_map(|byte| if *byte == 0x1f { b"\n\t".to_vec() } else { vec![*byte] })
            .collect();
        headers.push(&line[..colon], &value);
    }
    headers.push(b"From", b" Anna <a@example.com>");
    let cuts = [usize::from(first >> 4) + 1, usize::from(second & 15) + 1, usize::from(second >> 4) * 40 + 1];
    let signed = match sign(&headers, body, &cuts[..1], canonicalization, fix_crlf) {
        Ok(signed) => signed,
        Err(error) => {
            assert_eq!(error, SignError::HeaderListTooLong);
            return;
        }
    };
    let results = verify(&signed, body, &cuts[1..], fix_crlf, &RECORD);
    assert_eq!((results[0].field, results[0].result), (0, AuthResult::Pass), "{:?}", results[0]);
    let other = [body, b"another end"].concat();
    let results = verify(&signed, &other, &cuts, fix_crlf, &RECORD);
    assert_eq!((results[0].field, results[0].result), (0, AuthResult::Fail), "{:?}", results[0]);
}

/// Cuts a body into pieces whose sizes are taken in turn.
fn pieces<'a>(mut body: &'a [u8], sizes: &'a [usize], mut take: impl FnMut(&'a [u8])) {
    for size in sizes.iter().cycle() {
        if body.is_empty() {
            return;
        }
        let (piece, rest) = body.split_at((*size).min(body.len()));
        take(piece);
        body = rest;
    }
}

/// The header with a signature of all fields above it.
fn sign(
    headers: &HeaderBlock,
    body: &[u8],
    sizes: &[usize],
    canonicalization: (Canonicalization, Canonicalization),
    fix_crlf: bool,
) -> Result<HeaderBlock, SignError> {
    let template = SignatureTemplate {
        key: Arc::clone(&KEY),
        domain: DOMAIN.to_owned(),
        selector: "sel".to_owned(),
        identity: None,
        header_canonicalization: canonicalization.0,
        body_canonicalization: canonicalization.1,
        timestamp: NOW,
        expiration: None,
        signed_fields: (0..headers.len()).collect(),
        oversigned: vec!["From".to_owned()],
    };
    let mut signing = Signing::begin(headers, vec![template], fix_crlf)?;
    pieces(body, sizes, |piece| signing.body(piece));
    let field = signing.finish().pop().expect("one signature").sign()?;
    assert_field_value(&field.value);
    let mut signed = HeaderBlock::new();
    signed.push(b"DKIM-Signature", field.value.as_bytes());
    headers.iter().for_each(|field| signed.push(field.name, field.value));
    Ok(signed)
}

fn verify(
    headers: &HeaderBlock,
    body: &[u8],
    sizes: &[usize],
    fix_crlf: bool,
    answer: &KeyAnswer,
) -> Vec<SignatureResult> {
    let policy = VerifyPolicy { fix_crlf, ..VerifyPolicy::at(NOW) };
    let mut verification = Verification::begin(headers, Some(DOMAIN), |_| false, &policy);
    pieces(body, sizes, |piece| verification.body(piece));
    verification.finish(|_| Some(answer))
}
