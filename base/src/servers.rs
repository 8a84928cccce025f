//! Connections to one of several servers: made when needed, kept, bounded in number, replaced when dead.
//!
//! The first server that answers is used, in the order of the configuration. A server that cannot be reached
//! is left alone for a second, so that look-ups fail at once, or go to the next server, instead of each
//! waiting for the same dead machine. While a later server stands in, the earlier one is tried again in the
//! background; it gets the next look-up as soon as it is back.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::clock::monotonic_now;
use crate::log::escaped;

/// How long a server that could not be reached is left alone.
const BACK_OFF: Duration = Duration::from_secs(1);
/// How long a server may take to accept a connection, greeting, TLS and login included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a look-up waits for one of the connections to become free.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection is kept without being used.
const KEPT_IDLE: Duration = Duration::from_secs(300);

/// A server that connections can be made to.
pub trait Connect: Send + Sync + 'static {
    /// An open connection.
    type Connection: Send + 'static;

    /// What the log calls the server; without passwords.
    fn name(&self) -> String;

    /// Makes a connection. The error is for the log: it does not name the server, and holds no password.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, String>> + Send;

    /// Whether a kept connection looks as if it could be used again; cheap, and without I/O to a peer.
    fn is_usable(&self, connection: &mut Self::Connection) -> bool;
}

/// The servers of one database.
pub struct Servers<C: Connect> {
    hosts: Vec<Arc<Host<C>>>,
    permits: Arc<Semaphore>,
    connections: usize,
}

/// One server and what is known of it.
struct Host<C: Connect> {
    server: C,
    state: Mutex<State<C::Connection>>,
}

struct State<T> {
    /// Connections that nobody uses, the one used last at the end.
    idle: Vec<(T, Instant)>,
    /// Why and when the last attempt to connect failed; `None` when it did not.
    failure: Option<(String, Instant)>,
    /// Whether somebody is trying whether a failed server is back.
    probed: bool,
}

/// What is to be done with a server for one look-up.
enum Choice<T> {
    Use(T),
    Connect { after_failure: bool },
    Skip(String),
}

/// A connection in use. Dropped without [`Self::keep`] or [`Self::discard`] it counts as stuck: it is closed,
/// and so are the idle ones beside it.
pub struct Held<C: Connect> {
    host: Arc<Host<C>>,
    connection: Option<C::Connection>,
    /// Whether it was made for this look-up, so that a failure of it is the server's.
    fresh: bool,
    _permit: OwnedSemaphorePermit,
}

impl<C: Connect> Servers<C> {
    /// Servers in order of preference, with at most `connections` (at least 1) in use at a time.
    pub fn new(servers: impl IntoIterator<Item = C>, connections: usize) -> Self {
        let connections = connections.max(1);
        let hosts = servers.into_iter().map(|server| Arc::new(Host::new(server))).collect();
        Self { hosts, permits: Arc::new(Semaphore::new(connections)), connections }
    }

    /// How many servers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// A connection to the first server that answers, a kept one unless `fresh` is wanted.
    ///
    /// # Errors
    /// No server can be reached, or all connections stay busy; with what each server said.
    pub async fn take(&self, fresh: bool) -> Result<Held<C>, String> {
        let Ok(Ok(permit)) = timeout(BUSY_TIMEOUT, Arc::clone(&self.permits).acquire_owned()).await else {
            let text = format!("all {} connections are busy; see `connections`", self.connections);
            return Err(text);
        };
        let mut reasons = Vec::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let is_last = index + 1 == self.hosts.len();
            let reason = match host.choose(fresh) {
                Choice::Use(connection) => return Ok(Held::new(host, connection, false, permit)),
                Choice::Connect { after_failure: true } if !is_last => {
                    tokio::spawn(Arc::clone(host).probe());
                    host.last_failure()
                }
                Choice::Connect { .. } => match Probe(Arc::clone(host)).connect().await {
                    Ok(connection) => {
                        // Whoever stood in is not needed any more.
                        for later in self.hosts.iter().skip(index + 1) {
                            later.state().idle.clear();
                        }
                        return Ok(Held::new(host, connection, true, permit));
                    }
                    Err(reason) => reason,
                },
                Choice::Skip(reason) => reason,
            };
            reasons.push(format!("{}: {reason}", host.server.name()));
        }
        Err(reasons.join("; "))
    }
}

