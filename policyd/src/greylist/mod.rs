//! Greylisting: is a client that nobody knows asked to come again? Records and the time are arguments; only
//! `records` (a file) and `service` (the door) know more.
//!
//! A first attempt of (client network, sender, recipient) is delayed; a retry after the delay passes, and
//! the three are known from then on. Clients, and domains that a client sends for, that have passed often
//! enough are not asked any more. [`subject`] makes the keys, [`whitelist`] knows who is never asked, and
//! [`Greylist::decide`] gives the verdict with the records to write.

mod record;
pub mod records;
pub mod service;
mod subject;
pub mod whitelist;

use std::time::Duration;

pub use record::{Record, Triplet, Trust};
pub use subject::{Pooling, Subject};
use whitelist::{Exempt, Whitelist};

/// A client's passes are counted at most once in this time, so that one burst earns no trust (Postgrey
/// 1.37 observed).
const COUNT_ONCE_IN: u64 = 3600;
/// Clocks of several hosts differ by no more than this.
const CLOCK_SLACK: u64 = 60;
/// A record in use is written again when its last use is so old, so that a busy client costs no writes.
const REFRESH_AFTER: u64 = 3600;

/// `[greylist]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `delay`: how long a first attempt has to wait.
    pub delay: Duration,
    /// `retry_window`: how long a first attempt is remembered.
    pub retry_window: Duration,
    /// `expiry`: how long what has passed is remembered without being used.
    pub expiry: Duration,
    /// `ipv4_prefix`.
    pub ipv4_prefix: u8,
    /// `ipv6_prefix`.
    pub ipv6_prefix: u8,
    /// `pooling`: what counts as one client.
    pub pooling: Pooling,
    /// `trust_client_after`: passes after which a client is not asked any more; 0 for never.
    pub trust_client_after: u32,
    /// `trust_domain_after`: passes after which a client is not asked for a sender's domain any more; 0
    /// for never.
    pub trust_domain_after: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(300),
            retry_window: Duration::from_hours(48),
            expiry: Duration::from_hours(35 * 24),
            ipv4_prefix: 24,
            ipv6_prefix: 64,
            pooling: Pooling::Network,
            trust_client_after: 5,
            trust_domain_after: 2,
        }
    }
}

/// What a request is to greylisting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// `client_address`.
    pub client_address: &'a str,
    /// `client_name`, the verified one; `unknown` where there is none.
    pub client_name: &'a str,
    /// `sender`.
    pub sender: &'a str,
    /// `recipient`.
    pub recipient: &'a str,
}

/// What is stored of an attempt's subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of client, sender and recipient.
    pub triplet: Option<Triplet>,
    /// Of the client.
    pub client: Option<Trust>,
    /// Of the client with the sender's domain.
    pub domain: Option<Trust>,
}

/// What becomes of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Come again after this time. `first` tells the first attempt from an early retry.
    Delay {
        /// How long to wait from now.
        retry_after: Duration,
        /// Whether it was not seen before.
        first: bool,
    },
    /// Let through.
    Pass(Reason),
}

/// Why an attempt is let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The static lists name it.
    Exempt(Exempt),
    /// The client has passed often enough.
    Client,
    /// The client has passed often enough for this domain.
    Domain,
    /// The three are known.
    Known,
    /// It has come again, this long after its first attempt.
    Waited(Duration),
    /// The client's address cannot be read: nothing to go by.
    NoAddress,
}

/// A record to write, and how long it is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Its key, one of the subject's.
    pub key: String,
    /// Its new content.
    pub record: Record,
    /// After this time without another write it is of no use.
    pub keep: Duration,
}

/// The settings and the lists.
#[derive(Debug, Clone)]
pub struct Greylist {
    settings: Settings,
    whitelist: Whitelist,
}

impl Greylist {
    /// Greylisting by these settings, in which `whitelist` names who is never asked.
    #[must_use]
    pub fn new(settings: Settings, whitelist: Whitelist) -> Self {
        Self { settings, whitelist }
    }

    /// The keys under which the store has to be asked, or the reason why it need not be.
    ///
    /// # Errors
    /// The reason to let the attempt through at once.
    pub fn subject(&self, attempt: &Attempt<'_>) -> Result<Subject, Reason> {
        let Some(client) = subject::address(attempt.client_address) else { return Err(Reason::NoAddress) };
        if let Some(exempt) = self.whitelist.find(attempt, client) {
            return Err(Reason::Exempt(exempt));
        }
        Ok(Subject::new(attempt, client, &self.settings))
    }

    /// The verdict on a subject of which `seen` is stored, at `now` in seconds since 1970, and what to
    /// write.
    pub fn decide(&self, subject: &Subject, seen: &Seen, now: u64) -> (Verdict, Vec<Write>) {
        let settings = &self.settings;
        let expiry = settings.expiry.as_secs();
        for (trust, after, key, reason) in [
            (seen.client, settings.trust_client_after, &subject.client, Reason::Client),
            (seen.domain, settings.trust_domain_after, &subject.domain, Reason::Domain),
        ] {
            if let Some(trust) = trust.filter(|trust| trust.age(now) <= expiry)
                && after > 0
                && trust.passes >= after
            {
                let stale = trust.age(now) >= REFRESH_AFTER;
                let used = Trust { last: now, ..trust };
                let writes = if stale { vec![self.keep(key, Record::Trust(used))] } else { Vec::new() };
                return (Verdict::Pass(reason), writes);
            }
        }
        let window = settings.retry_window.as_secs();
        let known = seen.triplet.filter(|triplet| match triplet.passed {
            true => triplet.age(now) <= expiry,
            // A first attempt that is to come was written by a clock that was wrong.
            false => triplet.first <= now.saturating_add(CLOCK_SLACK) && triplet.waited(now) <= window,
        });
        let Some(triplet) = known else {
            let triplet = Triplet { first: now, last: now, passed: false };
            let write = Write {
                key: subject.triplet.clone(),
                record: Record::Triplet(triplet),
                keep: settings.retry_window,
            };
            return (Verdict::Delay { retry_after: settings.delay, first: true }, vec![write]);
        };
        if triplet.passed {
            let stale = triplet.age(now) >= REFRESH_AFTER;
            let used = Triplet { last: now, ..triplet };
            let writes =
                if stale { vec![self.keep(&subject.triplet, Record::Triplet(used))] } else { Vec::new() };
            return (Verdict::Pass(Reason::Known), writes);
        }
        let waited = triplet.waited(now);
        let delay = settings.delay.as_secs();
        if waited < delay {
            let retry_after = Duration::from_secs(delay - waited);
            return (Verdict::Delay { retry_after, first: false }, Vec::new());
        }
        let passed = Triplet { last: now, passed: true, ..triplet };
        let mut writes = vec![self.keep(&subject.triplet, Record::Triplet(passed))];
        for (trust, after, key) in [
            (seen.client, settings.trust_client_after, &subject.client),
            (seen.domain, settings.trust_domain_after, &subject.domain),
        ] {
            let alive = trust.filter(|trust| trust.age(now) <= expiry);
            if after > 0 && alive.is_none_or(|trust| trust.age(now) >= COUNT_ONCE_IN) {
                let passes = alive.map_or(0, |trust| trust.passes).saturating_add(1);
                writes.push(self.keep(key, Record::Trust(Trust { passes, last: now })));
            }
        }
        (Verdict::Pass(Reason::Waited(Duration::from_secs(waited))), writes)
    }

    fn keep(&self, key: &str, record: Record) -> Write {
        Write { key: key.to_owned(), record, keep: self.settings.expiry }
    }
}

#[cfg(test)]
mod tests;
