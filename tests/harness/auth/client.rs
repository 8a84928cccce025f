//! The Dovecot auth protocol from the client's side, one line at a time, right or wrong.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::AuthServer;
use crate::sasl::Sasl;
use crate::wait::PATIENCE;

/// A connection to an auth-client or auth-userdb socket.
#[derive(Debug)]
pub struct AuthClient {
    stream: UnixStream,
    read: Vec<u8>,
    next_id: u32,
    greeting: Vec<String>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A line without its LF.
    Line(String),
    /// The server has closed the connection.
    Closed,
    /// Nothing in the time given.
    Nothing,
}

impl AuthClient {
    /// Connects to a socket and says nothing.
    #[must_use]
    pub fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap_or_else(|err| panic!("{}: {err}", socket.display()));
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, read: Vec::new(), next_id: 0, greeting: Vec::new() }
    }

    /// Connects as a client of the protocol's version 1.`minor` and reads the greeting up to DONE.
    #[must_use]
    pub fn connect_minor(server: &AuthServer, minor: u32) -> Self {
        let mut client = Self::open(server.client_socket());
        client.send(&format!("VERSION\t1\t{minor}\nCPID\t{}", std::process::id()));
        while client.greeting.last().is_none_or(|line| line != "DONE") {
            let line = client.line();
            client.greeting.push(line);
        }
        client
    }

    /// Connects as a client of version 1.2.
    #[must_use]
    pub fn connect(server: &AuthServer) -> Self {
        Self::connect_minor(server, 2)
    }

    /// Connects to the auth-userdb socket, reads its greeting and says which version is spoken.
    #[must_use]
    pub fn connect_userdb(server: &AuthServer) -> Self {
        let mut client = Self::open(server.userdb_socket());
        client.send("VERSION\t1\t1");
        client.greeting = vec![client.line(), client.line()];
        client
    }

    /// The greeting's lines.
    #[must_use]
    pub fn greeting(&self) -> &[String] {
        &self.greeting
    }

    /// Sends a line; the LF is added.
    pub fn send(&mut self, line: &str) {
        self.send_bytes(line.as_bytes());
        self.send_bytes(b"\n");
    }

    /// Sends bytes as they are. That the server has hung up shows when its answer is read.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Shuts down the sending direction.
    pub fn finish(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// The stream, for what the other functions do not do.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The next line; fails the test if none comes in [`PATIENCE`].
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.read(PATIENCE) {
            Answer::Line(line) => line,
            other => panic!("a line was expected: {other:?}"),
        }
    }

    /// Fails the test unless the server closes the connection; what it says before is returned.
    #[track_caller]
    pub fn closed(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.read(PATIENCE) {
                Answer::Line(line) => said.push(line),
                Answer::Closed => return said,
                Answer::Nothing => panic!("the connection was not closed; said: {said:?}"),
            }
        }
    }

    /// What comes within `limit`.
    pub fn read(&mut self, limit: Duration) -> Answer {
        let end = Instant::now() + limit;
        loop {
            if let Some(length) = self.read.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=length).collect();
                return Answer::Line(String::from_utf8_lossy(&line[..length]).into_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::Nothing;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Answer::Closed,
                Ok(length) => self.read.extend_from_slice(&chunk[..length]),
                Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(err) if matches!(err.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Answer::Closed;
                }
                Err(err) => panic!("{err}"),
            }
        }
    }

    /// One exchange as Postfix makes it, up to OK, FAIL or the end of the connection.
    pub fn auth(&mut self, sasl: &Sasl) -> Answer {
        self.auth_with(sasl, "service=smtp\tnologin\tlip=127.0.0.1\trip=127.0.0.1\tsecured")
    }

    /// The same with other parameters. Replies to other requests are left out.
    pub fn auth_with(&mut self, sasl: &Sasl, parameters: &str) -> Answer {
        let mut sasl = sasl.clone();
        self.next_id += 1;
        let id = self.next_id.to_string();
        let first = sasl.first().map(|first| format!("\tresp={}", STANDARD.encode(first)));
        let mechanism = sasl.mechanism();
        self.send(&format!("AUTH\t{id}\t{mechanism}\t{parameters}{}", first.unwrap_or_default()));
        loop {
            let Answer::Line(line) = self.read(PATIENCE) else { return Answer::Closed };
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                ["CONT", of, challenge] if of == id => {
                    let answer = sasl.say(&STANDARD.decode(challenge).unwrap());
                    self.send(&format!("CONT\t{id}\t{}", STANDARD.encode(answer)));
                }
                [_, of, ..] if of != id => {}
                _ => return Answer::Line(line),
            }
        }
    }

    /// Fails the test unless the exchange ends with OK.
    #[track_caller]
    pub fn assert_ok(&mut self, sasl: &Sasl) {
        let reply = self.auth(sasl);
        assert!(matches!(&reply, Answer::Line(line) if line.starts_with("OK\t")), "{sasl:?}: {reply:?}");
    }

    /// Fails the test unless the exchange ends with FAIL.
    #[track_caller]
    pub fn assert_fail(&mut self, sasl: &Sasl) {
        let reply = self.auth(sasl);
        assert!(matches!(&reply, Answer::Line(line) if line.starts_with("FAIL\t")), "{sasl:?}: {reply:?}");
    }
}
