//! Hostile and broken MTAs and messages: every limit holds, and what is broken harms nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the small MTA of these tests is test code too"
)]
#![allow(clippy::large_futures, reason = "the futures of tests may be large")]

mod mta;

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use base::clock::monotonic_now;
use milter::connection::Patience;
use milter::framing::{LONGEST_PACKET, MOST_STRINGS};
use mta::{HEADER, INSIDE, Mta, OUTSIDE, POSTFIX, active, client, field, inserted, letters, packet, removed};

const FORGED: (&str, &str) = ("Authentication-Results", " mx.test; dkim=pass header.d=example.com");
const OTHERS: (&str, &str) = ("Authentication-Results", " elsewhere.test; dkim=pass");

/// The lines that were logged by any test of this program.
static LINES: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    struct Collector;
    impl log::Log for Collector {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            LINES.lock().unwrap().push(record.args().to_string());
        }
        fn flush(&self) {}
    }
    log::set_logger(&Collector).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    Mutex::default()
});

/// A signature as the daemon itself makes it for `HEADER` and the body of `Mta::message`.
async fn signature(more: &str) -> String {
    let mut mta = Mta::begun(&active(more), INSIDE).await;
    let replies = mta.message(&HEADER).await;
    assert_eq!(letters(&replies), "ia", "{more}");
    mta.ended().await;
    inserted(&replies, "DKIM-Signature")
}

/// `HEADER` with fields above it.
fn below<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [fields, &HEADER].concat()
}

#[tokio::test]
async fn a_signature_passes() {
    let signature = format!(" {}", signature("").await);
    let mut mta = Mta::begun(&active(""), OUTSIDE).await;
    let replies = mta.message(&below(&[("DKIM-Signature", &signature)])).await;
    assert!(inserted(&replies, "Authentication-Results").contains("dkim=pass"), "{replies:?}");
}

#[tokio::test]
async fn broken_packets_end_their_connection_and_are_named() {
    let long = u32::try_from(LONGEST_PACKET + 1).unwrap().to_be_bytes();
    let strings = [&b"C"[..], &[0].repeat(MOST_STRINGS as usize + 1)].concat();
    let cases: [(Vec<u8>, &str); 16] = [
        (vec![0, 0, 0, 0], "a packet of length 0"),
        (vec![0xff; 4], "a packet of 4294967295 bytes"),
        ([&long[..], b"L"].concat(), "a packet of 1048577 bytes"),
        (packet(b'Z', b""), "unknown command 'Z'"),
        (packet(0xff, b"x"), "unknown command '\\xff'"),
        (packet(b'L', b"\0value\0"), "without a header field name"),
        (packet(b'L', b"Name\0"), "without a header field value"),
        (packet(b'L', b"Name\0value"), "HEADER without the NUL at its end"),
        (packet(b'M', b"<a@b>"), "MAIL without an address"),
        (packet(b'R', b""), "RCPT without an address"),
        (packet(b'B', b""), "BODY without any bytes"),
        (packet(b'E', b"tail"), "BODYEOB without an end"),
        (packet(b'D', b""), "MACRO without the command"),
        (packet(b'D', &strings), "MACRO with more than 4096 strings"),
        (packet(b'C', b"host"), "CONNECT without a host name"),
        (packet(b'O', b"\0\0\0\x06"), "OPTNEG without its twelve bytes"),
    ];
    LazyLock::force(&LINES);
    let active = active("");
    for (bytes, named) in cases {
        let mut mta = Mta::open(&active);
        mta.negotiate(POSTFIX).await.unwrap();
        mta.raw(&bytes).await;
        assert_eq!(mta.reply().await, None, "{named}");
        mta.ended().await;
        let lines = LINES.lock().unwrap();
        assert!(lines.iter().any(|line| line.contains(named)), "{named} is not in {lines:?}");
    }
    // What the watcher cannot see without keeping bytes ends the connection as well.
    for bytes in
        [&b"host\x004\x00\x19999.0.0.1\0"[..], b"host\x00X\x00\x19\0", b"host\x004", b"host\x006\0\0::1"]
    {
        let mut mta = Mta::open(&active);
        mta.negotiate(POSTFIX).await.unwrap();
        mta.send(b'C', bytes).await;
        assert_eq!(mta.reply().await, None, "{}", bytes.escape_ascii());
        mta.ended().await;
        let named = "the packet CONNECT of the MTA is not understood";
        let told = |line: &String| line.contains(named);
        let mut lines = LINES.lock().unwrap();
        assert!(lines.iter().any(told), "{} in {lines:?}", bytes.escape_ascii());
        lines.retain(|line| !told(line));
    }
    let mut mta = Mta::begun(&active, INSIDE).await;
    assert_eq!(letters(&mta.message(&HEADER).await), "ia");
}

