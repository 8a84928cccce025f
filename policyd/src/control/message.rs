//! Questions and answers of the control socket, as JSON.

use serde::{Deserialize, Serialize};

use crate::notice::Refusal;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "kebab-case")]
pub enum Question {
    /// How the service is.
    Status,
    /// Who is nearest to a limit.
    Top {
        /// Of this limit; of all when absent.
        limit: Option<String>,
        /// So many of each limit.
        count: usize,
    },
    /// Forget what a key has used.
    Reset {
        /// Of this limit; of all when absent.
        limit: Option<String>,
        /// Whose.
        key: String,
    },
    /// Another limit for a key, for a time.
    Raise {
        /// Of this limit.
        limit: String,
        /// Whose.
        key: String,
        /// So many hundredths of every level; 100 ends it.
        hundredths: u32,
        /// For so many seconds.
        secs: u64,
    },
    /// Why somebody was refused, and how he stands.
    Explain {
        /// A key, login, sender, recipient or client.
        who: String,
    },
    /// What would be said to a request.
    Try {
        /// Its attributes.
        attributes: Vec<(String, String)>,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `top`.
    Top {
        /// The nearest first.
        held: Vec<Standing>,
    },
    /// It is done; the sentence says what.
    Done {
        /// What.
        text: String,
    },
    /// To `explain`.
    Explained {
        /// How he stands at each limit that he has used anything of.
        standings: Vec<Standing>,
        /// The last refusals, newest first.
        refusals: Vec<Past>,
    },
    /// To `explain` with a request.
    Tried {
        /// What Postfix would be told.
        action: String,
        /// Each limit, and what it says.
        limits: Vec<Tried>,
    },
    /// It cannot be done; the sentence says why, and what to do.
    Failed {
        /// Why.
        text: String,
        /// Whether the question was at fault, not the service.
        yours: bool,
    },
}

/// How the service is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// This host's name.
    pub host: String,
    /// `memory`, `file` or `redis`.
    pub store: String,
    /// Whether a shared store answers; absent for one in the process.
    pub connected: Option<bool>,
    /// Hosts that share the limits.
    pub hosts: Option<u32>,
    /// The limits.
    pub limits: Vec<LimitStatus>,
    /// Messages under way.
    pub messages: u64,
    /// Entries of greylisting; absent when it is off or shared.
    pub greylist: Option<u64>,
    /// The lists.
    #[serde(default)]
    pub lists: Vec<ListStatus>,
    /// What is raised.
    pub raises: Vec<Raised>,
    /// Refusals that are remembered for `explain`.
    pub recent: u64,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// Its name.
    pub name: String,
    /// What is counted.
    pub count: String,
    /// Its levels in words.
    pub rates: Vec<String>,
    /// Keys that it holds; absent for a shared store.
    pub keys: Option<u64>,
    /// Whether it refuses nothing.
    pub dry_run: bool,
}

/// A list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStatus {
    /// Its name.
    pub name: String,
    /// `file`, `sql` or `redis`.
    pub driver: String,
    /// Its entries; of a database the answers that are remembered.
    pub entries: u64,
    /// Of a database: whether it answers.
    pub connected: Option<bool>,
    /// Of a database: why it does not answer.
    pub trouble: Option<String>,
}

/// What is raised for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The limit.
    pub limit: String,
    /// The key.
    pub key: String,
    /// So many hundredths of every level.
    pub hundredths: u32,
    /// Until then, in seconds since 1970.
    pub until: u64,
}

/// How a key stands at a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The limit.
    pub limit: String,
    /// The key.
    pub key: String,
    /// What is counted.
    pub count: String,
    /// Its levels.
    pub levels: Vec<LevelStanding>,
    /// The list that its rates come from and what it says, where they are not the limit's own.
    #[serde(rename = "override", default)]
    pub overridden: Option<Overridden>,
}

/// Where the rates of a key come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overridden {
    /// The list.
    pub list: String,
    /// What it says.
    pub text: String,
}

/// How a key stands at a level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelStanding {
    /// The level in words.
    pub rate: String,
    /// What is used.
    pub used: u64,
    /// What is allowed.
    pub allowed: u64,
    /// Seconds until one unit more fits.
    pub retry_after: u64,
}

/// A refusal that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Seconds since 1970.
    pub time: u64,
    /// The limit.
    pub limit: String,
    /// The key.
    pub key: String,
    /// What was used then.
    pub used: u64,
    /// What was allowed.
    pub allowed: u64,
    /// What is counted.
    pub count: String,
    /// What Postfix was told.
    pub action: String,
    /// `client_address`.
    pub client: String,
    /// `sender`.
    pub sender: String,
    /// `recipient`.
    pub recipient: String,
    /// Whether nothing was refused in truth.
    pub dry_run: bool,
}

impl From<Refusal> for Past {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            time,
            limit,
            key,
            used,
            allowed,
            count,
            action,
            client,
            sender,
            recipient,
            dry_run,
            ..
        } = refusal;
        Self { time, limit, key, used, allowed, count, action, client, sender, recipient, dry_run }
    }
}

/// What a limit says to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The limit.
    pub limit: String,
    /// The key, where it applies.
    pub key: Option<String>,
    /// In words: `passes, 40 of 100 recipients used`, or why it does not apply.
    pub says: String,
    /// Whether it refuses.
    pub refuses: bool,
    /// The list that its rates come from and what it says, where they are not the limit's own.
    #[serde(rename = "override", default)]
    pub overridden: Option<Overridden>,
}
