//! As much of the auth protocol as a load generator needs: the handshake and PLAIN.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A connection whose handshake is complete.
pub struct Connection {
    read: BufReader<UnixStream>,
    line: String,
    id: u32,
}

/// Who logs in.
pub struct Login {
    response: String,
}

impl Login {
    /// `USER:PASSWORD`.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        Some(Self { response: STANDARD.encode(format!("\0{user}\0{password}")) })
    }
}

impl Connection {
    /// Connects, reads the greeting and says who we are.
    ///
    /// # Errors
    /// When the server ends the connection or takes more than a minute.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection =
            Self { read: BufReader::with_capacity(1024, stream), line: String::new(), id: 0 };
        while connection.next()? != "DONE" {}
        let hello = format!("VERSION\t1\t1\nCPID\t{}\n", std::process::id());
        connection.read.get_ref().write_all(hello.as_bytes())?;
        Ok(connection)
    }

    /// One login; whether it was accepted.
    ///
    /// # Errors
    /// As [`Connection::open`]; and when another request is answered.
    pub fn login(&mut self, login: &Login) -> io::Result<bool> {
        self.id += 1;
        let id = self.id;
        let line = format!(
            "AUTH\t{id}\tPLAIN\tservice=smtp\tnologin\tlip=127.0.0.1\trip=127.0.0.1\tsecured\tresp={}\n",
            login.response
        );
        self.read.get_ref().write_all(line.as_bytes())?;
        let mut answer = self.next()?.split('\t');
        match (answer.next(), answer.next()) {
            (Some("OK"), Some(of)) if of == id.to_string() => Ok(true),
            (Some("FAIL"), Some(of)) if of == id.to_string() => Ok(false),
            _ => Err(io::Error::other(format!("unexpected: {}", self.line))),
        }
    }

    fn next(&mut self) -> io::Result<&str> {
        self.line.clear();
        if self.read.read_line(&mut self.line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.line.trim_end_matches('\n'))
    }
}
