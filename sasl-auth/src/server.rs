//! The daemon's loop: sockets, signals, an orderly end. Holds no decision about logins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::service::accept::Acceptor;
use base::service::exposition;
use base::service::listen::Listener;
use base::service::notify;
use base::service::signals::{Request, Signals};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::active::{Active, Shared};
use crate::client::Client;
use crate::userdb_client;
use crate::userdb_session::SocketFile;

/// The sockets of the service.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For Postfix and Exim.
    pub clients: Vec<Listener>,
    /// For delivery agents, with the owner and mode that decide who may ask for what.
    pub userdb: Vec<(Listener, Option<SocketFile>)>,
    /// For Prometheus.
    pub metrics: Option<Listener>,
}

/// What every connection needs.
#[derive(Debug, Clone)]
pub struct Service {
    /// The configuration in force.
    pub active: Arc<ArcSwap<Active>>,
    /// What outlives a reload.
    pub shared: Arc<Shared>,
    /// True once the daemon is to end.
    pub stopping: watch::Receiver<bool>,
}

/// Serves connections until `signals` ask for a stop, then lets requests in hand finish.
///
/// `reload` is called for each reload request; it must keep the old configuration when the new one
/// is broken.
///
/// # Errors
/// When a listener cannot be taken over by the runtime, or the accept loop ends by itself.
pub async fn run(
    listeners: Listeners,
    mut signals: Signals,
    active: Arc<ArcSwap<Active>>,
    shared: Arc<Shared>,
    mut reload: impl FnMut(),
) -> std::io::Result<()> {
    let names: Vec<String> = listeners
        .clients
        .iter()
        .chain(listeners.userdb.iter().map(|(listener, _)| listener))
        .map(Listener::name)
        .collect();
    let limits = active.load().settings.limits;
    let (stop, stopping) = watch::channel(false);
    let service = Service { active, shared: Arc::clone(&shared), stopping };
    let mut loops = JoinSet::new();
    let connections = Arc::new(Connections::default());
    if !listeners.clients.is_empty() {
        let acceptor = Acceptor::new(listeners.clients, limits.connections)?;
        loops.spawn(accept_clients(acceptor, service.clone(), Arc::clone(&connections)));
    }
    for (listener, file) in listeners.userdb {
        let acceptor = Acceptor::new(vec![listener], limits.connections)?;
        loops.spawn(accept_userdb(acceptor, file, service.clone(), Arc::clone(&connections)));
    }
    if let Some(listener) = listeners.metrics {
        let text = Arc::new(move || shared.figures());
        tokio::spawn(async move {
            if let Err(error) = exposition::serve(listener, text).await {
                log::error!("the metrics are not served: {error}");
            }
        });
    }
    let status = format!("listening at {}", names.join(", "));
    log::info!("{status}");
    notify::ready(&status);
    prefetch(service.active.load_full());
    let mut watchdog = tokio::time::interval(notify::watchdog_period().unwrap_or(Duration::from_secs(3600)));
    loop {
        tokio::select! {
            request = signals.next() => match request {
                Request::Stop => break,
                Request::Reload => {
                    notify::reloading();
                    reload();
                    notify::ready(&status);
                    prefetch(service.active.load_full());
                }
            },
            _ = watchdog.tick() => notify::alive(),
            Some(_) = loops.join_next() => {
                return Err(std::io::Error::other("a loop that accepts connections has ended by itself"));
            }
        }
    }
    notify::stopping("finishing the requests in hand");
    // Closes the listeners; with systemd's sockets, new connections wait for the next start.
    loops.shutdown().await;
    stop.send_replace(true);
    let patience = service.active.load().settings.limits.drain_timeout;
    let drained = async {
        while connections.open.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(patience, drained).await.is_err() {
        log::warn!(
            "{} connections had requests in hand after {} s; their clients will try again",
            connections.open.load(Ordering::Acquire),
            patience.as_secs()
        );
    }
    Ok(())
}

/// Fetches what the first token would wait for. If it cannot be had, the log says so before anybody fails.
fn prefetch(active: Arc<Active>) {
    tokio::spawn(async move {
        if let Some(tokens) = &active.tokens
            && let Err(away) = tokens.prefetch(base::clock::unix_now()).await
        {
            log::warn!("{}; tokens cannot be checked until it is back", away.detail);
        }
    });
}

/// How many connections are open, and how many there have been.
#[derive(Debug, Default)]
struct Connections {
    open: AtomicU64,
    number: AtomicU64,
}

/// One open connection; counted until it is dropped, also by a panic.
struct Counted {
    connections: Arc<Connections>,
    shared: Arc<Shared>,
}

impl Counted {
    fn new(connections: &Arc<Connections>, shared: &Arc<Shared>) -> (Self, u64) {
        connections.open.fetch_add(1, Ordering::AcqRel);
        shared.metrics.connections(1);
        let number = connections.number.fetch_add(1, Ordering::Relaxed) + 1;
        (Self { connections: Arc::clone(connections), shared: Arc::clone(shared) }, number)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::AcqRel);
        self.shared.metrics.connections(-1);
    }
}

async fn accept_clients(mut acceptor: Acceptor, service: Service, connections: Arc<Connections>) {
    loop {
        let (stream, place) = acceptor.next().await;
        let (counted, number) = Counted::new(&connections, &service.shared);
        let service = service.clone();
        tokio::spawn(async move {
            let _held = (place, counted);
            Client::new(stream, service, number).run().await;
        });
    }
}

async fn accept_userdb(
    mut acceptor: Acceptor,
    file: Option<SocketFile>,
    service: Service,
    connections: Arc<Connections>,
) {
    loop {
        let (stream, place) = acceptor.next().await;
        let (counted, _) = Counted::new(&connections, &service.shared);
        let service = service.clone();
        tokio::spawn(async move {
            let _held = (place, counted);
            userdb_client::serve(stream, file, service).await;
        });
    }
}
