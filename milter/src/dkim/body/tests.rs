//! Tests of the body hashes against the RFC's examples and a naive reading of its text.

use super::*;
use proptest::prelude::*;

use Canonicalization::{Relaxed, Simple};

fn sha256(text: &[u8]) -> [u8; 32] {
    let mut sha256 = Sha256::new();
    sha256.update(text);
    sha256.finish()
}

fn whole(how: Canonicalization, limit: Option<u64>, fix_crlf: bool, pieces: &[&[u8]]) -> BodyHash {
    let mut hashes = BodyHashes::new(fix_crlf);
    let id = hashes.request(how, limit);
    pieces.iter().for_each(|piece| hashes.update(piece));
    hashes.finish().hash(id).unwrap()
}

fn hash_of(canonical: &[u8]) -> BodyHash {
    BodyHash { digest: sha256(canonical), canonical_bytes: canonical.len() as u64 }
}

/// RFC 6376 §3.4.3 as a sentence: line ends at the end become one, and one is added if missing.
fn naive_simple(body: &[u8]) -> Vec<u8> {
    let mut body = body;
    while let Some(shorter) = body.strip_suffix(b"\r\n") {
        body = shorter;
    }
    [body, b"\r\n"].concat()
}

/// RFC 6376 §3.4.4 as steps over lines in memory.
fn naive_relaxed(body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(rest[..at].to_vec());
        rest = &rest[at + 2..];
    }
    lines.push(rest.to_vec());
    let mut lines: Vec<Vec<u8>> = lines
        .into_iter()
        .map(|line| {
            let mut out: Vec<u8> = Vec::new();
            for octet in line {
                let octet = if octet == b'\t' { b' ' } else { octet };
                if octet != b' ' || out.last() != Some(&b' ') {
                    out.push(octet);
                }
            }
            if out.last() == Some(&b' ') {
                out.pop();
            }
            out
        })
        .collect();
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect()
}

/// Every bare CR and bare LF becomes CRLF.
fn naive_fix(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut octets = body.iter().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' => {
                octets.next_if(|next| **next == b'\n');
                out.extend(b"\r\n");
            }
            b'\n' => out.extend(b"\r\n"),
            _ => out.push(*octet),
        }
    }
    out
}

#[test]
fn the_example_of_the_rfc() {
    // RFC 6376 §3.4.5.
    let body = b" C \r\nD \t E\r\n\r\n\r\n";
    assert_eq!(whole(Simple, None, false, &[body]), hash_of(b" C \r\nD \t E\r\n"));
    assert_eq!(whole(Relaxed, None, false, &[body]), hash_of(b" C\r\nD E\r\n"));
}

