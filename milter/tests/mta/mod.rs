//! A small MTA for tests: speaks the milter protocol over a stream in memory, rightly and wrongly.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use milter::active::Active;
use milter::config::{Origin, load};
use milter::connection::{Connection, Drain, Patience};
use milter::dkim::{KeyAnswer, SigningKey};
use milter::dns::{CacheLimits, Fixed, Keys, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

/// All actions and options of version 6, as a current Postfix offers them.
pub(crate) const POSTFIX: (u32, u32, u32) = (6, 0x1ff, 0x1f_ffff);
/// A client whose mail is signed, and one whose mail is verified.
pub(crate) const INSIDE: &str = "127.0.0.1";
pub(crate) const OUTSIDE: &str = "192.0.2.1";
/// The minimum of a message that can be signed.
pub(crate) const HEADER: [(&str, &str); 2] = [("From", " a@example.com"), ("Subject", " hostile")];

const NO_RCPT: u32 = 0x8;
const NO_REPLY: [(u8, u32); 4] = [(b'L', 0x80), (b'M', 0x4000), (b'R', 0x8000), (b'B', 0x8_0000)];
/// No reply is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A private key as base64 of an Ed25519 seed; it is nobody's.
fn seed() -> String {
    BASE64_STANDARD.encode([0x42; 32])
}

/// The record of that key, and names that behave badly.
#[derive(Debug)]
struct Zone(Vec<u8>);

impl Fixed for Zone {
    fn answer(&self, name: &str) -> KeyAnswer {
        match name {
            "sel._domainkey.example.com" => KeyAnswer::Records(vec![self.0.clone()]),
            "panic._domainkey.example.com" => panic!("the test asks for this panic"),
            _ => KeyAnswer::NotFound,
        }
    }
}

/// The configuration of all tests with `more` lines behind it; must be called in a runtime.
pub(crate) fn active(more: &str) -> Arc<ArcSwap<Active>> {
    let mut text = String::from("Mode sv\nAuthservID mx.test\nInternalHosts csl:127.0.0.1\n");
    writeln!(text, "KeyTable csl:k=example.com:sel:{}", seed()).unwrap();
    // The name server is never asked.
    text.push_str("SigningTable csl:example.com=k\nNameservers 127.0.0.1\n");
    text.push_str(more);
    let loaded = load(&Origin::Text { name: "test".to_owned(), text }, &[]);
    let settings = loaded.settings.unwrap_or_else(|| panic!("{}", loaded.report.render(false)));
    let public = SigningKey::parse(seed().as_bytes()).unwrap().public_key().unwrap();
    let record = format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(public));
    let zone = Source::Fixed(Arc::new(Zone(record.into_bytes())));
    let mut active = Active::new(settings).unwrap();
    active.dns = Keys::new(&zone, Duration::from_secs(1), CacheLimits::default()).unwrap();
    Arc::new(ArcSwap::from_pointee(active))
}

/// One packet.
pub(crate) fn packet(command: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_be_bytes(), &[command][..], payload].concat()
}

/// The payload of a header field.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [name, b"\0", value, b"\0"].concat()
}

/// The payload of CONNECT.
pub(crate) fn client(address: &str) -> Vec<u8> {
    [b"client.example\x004\x00\x19", address.as_bytes(), b"\0"].concat()
}

/// A reply: its letter and what follows.
pub(crate) type Reply = (char, Vec<u8>);

/// One connection and the daemon's side of it.
pub(crate) struct Mta {
    stream: DuplexStream,
    /// The orderly end, as the daemon would begin it.
    pub(crate) drain: Arc<Drain>,
    /// The options that were agreed on.
    pub(crate) options: u32,
    served: JoinHandle<()>,
}

impl Mta {
    /// A connection with long time limits, on which nothing was said yet.
    pub(crate) fn open(active: &Arc<ArcSwap<Active>>) -> Self {
        Self::with(active, Patience { idle: PATIENCE, in_message: PATIENCE }, 64 * 1024)
    }

    /// A connection whose stream holds `room` bytes in each direction.
    pub(crate) fn with(active: &Arc<ArcSwap<Active>>, patience: Patience, room: usize) -> Self {
        let (stream, theirs) = tokio::io::duplex(room);
        let drain = Arc::new(Drain::default());
        let connection = Connection::new(theirs, patience, Arc::clone(&drain), None);
        let served = tokio::spawn(milter::callbacks::serve_one(connection, Arc::clone(active)));
        Self { stream, drain, options: 0, served }
    }