impl<C: Connect> Host<C> {
    fn new(server: C) -> Self {
        Self { server, state: Mutex::new(State { idle: Vec::new(), failure: None, probed: false }) }
    }

    /// The state; what a panic elsewhere has left of it is still consistent.
    fn state(&self) -> MutexGuard<'_, State<C::Connection>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_failure(&self) -> String {
        self.state().failure.as_ref().map_or_else(String::new, |(reason, _)| reason.clone())
    }

    fn choose(&self, fresh: bool) -> Choice<C::Connection> {
        let now = monotonic_now();
        let mut state = self.state();
        state.idle.retain(|(_, since)| now.duration_since(*since) < KEPT_IDLE);
        if fresh {
            state.idle.clear();
        }
        while let Some((mut connection, _)) = state.idle.pop() {
            if self.server.is_usable(&mut connection) {
                return Choice::Use(connection);
            }
        }
        match &state.failure {
            Some((reason, at)) if state.probed || now.duration_since(*at) < BACK_OFF => {
                Choice::Skip(reason.clone())
            }
            Some(_) => {
                state.probed = true;
                Choice::Connect { after_failure: true }
            }
            None => Choice::Connect { after_failure: false },
        }
    }

    /// Remembers how the last attempt to use the server went, and logs when that changes.
    fn note(&self, failure: Option<&str>) {
        let before = {
            let mut state = self.state();
            std::mem::replace(&mut state.failure, failure.map(|reason| (reason.to_owned(), monotonic_now())))
        };
        match (before, failure) {
            (None, Some(reason)) => log::warn!("{}: {}", self.server.name(), escaped(reason.as_bytes(), 300)),
            (Some(_), None) => log::info!("{}: is back", self.server.name()),
            _ => {}
        }
    }

    /// Tries a server that has failed, for the look-ups to come.
    async fn probe(self: Arc<Self>) {
        if let Ok(connection) = Probe(Arc::clone(&self)).connect().await {
            self.state().idle.push((connection, monotonic_now()));
        }
    }
}

/// An attempt to connect; given up when dropped, so that the next look-up may try.
struct Probe<C: Connect>(Arc<Host<C>>);

impl<C: Connect> Probe<C> {
    async fn connect(self) -> Result<C::Connection, String> {
        let outcome = match timeout(CONNECT_TIMEOUT, self.0.server.connect()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
        };
        self.0.note(outcome.as_ref().err().map(String::as_str));
        outcome
    }
}

impl<C: Connect> Drop for Probe<C> {
    fn drop(&mut self) {
        self.0.state().probed = false;
    }
}

impl<C: Connect> Held<C> {
    fn new(
        host: &Arc<Host<C>>,
        connection: C::Connection,
        fresh: bool,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { host: Arc::clone(host), connection: Some(connection), fresh, _permit: permit }
    }

    /// The connection; `None` never, as long as it is held.
    pub fn connection(&mut self) -> Option<&mut C::Connection> {
        self.connection.as_mut()
    }

    /// Whether it was made just now.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The server's name for the log.
    pub fn server_name(&self) -> String {
        self.host.server.name()
    }

    /// Gives it back for others.
    pub fn keep(mut self) {
        if let Some(connection) = self.connection.take() {
            self.host.state().idle.push((connection, monotonic_now()));
        }
    }

    /// Closes it, and leaves the server alone for a while: it takes connections and then drops them.
    pub fn lost(mut self, reason: &str) {
        self.connection = None;
        self.host.state().idle.clear();
        self.host.note(Some(reason));
    }

    /// Closes it; the server and its other connections are all right.
    pub fn discard(mut self) {
        self.connection = None;
    }
}

impl<C: Connect> Drop for Held<C> {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.host.state().idle.clear();
        }
    }
}