#[test]
fn the_empty_body() {
    // The two hashes are printed in RFC 6376 §3.4.3 and §3.4.4.
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let encoded = |how| BASE64_STANDARD.encode(whole(how, None, false, &[]).digest);
    assert_eq!(encoded(Simple), "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
    assert_eq!(encoded(Relaxed), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_eq!(whole(Simple, None, false, &[]).canonical_bytes, 2);
    assert_eq!(whole(Relaxed, None, false, &[]).canonical_bytes, 0);
}

#[test]
fn odd_ends_and_odd_octets() {
    for (body, simple, relaxed) in [
        (&b"\r\n"[..], &b"\r\n"[..], &b""[..]),
        (b"\r\n\r\n\r\n", b"\r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a\r\n", b"a\r\n", b"a\r\n"),
        (b"a\n", b"a\n\r\n", b"a\n\r\n"),
        (b"a\r", b"a\r\r\n", b"a\r\r\n"),
        (b"a\r\n\r", b"a\r\n\r\r\n", b"a\r\n\r\r\n"),
        (b"\r", b"\r\r\n", b"\r\r\n"),
        (b"\n", b"\n\r\n", b"\n\r\n"),
        (b"a\r\r\n", b"a\r\r\n", b"a\r\r\n"),
        (b"a \r b\r\n", b"a \r b\r\n", b"a \r b\r\n"),
        (b"a  \n  b\r\n", b"a  \n  b\r\n", b"a \n b\r\n"),
        (b"   ", b"   \r\n", b""),
        (b" \t\r\n \r\n", b" \t\r\n \r\n", b""),
        (b"a\r\n \t ", b"a\r\n \t \r\n", b"a\r\n"),
        (b"\r\n\r\na", b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
        (b"a\x0b\x0c\r\n", b"a\x0b\x0c\r\n", b"a\x0b\x0c\r\n"),
        (b"a \x0c \r\n", b"a \x0c \r\n", b"a \x0c\r\n"),
        (b"a\xa0\xff \x00 b\r\n", b"a\xa0\xff \x00 b\r\n", b"a\xa0\xff \x00 b\r\n"),
        (b"\ta", b"\ta\r\n", b" a\r\n"),
    ] {
        let shown = body.escape_ascii().to_string();
        assert_eq!(whole(Simple, None, false, &[body]), hash_of(simple), "simple {shown}");
        assert_eq!(whole(Relaxed, None, false, &[body]), hash_of(relaxed), "relaxed {shown}");
        for at in 0..=body.len() {
            let (head, tail) = body.split_at(at);
            assert_eq!(whole(Simple, None, false, &[head, tail]), hash_of(simple), "simple {shown} at {at}");
            assert_eq!(
                whole(Relaxed, None, false, &[head, tail]),
                hash_of(relaxed),
                "relaxed {shown} at {at}"
            );
        }
    }
}

#[test]
fn limits_cut_the_hash_and_not_the_length() {
    let body = b"one  two\r\nthree\r\n";
    let canonical = b"one two\r\nthree\r\n";
    let mut hashes = BodyHashes::new(false);
    let limits = [0, 3, 9, canonical.len() as u64, 500];
    let ids = limits.map(|limit| hashes.request(Relaxed, Some(limit)));
    let unlimited = hashes.request(Relaxed, None);
    body.iter().for_each(|octet| hashes.update(&[*octet]));
    let finished = hashes.finish();
    for (limit, id) in limits.iter().zip(ids) {
        let cut = canonical.len().min(usize::try_from(*limit).unwrap());
        let want = BodyHash { digest: sha256(&canonical[..cut]), canonical_bytes: canonical.len() as u64 };
        assert_eq!(finished.hash(id), Some(want));
    }
    assert_eq!(finished.hash(unlimited), Some(hash_of(canonical)));
}

#[test]
fn the_same_request_is_hashed_once() {
    let mut hashes = BodyHashes::new(false);
    assert!(hashes.is_idle());
    let first = hashes.request(Relaxed, None);
    assert_eq!(hashes.request(Relaxed, None), first);
    assert_ne!(hashes.request(Simple, None), first);
    assert_ne!(hashes.request(Relaxed, Some(1)), first);
    assert!(!hashes.is_idle());
    assert_eq!(hashes.engines.relaxed_out.digests.len(), 2);
}

#[test]
fn endless_white_space_is_only_counted() {
    for unit in [&b"\r\n"[..], b" ", b"\t \r\n"] {
        let mut hashes = BodyHashes::new(false);
        let ids = [hashes.request(Simple, None), hashes.request(Relaxed, None)];
        let piece = unit.repeat(20_000);
        hashes.update(b"x");
        (0..50).for_each(|_| hashes.update(&piece));
        let text = [&b"x"[..], &unit.repeat(1_000_000), b"y"].concat();
        hashes.update(b"y");
        let finished = hashes.finish();
        assert_eq!(finished.hash(ids[0]), Some(hash_of(&naive_simple(&text))));
        assert_eq!(finished.hash(ids[1]), Some(hash_of(&naive_relaxed(&text))));
    }
}

fn body_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(&b"\r\n"[..]),
        3 => Just(&b" "[..]),
        2 => Just(&b"\t"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b"\n"[..]),
        3 => Just(&b"word"[..]),
        1 => Just(&b"a long run of words without anything to change, longer than one block of it"[..]),
        1 => Just(&b"\x0b\xff\x00"[..]),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_body_in_any_pieces(
        body in body_text(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        limit in proptest::option::of(0_u64..80),
        fix_crlf in any::<bool>(),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        let mut hashes = BodyHashes::new(fix_crlf);
        let ids = [(Simple, None), (Relaxed, None), (Simple, limit), (Relaxed, limit)]
            .map(|(how, limit)| (hashes.request(how, limit), how, limit));
        let mut from = 0;
        for cut in cuts.iter().copied().chain([body.len()]) {
            hashes.update(&body[from..cut]);
            from = cut;
        }
        let finished = hashes.finish();
        let text = if fix_crlf { naive_fix(&body) } else { body };
        for (id, how, limit) in ids {
            let canonical = match how {
                Simple => naive_simple(&text),
                Relaxed => naive_relaxed(&text),
            };
            let cut = limit.map_or(canonical.len(), |limit| canonical.len().min(limit as usize));
            let want = BodyHash { digest: sha256(&canonical[..cut]), canonical_bytes: canonical.len() as u64 };
            prop_assert_eq!(finished.hash(id), Some(want));
        }
    }
}
