//! Where a JWKS document comes from, and when it is read again: a file when it changes, a URL hourly
//! and when a token names a key that it does not have.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::Mutex;

use super::http;
use super::keys::{VerifyingKey, parse_jwks, read_bounded};
use crate::config::settings::Oauth2;
use crate::passdb::Unavailable;

/// The largest document, in bytes.
const DOCUMENT_LIMIT: usize = 1024 * 1024;

/// Seconds after which a document from a URL is fetched again.
const REFRESH: u64 = 60 * 60;

/// Seconds for which an old document serves while it cannot be fetched.
const KEEP: u64 = 24 * 60 * 60;

/// Seconds between two fetches because of unknown keys, or after a failed one.
const PAUSE: u64 = 60;

/// Seconds between two fetches while there is no document at all.
const FIRST_PAUSE: u64 = 10;

/// The keys of a document at one time.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    /// When it was fetched, UNIX time; 0 for a file.
    fetched: u64,
}

impl KeySet {
    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }
}

/// A JWKS document.
#[derive(Debug)]
pub enum Jwks {
    /// A file.
    File(JwksFile),
    /// A URL.
    Url(Box<JwksUrl>),
}

impl Jwks {
    /// The document at `place`, a path or a URL. A file is read now (blocks), a URL later.
    ///
    /// # Errors
    /// A file that cannot be read or holds no usable key, a URL that is neither https nor loopback http.
    pub fn new(place: &str, settings: &Oauth2) -> Result<Self, String> {
        if place.contains("://") {
            return Ok(Self::Url(Box::new(JwksUrl::new(place, settings)?)));
        }
        Ok(Self::File(JwksFile::new(PathBuf::from(place))?))
    }

    /// The keys at `now` (UNIX time), read again first if they are due.
    ///
    /// # Errors
    /// When a URL has not been reached for a day, or never.
    pub async fn current(&self, now: u64) -> Result<Arc<KeySet>, Unavailable> {
        match self {
            Self::File(file) => Ok(file.current()),
            Self::Url(url) => url.current(now).await,
        }
    }

    /// Keys newer than `seen`, which lacks the one that is needed; `None` when there are none to be had,
    /// or the last fetch was less than a minute ago.
    pub async fn fresher_than(&self, seen: &Arc<KeySet>, now: u64) -> Option<Arc<KeySet>> {
        match self {
            Self::File(_) => None,
            Self::Url(url) => url.fresher_than(seen, now).await,
        }
    }
}

/// A JWKS document in a file.
#[derive(Debug)]
pub struct JwksFile {
    path: PathBuf,
    state: ArcSwap<FileState>,
}

#[derive(Debug)]
struct FileState {
    stamp: Option<Stamp>,
    keys: Arc<KeySet>,
}

/// What changes when a file does.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl JwksFile {
    fn new(path: PathBuf) -> Result<Self, String> {
        let stamp = std::fs::metadata(&path).ok().map(|metadata| Stamp::of(&metadata));
        let keys = Arc::new(Self::read(&path)?);
        Ok(Self { path, state: ArcSwap::from_pointee(FileState { stamp, keys }) })
    }

    fn read(path: &std::path::Path) -> Result<KeySet, String> {
        let bytes = read_bounded(path, DOCUMENT_LIMIT as u64)?;
        let keys = parse_jwks(&bytes).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(KeySet { keys, fetched: 0 })
    }

    /// A changed file that is no good leaves the old keys in place, with one warning.
    fn current(&self) -> Arc<KeySet> {
        let state = self.state.load();
        let stamp = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp == state.stamp {
            return state.keys.clone();
        }
        let keys = match Self::read(&self.path) {
            Ok(fresh) => Arc::new(fresh),
            Err(why) => {
                tracing::warn!("oauth2: jwks {why}; the keys read before stay in use");
                state.keys.clone()
            }
        };
        self.state.store(Arc::new(FileState { stamp, keys: keys.clone() }));
        keys
    }
}