    /// A connection on which the options are agreed on and the client is known.
    pub(crate) async fn begun(active: &Arc<ArcSwap<Active>>, address: &str) -> Self {
        let mut mta = Self::open(active);
        mta.negotiate(POSTFIX).await.unwrap();
        assert_eq!(mta.step(b'C', &client(address)).await.unwrap().0, 'c');
        mta
    }

    /// Offers version, actions and options; gives what was chosen of them.
    pub(crate) async fn negotiate(&mut self, offer: (u32, u32, u32)) -> Option<(u32, u32, u32)> {
        let numbers = [offer.0, offer.1, offer.2].map(u32::to_be_bytes).concat();
        self.send(b'O', &numbers).await;
        let (_, answer) = self.reply().await?;
        let number = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap());
        self.options = number(8);
        Some((number(0), number(4), number(8)))
    }

    /// Sends bytes as they are; false when nobody takes them any more.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().is_ok()
    }

    /// Sends a packet.
    pub(crate) async fn send(&mut self, command: u8, payload: &[u8]) -> bool {
        self.raw(&packet(command, payload)).await
    }

    /// The next reply; `None` when the connection has ended.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let whole = async {
            let length = self.stream.read_u32().await.ok()?;
            let letter = self.stream.read_u8().await.ok()?;
            let mut payload = vec![0; length as usize - 1];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((char::from(letter), payload))
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("no reply in time")
    }

    /// Sends a packet and waits for its reply, unless it was agreed that there is none.
    pub(crate) async fn step(&mut self, command: u8, payload: &[u8]) -> Option<Reply> {
        self.send(command, payload).await;
        let silent = NO_REPLY.iter().any(|(which, bit)| *which == command && self.options & bit != 0);
        if silent { Some(('c', Vec::new())) } else { self.reply().await }
    }

    /// The steps of a message from MAIL to the end of its header; gives the reply to that.
    pub(crate) async fn header<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)]) -> Reply {
        assert_eq!(self.step(b'M', b"<a@example.com>\0").await.unwrap().0, 'c');
        if self.options & NO_RCPT == 0 {
            assert_eq!(self.step(b'R', b"<b@example.net>\0").await.unwrap().0, 'c');
        }
        for (name, value) in fields {
            assert_eq!(self.step(b'L', &field(name.as_ref(), value.as_ref())).await.unwrap().0, 'c');
        }
        self.step(b'N', b"").await.unwrap()
    }

    /// A piece of the body, and its end; gives all replies to that.
    pub(crate) async fn rest(&mut self, body: &[u8]) -> Vec<Reply> {
        self.step(b'B', body).await.unwrap();
        self.send(b'E', b"").await;
        let mut replies = Vec::new();
        loop {
            let reply = self.reply().await.expect("a reply at the end of the message");
            let last = "acdrty".contains(reply.0);
            replies.push(reply);
            if last {
                return replies;
            }
        }
    }

    /// A whole message; its replies from the end of the header on.
    pub(crate) async fn message<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)]) -> Vec<Reply> {
        match self.header(fields).await {
            ('c', _) => self.rest(b"Hello\r\n").await,
            reply => vec![reply],
        }
    }

    /// Waits until the daemon's side has let go of the connection.
    pub(crate) async fn ended(self) {
        let Self { stream, drain, served, .. } = self;
        drop(stream);
        tokio::time::timeout(PATIENCE, served).await.expect("the connection is not let go").unwrap();
        assert_eq!((drain.open(), drain.in_message()), (0, 0));
    }
}

/// The letters of replies.
pub(crate) fn letters(replies: &[Reply]) -> String {
    replies.iter().map(|(letter, _)| *letter).collect()
}

/// The value of the one field of that name that is inserted, without its leading blank.
pub(crate) fn inserted(replies: &[Reply], name: &str) -> String {
    let start = [&[0; 4], name.as_bytes(), b"\0"].concat();
    let mut values = replies.iter().filter(|(letter, _)| *letter == 'i').filter_map(|(_, payload)| {
        let value = payload.strip_prefix(start.as_slice())?.strip_suffix(b"\0")?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    });
    let value = values.next().unwrap_or_else(|| panic!("no {name} in {replies:?}"));
    assert!(values.next().is_none(), "several {name}");
    value.strip_prefix(' ').map_or(value.clone(), str::to_owned)
}

/// Which fields of that name are removed, in the order of the removals.
pub(crate) fn removed(replies: &[Reply], name: &str) -> Vec<u32> {
    let rest = [name.as_bytes(), b"\0\0"].concat();
    let removals = replies.iter().filter(|(letter, payload)| *letter == 'm' && payload[4..] == rest);
    removals.map(|(_, payload)| u32::from_be_bytes(payload[..4].try_into().unwrap())).collect()
}
