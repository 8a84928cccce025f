//! Accepting connections, for ever: with a limit, and with patience when the system runs short.
//!
//! A failed accept(2) never ends a daemon. What concerns one connection is passed over; what
//! concerns the machine (descriptors, memory, buffers) is logged once, waited out and logged when
//! it is over.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::time::Sleep;

use super::listen::Listener;
use super::stream::Stream;

/// The first pause after the system ran short; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection's place among the limited number; given back on drop.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
}

#[derive(Debug)]
struct Places {
    taken: AtomicUsize,
    waiting: std::sync::Mutex<Option<Waker>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::AcqRel);
        let waker =
            self.places.waiting.lock().map_or_else(|poisoned| poisoned.into_inner().take(), |mut w| w.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What an accept error calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// This one connection is gone; take the next.
    Connection,
    /// The system is short of something; wait.
    System,
}

/// Sorts accept(2)'s errors. Unknown ones are waited out as well: going on is always right.
fn sort(error: &io::Error) -> Trouble {
    match error.raw_os_error() {
        Some(libc_errno)
            if [nix::errno::Errno::ECONNABORTED, nix::errno::Errno::EINTR, nix::errno::Errno::EPROTO]
                .iter()
                .any(|errno| *errno as i32 == libc_errno) =>
        {
            Trouble::Connection
        }
        _ => Trouble::System,
    }
}

/// All listeners of a service as one source of connections.
#[derive(Debug)]
pub struct Acceptor<L = Socket> {
    listeners: Vec<L>,
    /// Where the next round begins, so that a busy listener does not starve another.
    next: usize,
    limit: usize,
    places: Arc<Places>,
    full_logged: bool,
    pause: Option<Pin<Box<Sleep>>>,
    next_pause: Duration,
}

/// A listener that tokio watches.
#[derive(Debug)]
pub enum Socket {
    /// A UNIX stream socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// Something that connections come from; a trait so that tests can fail on purpose.
pub trait Accept {
    /// A connection.
    type Stream;
    /// Polls for the next connection.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;
}

impl Accept for Socket {
    type Stream = Stream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match self {
            Self::Unix(socket) => socket.poll_accept(cx).map_ok(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, _)| {
                // Milter and policy replies are a few bytes that somebody waits for.
                if let Err(error) = stream.set_nodelay(true) {
                    log::debug!("TCP_NODELAY: {error}");
                }
                Stream::Tcp(stream)
            }),
        }
    }
}

impl Acceptor<Socket> {
    /// Takes over the listeners, inside a tokio runtime; at most `limit` connections are open at a
    /// time, further ones wait in the kernel's queue.
    ///
    /// # Errors
    /// When a socket cannot be watched.
    pub fn new(listeners: Vec<Listener>, limit: usize) -> io::Result<Self> {
        let sockets = listeners
            .into_iter()
            .map(|listener| {
                Ok(match listener {
                    Listener::Unix(socket) => Socket::Unix(UnixListener::from_std(socket)?),
                    Listener::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket)?),
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self::over(sockets, limit))
    }
}

impl<L: Accept> Acceptor<L> {
    /// The same over any sources of connections.
    #[must_use]
    pub fn over(listeners: Vec<L>, limit: usize) -> Self {
        Self {
            listeners,
            next: 0,
            limit: limit.max(1),
            places: Arc::new(Places { taken: AtomicUsize::new(0), waiting: std::sync::Mutex::new(None) }),
            full_logged: false,
            pause: None,
            next_pause: FIRST_PAUSE,
        }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.places.taken.load(Ordering::Acquire)
    }

