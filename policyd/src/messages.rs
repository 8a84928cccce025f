//! Messages under way, by Postfix's `instance`: what was reserved for each, and what it was answered. Pure.
//!
//! ```text
//!            RCPT               DATA, END-OF-MESSAGE
//!   (none) ───────► open ──────────────────────────► settled ──┐ keeps its answers for a while:
//!                    │                                         │ Postfix repeats a request after a
//!                    └─ another instance on the connection,    │ lost reply (until another instance)
//!                       some seconds after it has closed,      │
//!                       time passes                            ▼
//!                         asked later at all: given back     (none)
//!                         else: RCPT was final, settled
//! ```
//!
//! Whether we are asked at DATA or END-OF-MESSAGE at all is learned for each service of Postfix (our listener
//! and its port). Until it is known, and where it is not so, what RCPT reserved stays counted: no way of
//! attaching us counts nothing.

pub mod written;

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::limiter::{Nanos, SECOND};
use crate::store::{Ask, Charge, Rule};

/// How long answers are kept after a message was settled.
const REMEMBERED: Nanos = 60 * SECOND;
/// A message goes on if its connection closes and it is asked about on another within this time: Postfix
/// repeats a request after a second when the reply was lost.
const GRACE: Nanos = 5 * SECOND;
/// Settled messages of which answers are kept at most.
const MOST_SETTLED: usize = 32_768;
/// Messages that may be open; the longest idle one gives way as if its time had passed.
const MOST_OPEN: usize = 100_000;
/// Recipients of one message that are remembered.
const MOST_RECIPIENTS: usize = 10_000;
/// So many messages in a row that came to no DATA make us think that we are not asked there any more.
const MOST_ABORTED: u32 = 20;
/// Services that are told apart.
const MOST_SERVICES: usize = 256;

/// A message's number: a hash of its instance.
pub type MessageId = u64;

/// A stage at which a message is asked about as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// DATA.
    Data,
    /// END-OF-MESSAGE.
    EndOfMessage,
}

/// A service of Postfix: our listener, and the port that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ServiceId {
    /// Which of our listeners.
    pub listener: u16,
    /// `server_port`; 0 where Postfix does not say it.
    pub port: u16,
}

/// What was counted for a message, of one limit and key.
#[derive(Debug, Clone)]
pub struct Reserved {
    /// What may be taken back.
    pub charge: Charge,
    /// Whether it stays counted whatever becomes of the message.
    pub kind: Kind,
}

/// What is to become of what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is taken back if the message comes to nothing.
    Reserved,
    /// It stays counted whatever becomes of the message.
    Final,
    /// An attempt that was refused; it stays counted, and is no part of the message.
    Attempt,
}

/// A recipient that was asked about.
#[derive(Debug, Clone)]
pub struct Seen {
    /// A hash of the address.
    pub recipient: u64,
    /// Limits that have counted it, as bits by their places in the configuration.
    pub limits: u64,
    /// What Postfix was told.
    pub told: Told,
}

/// What Postfix was told, so that it is told the same when it asks the same again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The action; `None` is DUNNO, or nothing yet.
    pub action: Option<Box<str>>,
    /// Whether it refuses.
    pub refused: bool,
}

/// A limit that counts recipients whom Postfix refuses, with the key of a message.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The limit.
    pub rule: Arc<Rule>,
    /// The key.
    pub key: Box<[u8]>,
    /// Of a hundred recipients of the message, at least so many must be unknown.
    pub share: u32,
}

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Which service it came through.
    pub service: ServiceId,
    /// The configuration that the bits in [`Seen::limits`] and `whole_limits` are of.
    pub generation: u32,
    /// Charges, in the order they were made.
    pub reserved: Vec<Reserved>,
    /// Recipients, in the order they were asked about.
    pub recipients: Vec<Seen>,
    /// Limits that have counted it at DATA and at END-OF-MESSAGE.
    pub whole_limits: [u64; 2],
    /// What Postfix was told there.
    pub told: [Told; 2],
    /// It has been asked about at DATA or END-OF-MESSAGE, or was ended.
    settled: bool,
    /// Limits that count recipients whom Postfix refuses, with their keys and least shares of a hundred.
    pub watched: Vec<Watched>,
    /// Its unknown recipients have been counted.
    pub unknown_counted: bool,
    last: Nanos,
}

