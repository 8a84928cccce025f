//! One connection of Postfix: bytes to requests, answers back. An idle one holds no buffer.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use base::service::stream::Stream;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::active::Shared;
use crate::pipeline::{self, Connection, Waiting};
use crate::protocol::{Malformed, Requests};

/// What every connection needs.
#[derive(Debug)]
pub struct Service {
    /// Configuration, counters, figures.
    pub shared: Shared,
    /// Connections with a request in hand.
    pub busy: AtomicUsize,
    /// Requests answered since the start.
    pub answered: AtomicU64,
}

/// A connection.
struct Client {
    stream: Stream,
    service: Arc<Service>,
    connection: Connection,
    requests: Requests,
    out: Vec<u8>,
}

/// What reading has brought.
enum Read {
    /// Answers may be in `out`.
    Answered,
    /// The store takes a while.
    Waiting(Box<Waiting>),
    /// The client has closed the connection.
    Gone,
    /// The client sent something else than requests.
    Broken(Malformed),
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.close(&self.service.shared);
        self.service.shared.metrics.connections(-1);
    }
}

/// A request in hand; counted until it is dropped.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves a connection, of this listener, to its end.
pub async fn serve(stream: Stream, service: Arc<Service>, listener: u16) {
    service.shared.metrics.connections(1);
    let connection = Connection::new(listener);
    let mut client = Client { stream, service, connection, requests: Requests::default(), out: Vec::new() };
    if let Some(why) = client.run().await {
        client.service.shared.metrics.disconnect();
        log::warn!("{} {why}; the connection is closed", client.peer());
    }
}

impl Client {
    /// Serves until the end; the reason, when it is the client's fault.
    async fn run(&mut self) -> Option<String> {
        loop {
            let read = if self.requests.held() == 0 {
                self.read().await
            } else {
                let within = self.patience();
                let service = Arc::clone(&self.service);
                let _busy = Busy::new(&service.busy);
                match tokio::time::timeout(within, Box::pin(self.read())).await {
                    Ok(read) => read,
                    Err(_elapsed) => {
                        return Some(format!("did not end its request within {} s", within.as_secs()));
                    }
                }
            };
            let mut read = match read {
                Ok(read) => read,
                Err(_gone) => return None,
            };
            loop {
                match read {
                    Read::Answered => {
                        if let Err(why) = self.write().await {
                            return why;
                        }
                        break;
                    }
                    Read::Waiting(waiting) => {
                        let service = Arc::clone(&self.service);
                        let _busy = Busy::new(&service.busy);
                        Box::pin(pipeline::finish(&service.shared, waiting, &mut self.out)).await;
                        service.answered.fetch_add(1, Ordering::Relaxed);
                        if let Err(why) = self.write().await {
                            return why;
                        }
                        if self.requests.held() == 0 {
                            break;
                        }
                        read = self.take(&[]);
                    }
                    Read::Gone => return None,
                    Read::Broken(malformed) => return Some(malformed.to_string()),
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        self.service.shared.settings.load().server.client_timeout
    }

    async fn read(&mut self) -> std::io::Result<Read> {
        std::future::poll_fn(|cx| {
            let Self { stream, service, connection, requests, out } = self;
            stream.poll_read_with(cx, |bytes| {
                if bytes.is_empty() { Read::Gone } else { take(service, connection, requests, out, bytes) }
            })
        })
        .await
    }

    fn take(&mut self, bytes: &[u8]) -> Read {
        take(&self.service, &mut self.connection, &mut self.requests, &mut self.out, bytes)
    }

    /// Writes all answers; an error is the end, with a reason when it is the client's fault.
    async fn write(&mut self) -> Result<(), Option<String>> {
        if self.out.is_empty() {
            return Ok(());
        }
        let Self { stream, out, .. } = self;
        // Nearly always the system takes it all at once, and there is no need of a timer.
        let first = std::future::poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut *stream).poll_write(cx, out) {
                Poll::Ready(Ok(count)) => Ok(count),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Pending => Ok(0),
            })
        });
        let sent = first.await.map_err(|_gone| None)?;
        if sent < self.out.len() {
            let within = self.patience();
            let service = Arc::clone(&self.service);
            let _busy = Busy::new(&service.busy);
            let rest = self.out.get(sent..).unwrap_or_default();
            match tokio::time::timeout(within, Box::pin(self.stream.write_all(rest))).await {
                Ok(Ok(())) => {}
                Ok(Err(_gone)) => return Err(None),
                Err(_elapsed) => {
                    return Err(Some(format!("has not read its answer for {} s", within.as_secs())));
                }
            }
        }
        self.out = Vec::new();
        Ok(())
    }

    fn peer(&self) -> String {
        match self.stream.peer() {
            Some(peer) => format!("client (pid {}, uid {})", peer.pid.unwrap_or(0), peer.uid),
            None => "client (TCP)".to_owned(),
        }
    }
}

/// Takes bytes, and answers the requests that they complete, up to one that has to wait.
fn take(
    service: &Service,
    connection: &mut Connection,
    requests: &mut Requests,
    out: &mut Vec<u8>,
    bytes: &[u8],
) -> Read {
    let flow = requests.feed(bytes, |request| match request {
        Err(malformed) => ControlFlow::Break(Read::Broken(malformed)),
        Ok(request) => match pipeline::handle(&service.shared, connection, &request, out) {
            None => {
                service.answered.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            }
            Some(waiting) => ControlFlow::Break(Read::Waiting(waiting)),
        },
    });
    match flow {
        ControlFlow::Continue(()) => Read::Answered,
        ControlFlow::Break(read) => read,
    }
}
