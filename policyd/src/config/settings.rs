//! The settings of the service, all decided.

use std::path::PathBuf;
use std::time::Duration;

use base::service::listen::Address;

use crate::action::Action;
use crate::condition::{Condition, Listing};
use crate::key::{Key, Prefixes};
use crate::limiter::Level;

/// Everything that the configuration says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where Postfix asks.
    pub listen: Vec<Address>,
    /// Who may connect to the UNIX sockets.
    pub socket: Socket,
    /// `user[:group]` to run as.
    pub run_as: Option<String>,
    /// Conditions, any of which exempts from all limits.
    pub exempt: Vec<Condition>,
    /// Characters that begin an extension of a local part in keys.
    pub recipient_delimiter: Vec<u8>,
    /// The name of the time zone; the system's when `None`.
    pub timezone: Option<String>,
    /// Bounds in count and time.
    pub server: Server,
    /// Where counters are kept.
    pub store: Store,
    /// The limits, in the order of the file.
    pub limits: Vec<Limit>,
    /// The lists.
    pub lists: Vec<ListSource>,
    /// Greylisting; `None` when off.
    pub greylist: Option<Greylist>,
    /// `[[notice]]`.
    pub notices: Vec<crate::notice::Settings>,
    /// Where addresses are.
    pub geo: Geo,
    /// The control socket; `None` for none.
    pub control: Option<Control>,
    /// What is logged where.
    pub log: Log,
    /// Where figures are served.
    pub metrics: Option<Address>,
}

/// UNIX sockets that we open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub user: Option<String>,
    /// Group.
    pub group: Option<String>,
}

/// Bounds of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Open connections.
    pub connections: usize,
    /// How long an answer may stay unread, and a request unfinished.
    pub client_timeout: Duration,
    /// How long a reservation waits.
    pub reservation_timeout: Duration,
    /// How long requests in hand may take at the end.
    pub drain_timeout: Duration,
}

/// Where counters are kept.
#[derive(Debug, Clone)]
pub struct Store {
    /// Which store.
    pub driver: StoreDriver,
    /// The action while it cannot answer; `None` lets mail pass.
    pub unavailable: Option<Action>,
}

/// A kind of store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreDriver {
    /// In this process alone.
    Memory,
    /// In this process and in a file.
    File {
        /// The file.
        path: PathBuf,
    },
    /// In Redis or Valkey.
    Redis(crate::store::redis::Settings),
}

/// `[greylist]`.
#[derive(Debug, Clone)]
pub struct Greylist {
    /// Delays, prefixes and trust.
    pub rules: crate::greylist::Settings,
    /// Conditions that must all hold.
    pub when: Vec<Condition>,
    /// Conditions none of which may hold.
    pub except: Vec<Condition>,
    /// Whether the shipped list counts.
    pub shipped_whitelist: bool,
    /// Files of more.
    pub whitelist: Vec<PathBuf>,
    /// What Postfix is told.
    pub action: Action,
    /// Delay nobody.
    pub dry_run: bool,
    /// Entries at a time.
    pub max_entries: usize,
}

/// `[geo]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Geo {
    /// A database of countries.
    pub country_file: Option<PathBuf>,
    /// A database of autonomous systems.
    pub asn_file: Option<PathBuf>,
}

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The socket.
    pub socket: PathBuf,
    /// Users who may connect besides root and our own.
    pub admins: Vec<String>,
}

/// A limit.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// What a counter is for.
    pub key: Key,
    /// How much of an address makes a key, or a network that is counted.
    pub prefixes: Prefixes,
    /// What is counted.
    pub count: Count,
    /// Its levels.
    pub levels: Vec<Level>,
    /// When it is counted.
    pub stage: LimitStage,
    /// Conditions that must all hold.
    pub when: Vec<Condition>,
    /// Conditions none of which may hold.
    pub except: Vec<Condition>,
    /// What is done from which multiple on, in hundredths, in rising order; the first at 100.
    pub steps: Vec<(u32, Reaction)>,
    /// What is done with what alone is more than the limit.
    pub too_big: Action,
    /// Count what is refused.
    pub count_refused: bool,
    /// Refuse nothing.
    pub dry_run: bool,
    /// The list with other rates.
    pub overrides: Option<String>,
    /// Of unknown recipients: the share, of a hundred.
    pub share: u32,
    /// Counters at a time.
    pub max_keys: u32,
    /// How rates in overrides are read: as those of the limit.
    pub rates: RateForm,
}

/// What a step does.
#[derive(Debug, Clone)]
pub struct Reaction {
    /// What Postfix is told.
    pub action: Action,
    /// A program to run, once per incident; with placeholders.
    pub run: Option<String>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Messages.
    Messages,
    /// Recipients.
    Recipients,
    /// Bytes, as declared at RCPT and as they are at END-OF-MESSAGE.
    Bytes,
    /// Networks that a key was used from.
    Networks,
    /// Countries.
    Countries,
    /// Autonomous systems.
    Asns,
    /// Recipients that are new for the key.
    NewRecipients,
    /// Recipients that Postfix has refused.
    UnknownRecipients,
}

impl Count {
    /// The word of the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Recipients => "recipients",
            Self::Bytes => "bytes",
            Self::Networks => "networks",
            Self::Countries => "countries",
            Self::Asns => "asns",
            Self::NewRecipients => "new-recipients",
            Self::UnknownRecipients => "unknown-recipients",
        }
    }

    /// Whether different things are counted, and not how many.
    #[must_use]
    pub fn is_distinct(self) -> bool {
        matches!(self, Self::Networks | Self::Countries | Self::Asns | Self::NewRecipients)
    }
}

/// When a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitStage {
    /// Reserved at RCPT, final later, or at RCPT where there is no later.
    Auto,
    /// At RCPT.
    Rcpt,
    /// At DATA.
    Data,
    /// At END-OF-MESSAGE.
    EndOfMessage,
}

/// How a rate is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateForm {
    /// The algorithm's word.
    pub algorithm: &'static str,
    /// Of gcra: the burst, where it is not the number of the rate.
    pub burst: Option<u64>,
    /// What is counted.
    pub count: Count,
    /// Of new recipients: how long they are known, in nanoseconds.
    pub memory: u64,
}

/// Where a list comes from.
#[derive(Debug, Clone)]
pub struct ListSource {
    /// Its name.
    pub name: String,
    /// Its source.
    pub driver: ListDriver,
    /// How often it is read, where it is read as a whole.
    pub refresh: Duration,
    /// What conditions and overrides look into: what was read last, or what is asked.
    pub content: Listing,
}

/// A kind of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListDriver {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// A database, which is asked about each value.
    Asked,
}

/// What is logged where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// To the system log.
    pub syslog: bool,
    /// Its facility.
    pub facility: String,
    /// The program's name.
    pub tag: String,
    /// From which level on.
    pub level: String,
}
