//! What is in force: the settings with all that is built from them, and what outlives a reload.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::{self, Cache};
use crate::config::settings::{self, Settings};
use crate::fields::Fields;
use crate::hashing::Pool;
use crate::mechanism::{self, CredentialKind, Description};
use crate::metrics::Metrics;
use crate::networks::Networks;
use crate::oauth::Tokens;
use crate::password::Stored;
use crate::request::Request;
use crate::throttle::Throttle;
use crate::username::Usernames;
use crate::variables::{Template, Values};
use crate::{config, passdb, userdb};
use base::country::Countries;

/// How many configurations there have been.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The configuration in force; replaced as a whole by a reload.
#[derive(Debug)]
pub struct Active {
    /// Tells this configuration from those before and after it.
    pub generation: u64,
    /// The settings themselves.
    pub settings: Settings,
    /// How names are read.
    pub usernames: Usernames,
    /// The mechanisms in the greeting.
    pub offered: Vec<&'static Description>,
    /// Their names.
    pub offered_names: Arc<[&'static str]>,
    /// Passdbs whose users are refused.
    pub denies: Vec<Passdb>,
    /// Passdbs whose users may act for others.
    pub masters: Vec<Passdb>,
    /// All other passdbs.
    pub passdbs: Vec<Passdb>,
    /// Userdbs.
    pub userdbs: Vec<Userdb>,
    /// Bearer tokens.
    pub tokens: Option<Tokens>,
}

/// A passdb with its place in the chain.
pub struct Passdb {
    /// Its name in the log and the metrics; several may share one.
    pub name: Arc<str>,
    /// Its place in the configuration, which no other passdb shares.
    pub number: usize,
    /// Its settings.
    pub settings: settings::Passdb,
    /// The driver.
    pub driver: passdb::Driver,
    /// Which requests may share an answer from the cache.
    pub sharing: Sharing,
    format: Option<Template>,
    default_fields: Templates,
    override_fields: Templates,
    decoy: Mutex<Option<Arc<Stored>>>,
    /// Users of weak schemes that the log has heard of, by hash.
    warned: Mutex<std::collections::HashSet<u64>>,
    /// What SCRAM users without a password are answered from: like the first that was seen.
    scram_decoys: Mutex<Vec<(CredentialKind, Arc<Stored>)>>,
}

/// Which requests may share an answer from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The driver answers from memory: only the hashing is worth remembering.
    OnlyHash,
    /// All of one user and service.
    User,
    /// Those from one address only: the query uses the connection's variables.
    Connection,
}

/// A userdb with its place in the chain.
pub struct Userdb {
    /// Its name in the log.
    pub name: Arc<str>,
    /// Its settings.
    pub settings: settings::Userdb,
    /// The driver.
    pub driver: userdb::Driver,
    format: Option<Template>,
    default_fields: Templates,
    override_fields: Templates,
}

type Templates = Vec<(String, Option<Template>)>;

/// What outlives a reload.
#[derive(Debug)]
pub struct Shared {
    /// Failures per address and user.
    pub throttle: Mutex<Throttle>,
    /// Answers, when `[cache]` is on.
    pub cache: Mutex<Option<Cache>>,
    /// Where users log in from.
    pub networks: Mutex<Networks>,
    /// Countries of addresses.
    pub countries: Option<Countries>,
    /// The threads that hash.
    pub pool: Pool,
    /// Those that make SCRAM keys of clear-text passwords; they never wait for a slow hash.
    pub keys_pool: Pool,
    /// The figures.
    pub metrics: Metrics,
    /// Makes salts of unknown users look like salts.
    pub decoy_secret: [u8; 32],
    cache_secret: [u8; 32],
}

impl Active {
    /// Builds everything that the settings name; no server is asked yet.
    ///
    /// # Errors
    /// What cannot be built, as a sentence.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let usernames = settings.names.compile()?;
        let (mut denies, mut masters, mut passdbs) = (Vec::new(), Vec::new(), Vec::new());
        for (number, one) in settings.passdb.iter().enumerate() {
            let built =
                Passdb::new(one, number).map_err(|error| format!("[[passdb]] {}: {error}", one.name))?;
            match (one.deny, one.master) {
                (true, _) => denies.push(built),
                (false, true) => masters.push(built),
                (false, false) => passdbs.push(built),
            }
        }
        let userdb = |one: &settings::Userdb| {
            Userdb::new(one).map_err(|error| format!("[[userdb]] {}: {error}", one.name))
        };
        let userdbs = settings.userdb.iter().map(userdb).collect::<Result<Vec<_>, _>>()?;
        let tokens = settings.oauth2.as_ref().map(Tokens::new).transpose();
        let tokens = tokens.map_err(|error| format!("[oauth2]: {error}"))?;
        let mut offered = Vec::new();
        for name in &settings.mechanisms {
            let Some(description) = mechanism::offered(name) else {
                return Err(format!("mechanism {name} is not known"));
            };
            if let Err(why) = mechanism::offerable(name, &config::abilities(name, &settings)) {
                log::warn!("mechanism {name} is not offered: {why}");
                continue;
            }
            offered.push(description);
        }
        if offered.is_empty()
            && settings.listen.iter().any(|listen| listen.kind == settings::ListenKind::Client)
        {
            return Err("no mechanism can be offered; Postfix would refuse to start its smtpd".to_owned());
        }
        let offered_names = offered.iter().map(|description| description.name).collect();
        Ok(Self {
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            settings,
            usernames,
            offered,
            offered_names,
            denies,
            masters,
            passdbs,
            userdbs,
            tokens,
        })
    }
}

