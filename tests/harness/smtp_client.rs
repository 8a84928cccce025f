//! A small SMTP client for loopback: it says one thing at a time and returns the reply.

use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sasl::Sasl;

/// A connection to an SMTP server.
pub struct SmtpClient {
    read: BufReader<Box<dyn Read + Send>>,
    write: BufWriter<Box<dyn Write + Send>>,
    /// openssl, which speaks TLS for us.
    tls: Option<Child>,
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

impl fmt::Debug for SmtpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpClient").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl Drop for SmtpClient {
    fn drop(&mut self) {
        if let Some(child) = &mut self.tls {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl SmtpClient {
    /// Connects to 127.0.0.1, reads the greeting and says EHLO.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let read = BufReader::new(Box::new(stream.try_clone().unwrap()) as _);
        let write = BufWriter::with_capacity(1 << 16, Box::new(stream) as _);
        let mut client = Self { read, write, tls: None };
        client.reply().unwrap().expect(220);
        client.command("EHLO client.example").expect(250);
        client
    }

    /// The same, but STARTTLS comes first; any certificate will do.
    #[must_use]
    pub fn connect_tls(port: u16) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-starttls", "smtp", "-connect", &format!("127.0.0.1:{port}")]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let read = BufReader::new(Box::new(Patient(child.stdout.take().unwrap())) as _);
        let write = BufWriter::with_capacity(1 << 16, Box::new(child.stdin.take().unwrap()) as _);
        let mut client = Self { read, write, tls: Some(child) };
        client.command("EHLO client.example").expect(250);
        client
    }

    /// AUTH (RFC 4954) up to the last reply.
    pub fn auth(&mut self, sasl: &Sasl) -> SmtpReply {
        let mut sasl = sasl.clone();
        let first = sasl.first().map(|first| format!(" {}", STANDARD.encode(first)));
        let mut reply = self.command(&format!("AUTH {}{}", sasl.mechanism(), first.unwrap_or_default()));
        while reply.code == 334 {
            let challenge = STANDARD.decode(reply.text.get(4..).unwrap_or_default().trim()).unwrap();
            reply = self.command(&STANDARD.encode(sasl.say(&challenge)));
        }
        reply
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

/// A pipe that is read with a time limit, as the socket is: a peer that says nothing fails the test.
struct Patient<R>(R);

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = PollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], limit)? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => self.0.read(buffer),
        }
    }
}

/// Longer than any timeout that a Postfix of the tests has.
const PATIENCE: Duration = Duration::from_secs(120);
