//! A connection from either kind of socket, as one type.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection from a UNIX or a TCP socket.
#[derive(Debug)]
pub enum Stream {
    /// From a UNIX socket.
    Unix(UnixStream),
    /// From a TCP socket.
    Tcp(TcpStream),
}

/// What one read takes at most; shared by all connections of a thread, so that none needs a buffer
/// of its own while it is idle.
const SCRATCH_BYTES: usize = 32 * 1024;

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; SCRATCH_BYTES]);
}

impl Stream {
    /// Waits for bytes and hands them to `take`, which must copy what it keeps; at the end of the
    /// stream it gets an empty slice. `take` must not read from a stream itself.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn read_with<R>(&mut self, mut take: impl FnMut(&[u8]) -> R) -> io::Result<R> {
        std::future::poll_fn(|cx| self.poll_read_with(cx, &mut take)).await
    }

    /// [`Self::read_with`] for those who poll several things at once.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn poll_read_with<R>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Poll<io::Result<R>> {
        SCRATCH.with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            std::task::ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(take(buffer.filled())))
        })
    }

    /// The process at the other end of a UNIX socket; `None` for TCP.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        let Self::Unix(stream) = self else { return None };
        let credentials = stream.peer_cred().ok()?;
        Some(Peer { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
    }
}

/// Who is at the other end of a UNIX socket, when it was connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id.
    pub pid: Option<i32>,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tcp(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