impl Message {
    fn new(service: ServiceId, generation: u32, now: Nanos) -> Self {
        Self {
            service,
            generation,
            reserved: Vec::new(),
            recipients: Vec::new(),
            whole_limits: [0; 2],
            told: [Told::default(), Told::default()],
            settled: false,
            watched: Vec::new(),
            unknown_counted: false,
            last: now,
        }
    }

    /// The recipient of this hash.
    #[must_use]
    pub fn recipient(&self, hash: u64) -> Option<&Seen> {
        self.recipients.iter().find(|seen| seen.recipient == hash)
    }

    fn of<'a>(&'a self, limit: &str, key: &[u8]) -> impl Iterator<Item = &'a Reserved> {
        self.reserved.iter().filter(move |one| &*one.charge.rule.name == limit && *one.charge.key == *key)
    }

    /// Whether a limit and key has counted it.
    #[must_use]
    pub fn is_counted(&self, limit: &str, key: &[u8]) -> bool {
        self.of(limit, key).any(|one| one.kind != Kind::Attempt)
    }

    /// Whether a limit and key has refused it, and counted that.
    #[must_use]
    pub fn is_attempted(&self, limit: &str, key: &[u8]) -> bool {
        self.of(limit, key).any(|one| one.kind == Kind::Attempt)
    }

    /// Units that a limit and key has counted of it.
    #[must_use]
    pub fn held(&self, limit: &str, key: &[u8]) -> u64 {
        let counted = self.of(limit, key).filter(|one| one.kind != Kind::Attempt);
        counted.map(|one| one.charge.cost).fold(0, u64::saturating_add)
    }

    /// Adds what was counted. What is added at another time is a charge of its own: taken back, it is so
    /// much the less where time has passed.
    pub fn reserve(&mut self, charge: Charge, kind: Kind) {
        let same = |one: &&mut Reserved| {
            one.charge.rule.name == charge.rule.name
                && one.charge.key == charge.key
                && one.charge.when == charge.when
                && one.kind == kind
        };
        match self.reserved.iter_mut().find(same) {
            Some(one) => one.charge.cost = one.charge.cost.saturating_add(charge.cost),
            None => self.reserved.push(Reserved { charge, kind }),
        }
    }

    /// Takes `cost` units of a limit and key out of what is reserved, the latest first; the charges that a
    /// store is to take back.
    pub fn give_back(&mut self, limit: &str, key: &[u8], mut cost: u64) -> Vec<Charge> {
        let mut back = Vec::new();
        for one in self.reserved.iter_mut().rev() {
            let same =
                &*one.charge.rule.name == limit && *one.charge.key == *key && one.kind == Kind::Reserved;
            if !same || cost == 0 {
                continue;
            }
            let part = cost.min(one.charge.cost);
            cost -= part;
            one.charge.cost -= part;
            back.push(Charge { cost: part, ..one.charge.clone() });
        }
        self.reserved.retain(|one| one.charge.cost > 0);
        back
    }

    /// Takes out all that is not final, but for limits that count refused messages as well.
    pub fn give_all_back(&mut self) -> Vec<Charge> {
        let mut back = Vec::new();
        self.reserved.retain(|one| {
            let stays = one.kind != Kind::Reserved || one.charge.rule.count_refused;
            if !stays {
                back.push(one.charge.clone());
            }
            stays
        });
        back
    }

    /// Recipients that we let pass.
    #[must_use]
    pub fn passed(&self) -> u64 {
        let passed = self.recipients.iter().filter(|seen| !seen.told.refused).count();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// Watches for unknown recipients.
    pub fn watch(&mut self, rule: &Arc<Rule>, key: &[u8], share: u32) {
        if !self.watched.iter().any(|one| one.rule.name == rule.name && *one.key == *key) {
            self.watched.push(Watched { rule: Arc::clone(rule), key: key.into(), share });
        }
    }

    /// Puts what watching limits count of so many unknown recipients into a question.
    pub fn count_unknown(&mut self, unknown: u64, settled: &mut Ask) {
        let passed = self.passed();
        if unknown == 0 || self.unknown_counted {
            return;
        }
        self.unknown_counted = true;
        settled.settled = true;
        for one in self.watched.iter().filter(|one| unknown * 100 >= u64::from(one.share) * passed) {
            settled.add(&one.rule, unknown, |keys| {
                keys.extend_from_slice(&one.key);
                true
            });
        }
    }

    /// Whether it was asked about as a whole, or is over.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Service {
    /// We are asked at DATA or END-OF-MESSAGE.
    asked_later: bool,
    aborted: u32,
}