/// A JWKS document behind a URL.
#[derive(Debug)]
pub struct JwksUrl {
    url: Url,
    client: Client,
    keys: ArcSwapOption<KeySet>,
    /// Held while fetching, so that there is one fetch at a time.
    attempt: Mutex<Attempt>,
}

/// The last fetch.
#[derive(Debug, Default)]
struct Attempt {
    at: Option<u64>,
    failure: String,
}

impl Attempt {
    fn within(&self, seconds: u64, now: u64) -> bool {
        self.at.is_some_and(|at| now.abs_diff(at) < seconds)
    }
}

impl JwksUrl {
    fn new(url: &str, settings: &Oauth2) -> Result<Self, String> {
        Ok(Self {
            url: http::url(url)?,
            client: http::client(settings)?,
            keys: ArcSwapOption::empty(),
            attempt: Mutex::default(),
        })
    }

    async fn current(&self, now: u64) -> Result<Arc<KeySet>, Unavailable> {
        let Some(seen) = self.keys.load_full() else { return self.first(now).await };
        if now.abs_diff(seen.fetched) < REFRESH {
            return Ok(seen);
        }
        // One request fetches, the others go on with what there is.
        if let Ok(mut attempt) = self.attempt.try_lock()
            && !attempt.within(PAUSE, now)
            && let Err(why) = self.fetch(&mut attempt, now).await
        {
            tracing::warn!("oauth2: {why}; the keys fetched before stay in use for a day");
        }
        match self.keys.load_full() {
            Some(set) if now.abs_diff(set.fetched) < KEEP => Ok(set),
            _ => Err(Unavailable::new(format!(
                "oauth2: no fresh keys from {} for a day",
                http::place(&self.url)
            ))),
        }
    }

    async fn first(&self, now: u64) -> Result<Arc<KeySet>, Unavailable> {
        let mut attempt = self.attempt.lock().await;
        if let Some(set) = self.keys.load_full() {
            return Ok(set);
        }
        if attempt.within(FIRST_PAUSE, now) {
            return Err(Unavailable::new(format!("oauth2: {}", attempt.failure)));
        }
        self.fetch(&mut attempt, now).await.map_err(|why| Unavailable::new(format!("oauth2: {why}")))
    }

    async fn fresher_than(&self, seen: &Arc<KeySet>, now: u64) -> Option<Arc<KeySet>> {
        let mut attempt = self.attempt.lock().await;
        if let Some(set) = self.keys.load_full()
            && !Arc::ptr_eq(&set, seen)
        {
            return Some(set);
        }
        if attempt.within(PAUSE, now) {
            return None;
        }
        match self.fetch(&mut attempt, now).await {
            Ok(set) => Some(set),
            Err(why) => {
                tracing::warn!("oauth2: {why}; a token was signed with a key that is not known here");
                None
            }
        }
    }

    async fn fetch(&self, attempt: &mut Attempt, now: u64) -> Result<Arc<KeySet>, String> {
        // Written before the wait: a fetch that its caller gives up on counts as well.
        *attempt =
            Attempt { at: Some(now), failure: format!("jwks {}: no answer in time", http::place(&self.url)) };
        match self.document().await {
            Ok(keys) => {
                let set = Arc::new(KeySet { keys, fetched: now });
                self.keys.store(Some(set.clone()));
                Ok(set)
            }
            Err(why) => {
                attempt.failure = format!("jwks {}: {why}", http::place(&self.url));
                Err(attempt.failure.clone())
            }
        }
    }

    async fn document(&self) -> Result<Vec<VerifyingKey>, String> {
        let request = self
            .client
            .get(self.url.clone())
            .header(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
        let response = request.send().await.map_err(http::reason)?;
        if response.status() != StatusCode::OK {
            return Err(format!("answered {}", response.status()));
        }
        parse_jwks(&http::body(response, DOCUMENT_LIMIT).await?)
    }
}
