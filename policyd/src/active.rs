//! What all connections share: the configuration in force, counters, messages under way, figures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use base::clock as system;
use base::service::listen::Address;

use crate::clock::{Clock, Reading, boot_number, nanos};
use crate::config::Settings;
use crate::config::settings::StoreDriver;
use crate::decide::Plan;
use crate::equipment::{Equipment, places};
use crate::limiter::{Moment, SECOND};
use crate::limits::Limits;
use crate::lists;
use crate::messages::{Ended, Messages, ServiceId, written};
use crate::metrics::Metrics;
use crate::store::file::File;
use crate::store::memory::Memory;
use crate::store::{Answer, Ask, Charge, LimitId, Local, Remote};
use crate::timezone::Zone;

/// The name of the note with the clock; it is written when something else is.
const CLOCK: &str = ".clock";
/// How many reservations are taken back in one go at the end.
const LEAVE: usize = 100;
/// The name of the note with what is reserved for open messages.
const MESSAGES: &str = ".messages";
/// The name of the note with what is known of Postfix's services.
const SERVICES: &str = "services";
/// How often the limits are told what is raised, and lists are looked at, in ticks' time.
const FOLLOW: u64 = SECOND;

/// The counters and what belongs to them, behind one lock.
pub struct Books {
    /// The store of this process; of a remote one only its clock and messages are here.
    pub store: Box<dyn Local>,
    /// Messages under way.
    pub messages: Messages,
    /// The store's clock.
    pub clock: Clock,
    /// Memory for one decision after the other.
    pub plan: Plan,
    /// The same, for the answer.
    pub answer: Answer,
    /// The same, for what is taken back.
    pub back: Vec<Charge>,
    /// The same, for what is counted without asking.
    pub settled: Ask,
    boot: u64,
    followed: u64,
}

impl std::fmt::Debug for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Books").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration in force.
    pub settings: ArcSwap<Settings>,
    /// Its limits.
    pub limits: ArcSwap<Limits>,
    /// Counters and messages.
    pub books: Mutex<Books>,
    /// The store that other machines share, if that is the one.
    pub remote: Option<Arc<dyn Remote>>,
    /// Redis, greylisting, notices, places.
    pub equipment: Equipment,
    /// Figures.
    pub metrics: Metrics,
    /// When it was said last that something could not be counted, in seconds.
    complained: AtomicU64,
}

/// Locks, also after a panic elsewhere.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reading(boot: u64) -> Reading {
    Reading { boot, since_boot: nanos(system::since_boot()), wall: nanos(system::since_1970()) }
}

