//! An LMTP client that does one thing at a time, right or wrong.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to an LMTP server; the greeting has been read.
#[derive(Debug)]
pub struct LmtpClient {
    stream: UnixStream,
    /// What has arrived and was not looked at.
    rest: Vec<u8>,
    /// The greeting.
    pub greeting: String,
}

impl LmtpClient {
    /// Connects and reads the greeting.
    #[must_use]
    #[track_caller]
    pub fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).expect("an LMTP server that greets")
    }

    /// Connects and reads the greeting, if there is one.
    #[must_use]
    pub fn try_connect(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut client = Self { stream, rest: Vec::new(), greeting: String::new() };
        client.greeting = client.try_hear()?;
        Some(client)
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes as they are; false when nobody takes them any more.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends a line and reads its reply.
    #[track_caller]
    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.hear()
    }

    /// Reads a reply: all its lines, without the last line end.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        self.try_hear().expect("a reply")
    }

    /// Reads a reply; `None` at the end of the connection, or when it takes longer than 30 s.
    pub fn try_hear(&mut self) -> Option<String> {
        loop {
            if let Some(length) = reply_length(&self.rest) {
                let reply: Vec<u8> = self.rest.drain(..length).collect();
                return Some(String::from_utf8_lossy(&reply).trim_end().to_owned());
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.rest.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// Closes the sending side.
    pub fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Begins a transaction up to DATA; fails unless all is taken.
    #[track_caller]
    pub fn begin(&mut self, recipients: &[&str]) {
        let mut lines = vec!["MAIL FROM:<s@x.example>".to_owned()];
        lines.extend(recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>")));
        for line in lines {
            let reply = self.say(&line);
            assert!(reply.starts_with("250 "), "{line}: {reply}");
        }
        let reply = self.say("DATA");
        assert!(reply.starts_with("354 "), "{reply}");
    }

    /// Delivers a message (CRLF) and returns the replies after its dot.
    #[track_caller]
    pub fn deliver(&mut self, recipients: &[&str], message: &str) -> Vec<String> {
        self.begin(recipients);
        let stuffed = message.replace("\r\n.", "\r\n..");
        self.send(format!("{stuffed}\r\n.\r\n"));
        recipients.iter().map(|_| self.hear()).collect()
    }
}

/// The length of the whole reply at the beginning of `bytes`, if there is one.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let end = start + bytes[start..].iter().position(|&byte| byte == b'\n')? + 1;
        if bytes.get(start + 3) != Some(&b'-') {
            return Some(end);
        }
        start = end;
    }
}