impl fmt::Debug for Passdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passdb({})", self.name)
    }
}

impl fmt::Debug for Userdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Userdb({})", self.name)
    }
}

impl Passdb {
    fn new(settings: &settings::Passdb, number: usize) -> Result<Self, String> {
        Ok(Self {
            name: Arc::from(settings.name.as_str()),
            number,
            driver: passdb::Driver::new(settings)?,
            sharing: sharing(settings),
            format: template(&settings.username_format)?,
            default_fields: templates(&settings.default_fields)?,
            override_fields: templates(&settings.override_fields)?,
            decoy: Mutex::new(None),
            warned: Mutex::default(),
            scram_decoys: Mutex::default(),
            settings: settings.clone(),
        })
    }

    /// Whether this passdb is asked for `request` at all.
    #[must_use]
    pub fn serves(&self, request: &Request) -> bool {
        let named = |list: &[String], name: &str| {
            list.is_empty() || name.is_empty() || list.iter().any(|one| one.eq_ignore_ascii_case(name))
        };
        named(&self.settings.mechanisms, request.mechanism)
            && named(&self.settings.services, &request.service)
            && crate::chain::passes_filter(&request.user, &self.settings.username_filter)
    }

    /// `request` with the user's name as this passdb wants it; `None` when it is as it is.
    #[must_use]
    pub fn renamed(&self, request: &Request) -> Option<Box<Request>> {
        let name = self.format.as_ref()?.expand(&Values::of(request));
        Some(renamed(request, name, matches!(self.settings.driver, settings::PassdbDriver::PasswdFile(_))))
    }

    /// Adds `default_fields` and `override_fields` to what the driver gave.
    pub fn complete(&self, fields: &mut Fields, request: &Request) {
        complete(fields, &self.default_fields, &self.override_fields, request);
    }

    /// A stored password that costs what this passdb's passwords cost, and that nothing matches.
    #[must_use]
    pub fn decoy(&self) -> Option<Arc<Stored>> {
        lock(&self.decoy).clone()
    }

    /// Whether the log has not yet been told of this user's weak scheme. After some thousands it has been
    /// told enough.
    pub fn is_first_warning(&self, user: &str) -> bool {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        let mut warned = lock(&self.warned);
        warned.len() < 10_000 && warned.insert(hasher.finish())
    }

    /// What users without a password are answered from by SCRAM: a stored password like those here, that
    /// nothing matches. It stays the same, or an unknown user's salt would change.
    #[must_use]
    pub fn scram_decoy(&self, kind: CredentialKind) -> Option<Arc<Stored>> {
        lock(&self.scram_decoys).iter().find(|(known, _)| *known == kind).map(|(_, decoy)| Arc::clone(decoy))
    }

    /// Learns what SCRAM users look like here.
    pub fn learn_scram(&self, stored: &Stored, kind: CredentialKind) {
        let mut decoys = lock(&self.scram_decoys);
        if kind != CredentialKind::CramMd5 && !decoys.iter().any(|(known, _)| *known == kind) {
            decoys.push((kind, Arc::new(stored.decoy())));
        }
    }

    /// Learns from a stored password what passwords cost here.
    pub fn learn_cost(&self, stored: &Stored) {
        let mut decoy = lock(&self.decoy);
        if decoy.as_ref().is_none_or(|old| old.cost() != stored.cost()) {
            *decoy = Some(Arc::new(stored.decoy()));
        }
    }
}

impl Userdb {
    fn new(settings: &settings::Userdb) -> Result<Self, String> {
        Ok(Self {
            name: Arc::from(settings.name.as_str()),
            driver: userdb::Driver::new(settings)?,
            format: template(&settings.username_format)?,
            default_fields: templates(&settings.default_fields)?,
            override_fields: templates(&settings.override_fields)?,
            settings: settings.clone(),
        })
    }

    /// See [`Passdb::renamed`].
    #[must_use]
    pub fn renamed(&self, request: &Request) -> Option<Box<Request>> {
        let name = self.format.as_ref()?.expand(&Values::of(request));
        Some(renamed(request, name, matches!(self.settings.driver, settings::UserdbDriver::PasswdFile(_))))
    }

    /// See [`Passdb::complete`].
    pub fn complete(&self, fields: &mut Fields, request: &Request) {
        complete(fields, &self.default_fields, &self.override_fields, request);
    }
}