#[tokio::test]
async fn the_longest_packet_is_taken() {
    let active = active("MaximumHeaders 0\n");
    let mut mta = Mta::begun(&active, INSIDE).await;
    let value = [b' '].repeat(LONGEST_PACKET - "LX\0\0".len());
    let payload = field(b"X", &value);
    assert_eq!(payload.len() + 1, LONGEST_PACKET);
    let long = String::from_utf8(value).unwrap();
    assert_eq!(letters(&mta.message(&below(&[("X", &long)])).await), "ia");
}

#[tokio::test]
async fn nothing_comes_before_the_negotiation_and_nothing_out_of_order() {
    let active = active("");
    for command in *b"ABCDEHLMNRTU" {
        let mut mta = Mta::open(&active);
        mta.send(command, b"x\0y\0").await;
        assert_eq!(mta.reply().await, None);
        mta.ended().await;
    }
    // Steps at the wrong time are not answered; the next message goes through.
    let mut mta = Mta::begun(&active, INSIDE).await;
    for command in *b"NLEBNLC" {
        mta.send(command, if command == b'L' { b"X\0y\0" } else { b"" }).await;
        mta.send(b'A', b"").await;
    }
    mta.send(b'O', &[0; 12]).await;
    assert_eq!(mta.reply().await, None, "the body without bytes has ended it");
    mta.ended().await;
}

#[tokio::test]
async fn ten_thousand_fields() {
    let fields: Vec<(String, String)> = (0..10_000).map(|n| (format!("X-{n}"), " y".to_owned())).collect();
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut mta = Mta::begun(&active("MaximumHeaders 0\n"), INSIDE).await;
    assert_eq!(letters(&mta.message(&below(&fields)).await), "ia");
    // With the usual limit the same header is too large; the next message is not.
    let mut mta = Mta::begun(&active(""), INSIDE).await;
    let replies = mta.message(&below(&fields)).await;
    assert_eq!(replies, [('y', b"451 4.7.0 too much header data\0".to_vec())]);
    assert_eq!(letters(&mta.message(&HEADER).await), "ia");
}

#[tokio::test]
async fn more_fields_than_are_kept() {
    let mut mta = Mta::begun(&active("MaximumHeaders 0\n"), INSIDE).await;
    let fields = vec![("X", ""); 20_001];
    assert_eq!(letters(&mta.message(&below(&fields)).await), "y");
}

#[tokio::test]
async fn a_field_of_a_megabyte_is_too_large() {
    let value = "x".repeat(1_000_000);
    let mut mta = Mta::begun(&active(""), OUTSIDE).await;
    assert_eq!(letters(&mta.message(&below(&[("X", &value)])).await), "y");
    assert_eq!(letters(&mta.message(&HEADER).await), "a");
}

