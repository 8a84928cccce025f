//! Names of messages: unique, and where the queue's name of the message is known, the same at each attempt (pure).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::message::{self, Header};

/// What a name begins with: `1795296884.M362893P1582.host`.
///
/// Dovecot sorts new messages by the number in front and the one behind `M`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    text: String,
}

/// What is the same at each attempt to deliver a message: the topmost `Received` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    seconds: u64,
    micros: u32,
    hash: u64,
}

impl Origin {
    /// From the header as it came; `None` without a `Received` field that has a date.
    #[must_use]
    pub fn of(header: &[u8]) -> Option<Self> {
        let received = Header::new(header).first("Received")?;
        let semicolon = memchr::memrchr(b';', received)?;
        let seconds = message::date(received.get(semicolon + 1..)?)?;
        // The same whether it is read from the network or, for another recipient's copy, from a file.
        let hash = received.split(|byte| *byte == b'\r').fold(SEED, hash);
        let queue_id = queue_id(received);
        let micros =
            queue_id.and_then(micros).unwrap_or_else(|| u32::try_from(hash % 1_000_000).unwrap_or(0));
        Some(Self { seconds, micros, hash })
    }

    /// The name for one recipient, described by `key`.
    #[must_use]
    pub fn base(self, key: &[&[u8]], host: &str) -> Base {
        let hash = key.iter().fold(self.hash, |sum, part| hash(hash(sum, part), b"\0"));
        // A process id has at most 22 bits: no process makes this name in another way.
        Base::new(self.seconds, self.micros, hash | 1 << 62, host)
    }
}

impl Base {
    fn new(seconds: u64, micros: u32, process: u64, host: &str) -> Self {
        let mut text = format!("{seconds}.M{micros}P{process}.");
        for letter in host.chars() {
            match letter {
                '/' => text.push_str("\\057"),
                ':' => text.push_str("\\072"),
                ',' => text.push_str("\\054"),
                letter => text.push(letter),
            }
        }
        Self { text }
    }

    /// A name that nobody else makes: by time, process and host. Within the process the time only goes
    /// forward, whatever the clock does.
    #[must_use]
    pub fn unique(now: Duration, process: u32, host: &str) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut micros = now;
        // The closure always gives a value.
        let _previous = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            micros = now.max(last.saturating_add(1));
            Some(micros)
        });
        let below = u32::try_from(micros % 1_000_000).unwrap_or(0);
        Self::new(micros / 1_000_000, below, u64::from(process), host)
    }

    /// The name as such, for a file in `tmp`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of a delivered message: with its size on disk and with CR LF, and in `cur` with flags.
    #[must_use]
    pub fn delivered(&self, size: u64, virtual_size: u64, flags: Option<&str>) -> String {
        let mut name = format!("{},S={size},W={virtual_size}", self.text);
        if let Some(flags) = flags {
            // Writing to a String cannot fail.
            let _ok = write!(name, ":2,{flags}");
        }
        name
    }
}

