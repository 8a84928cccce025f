//! The daemon's loop: connections in, signals in, an orderly end. Holds no decision about mail.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::service::accept::{Acceptor, Socket};
use base::service::listen::Listener;
use base::service::notify;
use base::service::signals::{Request, Signals};
use base::service::stream::Stream;
use tokio::sync::oneshot;

use crate::active::Active;
use crate::callbacks::{self, Connections};
use crate::connection::{Connection, Drain, Patience};

/// What the daemon needs from its configuration once, at start.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How long connections may be silent.
    pub patience: Patience,
    /// How long messages in hand may take to finish at the end.
    pub drain: Duration,
}

/// Serves connections until `signals` ask for a stop, then finishes the messages in hand.
///
/// `reload` is called for each reload request and tells what has become of it; it must keep the
/// old configuration when the new one is broken.
///
/// # Errors
/// When the listeners cannot be taken over by the runtime.
pub async fn run(
    listeners: Vec<Listener>,
    mut signals: Signals,
    active: Arc<ArcSwap<Active>>,
    limits: Limits,
    mut reload: impl FnMut(),
) -> std::io::Result<()> {
    let names: Vec<String> = listeners.iter().map(Listener::name).collect();
    let drain = Arc::new(Drain::default());
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let source = Incoming {
        acceptor: Some(Acceptor::new(listeners, limits.connections)?),
        stopped,
        patience: limits.patience,
        drain: Arc::clone(&drain),
    };
    let mut serving = tokio::spawn(callbacks::serve(source, active, async move {
        // A dropped sender means the same as a message: the end.
        drop(ended.await);
    }));
    let status = format!("listening at {}", names.join(", "));
    log::info!("{status}");
    notify::ready(&status);
    let mut watchdog = tokio::time::interval(notify::watchdog_period().unwrap_or(Duration::from_secs(3600)));
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
            _ = watchdog.tick() => notify::alive(),
            _ = &mut serving => {
                return Err(std::io::Error::other("the loop that serves connections has ended by itself"));
            }
        }
    }
    notify::stopping("finishing the messages in hand");
    if stop.send(()).is_err() {
        log::debug!("the accept loop had ended already");
    }
    drain.begin();
    let late = tokio::time::timeout(limits.drain, drained(&drain)).await.is_err();
    if late {
        log::warn!(
            "{} messages were not finished within {} s; the MTA will defer them",
            drain.in_message(),
            limits.drain.as_secs()
        );
    }
    drop(end);
    // Sessions finish the packet that they are at; none of them waits for anything slow now.
    drop(tokio::time::timeout(Duration::from_secs(5), serving).await);
    Ok(())
}

async fn drained(drain: &Drain) {
    while drain.open() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// New connections, until the stop.
struct Incoming {
    acceptor: Option<Acceptor<Socket>>,
    stopped: oneshot::Receiver<()>,
    patience: Patience,
    drain: Arc<Drain>,
}

impl Connections for Incoming {
    type Stream = Connection<Stream>;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Self::Stream> {
        let Some(acceptor) = &mut self.acceptor else { return Poll::Pending };
        if std::pin::Pin::new(&mut self.stopped).poll(cx).is_ready() {
            // Closes the listeners; with systemd's sockets, new connections wait for the next start.
            self.acceptor = None;
            return Poll::Pending;
        }
        acceptor.poll(cx).map(|(stream, place)| {
            Connection::new(stream, self.patience, Arc::clone(&self.drain), Some(place))
        })
    }
}
