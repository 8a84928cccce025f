//! The daemon's loop: sockets, signals, a thread for each connection, an orderly end. Knows no mail.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock;
use base::service::accept::{Acceptor, Place};
use base::service::exposition;
use base::service::listen::Listener;
use base::service::notify;
use base::service::signals::{Request, Signals};

use super::agent::DeliveryAgent;
use super::connection::{Connection, End, Patience, Shared};
use super::reply::Reply;
use super::service::Service;
use super::session::Terms;
use super::stream::Stream;

/// Room for the calls of one connection. It is address space; memory is taken as far as calls go.
const STACK: usize = 512 * 1024;
/// So many commands that cannot be followed are borne in a connection (Dovecot 2.3.19: 10).
const MOST_BAD_COMMANDS: u32 = 10;

/// The sockets of the service.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For LMTP.
    pub clients: Vec<Listener>,
    /// For Prometheus.
    pub metrics: Option<Listener>,
}

/// All connections that are open.
#[derive(Debug, Default)]
struct Connections {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Arc<Held>>,
    stopping: bool,
}

/// What the loop holds of a connection.
#[derive(Debug)]
struct Held {
    stream: Stream,
    shared: Shared,
}

/// Serves connections until `signals` ask for a stop, then lets transactions in hand finish.
///
/// `reload` is called for each reload request; it must keep the old configuration when the new one is broken.
///
/// # Errors
/// When a listener cannot be taken over by the runtime.
pub async fn run(
    listeners: Listeners,
    mut signals: Signals,
    service: Arc<Service>,
    mut reload: impl FnMut(),
) -> std::io::Result<()> {
    let names: Vec<String> = listeners.clients.iter().map(Listener::name).collect();
    let limit = service.settings().lmtp.connections;
    let mut acceptor = Acceptor::new(listeners.clients, limit)?;
    if let Some(listener) = listeners.metrics {
        let shown = Arc::clone(&service);
        tokio::spawn(async move {
            if let Err(error) = exposition::serve(listener, Arc::new(move || shown.metrics.text())).await {
                log::error!("the metrics are not served: {error}");
            }
        });
    }
    let connections = Arc::new(Connections::default());
    let status = format!("listening at {}", names.join(", "));
    log::info!("{status}");
    notify::ready(&status);
    let mut watchdog = tokio::time::interval(notify::watchdog_period().unwrap_or(Duration::from_secs(3600)));
    loop {
        tokio::select! {
            (stream, place) = acceptor.next() => match Stream::blocking(stream) {
                Ok(stream) => begin(stream, place, &service, &connections),
                Err(error) => log::warn!("a connection cannot be served: {error}"),
            },
            request = signals.next() => match request {
                Request::Stop => break,
                Request::Reload => {
                    notify::reloading();
                    reload();
                    notify::ready(&status);
                }
            },
            _ = watchdog.tick() => notify::alive(),
        }
    }
    notify::stopping("finishing the transactions in hand");
    // Closes the listeners; with systemd's sockets, new connections wait for the next start.
    drop(acceptor);
    connections.stop();
    let patience = service.settings().lmtp.drain_timeout;
    let drained = async {
        while connections.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(patience, drained).await.is_err() {
        log::warn!(
            "{} connections had transactions in hand after {} s; their clients will try again",
            connections.count(),
            patience.as_secs()
        );
    }
    Ok(())
}

/// Gives a connection a thread of its own: syncing a file blocks, and a recipient's identity is a thread's.
fn begin(stream: Stream, place: Place, service: &Arc<Service>, connections: &Arc<Connections>) {
    let (number, held) = connections.add(stream);
    service.metrics.connected();
    let (service, ours) = (Arc::clone(service), Arc::clone(connections));
    let kept = Arc::clone(&held);
    let spawned = std::thread::Builder::new().name("connection".to_owned()).stack_size(STACK).spawn({
        let service = Arc::clone(&service);
        move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| serve(&kept, &service, number)));
            let end = outcome.unwrap_or_else(|_| {
                // The hook has logged it.
                service.metrics.panicked();
                None
            });
            service.metrics.disconnected(end);
            drop(kept);
            ours.remove(number);
            drop(place);
        }
    });
    if let Err(error) = spawned {
        log::error!("no thread for a connection: {error} (see TasksMax= of the unit)");
        let mut out = Vec::new();
        let host = &service.settings().hostname;
        Reply::closing("4.3.2", host, "No more connections now").write(&mut out);
        // Whoever is told no need not listen.
        drop(std::io::Write::write_all(&mut &held.stream, &out));
        service.metrics.disconnected(None);
        connections.remove(number);
    }
}

fn serve(held: &Held, service: &Arc<Service>, number: u64) -> Option<End> {
    let settings = service.settings();
    let terms = Arc::new(Terms {
        host: settings.hostname.clone(),
        greeting: settings.lmtp.login_greeting.clone(),
        largest_message: settings.lmtp.message_size_limit,
        most_recipients: settings.lmtp.recipient_limit,
        most_bad_commands: MOST_BAD_COMMANDS,
    });
    let patience = Patience { idle: settings.lmtp.idle_timeout, message: settings.lmtp.message_timeout };
    // Numbers may come again after 4 million connections; the time does not.
    let part = u32::try_from(number & 0x3f_ffff).unwrap_or(0);
    let id = crate::report::session(clock::since_epoch(), part);
    let peer = held.stream.peer();
    log::debug!("lmtp({}): connect from {peer}, session {id}", std::process::id());
    let agent = DeliveryAgent::new(Arc::clone(service), id.clone());
    let mut connection = Connection::new(&held.stream, &held.shared, terms, patience, id.clone(), agent);
    let end = connection.run();
    let place = connection.place();
    let prefix = format!("lmtp({})<{id}>", std::process::id());
    match &end {
        Ok(End::Closed | End::Stopped) => log::debug!("{prefix}: disconnect from {peer}"),
        Ok(End::Gone) if place == "READY" => log::debug!("{prefix}: disconnect from {peer}"),
        Ok(End::Gone) => log::info!("{prefix}: disconnect from {peer}: connection closed (state={place})"),
        Ok(End::TimedOut) => log::info!("{prefix}: disconnect from {peer}: timed out"),
        Err(error) => log::info!("{prefix}: disconnect from {peer}: {error} (state={place})"),
    }
    end.ok()
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, stream: Stream) -> (u64, Arc<Held>) {
        let held = Arc::new(Held { stream, shared: Shared::default() });
        let mut open = self.lock();
        open.next += 1;
        let number = open.next;
        open.by_number.insert(number, Arc::clone(&held));
        if open.stopping {
            held.shared.stopping.store(true, Ordering::SeqCst);
        }
        (number, held)
    }

    fn remove(&self, number: u64) {
        self.lock().by_number.remove(&number);
    }

    fn count(&self) -> usize {
        self.lock().by_number.len()
    }

    /// Tells all connections that the end has come; those without a transaction are woken.
    fn stop(&self) {
        let mut open = self.lock();
        open.stopping = true;
        for held in open.by_number.values() {
            held.shared.stopping.store(true, Ordering::SeqCst);
            if !held.shared.in_hand.load(Ordering::SeqCst) {
                held.stream.end_reading();
            }
        }
    }
}