#[tokio::test]
async fn a_header_too_large_is_dealt_with_and_forged_results_are_removed_from_it() {
    let filler = "x".repeat(900);
    let header =
        [&[FORGED, OTHERS][..], &vec![("X", filler.as_str()); 200], &[OTHERS, FORGED], &HEADER].concat();
    for (action, letter) in [("reject", "y"), ("tempfail", "y"), ("discard", "d")] {
        let mut mta = Mta::begun(&active(&format!("On-Security {action}\n")), OUTSIDE).await;
        assert_eq!(letters(&mta.message(&header).await), letter, "{action}");
    }
    for (action, wanted) in [("accept", "mma"), ("quarantine", "mmqa")] {
        let mut mta = Mta::begun(&active(&format!("On-Security {action}\n")), OUTSIDE).await;
        let replies = mta.message(&header).await;
        assert_eq!(letters(&replies), wanted, "{action}");
        assert_eq!(removed(&replies, FORGED.0), [4, 1]);
        // The next message on the connection is none of that.
        assert_eq!(letters(&mta.message(&HEADER).await), "a", "{action}");
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_signed_is_held_when_that_is_asked_for() {
    // A field name of 40,000 letters does not fit into h=.
    let name = "x".repeat(40_000);
    let mut mta =
        Mta::begun(&active("SignHeaders csl:From,x*\nOn-SignatureError quarantine\n"), INSIDE).await;
    assert_eq!(letters(&mta.message(&below(&[FORGED, (&name, "")])).await), "mqa");
    let mut mta = Mta::begun(&active("SignHeaders csl:From,x*\nOn-SignatureError accept\n"), INSIDE).await;
    assert_eq!(letters(&mta.message(&below(&[FORGED, (&name, "")])).await), "ma");
}

#[tokio::test]
async fn more_forged_fields_than_can_be_removed() {
    let mut mta = Mta::begun(&active("MaximumHeaders 0\n"), OUTSIDE).await;
    let replies = mta.message(&below(&vec![FORGED; 10_000])).await;
    assert_eq!(removed(&replies, FORGED.0), (1..=10_000).rev().collect::<Vec<u32>>());
    assert_eq!(letters(&mta.message(&below(&vec![FORGED; 10_001])).await), "t");
    assert_eq!(letters(&mta.message(&HEADER).await), "a");
}

/// Values whose reading could take time with the square of their length.
#[tokio::test]
async fn long_fields_take_no_longer_than_their_length() {
    let size = 900_000;
    let values = ["(", "()", "\"(", "( ", ".", ";", "a=b;", "a=", ":", " :", "<", "\\", "\r\n "];
    let from = format!("{}@{}", ".".repeat(size / 2), ":".repeat(size / 2));
    for internal in [INSIDE, OUTSIDE] {
        let mut mta = Mta::begun(&active("MaximumHeaders 0\n"), internal).await;
        let begun = monotonic_now();
        for value in values {
            let value = value.repeat(size / value.len());
            for name in ["From", "Authentication-Results", "DKIM-Signature"] {
                mta.message(&below(&[(name, &value)])).await;
            }
        }
        mta.message(&[("From", &from)]).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(30), "40 messages of 900 kB took {took:?}");
    }
    // A host name that is asked for part by part.
    let mut mta = Mta::open(&active("PeerList csl:a.example\n"));
    mta.negotiate(POSTFIX).await.unwrap();
    let name = [".".repeat(size).as_bytes(), b"\x004\x00\x19192.0.2.1\0"].concat();
    let begun = monotonic_now();
    assert_eq!(mta.step(b'C', &name).await.unwrap().0, 'c');
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn sixty_four_signatures_and_more() {
    let one = format!(" {}", signature("").await);
    let domain = "example.com";
    let strange: Vec<String> = (0..100).map(|n| one.replace(domain, &format!("d{n}.example.net"))).collect();
    let mut fields: Vec<(&str, &str)> =
        strange.iter().map(|value| ("DKIM-Signature", value.as_str())).collect();
    fields.push(("DKIM-Signature", &one));
    let mut mta = Mta::begun(&active(""), OUTSIDE).await;
    let result = inserted(&mta.message(&below(&fields)).await, "Authentication-Results");
    assert_eq!(result.matches("dkim=").count(), 64, "{result}");
    // The author's own signature comes first, wherever it stands among those that are read.
    fields.drain(..60);
    let result = inserted(&mta.message(&below(&fields)).await, "Authentication-Results");
    assert_eq!(result.matches("dkim=pass").count(), 1, "{result}");
}

#[tokio::test]
async fn the_mta_goes_away_at_every_step() {
    let active = active("");
    let numbers = [6_u32, 0x1ff, 0x1f_ffff].map(u32::to_be_bytes).concat();
    let steps = [
        packet(b'O', &numbers),
        packet(b'D', b"Cj\0mx.test\0"),
        packet(b'C', &client(INSIDE)),
        packet(b'M', b"<a@example.com>\0"),
        packet(b'L', b"From\0 a@example.com\0"),
        packet(b'N', b""),
        packet(b'B', b"Hello\r\n"),
        packet(b'E', b""),
        packet(b'Q', b""),
    ]
    .concat();
    for cut in 0..=steps.len() {
        let mut mta = Mta::open(&active);
        mta.raw(&steps[..cut]).await;
        mta.ended().await;
    }
    // Gone while replies are on their way: nobody reads them.
    for cut in (0..steps.len()).step_by(7) {
        let mut mta = Mta::with(&active, LONG, 8);
        let half = &steps[..cut];
        drop(tokio::time::timeout(Duration::from_millis(20), mta.raw(half)).await);
        mta.ended().await;
    }
}

const LONG: Patience = Patience { idle: Duration::from_secs(60), in_message: Duration::from_secs(60) };
const SHORT: Duration = Duration::from_millis(150);

/// Waits for the daemon to close the connection; gives how long that took.
async fn closed(mta: &mut Mta) -> Duration {
    let begun = monotonic_now();
    assert_eq!(mta.reply().await, None);
    begun.elapsed()
}

#[tokio::test]
async fn silence_between_messages_has_its_limit() {
    let active = active("");
    let patience = Patience { idle: SHORT, ..LONG };
    let mut mta = Mta::with(&active, patience, 65536);
    let took = closed(&mut mta).await;
    assert!((SHORT..Duration::from_secs(10)).contains(&took), "before the negotiation: {took:?}");
    mta.ended().await;

    let mut mta = Mta::with(&active, patience, 65536);
    mta.negotiate(POSTFIX).await.unwrap();
    mta.step(b'C', &client(INSIDE)).await.unwrap();
    assert_eq!(mta.header(&HEADER).await.0, 'c');
    // With a message in hand the other limit holds.
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(letters(&mta.rest(b"Hello\r\n").await), "ia");
    let took = closed(&mut mta).await;
    assert!((SHORT / 2..Duration::from_secs(10)).contains(&took), "after a message: {took:?}");
    mta.ended().await;
}

#[tokio::test]
async fn silence_within_a_message_or_packet_has_its_limit() {
    let active = active("");
    let patience = Patience { in_message: SHORT, ..LONG };
    for unfinished in [&b""[..], b"\0", b"\0\0\0\x10L", b"\0\0\0\x10LName\0"] {
        let mut mta = Mta::with(&active, patience, 65536);
        mta.negotiate(POSTFIX).await.unwrap();
        mta.step(b'C', &client(INSIDE)).await.unwrap();
        assert_eq!(mta.header(&HEADER).await.0, 'c');
        mta.raw(unfinished).await;
        let took = closed(&mut mta).await;
        assert!((SHORT / 2..Duration::from_secs(10)).contains(&took), "{took:?}");
        mta.ended().await;
    }
    let mut mta = Mta::with(&active, patience, 65536);
    mta.raw(b"\0\0").await;
    assert!(closed(&mut mta).await < Duration::from_secs(10), "a part of the first packet");
    mta.ended().await;
}

#[tokio::test]
async fn an_mta_that_takes_no_reply_is_silent_as_well() {
    let patience = Patience { idle: SHORT, in_message: SHORT };
    let mut mta = Mta::with(&active(""), patience, 16);
    // The answer to it does not fit into the stream.
    mta.send(b'O', &[6_u32, 0x1ff, 0x1f_ffff].map(u32::to_be_bytes).concat()).await;
    let begun = monotonic_now();
    while mta.drain.open() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "the connection is kept for ever");
    }
}

