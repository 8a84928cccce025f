//! The two kinds of streams that a milter is reached by.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A unix or TCP stream.
pub(super) trait Stream: Read + Write + Send {
    fn set_timeout(&self, limit: Duration);
    fn close_writing(&self);
}

impl Stream for UnixStream {
    fn set_timeout(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
        self.set_write_timeout(Some(limit)).unwrap();
    }

    fn close_writing(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Stream for TcpStream {
    fn set_timeout(&self, limit: Duration) {
        self.set_nodelay(true).unwrap();
        self.set_read_timeout(Some(limit)).unwrap();
        self.set_write_timeout(Some(limit)).unwrap();
    }

    fn close_writing(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}
