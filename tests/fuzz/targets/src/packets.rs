//! The milter protocol: any bytes an MTA might send, through the daemon's own way of a connection.

use std::cell::{Cell, LazyCell};
use std::sync::{Arc, Once};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use milter::active::Active;
use milter::callbacks::serve_one;
use milter::config::{Origin, load};
use milter::connection::{Connection, Drain, Patience};
use milter::dkim::{KeyAnswer, SigningKey};
use milter::dns::{CacheLimits, Fixed, Keys, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use crate::{assert_field_value, choice};

/// Two configurations: signing and verifying in Postfix's usual way, and with everything that can be
/// asked for.
const CONFIGURATIONS: [&str; 2] = [
    "",
    "MilterReplies always\nAlwaysAddARHeader yes\nSoftwareHeader yes\nAuthservIDWithJobID yes\n\
     RequiredHeaders yes\nMaximumHeaders 2048\nOn-Security quarantine\nOn-BadSignature reject\n\
     RemoveOldSignatures yes\nDontSignMailTo csl:nobody@example.net\nMacroList csl:daemon_name=x\n\
     MustBeSigned csl:Subject\nFixCRLF yes\nSignHeaders csl:*\nLogWhy yes\nLogResults yes\n\
     Canonicalization relaxed/relaxed\n",
];
const COMMANDS: &[u8] = b"ABCDEHKLMNOQRTU";
/// A connection that is closed must end within this time.
const PATIENCE: Duration = Duration::from_secs(60);

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
    static DAEMON: LazyCell<(Runtime, Vec<Arc<ArcSwap<Active>>>)> = LazyCell::new(|| {
        let runtime = Builder::new_current_thread().enable_time().enable_io().build().unwrap();
        let guard = runtime.enter();
        let actives = CONFIGURATIONS.iter().map(|more| active(more)).collect();
        drop(guard);
        (runtime, actives)
    });
}
static HOOK: Once = Once::new();

/// What an MTA sends. The first byte chooses the configuration, whether a sound beginning is put
/// before the rest, and whether the rest is put into sound packets or taken as it is.
pub fn packets(bytes: &[u8]) {
    // A panic in the handling of a message is caught by the daemon; here it counts.
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    let (first, rest) = choice(bytes);
    let mut sent = Vec::new();
    if first & 1 != 0 {
        let options: u32 = if first & 2 == 0 { 0x1f_ffff } else { 0x7f };
        let version: u32 = if first & 2 == 0 { 6 } else { 2 };
        push(&mut sent, b'O', &[version, 0x1ff, options].map(u32::to_be_bytes).concat());
        let client = if first & 4 == 0 { "127.0.0.1" } else { "192.0.2.1" };
        push(&mut sent, b'C', &[b"client.example\x004\x00\x19", client.as_bytes(), b"\0"].concat());
    }
    if first & 8 != 0 {
        push(&mut sent, b'M', b"<a@example.com>\0");
        push(&mut sent, b'L', b"From\0 a@example.com\0");
    }
    if first & 16 == 0 {
        sent.extend_from_slice(rest)
    } else {
        frame(rest, &mut sent)
    }
    let before = PANICS.get();
    let received = DAEMON.with(|daemon| {
        let (runtime, actives) = &**daemon;
        let active = Arc::clone(&actives[usize::from(first >> 5 & 1)]);
        runtime.block_on(async { tokio::time::timeout(PATIENCE, talk(&sent, active)).await })
    });
    assert_eq!(PANICS.get(), before, "a message was deferred because of a panic");
    check(&received.expect("a connection that is closed has not ended"));
}

fn push(to: &mut Vec<u8>, command: u8, payload: &[u8]) {
    to.extend_from_slice(&(payload.len() as u32 + 1).to_be_bytes());
    to.push(command);
    to.extend_from_slice(payload);
}