impl Books {
    /// Opens the store, and goes on where it was left.
    ///
    /// # Errors
    /// A sentence when the store cannot be opened.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let store: Box<dyn Local> = match &settings.store.driver {
            // Of Redis only names and the clock are here.
            StoreDriver::Memory | StoreDriver::Redis(_) => Box::new(Memory::new()),
            StoreDriver::File { path } => Box::new(File::open(path).map_err(|error| error.to_string())?),
        };
        let zone = Zone::named(settings.timezone.as_deref())?;
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot_number(&id);
        let clock = Clock::resume(store.noted(CLOCK).as_deref(), reading(boot), zone);
        let mut messages = Messages::new(settings.server.reservation_timeout);
        for service in store.noted(SERVICES).as_deref().map(read_services).unwrap_or_default() {
            messages.asked_later(service);
        }
        drop(messages.services_changed());
        Ok(Self {
            store,
            messages,
            clock,
            plan: Plan::default(),
            answer: Answer::default(),
            back: Vec::new(),
            settled: Ask::default(),
            boot,
            followed: 0,
        })
    }

    /// Now.
    pub fn moment(&mut self) -> Moment {
        let now = reading(self.boot);
        self.clock.moment(now.since_boot, now.wall)
    }

    /// Now, and the seconds since 1970 on the wall.
    pub fn moment_and_wall(&mut self) -> (Moment, u64) {
        let now = reading(self.boot);
        (self.clock.moment(now.since_boot, now.wall), now.wall / SECOND)
    }

    /// Ends a message, and takes back what it reserved.
    pub fn finish(&mut self, ended: Ended, remote: Option<&Arc<dyn Remote>>, at: &Moment) {
        if let Some(service) = ended.forgotten {
            log::warn!(
                "port {}: no message comes to DATA or END-OF-MESSAGE here any more; from now on what is asked at RCPT \
                 counts at once (is check_policy_service still in smtpd_data_restrictions?)",
                service.port
            );
        }
        if !ended.back.is_empty() {
            release(self.store.as_mut(), remote, ended.back, at);
        }
        if !ended.settled.counters().is_empty() {
            settle(self.store.as_mut(), remote, &ended.settled, at);
        }
    }

    /// What is to be done every few milliseconds.
    pub fn tick(&mut self, shared: &Shared) {
        let at = self.moment();
        let ended = self.messages.expire(at.now);
        self.finish(ended, shared.remote.as_ref(), &at);
        self.store.sweep(&at);
        if at.now.saturating_sub(self.followed) >= FOLLOW {
            self.followed = at.now;
            let limits = shared.limits.load();
            for wrong in limits.follow_lists() {
                log::error!("{wrong}");
            }
            shared.equipment.tick();
            for list in lists::asked(&shared.settings.load()) {
                list.sweep();
            }
            if shared.remote.is_none() {
                limits.set_raises(&self.store.raises(system::unix_now()));
            }
        }
        if let Some(services) = self.messages.services_changed() {
            self.store.note(SERVICES, write_services(&services));
        }
        if self.store.wants_flush(&at) {
            self.flush(&at, false);
        }
    }

    /// Writes everything down, and waits for it.
    pub fn close(&mut self) {
        let at = self.moment();
        self.flush(&at, true);
    }

    fn flush(&mut self, at: &Moment, last: bool) {
        let written = self.clock.written(reading(self.boot));
        self.store.note(CLOCK, written);
        self.store.note(MESSAGES, written::write(&self.messages));
        self.store.flush(at, last);
    }
}

/// Takes charges back, in whichever store.
pub fn release(store: &mut dyn Local, remote: Option<&Arc<dyn Remote>>, charges: Vec<Charge>, at: &Moment) {
    match remote {
        None => store.release(&charges, at),
        Some(remote) => {
            let (remote, at) = (Arc::clone(remote), *at);
            tokio::spawn(async move {
                if let Err(error) = remote.release(charges, &at).await {
                    log::debug!("reservations stay counted: {error}");
                }
            });
        }
    }
}

/// Counts what has happened already, in whichever store.
pub fn settle(store: &mut dyn Local, remote: Option<&Arc<dyn Remote>>, settled: &Ask, at: &Moment) {
    match remote {
        None => {
            if let Err(error) = store.decide(settled, at, &mut Answer::default()) {
                log::debug!("unknown recipients are not counted: {error}");
            }
        }
        Some(remote) => {
            let (remote, settled, at) = (Arc::clone(remote), settled.clone(), *at);
            tokio::spawn(async move {
                if let Err(error) = remote.decide(&settled, &at).await {
                    log::debug!("unknown recipients are not counted: {error}");
                }
            });
        }
    }
}

fn write_services(services: &[ServiceId]) -> Vec<u8> {
    let line = |service: &ServiceId| format!("{} {}\n", service.listener, service.port);
    services.iter().map(line).collect::<String>().into_bytes()
}

fn read_services(text: &[u8]) -> Vec<ServiceId> {
    let text = String::from_utf8_lossy(text);
    let one = |line: &str| {
        let (listener, port) = line.split_once(' ')?;
        Some(ServiceId { listener: listener.parse().ok()?, port: port.parse().ok()? })
    };
    text.lines().filter_map(one).collect()
}

