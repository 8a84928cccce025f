//! A small SMTP client for loopback: it says one thing at a time and returns the reply.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection to an SMTP server.
#[derive(Debug)]
pub struct SmtpClient {
    read: BufReader<TcpStream>,
    write: BufWriter<TcpStream>,
}

/// A reply (RFC 5321 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    /// The three digits.
    pub code: u16,
    /// The text of all lines, joined by LF.
    pub text: String,
}

impl SmtpReply {
    /// Fails the test unless the reply begins with this code.
    #[track_caller]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }
}

impl SmtpClient {
    /// Connects to 127.0.0.1, reads the greeting and says EHLO.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let read = BufReader::new(stream.try_clone().unwrap());
        let mut client = Self { read, write: BufWriter::with_capacity(1 << 16, stream) };
        client.reply().unwrap().expect(220);
        client.command("EHLO client.example").expect(250);
        client
    }

    /// Says one line and returns the reply.
    pub fn command(&mut self, line: &str) -> SmtpReply {
        self.write.write_all(line.as_bytes()).unwrap();
        self.write.write_all(b"\r\n").unwrap();
        self.write.flush().unwrap();
        self.reply().unwrap()
    }

    /// MAIL with the parameters SIZE and BODY left out, or with `parameters` such as `BODY=8BITMIME`.
    pub fn mail(&mut self, sender: &str, parameters: &str) -> SmtpReply {
        self.command(format!("MAIL FROM:<{sender}> {parameters}").trim_end())
    }

    /// RCPT.
    pub fn rcpt(&mut self, recipient: &str) -> SmtpReply {
        self.command(&format!("RCPT TO:<{recipient}>"))
    }

    /// RSET.
    pub fn rset(&mut self) -> SmtpReply {
        self.command("RSET")
    }

    /// DATA, the message with its dots doubled, and the last reply. If DATA is refused, that reply.
    pub fn data(&mut self, message: &[u8]) -> SmtpReply {
        let reply = self.command("DATA");
        if reply.code != 354 {
            return reply;
        }
        self.content(message).unwrap();
        self.finish()
    }

    /// Sends part of a message after DATA was accepted; `part` begins at a line's start. No end is sent.
    ///
    /// # Errors
    ///
    /// If the server has closed the connection.
    pub fn content(&mut self, part: &[u8]) -> io::Result<()> {
        for line in part.split_inclusive(|&byte| byte == b'\n') {
            if line.starts_with(b".") {
                self.write.write_all(b".")?;
            }
            self.write.write_all(line)?;
        }
        if !part.ends_with(b"\n") {
            self.write.write_all(b"\r\n")?;
        }
        self.write.flush()
    }

    /// Sends the end of the message and returns the reply.
    pub fn finish(&mut self) -> SmtpReply {
        self.command(".")
    }

    /// One message from MAIL to the reply at its end; the first reply of 400 and more ends it earlier.
    pub fn send(&mut self, sender: &str, recipients: &[&str], message: &[u8]) -> SmtpReply {
        let parameters = if message.is_ascii() { "" } else { "BODY=8BITMIME" };
        let reply = self.mail(sender, parameters);
        if reply.code >= 400 {
            return reply;
        }
        for recipient in recipients {
            let reply = self.rcpt(recipient);
            if reply.code >= 400 {
                return reply;
            }
        }
        self.data(message)
    }

    /// QUIT.
    pub fn quit(mut self) {
        self.command("QUIT").expect(221);
    }

    /// Reads a reply of one or more lines.
    ///
    /// # Errors
    ///
    /// If the connection ends or no reply comes in time.
    pub fn reply(&mut self) -> io::Result<SmtpReply> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if self.read.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let Some(code) = code else { return Err(io::Error::other(format!("not a reply: {line}"))) };
            text.push_str(line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(SmtpReply { code, text });
            }
            text.push('\n');
        }
    }
}

/// Longer than any timeout that a Postfix of the tests has.
const PATIENCE: Duration = Duration::from_secs(120);