    /// Polls for the next connection and its place; never fails.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(L::Stream, Place)> {
        if self.poll_full(cx) {
            return Poll::Pending;
        }
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.poll_each(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(stream)) => {
                    if self.next_pause != FIRST_PAUSE {
                        log::info!("connections can be accepted again");
                        self.next_pause = FIRST_PAUSE;
                    }
                    self.places.taken.fetch_add(1, Ordering::AcqRel);
                    return Poll::Ready((stream, Place { places: Arc::clone(&self.places) }));
                }
                Poll::Ready(Err(error)) if sort(&error) == Trouble::Connection => {
                    log::debug!("a connection was gone before it was accepted: {error}");
                }
                Poll::Ready(Err(error)) => {
                    if self.next_pause == FIRST_PAUSE {
                        log::error!(
                            "no connection can be accepted: {error}; waiting for the system to recover \
                             ({} connections are open; see LimitNOFILE= of the unit)",
                            self.open()
                        );
                    }
                    self.pause = Some(Box::pin(tokio::time::sleep(self.next_pause)));
                    self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Waits for the next connection and its place.
    pub async fn next(&mut self) -> (L::Stream, Place) {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Whether all places are taken; if so the task is woken when one becomes free.
    fn poll_full(&mut self, cx: &Context<'_>) -> bool {
        if self.open() < self.limit {
            self.full_logged = false;
            return false;
        }
        match self.places.waiting.lock() {
            Ok(mut waiting) => *waiting = Some(cx.waker().clone()),
            Err(poisoned) => *poisoned.into_inner() = Some(cx.waker().clone()),
        }
        if !self.full_logged {
            log::warn!("all {} connections are in use; further ones wait", self.limit);
            self.full_logged = true;
        }
        // Once more: a place may have become free before the waker was there.
        self.open() >= self.limit
    }

    fn poll_each(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<L::Stream>> {
        let count = self.listeners.len();
        for step in 0..count {
            let at = (self.next + step) % count;
            let Some(listener) = self.listeners.get(at) else { continue };
            if let Poll::Ready(result) = listener.poll_accept(cx) {
                self.next = (at + 1) % count;
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// Answers from a list, then waits for ever.
    struct Scripted(RefCell<VecDeque<Result<u32, i32>>>);

    impl Accept for Scripted {
        type Stream = u32;
        fn poll_accept(&self, _cx: &mut Context<'_>) -> Poll<io::Result<u32>> {
            match self.0.borrow_mut().pop_front() {
                Some(result) => Poll::Ready(result.map_err(io::Error::from_raw_os_error)),
                None => Poll::Pending,
            }
        }
    }

    fn scripted(steps: &[Result<u32, i32>]) -> Scripted {
        Scripted(RefCell::new(steps.iter().copied().collect()))
    }

    #[tokio::test(start_paused = true)]
    async fn no_error_ends_the_loop() {
        use nix::errno::Errno;
        let errors = [
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::ECONNABORTED,
            Errno::ENOBUFS,
            Errno::ENOMEM,
            Errno::EPERM,
            Errno::EINTR,
        ];
        let mut steps: Vec<_> = errors.iter().map(|errno| Err(*errno as i32)).collect();
        steps.push(Ok(7));
        let mut acceptor = Acceptor::over(vec![scripted(&steps)], 10);
        assert_eq!(acceptor.next().await.0, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_and_a_freed_place_is_used() {
        let mut acceptor = Acceptor::over(vec![scripted(&[Ok(1), Ok(2), Ok(3)])], 2);
        let (_, first) = acceptor.next().await;
        let (_, _second) = acceptor.next().await;
        let third = tokio::time::timeout(Duration::from_secs(60), acceptor.next()).await;
        assert!(third.is_err(), "a third connection must wait");
        drop(first);
        assert_eq!(acceptor.next().await.0, 3);
        assert_eq!(acceptor.open(), 1, "the third was dropped at once, the second is held");
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_listener_does_not_starve_another() {
        let busy = scripted(&[Ok(1), Ok(1), Ok(1)]);
        let quiet = scripted(&[Ok(2)]);
        let mut acceptor = Acceptor::over(vec![busy, quiet], 10);
        assert_eq!(acceptor.next().await.0, 1);
        assert_eq!(acceptor.next().await.0, 2);
    }
}
