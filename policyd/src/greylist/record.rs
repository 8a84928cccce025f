//! What is stored of a client's attempts, and how it is written down.

/// What the store keeps under a key of greylisting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Under [`super::Subject::triplet`].
    Triplet(Triplet),
    /// Under [`super::Subject::client`] and [`super::Subject::domain`].
    Trust(Trust),
}

/// One client, sender and recipient. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Triplet {
    /// The first attempt.
    pub first: u64,
    /// The last use, to the hour.
    pub last: u64,
    /// Whether it has come again in time.
    pub passed: bool,
}

impl Triplet {
    /// Seconds since its last use; a clock that was set back makes it 0.
    #[must_use]
    pub fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.last)
    }

    /// Seconds since its first attempt; a clock that was set back makes it 0.
    #[must_use]
    pub fn waited(&self, now: u64) -> u64 {
        now.saturating_sub(self.first)
    }
}

/// How often a client has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// How often, counted at most once an hour.
    pub passes: u32,
    /// The last pass that counted, or the last use, to the hour.
    pub last: u64,
}

impl Trust {
    /// Seconds since its last use; a clock that was set back makes it 0.
    #[must_use]
    pub fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.last)
    }
}

impl Record {
    /// The record as text: `t FIRST LAST 0|1` or `c PASSES LAST`.
    #[must_use]
    pub fn write(&self) -> String {
        match self {
            Self::Triplet(Triplet { first, last, passed }) => {
                format!("t {first} {last} {}", u8::from(*passed))
            }
            Self::Trust(Trust { passes, last }) => format!("c {passes} {last}"),
        }
    }

    /// Reads what [`Record::write`] has written; `None` for anything else.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split(' ');
        let record = match words.next()? {
            "t" => Self::Triplet(Triplet {
                first: words.next()?.parse().ok()?,
                last: words.next()?.parse().ok()?,
                passed: match words.next()? {
                    "0" => false,
                    "1" => true,
                    _ => return None,
                },
            }),
            "c" => {
                Self::Trust(Trust { passes: words.next()?.parse().ok()?, last: words.next()?.parse().ok()? })
            }
            _ => return None,
        };
        words.next().is_none().then_some(record)
    }

    /// The triplet, if it is one.
    #[must_use]
    pub fn triplet(self) -> Option<Triplet> {
        match self {
            Self::Triplet(triplet) => Some(triplet),
            Self::Trust(_) => None,
        }
    }

    /// The trust, if it is one.
    #[must_use]
    pub fn trust(self) -> Option<Trust> {
        match self {
            Self::Trust(trust) => Some(trust),
            Self::Triplet(_) => None,
        }
    }
}