#[tokio::test]
async fn the_end_lets_idle_connections_go_at_once_and_messages_finish() {
    let active = active("");
    let mut idle = Mta::begun(&active, INSIDE).await;
    let mut busy = Mta::begun(&active, INSIDE).await;
    assert_eq!(busy.header(&HEADER).await.0, 'c');
    assert_eq!((busy.drain.open(), busy.drain.in_message()), (1, 1));
    assert_eq!((idle.drain.open(), idle.drain.in_message()), (1, 0));
    idle.drain.begin();
    busy.drain.begin();
    assert!(closed(&mut idle).await < Duration::from_secs(5));
    idle.ended().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(letters(&busy.rest(b"Hello\r\n").await), "ia");
    assert!(closed(&mut busy).await < Duration::from_secs(5));
    busy.ended().await;
    // A message that is refused or let through early is no longer in hand either.
    let mut refused = Mta::begun(&active, OUTSIDE).await;
    assert_eq!(refused.header(&HEADER).await.0, 'a');
    refused.drain.begin();
    assert!(closed(&mut refused).await < Duration::from_secs(5));
    // One that slips in at the end goes no further than to its first pause.
    let mut late = Mta::open(&active);
    late.drain.begin();
    late.negotiate(POSTFIX).await.unwrap();
    assert!(closed(&mut late).await < Duration::from_secs(5));
}

#[tokio::test]
async fn a_panic_defers_its_message_and_nothing_else() {
    LazyLock::force(&LINES);
    let good = format!(" {}", signature("").await);
    let bad = good.replace("s=sel;", "s=panic;");
    assert_ne!(good, bad);
    let mut mta = Mta::begun(&active(""), OUTSIDE).await;
    for _ in 0..3 {
        assert_eq!(letters(&mta.message(&below(&[("DKIM-Signature", &bad)])).await), "t");
        let replies = mta.message(&below(&[("DKIM-Signature", &good)])).await;
        assert!(inserted(&replies, "Authentication-Results").contains("dkim=pass"), "{replies:?}");
    }
    let lines = LINES.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("a mistake in this program")), "{lines:?}");
}