impl Shared {
    /// Starts the hashing threads; nothing is remembered yet.
    ///
    /// # Errors
    /// When threads or random bytes are not to be had, or the country database cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let mut secrets = [[0; 32]; 2];
        for secret in &mut secrets {
            aws_lc_rs::rand::fill(secret).map_err(|_unspecified| "no random bytes".to_owned())?;
        }
        let [decoy_secret, cache_secret] = secrets;
        let countries = match &settings.networks.country_database {
            Some(path) => {
                Some(Countries::open(path).map_err(|error| format!("[networks] country_database: {error}"))?)
            }
            None => None,
        };
        let metrics = Metrics::new();
        metrics.drivers(drivers(settings));
        let pool =
            || Pool::new(&settings.hashing).map_err(|error| format!("starting the hashing threads: {error}"));
        Ok(Self {
            throttle: Mutex::new(Throttle::new(settings.throttle)),
            cache: Mutex::new(settings.cache.map(|cache| Cache::new(cache, &cache_secret))),
            networks: Mutex::new(Networks::new(settings.networks.clone())),
            countries,
            pool: pool()?,
            keys_pool: pool()?,
            metrics,
            decoy_secret,
            cache_secret,
        })
    }

    /// Takes over what a reload may change; the cache starts anew, because passdbs may have changed.
    pub fn reconfigure(&self, settings: &Settings) {
        lock(&self.throttle).reconfigure(settings.throttle);
        self.metrics.drivers(drivers(settings));
        let mut cache = lock(&self.cache);
        self.metrics.cache_restarts(&figures(cache.as_ref()));
        *cache = settings.cache.map(|cache| Cache::new(cache, &self.cache_secret));
    }

    /// All figures as a text.
    #[must_use]
    pub fn figures(&self) -> String {
        self.metrics.hashing(&self.pool.figures().and(self.keys_pool.figures()));
        {
            let cache = lock(&self.cache);
            self.metrics.cache(&figures(cache.as_ref()));
        }
        self.metrics.text()
    }

    /// Counts a login by where it came from, and logs a place that is new for the user.
    pub fn seen(&self, user: &str, request: &Request) {
        let Some(address) = request.remote_ip else { return };
        let country = self.countries.as_ref().and_then(|countries| countries.of(address));
        let new = lock(&self.networks).login(user, address, country);
        if new.network || new.country {
            self.metrics.new_place(new);
            let what = if new.country { "country" } else { "network" };
            log::info!(
                "{}: first login from this {what}",
                crate::report::subject(crate::authenticate::OURSELVES, user, request)
            );
        }
    }
}

fn figures(cache: Option<&Cache>) -> cache::Figures {
    cache.map_or_else(cache::Figures::default, Cache::figures)
}

/// The passdbs' names with their drivers' words.
fn drivers(settings: &Settings) -> impl Iterator<Item = (String, &'static str)> {
    settings.passdb.iter().map(|one| (one.name.clone(), passdb::Driver::word(&one.driver)))
}

/// Locks, also after a panic elsewhere: what is inside is never half written across a panic.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers of local files are always read anew; those of servers may be remembered.
fn sharing(settings: &settings::Passdb) -> Sharing {
    use settings::PassdbDriver as Driver;
    let texts = match &settings.driver {
        Driver::PasswdFile(_) | Driver::Static { .. } | Driver::System => return Sharing::OnlyHash,
        // PAM and commands see the address whatever is configured.
        Driver::Pam(_) | Driver::Command(_) => return Sharing::Connection,
        Driver::Sql(sql) => {
            [&sql.query].into_iter().chain(&sql.app_password_query).cloned().collect::<Vec<_>>()
        }
        Driver::Ldap(ldap) => {
            let mut texts = vec![ldap.base.clone(), ldap.filter.clone()];
            texts.extend(ldap.auth_bind_dn.clone());
            texts.extend(ldap.attributes.iter().map(|(_, from)| from.clone()));
            texts
        }
    };
    let names_only = texts.iter().all(|text| {
        Template::parse(text).is_ok_and(|template| {
            template.variables().all(|variable| {
                let name = variable.name();
                ["user", "username", "domain", "service", "orig_user"].contains(&&*name)
                    || name.starts_with("ldap:")
            })
        })
    });
    if names_only { Sharing::User } else { Sharing::Connection }
}

/// A passwd-file's lines go by the new name and its path by the old one; for all others the user has the
/// new name.
fn renamed(request: &Request, name: String, is_file: bool) -> Box<Request> {
    Box::new(if is_file {
        Request { key: Some(name), ..request.clone() }
    } else {
        Request { user: name, ..request.clone() }
    })
}

fn template(text: &str) -> Result<Option<Template>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    Template::parse(text).map(Some).map_err(|error| format!("{text}: {error}"))
}

fn templates(fields: &Fields) -> Result<Templates, String> {
    fields
        .iter()
        .map(|(name, value)| Ok((name.to_owned(), value.map(template).transpose()?.flatten())))
        .collect()
}

fn complete(fields: &mut Fields, defaults: &Templates, overrides: &Templates, request: &Request) {
    let values = Values::of(request);
    for (name, value) in defaults {
        if !fields.has(name) {
            fields.set(name, value.as_ref().map(|value| value.expand(&values)));
        }
    }
    for (name, value) in overrides {
        fields.set(name, value.as_ref().map(|value| value.expand(&values)));
    }
}