impl<C: Connect> fmt::Debug for Servers<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.hosts.iter().map(|host| host.server.name())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// A server that is up or down as told, and counts attempts.
    struct Fake {
        name: &'static str,
        up: Arc<AtomicBool>,
        attempts: Arc<AtomicUsize>,
    }

    impl Connect for Fake {
        type Connection = usize;

        fn name(&self) -> String {
            self.name.to_owned()
        }

        async fn connect(&self) -> Result<usize, String> {
            let number = self.attempts.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if self.up.load(Ordering::SeqCst) { Ok(number) } else { Err("refused".into()) }
        }

        fn is_usable(&self, _: &mut usize) -> bool {
            true
        }
    }

    fn fake(name: &'static str, up: bool) -> (Fake, Arc<AtomicBool>, Arc<AtomicUsize>) {
        let (up, attempts) = (Arc::new(AtomicBool::new(up)), Arc::new(AtomicUsize::new(0)));
        (Fake { name, up: Arc::clone(&up), attempts: Arc::clone(&attempts) }, up, attempts)
    }

    #[tokio::test]
    async fn connections_are_kept_and_stuck_ones_are_not() {
        let (server, _, attempts) = fake("a", true);
        let servers = Servers::new([server], 2);
        servers.take(false).await.unwrap().keep();
        let held = servers.take(false).await.unwrap();
        assert!(!held.is_fresh());
        let other = servers.take(false).await.unwrap();
        assert!(other.is_fresh());
        other.keep();
        drop(held);
        assert!(servers.take(false).await.unwrap().is_fresh(), "a stuck one spoils those beside it");
        servers.take(false).await.unwrap().discard();
        assert_eq!(attempts.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_dead_server_costs_one_attempt_a_second() {
        let (server, up, attempts) = fake("a", false);
        let servers = Servers::new([server], 2);
        for _ in 0..50 {
            let Err(error) = servers.take(false).await else { panic!("connected") };
            assert_eq!(error, "a: refused");
        }
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
        up.store(true, Ordering::SeqCst);
        tokio::time::sleep(BACK_OFF + Duration::from_millis(20)).await;
        servers.take(false).await.unwrap().keep();
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn another_server_stands_in_and_the_first_comes_back() {
        let (first, up, _) = fake("a", false);
        let (second, _, _) = fake("b", true);
        let servers = Servers::new([first, second], 2);
        let held = servers.take(false).await.unwrap();
        assert_eq!(held.server_name(), "b");
        held.keep();
        up.store(true, Ordering::SeqCst);
        tokio::time::sleep(BACK_OFF + Duration::from_millis(20)).await;
        let held = servers.take(false).await.unwrap();
        assert_eq!(held.server_name(), "b", "the first one is tried in the background");
        held.keep();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(servers.take(false).await.unwrap().server_name(), "a");
    }

    #[tokio::test]
    async fn a_server_that_drops_its_connections_is_left_alone() {
        let (first, _, _) = fake("a", true);
        let (second, _, _) = fake("b", true);
        let servers = Servers::new([first, second], 2);
        let held = servers.take(false).await.unwrap();
        assert_eq!((held.server_name().as_str(), held.is_fresh()), ("a", true));
        held.lost("closed");
        assert_eq!(servers.take(true).await.unwrap().server_name(), "b");
    }

    #[tokio::test]
    async fn the_number_in_use_is_bounded() {
        let (server, _, attempts) = fake("a", true);
        let servers = Arc::new(Servers::new([server], 3));
        let peak = Arc::new(AtomicUsize::new(0));
        let using = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..40)
            .map(|_| {
                let (servers, peak, using) = (Arc::clone(&servers), Arc::clone(&peak), Arc::clone(&using));
                tokio::spawn(async move {
                    let held = servers.take(false).await.unwrap();
                    peak.fetch_max(using.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    using.fetch_sub(1, Ordering::SeqCst);
                    held.keep();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(peak.load(Ordering::SeqCst), 3);
        assert_eq!(attempts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn an_attempt_given_up_does_not_block_the_next() {
        let (server, up, _) = fake("a", false);
        let servers = Servers::new([server], 1);
        assert!(servers.take(false).await.is_err());
        tokio::time::sleep(BACK_OFF + Duration::from_millis(20)).await;
        up.store(true, Ordering::SeqCst);
        // Polled once and dropped: the attempt has begun and never ends.
        let begun = tokio::select! {
            biased;
            _ = servers.take(false) => false,
            () = std::future::ready(()) => true,
        };
        assert!(begun);
        assert!(servers.take(false).await.is_ok());
    }
}
