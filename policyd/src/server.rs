//! The daemon's loop: sockets, signals, ticks, an orderly end. Holds no decision about mail.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::clock;
use base::service::accept::Acceptor;
use base::service::exposition;
use base::service::listen::Listener;
use base::service::notify;
use base::service::signals::{Request, Signals};
use tokio::task::JoinSet;

use crate::active::lock;
use crate::client::{self, Service};
use crate::control::{self, server::Admins};
use crate::store::Remote as _;
use crate::store::redis::Redis;

/// How often counters are swept and written.
const TICK: Duration = Duration::from_millis(50);
/// How often a shared store is asked what is raised.
const RAISES: Duration = Duration::from_secs(5);
/// At the end, requests may still be on their way to us for so long after the last one.
const QUIET: Duration = Duration::from_millis(60);

/// The sockets of the service.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For Postfix, each with its place in the configuration.
    pub clients: Vec<(u16, Listener)>,
    /// For Prometheus.
    pub metrics: Option<Listener>,
    /// For the command line, and who may ask there.
    pub control: Option<(Listener, Admins)>,
}

/// Serves connections until `signals` ask for a stop, answers what is in hand, and writes counters down.
///
/// `reload` is called for each reload request; it must keep the old configuration when the new one
/// is broken.
///
/// # Errors
/// When a listener cannot be taken over by the runtime, or the accept loop ends by itself.
pub async fn run(
    listeners: Listeners,
    mut signals: Signals,
    service: Arc<Service>,
    mut reload: impl FnMut(),
) -> std::io::Result<()> {
    let names: Vec<String> = listeners.clients.iter().map(|(_, listener)| listener.name()).collect();
    let limit = service.shared.settings.load().server.connections;
    let mut loops = JoinSet::new();
    for (place, listener) in listeners.clients {
        let acceptor = Acceptor::new(vec![listener], limit)?;
        loops.spawn(accept(acceptor, place, Arc::clone(&service)));
    }
    if let Some(listener) = listeners.metrics {
        let text = Arc::clone(&service);
        tokio::spawn(async move {
            if let Err(error) = exposition::serve(listener, Arc::new(move || text.shared.figures())).await {
                log::error!("the metrics are not served: {error}");
            }
        });
    }
    if let Some((listener, admins)) = listeners.control {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            if let Err(error) = control::server::serve(listener, admins, service).await {
                log::error!("the control socket is not served: {error}");
            }
        });
    }
    if let Some(redis) = service.shared.equipment.redis.clone() {
        tokio::spawn(follow_raises(Arc::clone(&service), redis));
    }
    let status = format!("listening at {}", names.join(", "));
    log::info!("{status}");
    notify::ready(&status);
    let mut watchdog = tokio::time::interval(notify::watchdog_period().unwrap_or(Duration::from_secs(3600)));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            request = signals.next() => match request {
                Request::Stop => break,
                Request::Reload => {
                    notify::reloading();
                    reload();
                    notify::ready(&status);
                }
            },
            _ = ticks.tick() => lock(&service.shared.books).tick(&service.shared),
            _ = watchdog.tick() => notify::alive(),
            Some(_) = loops.join_next() => {
                return Err(std::io::Error::other("a loop that accepts connections has ended by itself"));
            }
        }
    }
    notify::stopping("finishing the requests in hand");
    // Closes the listeners; with systemd's sockets, new connections wait for the next start.
    loops.shutdown().await;
    drain(&service).await;
    service.shared.leave().await;
    lock(&service.shared.books).close();
    service.shared.equipment.close();
    Ok(())
}

/// Learns every few seconds what has been raised, on this host or another; for ever.
async fn follow_raises(service: Arc<Service>, redis: Arc<Redis>) {
    loop {
        if let Ok(raises) = redis.raises(clock::unix_now()).await {
            service.shared.limits.load().set_raises(&raises);
        }
        tokio::time::sleep(RAISES).await;
    }
}

/// Waits until no request is in hand and none has come for a moment.
async fn drain(service: &Service) {
    let patience = service.shared.settings.load().server.drain_timeout;
    let began = clock::monotonic_now();
    let mut answered = service.answered.load(Ordering::Relaxed);
    while clock::monotonic_now().saturating_duration_since(began) < patience {
        tokio::time::sleep(QUIET).await;
        let now = service.answered.load(Ordering::Relaxed);
        if now == answered && service.busy.load(Ordering::Acquire) == 0 {
            return;
        }
        answered = now;
    }
    log::warn!("requests were still in hand after {} s; Postfix will repeat them", patience.as_secs());
}

async fn accept(mut acceptor: Acceptor, place: u16, service: Arc<Service>) {
    loop {
        let (stream, held) = acceptor.next().await;
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let _held = held;
            client::serve(stream, service, place).await;
        });
    }
}