/// Pieces of a command, a length and so many bytes, as packets that are sound for their command.
fn frame(mut bytes: &[u8], to: &mut Vec<u8>) {
    while let [command, length, rest @ ..] = bytes {
        let command = COMMANDS[usize::from(*command) % COMMANDS.len()];
        let (piece, after) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = after;
        let payload = match command {
            b'A' | b'E' | b'N' | b'Q' | b'K' | b'T' => Vec::new(),
            b'L' => {
                let colon = piece.iter().position(|byte| *byte == b':').unwrap_or(piece.len());
                let name = [b"X", &piece[..colon]].concat();
                let name = if colon == 0 { &name } else { &name[1..] };
                [name, b"\0", piece.get(colon + 1..).unwrap_or_default(), b"\0"].concat()
            }
            b'H' | b'M' | b'R' | b'U' | b'D' => [piece, b"\0"].concat(),
            _ => piece.to_vec(),
        };
        push(to, command, &payload);
    }
}

/// One connection from its begin to its end; gives all that was answered.
async fn talk(sent: &[u8], active: Arc<ArcSwap<Active>>) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let drain = Arc::new(Drain::default());
    let patience = Patience { idle: PATIENCE, in_message: PATIENCE };
    let connection = Connection::new(theirs, patience, Arc::clone(&drain), None);
    let served = tokio::spawn(serve_one(connection, active));
    let (mut reader, mut writer) = tokio::io::split(ours);
    let mut received = Vec::new();
    let write = async {
        // The daemon may have closed the connection, as it should when it is sent nonsense.
        let _ = writer.write_all(sent).await;
        let _ = writer.shutdown().await;
    };
    let ((), read) = tokio::join!(write, reader.read_to_end(&mut received));
    read.unwrap();
    served.await.unwrap();
    assert_eq!((drain.open(), drain.in_message()), (0, 0));
    received
}

/// What is answered is always sound: whole packets, and changes that are changes of header fields.
fn check(mut received: &[u8]) {
    while let [a, b, c, d, rest @ ..] = received {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        assert!(length > 0 && length <= rest.len(), "a reply that is cut");
        let (packet, after) = rest.split_at(length);
        received = after;
        let (letter, payload) = packet.split_first().unwrap();
        match letter {
            b'O' | b'y' | b'q' => assert!(!payload.is_empty()),
            b'i' | b'm' => {
                let text = std::str::from_utf8(&payload[4..]).expect("a change that is text");
                let mut parts = text.split('\0');
                let (name, value) = (parts.next().unwrap(), parts.next().unwrap());
                assert!(
                    ["DKIM-Signature", "Authentication-Results", "DKIM-Filter"].contains(&name),
                    "{name}"
                );
                assert_eq!((parts.next(), parts.next()), (Some(""), None));
                assert_eq!(value.is_empty(), *letter == b'm');
                assert_field_value(value);
            }
            _ => assert!(b"cadrts".contains(letter) && payload.is_empty(), "reply {letter}"),
        }
    }
    assert!(received.is_empty());
}

#[derive(Debug)]
struct Zone(Vec<u8>);

impl Fixed for Zone {
    fn answer(&self, name: &str) -> KeyAnswer {
        match name {
            "sel._domainkey.example.com" => KeyAnswer::Records(vec![self.0.clone()]),
            "later._domainkey.example.com" => KeyAnswer::TempFail("not now".to_owned()),
            _ => KeyAnswer::NotFound,
        }
    }
}

fn active(more: &str) -> Arc<ArcSwap<Active>> {
    let seed = BASE64_STANDARD.encode([0x42; 32]);
    let text = format!(
        "Mode sv\nAuthservID mx.test\nInternalHosts csl:127.0.0.1\nKeyTable csl:k=example.com:sel:{seed}\n\
         SigningTable csl:example.com=k\nNameservers 127.0.0.1\n{more}"
    );
    let loaded = load(&Origin::Text { name: "fuzz".to_owned(), text }, &[]);
    let settings = loaded.settings.unwrap_or_else(|| panic!("{}", loaded.report.render(false)));
    let public = SigningKey::parse(seed.as_bytes()).unwrap().public_key().unwrap();
    let record = format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(public));
    let zone = Source::Fixed(Arc::new(Zone(record.into_bytes())));
    let mut active = Active::new(settings).unwrap();
    active.dns = Keys::new(&zone, Duration::from_secs(1), CacheLimits::default()).unwrap();
    Arc::new(ArcSwap::from_pointee(active))
}
