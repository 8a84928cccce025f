//! What a configuration equips the service with besides limits: Redis, greylisting, notices, places.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use base::country::{Asns, Countries};

use crate::config::Settings;
use crate::config::settings::{Geo, StoreDriver};
use crate::control::recent::Recent;
use crate::greylist::service::{self as greylist, Counts, Place};
use crate::limits::Places;
use crate::notice::{Notices, Refusal};
use crate::store::redis::Redis;

/// All of it.
#[derive(Debug)]
pub struct Equipment {
    /// The store that others share, where it is Redis.
    pub redis: Option<Arc<Redis>>,
    /// Greylisting; `None` when off.
    pub greylist: ArcSwapOption<greylist::Service>,
    /// Who is told of refusals.
    pub notices: ArcSwapOption<Notices>,
    /// The last refusals, for `explain`.
    pub recent: Mutex<Recent>,
    /// This host's name.
    pub host: String,
    /// Where greylisting keeps its records; the same across reloads.
    place: Option<Place>,
    counts: Arc<Counts>,
}

/// What belongs to one configuration.
struct Made {
    greylist: Option<greylist::Service>,
    notices: Notices,
}

impl Equipment {
    /// Opens and starts what the settings ask for. Must be called within a runtime.
    ///
    /// # Errors
    /// A sentence that says what cannot be opened or set up.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let redis = match &settings.store.driver {
            StoreDriver::Redis(redis) => {
                let redis = Arc::new(Redis::new(redis.clone())?);
                Some(redis)
            }
            _ => None,
        };
        let host =
            nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(redis) = &redis {
            // Several services on one host are several hosts to Redis.
            tokio::spawn(redis.stay(format!("{host} {}", std::process::id())));
        }
        let mut this = Self {
            redis,
            greylist: ArcSwapOption::empty(),
            notices: ArcSwapOption::empty(),
            recent: Mutex::default(),
            host,
            place: None,
            counts: Arc::default(),
        };
        this.place = match &settings.greylist {
            Some(wanted) => Some(this.open_place(settings, wanted.max_entries)?),
            None => None,
        };
        let made = this.make(settings)?;
        this.put(made);
        Ok(this)
    }

    fn open_place(&self, settings: &Settings, most: usize) -> Result<Place, String> {
        match (&self.redis, &settings.store.driver) {
            (Some(redis), _) => Ok(Place::Shared(Arc::clone(redis))),
            (None, StoreDriver::File { path }) => greylist::open(Some(path), most),
            (None, _) => greylist::open(None, most),
        }
    }

    fn make(&self, settings: &Settings) -> Result<Made, String> {
        let greylist = match (&settings.greylist, &self.place) {
            (Some(wanted), Some(place)) => {
                let list = greylist::whitelist(wanted).map_err(|wrong| wrong.join("; "))?;
                Some(greylist::Service::new(wanted.clone(), list, place.clone(), Arc::clone(&self.counts)))
            }
            (Some(_), None) => return Err("greylisting can be switched on by a restart only".into()),
            (None, _) => None,
        };
        Ok(Made { greylist, notices: Notices::start(settings.notices.clone())? })
    }

    fn put(&self, made: Made) {
        self.greylist.store(made.greylist.map(Arc::new));
        if let Some(before) = &*self.notices.load() {
            made.notices.inherit(before);
        }
        self.notices.store(Some(Arc::new(made.notices)));
    }

    /// Puts another configuration in force; records and incidents stay.
    ///
    /// # Errors
    /// A sentence; the former configuration stays in force then.
    pub fn reconfigure(&self, settings: &Settings) -> Result<(), String> {
        let made = self.make(settings)?;
        self.put(made);
        Ok(())
    }

    /// Tells whoever wants to know that a limit was reached, and remembers it.
    pub fn refused(&self, refusal: Refusal, run: &[String]) {
        if let Some(notices) = &*self.notices.load() {
            notices.refused(&refusal);
            if !run.is_empty() && !refusal.dry_run {
                notices.run(run, &refusal);
            }
        }
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).add(refusal);
    }

    /// Attempts at greylisting: new, early, waited, known, without a place.
    #[must_use]
    pub fn counts(&self) -> [u64; 5] {
        let Counts { new, early, waited, known, unplaced } = &*self.counts;
        [new, early, waited, known, unplaced].map(|count| count.load(Ordering::Relaxed))
    }

    /// What is to be done every second.
    pub fn tick(&self) {
        if let Some(greylist) = &*self.greylist.load() {
            greylist.tick();
        }
    }

    /// Writes everything down.
    pub fn close(&self) {
        if let Some(greylist) = &*self.greylist.load() {
            greylist.close();
        }
    }
}

/// Where addresses are, by the admin's databases.
#[derive(Debug)]
struct Databases {
    countries: Option<Countries>,
    asns: Option<Asns>,
}

impl Places for Databases {
    fn country(&self, address: IpAddr) -> Option<u64> {
        let [first, second] = self.countries.as_ref()?.of(address)?;
        Some(u64::from(u16::from_be_bytes([first, second])))
    }

    fn asn(&self, address: IpAddr) -> Option<u64> {
        self.asns.as_ref()?.of(address).map(u64::from)
    }
}

/// Opens the databases that are named; `None` where none is.
///
/// # Errors
/// A sentence with the path of one that cannot be read.
pub fn places(geo: &Geo) -> Result<Option<Arc<dyn Places>>, String> {
    let countries = geo.country_file.as_deref().map(Countries::open).transpose()?;
    let asns = geo.asn_file.as_deref().map(Asns::open).transpose()?;
    if countries.is_none() && asns.is_none() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Databases { countries, asns })))
}