impl Shared {
    /// Opens the store and puts a configuration in force.
    ///
    /// # Errors
    /// A sentence when the store cannot be opened.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let mut books = Books::open(&settings)?;
        let equipment = Equipment::new(&settings)?;
        let remote = equipment.redis.clone().map(|redis| redis as Arc<dyn Remote>);
        let limits = limits(&settings, 1, &mut books)?;
        let now = books.moment().now;
        if let Some(text) = books.store.noted(MESSAGES) {
            written::read(&text, &limits, &mut books.messages, now);
        }
        let metrics = Metrics::new();
        for list in lists::asked(&settings) {
            list.attach(metrics.list(&list.settings().name));
        }
        Ok(Self {
            limits: ArcSwap::from_pointee(limits),
            settings: ArcSwap::from_pointee(settings),
            books: Mutex::new(books),
            remote,
            equipment,
            metrics,
            complained: AtomicU64::new(0),
        })
    }

    /// Puts another configuration in force; counters stay.
    ///
    /// # Errors
    /// A sentence when its time zone is gone.
    pub fn reconfigure(&self, settings: Settings) -> Result<(), String> {
        let zone = Zone::named(settings.timezone.as_deref())?;
        let mut books = lock(&self.books);
        books.clock.set_zone(zone);
        books.messages.set_timeout(settings.server.reservation_timeout);
        let generation = self.limits.load().generation.wrapping_add(1);
        let limits = limits(&settings, generation, &mut books)?;
        self.equipment.reconfigure(&settings)?;
        for list in lists::asked(&settings) {
            list.attach(self.metrics.list(&list.settings().name));
        }
        self.limits.store(Arc::new(limits));
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// Ends with what is reserved in a store that others share: where only that store outlives this process, nobody
    /// knows after a restart what was reserved for a message, and it is counted as Postfix then tells it.
    pub async fn leave(&self) {
        let Some(remote) = &self.remote else { return };
        let (charges, at) = {
            let mut books = lock(&self.books);
            (books.messages.leave(), books.moment())
        };
        for some in charges.chunks(LEAVE) {
            if let Err(error) = remote.release(some.to_vec(), &at).await {
                log::warn!("what is reserved for messages under way stays counted: {error}");
                return;
            }
        }
    }

    /// All figures as a text.
    #[must_use]
    pub fn figures(&self) -> String {
        {
            let books = lock(&self.books);
            let figures =
                self.remote.as_ref().map_or_else(|| books.store.figures(), |remote| remote.figures());
            self.metrics.state(&figures, books.messages.len());
        }
        let equipment = &self.equipment;
        let redis = equipment.redis.as_ref().map(|redis| redis.state());
        let notices = equipment.notices.load().as_ref().map(|notices| notices.figures()).unwrap_or_default();
        let counts = equipment.counts();
        self.metrics.equipment(redis, [notices.begun, notices.dropped, notices.failed], counts);
        let settings = self.settings.load();
        let health: Vec<_> =
            lists::asked(&settings).map(|list| (list.settings().name.as_str(), list.health())).collect();
        self.metrics.lists(&health);
        self.metrics.text()
    }

    /// Whether a complaint about the store is due: one in ten seconds is enough.
    pub fn may_complain(&self) -> bool {
        let now = system::unix_now();
        let last = self.complained.load(Ordering::Relaxed);
        let due = now >= last.saturating_add(10) || now < last;
        if due {
            self.complained.store(now, Ordering::Relaxed);
        }
        due
    }
}

fn limits(settings: &Settings, generation: u32, books: &mut Books) -> Result<Limits, String> {
    let places = places(&settings.geo)?;
    let mut id = |name: &str| -> LimitId { books.store.limit(name) };
    let mut limits = Limits::new(settings, generation, &mut id);
    limits.places = places;
    let at = books.moment();
    books.store.in_force(&limits.rules(), &at);
    limits.set_raises(&books.store.raises(system::unix_now()));
    Ok(limits)
}

/// Where sockets are, for comparing configurations.
#[must_use]
pub fn sockets(settings: &Settings) -> Vec<String> {
    settings.listen.iter().map(Address::to_string).collect()
}
