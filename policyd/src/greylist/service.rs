//! Greylisting as the pipeline asks for it: whom it concerns, where the records are, what Postfix is told.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::log::escaped;

use super::records::Records;
use super::whitelist::{SHIPPED, Whitelist};
use super::{Attempt, Greylist, Reason, Record, Seen, Subject, Verdict};
use crate::action::{Action, Values};
use crate::condition::Condition;
use crate::config::settings::Greylist as Settings;
use crate::lookup::needs::{self, Need};
use crate::protocol::{Attribute, Request, Stage};
use crate::store::redis::Redis;

/// The longest file of a whitelist.
const LONGEST_LIST: u64 = 4 << 20;
/// The longest value that is logged.
const SHOWN: usize = 200;

/// Where records are.
#[derive(Clone)]
pub enum Place {
    /// In this process.
    Here(Arc<Mutex<Records>>),
    /// In Redis, for all hosts.
    Shared(Arc<Redis>),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here",
            Self::Shared(_) => "Shared",
        })
    }
}

/// Figures for the metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// First attempts that were delayed.
    pub new: AtomicU64,
    /// Retries that were too early.
    pub early: AtomicU64,
    /// Retries that have passed.
    pub waited: AtomicU64,
    /// Attempts that passed because they were known, or trusted, or exempt.
    pub known: AtomicU64,
    /// Attempts that passed because there was no place for them, or none that answered.
    pub unplaced: AtomicU64,
}

/// Greylisting in force.
#[derive(Debug)]
pub struct Service {
    rules: Greylist,
    when: Vec<Condition>,
    except: Vec<Condition>,
    action: Action,
    dry_run: bool,
    place: Place,
    /// What has become of attempts.
    pub counts: Arc<Counts>,
}

/// What is to be said to Postfix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// This action.
    Delay(String),
    /// Nothing: the limits are next.
    Nothing,
}

/// Reads the lists that settings name.
///
/// # Errors
/// A sentence for each file that cannot be read and for each line that is none.
pub fn whitelist(settings: &Settings) -> Result<Whitelist, Vec<String>> {
    let mut list = Whitelist::default();
    let mut wrong = Vec::new();
    if settings.shipped_whitelist {
        drop(list.add(SHIPPED));
    }
    for path in &settings.whitelist {
        match base::config::Source::read(path, path.display().to_string(), LONGEST_LIST) {
            Ok(source) => {
                wrong.extend(list.add(source.text()).iter().map(|bad| format!("{}: {bad}", path.display())));
            }
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
        }
    }
    if wrong.is_empty() { Ok(list) } else { Err(wrong) }
}

/// Opens the place of records in this process: with a file beside the store's, or in memory.
///
/// # Errors
/// A sentence with the path.
pub fn open(store: Option<&Path>, most: usize) -> Result<Place, String> {
    let records = match store {
        Some(path) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".greylist");
            Records::open(Path::new(&name), most, base::clock::unix_now())?
        }
        None => Records::in_memory(most),
    };
    Ok(Place::Here(Arc::new(Mutex::new(records))))
}

fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Greylisting by these settings, with records at `place`.
    #[must_use]
    pub fn new(settings: Settings, whitelist: Whitelist, place: Place, counts: Arc<Counts>) -> Self {
        Self {
            rules: Greylist::new(settings.rules, whitelist),
            when: settings.when,
            except: settings.except,
            action: settings.action,
            dry_run: settings.dry_run,
            place,
            counts,
        }
    }

    /// Where its records are.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether any of its conditions looks into a list that is asked.
    #[must_use]
    pub fn asks_lists(&self) -> bool {
        self.when.iter().chain(&self.except).any(Condition::is_asked)
    }

    /// Adds what lists have to be asked before it is known whether a request concerns it.
    pub fn needs(&self, request: &Request<'_>, now: Instant, needs: &mut Vec<Need>) {
        if request.stage() != Stage::Rcpt || !request.value(Attribute::SaslUsername).is_empty() {
            return;
        }
        let mut own = Vec::new();
        if !needs::decided(&self.when, false, request, now, &mut own)
            && !needs::decided(&self.except, true, request, now, &mut own)
        {
            for need in own {
                needs::add(needs, &need.list, need.sought);
            }
        }
    }

    /// The subject of a request that it concerns: at RCPT, without a login, by the conditions.
    #[must_use]
    pub fn concerns(&self, request: &Request<'_>) -> Option<Subject> {
        if request.stage() != Stage::Rcpt
            || !request.value(Attribute::SaslUsername).is_empty()
            || !self.when.iter().all(|condition| condition.holds(request))
            || self.except.iter().any(|condition| condition.holds(request))
        {
            return None;
        }
        let text = |attribute| request.text(attribute);
        let (client_address, client_name) = (text(Attribute::ClientAddress), text(Attribute::ClientName));
        let (sender, recipient) = (text(Attribute::Sender), text(Attribute::Recipient));
        let attempt = Attempt {
            client_address: &client_address,
            client_name: &client_name,
            sender: &sender,
            recipient: &recipient,
        };
        match self.rules.subject(&attempt) {
            Ok(subject) => Some(subject),
            Err(_reason) => {
                self.counts.known.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Decides at once, where the records are in this process; `None` where they are not.
    pub fn here(&self, subject: &Subject, request: &Request<'_>, now: u64) -> Option<Say> {
        let Place::Here(records) = &self.place else { return None };
        let mut records = lock(records);
        let seen = records.seen(subject, now);
        let (verdict, writes) = self.rules.decide(subject, &seen, now);
        if matches!(verdict, Verdict::Delay { first: true, .. }) && !records.has_room(now) {
            self.counts.unplaced.fetch_add(1, Ordering::Relaxed);
            return Some(Say::Nothing);
        }
        records.keep(writes, now);
        drop(records);
        Some(self.say(&verdict, request))
    }

    /// Decides with records that others share; who cannot be asked about passes.
    pub async fn shared(&self, subject: &Subject, request: &Request<'_>, now: u64) -> Say {
        let Place::Shared(redis) = &self.place else { return Say::Nothing };
        let keys = [&subject.triplet, &subject.client, &subject.domain];
        let Ok(found) = redis.records(&keys.map(String::as_str)).await else {
            self.counts.unplaced.fetch_add(1, Ordering::Relaxed);
            return Say::Nothing;
        };
        let record = |at: usize| found.get(at).and_then(Option::as_deref).and_then(Record::read);
        let seen = Seen {
            triplet: record(0).and_then(Record::triplet),
            client: record(1).and_then(Record::trust),
            domain: record(2).and_then(Record::trust),
        };
        let (verdict, writes) = self.rules.decide(subject, &seen, now);
        let writes: Vec<(String, String, Duration)> =
            writes.into_iter().map(|write| (write.key, write.record.write(), write.keep)).collect();
        if redis.keep(&writes).await.is_err() {
            // What cannot be remembered must not be delayed: its retry would be a first attempt again.
            self.counts.unplaced.fetch_add(1, Ordering::Relaxed);
            return Say::Nothing;
        }
        self.say(&verdict, request)
    }

    fn say(&self, verdict: &Verdict, request: &Request<'_>) -> Say {
        let count = match verdict {
            Verdict::Delay { first: true, .. } => &self.counts.new,
            Verdict::Delay { first: false, .. } => &self.counts.early,
            Verdict::Pass(Reason::Waited(_)) => &self.counts.waited,
            Verdict::Pass(_) => &self.counts.known,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let what = match verdict {
            Verdict::Delay { retry_after, first } => {
                let first = if *first { "first" } else { "early" };
                format!("greylisted: attempt={first} retry_after={}", retry_after.as_secs())
            }
            Verdict::Pass(Reason::Waited(waited)) => format!("greylist passed: waited={}", waited.as_secs()),
            Verdict::Pass(_) => return Say::Nothing,
        };
        let value = |attribute| escaped(request.value(attribute), SHOWN);
        log::info!(
            "{what}{} client={} name={} from={} to={}",
            if self.dry_run { " dry_run" } else { "" },
            value(Attribute::ClientAddress),
            value(Attribute::ClientName),
            value(Attribute::Sender),
            value(Attribute::Recipient),
        );
        match verdict {
            Verdict::Delay { retry_after, .. } if !self.dry_run => Say::Delay(self.action.render(&Values {
                request,
                name: "greylist",
                count: "messages",
                key: "",
                used: 0,
                limit: 0,
                cost: 1,
                period: 0,
                retry_after: u64::try_from(retry_after.as_nanos()).ok(),
            })),
            _ => Say::Nothing,
        }
    }

    /// What is to be done every second.
    pub fn tick(&self) {
        if let Place::Here(records) = &self.place {
            lock(records).flush();
        }
    }

    /// Writes everything down.
    pub fn close(&self) {
        if let Place::Here(records) = &self.place {
            lock(records).close();
        }
    }

    /// Records in this process; 0 for shared ones.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.place {
            Place::Here(records) => lock(records).len(),
            Place::Shared(_) => 0,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
