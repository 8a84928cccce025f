//! A connection from either kind of socket, blocking, with time limits.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection from a UNIX or a TCP socket.
#[derive(Debug)]
pub enum Stream {
    /// From a UNIX socket.
    Unix(UnixStream),
    /// From a TCP socket.
    Tcp(TcpStream),
}

impl Stream {
    /// Takes a connection out of the runtime's hands.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn blocking(stream: base::service::stream::Stream) -> io::Result<Self> {
        Ok(match stream {
            base::service::stream::Stream::Unix(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                Self::Unix(stream)
            }
            base::service::stream::Stream::Tcp(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                Self::Tcp(stream)
            }
        })
    }

    /// Where the client is, for the log: `local`, as Dovecot calls a UNIX socket's, or an address.
    #[must_use]
    pub fn peer(&self) -> String {
        match self {
            Self::Unix(_) => "local".to_owned(),
            Self::Tcp(stream) => {
                stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |peer| peer.ip().to_string())
            }
        }
    }

    /// Limits how long a read may take.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(limit)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(limit)),
        }
    }

    /// Limits how long a write may take.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn set_write_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(Some(limit)),
            Self::Tcp(stream) => stream.set_write_timeout(Some(limit)),
        }
    }

    /// Ends reading: whoever waits for bytes finds the end. What was not read is lost; writing goes on.
    pub fn end_reading(&self) {
        // A connection that is gone needs no end.
        drop(match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Read),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Read),
        });
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&mut &*stream).read(buffer),
            Stream::Tcp(stream) => (&mut &*stream).read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&mut &*stream).write(bytes),
            Stream::Tcp(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