#[tokio::test]
async fn messages_and_aborts_on_one_connection() {
    let good = format!(" {}", signature("").await);
    let mut mta = Mta::begun(&active(""), OUTSIDE).await;
    for round in 0..20 {
        // Something of each aborted message would change the result of the next one.
        let sent: Vec<(&str, &str)> =
            below(&[FORGED, ("DKIM-Signature", " v=1; broken"), ("From", " b@example.org")]);
        match round % 4 {
            0 => drop(mta.step(b'M', b"<x@example.com>\0").await),
            1 => {
                mta.header(&sent).await;
            }
            2 => {
                mta.header(&sent).await;
                mta.step(b'B', b"another body\r\n").await;
            }
            _ => {
                mta.step(b'M', b"<x@example.com>\0").await;
                mta.step(b'L', &field(b"From", b" b@example.org")).await;
            }
        }
        mta.send(b'A', b"").await;
        let replies = mta.message(&below(&[("DKIM-Signature", &good)])).await;
        assert_eq!(letters(&replies), "ia", "round {round}");
        assert!(inserted(&replies, "Authentication-Results").contains("dkim=pass"), "round {round}");
    }
    mta.send(b'Q', b"").await;
    assert_eq!(mta.reply().await, None);
    mta.ended().await;
}

#[tokio::test]
async fn what_an_mta_offers_is_what_is_used() {
    let offers = [
        // Replies left out: as Postfix does it, then with every reply.
        ("", POSTFIX, (6, 0x111, 0x18_438a)),
        ("MilterReplies always\n", POSTFIX, (6, 0x111, 0x10_0702)),
        // No blank kept after the colon; no list of macros; version 2.
        ("MilterReplies always\n", (6, 0x1ff, 0x0f_ffff), (6, 0x111, 0x702)),
        ("MilterReplies always\n", (6, 0x3f, 0x1f_ffff), (6, 0x11, 0x10_0702)),
        ("", (2, 0x3f, 0x7f), (2, 0x11, 0xa)),
        ("MilterReplies always\n", (2, 0x3f, 0x7f), (2, 0x11, 0x2)),
        // None stands for those of version 1, as in libmilter.
        ("", (6, 0x11, 0), (6, 0x11, 0xa)),
    ];
    for (more, offer, chosen) in offers {
        // simple/simple: a blank too many or too few would break the signature.
        for canonicalization in ["simple/simple", "relaxed/relaxed"] {
            let active = active(&format!("{more}Canonicalization {canonicalization}\n"));
            let case = format!("{more}{canonicalization} {offer:x?}");
            let mut mta = Mta::open(&active);
            let answer = mta.negotiate(offer).await.unwrap();
            assert_eq!(answer, chosen, "{case}: {answer:x?}");
            let keeps_blank = mta.options & 0x10_0000 != 0;
            assert_eq!(mta.step(b'C', &client(INSIDE)).await.unwrap().0, 'c', "{case}");
            let value = |text: &str| if keeps_blank { format!(" {text}") } else { text.to_owned() };
            let header = [("From", value("a@example.com")), ("Subject", value("hostile"))];
            let replies = mta.message(&header).await;
            assert_eq!(letters(&replies), "ia", "{case}");
            let signature = value(&inserted(&replies, "DKIM-Signature"));
            mta.ended().await;
            let mut mta = Mta::open(&active);
            assert_eq!(mta.negotiate(offer).await, Some(answer), "{case}");
            assert_eq!(mta.step(b'C', &client(OUTSIDE)).await.unwrap().0, 'c', "{case}");
            let signed = [&[("DKIM-Signature", signature)], &header[..]].concat();
            let result = inserted(&mta.message(&signed).await, "Authentication-Results");
            assert!(result.contains("dkim=pass"), "{case}: {result}");
            mta.ended().await;
        }
    }
}

#[tokio::test]
async fn an_mta_that_cannot_change_headers_is_not_served() {
    for actions in [0x1, 0x10, 0x100] {
        let mut mta = Mta::open(&active(""));
        assert_eq!(mta.negotiate((6, actions, 0x1f_ffff)).await, None, "{actions:x}");
        mta.ended().await;
    }
    let mut mta = Mta::open(&active(""));
    assert_eq!(mta.negotiate((1, 0x1ff, 0x1f_ffff)).await, None, "version 1");
}