/// The size that a name tells (`,S=`).
#[must_use]
pub fn size_in(name: &[u8]) -> Option<u64> {
    let base = name.split(|byte| *byte == b':').next()?;
    let field = base.split(|byte| *byte == b',').find_map(|field| field.strip_prefix(b"S="))?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The word behind `id`, as Postfix writes it: `… with ESMTP id 4ABCDE1234 for …`.
fn queue_id(received: &[u8]) -> Option<&[u8]> {
    let mut words = received.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.find(|word| *word == b"id")?;
    words.next().map(|word| word.split(|byte| *byte == b';').next().unwrap_or_default())
}

/// The microseconds that a queue id begins with (short), or holds behind six characters (long, base 52).
fn micros(id: &[u8]) -> Option<u32> {
    let value = if id.len() >= 12 && id.get(10..).is_some_and(|rest| rest.contains(&b'z')) {
        id.get(6..10)?.iter().try_fold(0_u32, |sum, digit| Some(sum * 52 + base_52(*digit)?))?
    } else if id.iter().all(u8::is_ascii_hexdigit) {
        u32::from_str_radix(std::str::from_utf8(id.get(..5)?).ok()?, 16).ok()?
    } else {
        return None;
    };
    (value < 1_000_000).then_some(value)
}

/// A digit of Postfix's long queue ids: digits and consonants.
fn base_52(digit: u8) -> Option<u32> {
    const DIGITS: &[u8] = b"0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
    u32::try_from(DIGITS.iter().position(|known| *known == digit)?).ok()
}

/// FNV-1a. Names that are the same by accident are told apart by the content.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &[u8] = b"Return-Path: <a@b>\nReceived: from x (y [1.2.3.4])\n\tby mx (Postfix) with ESMTP id 1E2405A0B3\n\tfor <u@x>; Thu, 26 Nov 2026 09:53:13 +0000 (UTC)\nSubject: x\n\n";

    #[test]
    fn the_name_is_the_same_at_each_attempt() {
        let origin = Origin::of(SHORT).unwrap();
        assert_eq!(Origin::of(SHORT), Some(origin));
        let base = origin.base(&[b"u", b"u@x"], "host");
        assert!(base.as_str().starts_with("1795686793.M123456P"), "{base:?}");
        assert!(base.as_str().ends_with(".host"), "{base:?}");
        assert_ne!(base, origin.base(&[b"u", b"v@x"], "host"));
        assert_ne!(origin.base(&[b"ab", b"c"], "h"), origin.base(&[b"a", b"bc"], "h"));
        let by_network = String::from_utf8_lossy(SHORT).replace('\n', "\r\n");
        assert_eq!(Origin::of(by_network.as_bytes()), Some(origin), "whatever the line ends are");
        let other = String::from_utf8_lossy(SHORT).replace("1E2405A0B3", "1E2405A0B4");
        assert_ne!(Origin::of(other.as_bytes()), Some(origin));
        assert_eq!(Origin::of(b"Subject: x\n\n"), None);
        assert_eq!(Origin::of(b"Received: by x; nonsense\n\n"), None);
    }

    #[test]
    fn both_kinds_of_queue_id_tell_microseconds() {
        assert_eq!(micros(b"1E2405A0B3"), Some(123_456));
        // 4 digits of base 52 behind 6 of seconds.
        assert_eq!(micros(b"4hgFqv0001z1234"), Some(1));
        assert_eq!(micros(b"FFFFF12345"), None);
        assert_eq!(micros(b"nonsense"), None);
        assert_eq!(micros(b""), None);
    }

    #[test]
    fn names_are_unique_whatever_the_clock_does() {
        let mut names = std::collections::HashSet::new();
        for second in [100, 100, 50, 200, 1] {
            for _ in 0..100 {
                assert!(names.insert(Base::unique(Duration::from_secs(second), 7, "a/b:c").text));
            }
        }
        assert!(names.iter().all(|name| name.ends_with("P7.a\\057b\\072c")));
    }

    #[test]
    fn names_are_unique_among_threads() {
        let made: Vec<String> = std::thread::scope(|scope| {
            let thread = || (0..200).map(|_| Base::unique(Duration::from_secs(5), 7, "h").text).collect();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(move || -> Vec<String> { thread() })).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let unique: std::collections::HashSet<&String> = made.iter().collect();
        assert_eq!(unique.len(), 1600);
    }

    #[test]
    fn sizes_stand_in_names() {
        let base = Base::unique(Duration::from_secs(5), 1, "h");
        let name = base.delivered(10, 12, Some("S"));
        assert!(name.ends_with(".h,S=10,W=12:2,S"), "{name}");
        assert_eq!(size_in(name.as_bytes()), Some(10));
        assert_eq!(size_in(b"1.M1P1.h"), None);
        assert_eq!(size_in(b"1.M1P1.h,S=x"), None);
    }
}