/// Hashes that are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// How a message ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What is to be taken back.
    pub back: Vec<Charge>,
    /// What is to be counted without asking: of a message that came to nothing all recipients are unknown.
    pub settled: Ask,
    /// We seem not to be asked at DATA or END-OF-MESSAGE of this service any more.
    pub forgotten: Option<ServiceId>,
}

impl Ended {
    fn add(&mut self, other: Self) {
        self.back.extend(other.back);
        self.settled.append(&other.settled);
        self.forgotten = self.forgotten.or(other.forgotten);
    }
}

/// All messages under way.
#[derive(Debug)]
pub struct Messages {
    messages: HashMap<MessageId, Message, BuildHasherDefault<AsItIs>>,
    open: VecDeque<(Nanos, MessageId)>,
    settled: VecDeque<(Nanos, MessageId)>,
    closed: VecDeque<(Nanos, MessageId)>,
    services: HashMap<ServiceId, Service>,
    seed: RandomState,
    timeout: Nanos,
    services_changed: bool,
}

impl Messages {
    /// None yet; reservations wait for `timeout`.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            messages: HashMap::default(),
            open: VecDeque::new(),
            settled: VecDeque::new(),
            closed: VecDeque::new(),
            services: HashMap::new(),
            seed: RandomState::new(),
            timeout: Nanos::try_from(timeout.as_nanos()).unwrap_or(Nanos::MAX),
            services_changed: false,
        }
    }

    /// Changes how long reservations wait.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Nanos::try_from(timeout.as_nanos()).unwrap_or(Nanos::MAX);
    }

    /// The number of an instance; `None` for an empty one. It is the same after a restart: instances are
    /// made by Postfix, not by strangers.
    #[must_use]
    pub fn id(instance: &[u8]) -> Option<MessageId> {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        (!instance.is_empty()).then(|| instance.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
    }

    /// A hash of a recipient, in which small and capital letters are the same.
    #[must_use]
    pub fn recipient(&self, address: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        for piece in address.chunks(64) {
            let mut small = [0; 64];
            if let Some(place) = small.get_mut(..piece.len()) {
                place.copy_from_slice(piece);
                place.make_ascii_lowercase();
                hasher.write(place);
            }
        }
        hasher.finish()
    }

    /// The message of this number.
    #[must_use]
    pub fn message(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(&id)
    }

    /// Messages that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The message of this number, new where there is none. After a reload, what limits have counted is
    /// known no more.
    pub fn open(&mut self, id: MessageId, service: ServiceId, generation: u32, now: Nanos) -> &mut Message {
        let queue = &mut self.open;
        let message = self.messages.entry(id).or_insert_with(|| {
            queue.push_back((now, id));
            Message::new(service, generation, now)
        });
        message.last = now;
        if message.generation != generation {
            message.generation = generation;
            message.whole_limits = [0; 2];
            message.recipients.iter_mut().for_each(|seen| seen.limits = 0);
        }
        message
    }

    /// Remembers what a recipient was answered.
    pub fn saw(message: &mut Message, recipient: u64, limits: u64, told: Told) {
        if let Some(seen) = message.recipients.iter_mut().find(|seen| seen.recipient == recipient) {
            seen.limits |= limits;
            seen.told = told;
        } else if message.recipients.len() < MOST_RECIPIENTS {
            message.recipients.push(Seen { recipient, limits, told });
        }
    }

    /// A service has asked at DATA or END-OF-MESSAGE.
    pub fn asked_later(&mut self, service: ServiceId) {
        if let Some(known) = self.services.get_mut(&service) {
            known.aborted = 0;
            if known.asked_later {
                return;
            }
        } else if self.services.len() >= MOST_SERVICES {
            return;
        }
        self.services.insert(service, Service { asked_later: true, aborted: 0 });
        self.services_changed = true;
    }

    /// Whether a service asks at DATA or END-OF-MESSAGE, as far as is known.
    #[must_use]
    pub fn asks_later(&self, service: ServiceId) -> bool {
        self.services.get(&service).is_some_and(|known| known.asked_later)
    }

    /// Keeps what a message has used, from now on.
    pub fn settle(&mut self, id: MessageId, now: Nanos) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.settled = true;
            message.last = now;
        }
    }

    /// The connection of a message has closed: it is over unless it goes on elsewhere. The answers of one
    /// that was settled are kept for a while: its last reply may have been lost.
    pub fn closed(&mut self, id: MessageId, now: Nanos) {
        match self.messages.get(&id) {
            Some(message) if message.settled => self.settled.push_back((now, id)),
            Some(_) => self.closed.push_back((now, id)),
            None => {}
        }
    }

    /// The message is over: another one is under way on its connection, or its time has passed. Postfix does
    /// not come back to it.
    pub fn end(&mut self, id: MessageId) -> Ended {
        let mut ended = Ended::default();
        let Some(mut message) = self.messages.remove(&id) else { return ended };
        let Some(known) = self.services.get_mut(&message.service).filter(|known| known.asked_later) else {
            return ended;
        };
        if message.settled {
            return ended;
        }
        message.count_unknown(message.passed(), &mut ended.settled);
        let reserved = message.reserved.drain(..).filter(|one| one.kind == Kind::Reserved);
        ended.back = reserved.map(|one| one.charge).collect();
        if !ended.back.is_empty() {
            known.aborted += 1;
            if known.aborted >= MOST_ABORTED {
                *known = Service::default();
                self.services_changed = true;
                ended.forgotten = Some(message.service);
            }
        }
        ended
    }

    /// Ends what has waited too long, and forgets answers; a bounded number at a time. To be called often.
    pub fn expire(&mut self, now: Nanos) -> Ended {
        let mut all = Ended::default();
        for _ in 0..MOST_AT_ONCE {
            let Some((when, id)) = self.settled.front().copied() else { break };
            if when + REMEMBERED > now && self.settled.len() <= MOST_SETTLED {
                break;
            }
            self.settled.pop_front();
            // It may have gone on elsewhere, and be remembered from then on.
            if self.messages.get(&id).is_some_and(|message| message.last <= when) {
                self.messages.remove(&id);
            }
        }
        for _ in 0..MOST_AT_ONCE {
            let Some((when, id)) = self.closed.front().copied().filter(|(when, _)| when + GRACE <= now)
            else {
                break;
            };
            self.closed.pop_front();
            if self.messages.get(&id).is_some_and(|message| !message.settled && message.last <= when) {
                all.add(self.end(id));
            }
        }
        for _ in 0..MOST_AT_ONCE {
            let Some((when, id)) = self.open.front().copied() else { break };
            let full = self.messages.len() > MOST_OPEN;
            if when.saturating_add(self.timeout) > now && !full && self.open.len() <= MOST_OPEN {
                break;
            }
            self.open.pop_front();
            let Some(last) = self.messages.get(&id).map(|message| message.last) else { continue };
            if last.saturating_add(self.timeout) > now && !full {
                self.open.push_back((last, id));
                continue;
            }
            all.add(self.end(id));
        }
        all
    }

    /// The open reservations that a restart must know of: by instance's number, with their service.
    pub fn open_messages(&self) -> impl Iterator<Item = (MessageId, &Message)> {
        self.messages.iter().filter(|(_, message)| !message.settled).map(|(id, message)| (*id, message))
    }

    /// Forgets all open messages; what they had reserved is to be taken back.
    pub fn leave(&mut self) -> Vec<Charge> {
        let open: Vec<MessageId> = self.open_messages().map(|(id, _)| id).collect();
        open.into_iter().flat_map(|id| self.end(id).back).collect()
    }

    /// Services that ask at DATA or END-OF-MESSAGE, when that has changed since the last call.
    pub fn services_changed(&mut self) -> Option<Vec<ServiceId>> {
        std::mem::take(&mut self.services_changed)
            .then(|| self.services.iter().filter(|(_, known)| known.asked_later).map(|(id, _)| *id).collect())
    }
}

/// How much one call of [`Messages::expire`] does.
const MOST_AT_ONCE: usize = 8;

#[cfg(test)]
mod tests;
