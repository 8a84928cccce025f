//! What a message costs in memory does not depend on how long it is. Alone in its program, so that
//! nothing else takes memory meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the small MTA of these tests is test code too"
)]
#![allow(clippy::large_futures, reason = "the futures of tests may be large")]
#![allow(dead_code, reason = "not all of the small MTA is needed here")]

mod mta;

use mta::{HEADER, INSIDE, Mta, OUTSIDE, POSTFIX, active, client, field, letters};

/// Bytes of this program in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// How much more memory is in use than at `before`, in MiB.
fn grown(before: usize) -> usize {
    resident().saturating_sub(before) >> 20
}

#[tokio::test]
async fn nothing_of_a_body_or_of_too_large_a_header_is_kept() {
    let active = active("DontSignMailTo csl:nobody@example.net\nOn-Security tempfail\n");
    for address in [INSIDE, OUTSIDE] {
        let mut mta = Mta::begun(&active, address).await;
        let signature = " v=1; a=ed25519-sha256; c=simple/simple; d=example.com; s=sel; h=from; bh=\
                         47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA";
        let signed = [&[("DKIM-Signature", signature)], &HEADER[..]].concat();
        assert_eq!(mta.header(&signed).await.0, 'c');
        let chunk = "line of a body \r\n".repeat(3800);
        mta.step(b'B', chunk.as_bytes()).await.unwrap();
        let before = resident();
        for _ in 0..1500 {
            mta.step(b'B', chunk.as_bytes()).await.unwrap();
        }
        assert!(grown(before) < 8, "90 MB of body have left {} MiB", grown(before));
        let replies = mta.rest(b"end").await;
        assert_eq!(letters(&replies), "ia", "{address}");
    }

    let mut mta = Mta::begun(&active, OUTSIDE).await;
    mta.step(b'M', b"<a@example.com>\0").await.unwrap();
    mta.step(b'R', b"<b@example.net>\0").await.unwrap();
    let large = field(b"X-Large", &b"x".repeat(1_000_000));
    mta.step(b'L', &large).await.unwrap();
    let before = resident();
    for _ in 0..100 {
        mta.step(b'L', &large).await.unwrap();
    }
    assert_eq!(mta.step(b'N', b"").await.unwrap().0, 'y');
    assert!(grown(before) < 8, "100 MB of header have left {} MiB", grown(before));

    let mut mta = Mta::begun(&active, OUTSIDE).await;
    mta.step(b'M', b"<a@example.com>\0").await.unwrap();
    let recipient = [b"<", &b"r".repeat(1_000_000)[..], b"@example.net>\0"].concat();
    mta.step(b'R', &recipient).await.unwrap();
    let before = resident();
    for _ in 0..100 {
        mta.step(b'R', &recipient).await.unwrap();
    }
    assert!(grown(before) < 16, "100 MB of recipients have left {} MiB", grown(before));

    // Macros are as many as the MTA says, so their number has a limit; so has what they cost.
    let mut mta = Mta::open(&active);
    mta.negotiate(POSTFIX).await.unwrap();
    let macros: String = (0..2000).map(|n| format!("{n}\0v\0")).collect();
    let before = resident();
    for round in 0..100_usize {
        let stage = b"CHMRTNE"[round % 7];
        mta.send(b'D', &[&[stage], macros.as_bytes()].concat()).await;
    }
    assert_eq!(mta.step(b'C', &client(INSIDE)).await.unwrap().0, 'c');
    assert!(grown(before) < 16, "100 lists of macros have left {} MiB", grown(before));
}
