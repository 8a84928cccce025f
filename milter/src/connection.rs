//! One MTA connection as a stream: watched packets, time limits, and an end that waits for the
//! message in hand.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use base::clock::monotonic_now;
use base::service::accept::Place;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

use crate::framing::{PacketWatch, ReplyWatch};

/// How long a connection may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between two messages.
    pub idle: Duration,
    /// While a message is in hand.
    pub in_message: Duration,
}

/// The orderly end of the daemon, seen from its connections: once it has begun, a connection ends
/// as soon as it has no message in hand.
#[derive(Debug, Default)]
pub struct Drain {
    begun: AtomicBool,
    notify: Arc<Notify>,
    open: AtomicUsize,
    in_message: AtomicUsize,
}

impl Drain {
    /// Begins the end; every connection is told.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Connections that have a message in hand now.
    #[must_use]
    pub fn in_message(&self) -> usize {
        self.in_message.load(Ordering::Acquire)
    }
}

/// A connection's stream, between the socket and indymilter.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    watch: PacketWatch,
    replies: ReplyWatch,
    patience: Patience,
    /// When the MTA was last heard.
    heard: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    drain: Arc<Drain>,
    draining: Pin<Box<OwnedNotified>>,
    counted_in_message: bool,
    told: bool,
    /// The end has a reason that is known here: the MTA's, or ours.
    over: bool,
    _place: Option<Place>,
}

impl<S> Connection<S> {
    /// Wraps a stream; `place` is given back when the connection ends.
    pub fn new(stream: S, patience: Patience, drain: Arc<Drain>, place: Option<Place>) -> Self {
        drain.open.fetch_add(1, Ordering::AcqRel);
        let draining = Box::pin(Arc::clone(&drain.notify).notified_owned());
        Self {
            stream,
            watch: PacketWatch::default(),
            replies: ReplyWatch::default(),
            patience,
            heard: monotonic_now(),
            timer: None,
            drain,
            draining,
            counted_in_message: false,
            told: false,
            over: false,
            _place: place,
        }
    }

    fn deadline(&self) -> Instant {
        let patience = if self.watch.in_message() || !self.watch.between_packets() {
            self.patience.in_message
        } else {
            self.patience.idle
        };
        self.heard.checked_add(patience).unwrap_or(self.heard)
    }

    /// Checks the time limit; ready means that it has passed. The timer is only set anew when it
    /// fires, not for every packet.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let deadline = self.deadline();
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if deadline < timer.deadline().into_std() {
                timer.as_mut().reset(deadline.into());
            }
            ready!(timer.as_mut().poll(cx));
            if monotonic_now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline.into());
        }
    }

    /// Whether the daemon's end lets this connection go now.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> bool {
        let told = self.draining.as_mut().poll(cx).is_ready() || self.drain.begun.load(Ordering::Acquire);
        told && !self.watch.in_message() && self.watch.between_packets()
    }

    fn count(&mut self) {
        let now = self.watch.in_message();
        if now != self.counted_in_message {
            self.counted_in_message = now;
            if now {
                self.drain.in_message.fetch_add(1, Ordering::AcqRel);
            } else {
                self.drain.in_message.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Tells the log that the time is over.
    fn silent(&mut self) -> io::Error {
        self.over = true;
        let seconds = monotonic_now().saturating_duration_since(self.heard).as_secs();
        self.tell_end(&format!("the MTA was silent for {seconds} s and the connection is closed"));
        log::debug!("a connection was idle for {seconds} s and is closed");
        io::ErrorKind::TimedOut.into()
    }

    fn note_written(&mut self, bytes: &[u8]) {
        if self.replies.feed(bytes) {
            self.watch.answered();
            self.count();
        }
    }

    fn tell_end(&mut self, why: &str) {
        if !self.told && (self.watch.in_message() || !self.watch.between_packets()) {
            self.told = true;
            log::info!(
                "{why} in the middle of a message (after {}); nothing was done to it",
                self.watch.stage()
            );
        }
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        // indymilter says nothing of its own when it cannot read a packet that looked sound here.
        if !self.over && self.watch.stage() != "QUIT" && !self.drain.begun.load(Ordering::Acquire) {
            log::warn!(
                "the connection is closed: the packet {} of the MTA is not understood",
                self.watch.stage()
            );
        }
        if self.counted_in_message {
            self.drain.in_message.fetch_sub(1, Ordering::AcqRel);
        }
        self.drain.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let fresh = buf.filled().get(before..).unwrap_or_default();
                if fresh.is_empty() {
                    this.over = true;
                    this.tell_end("the MTA closed the connection");
                    return Poll::Ready(Ok(()));
                }
                this.heard = monotonic_now();
                let sound = this.watch.feed(fresh);
                this.count();
                Poll::Ready(sound.map_err(|error| {
                    this.told = true;
                    this.over = true;
                    log::warn!(
                        "the MTA sent {error} (after {}); the connection is closed",
                        this.watch.stage()
                    );
                    io::Error::new(io::ErrorKind::InvalidData, error)
                }))
            }
            Poll::Ready(Err(error)) => {
                this.over = true;
                this.tell_end(&format!("the connection to the MTA broke ({error})"));
                Poll::Ready(Err(error))
            }
            Poll::Pending if this.poll_drained(cx) => Poll::Ready(Ok(())),
            Poll::Pending => {
                ready!(this.poll_patience(cx));
                Poll::Ready(Err(this.silent()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, buf) {
            Poll::Ready(Ok(written)) => {
                this.note_written(buf.get(..written).unwrap_or(buf));
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => {
                this.over = true;
                Poll::Ready(Err(error))
            }
            // An MTA that takes no reply is as silent as one that sends nothing.
            Poll::Pending => {
                ready!(this.poll_patience(cx));
                Poll::Ready(Err(this.silent()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // One after the other, so that each is seen; replies are small.
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        self.poll_write(cx, first)
    }
}
