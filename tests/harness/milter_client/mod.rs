//! A milter client that speaks what Postfix speaks, one step at a time, with a way to say anything wrong.

mod edits;
mod macros;
mod stream;
pub mod wire;

pub use edits::{Edit, apply};
pub use wire::{Options, Packet};

use std::fmt;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::message::Message;
use crate::milter::{Milter, Socket};
use macros::Macros;
use stream::Stream;
use wire::{HEADER_LEADING_SPACE, no, no_reply, split_strings, strings};

/// A connection to a milter.
pub struct MilterClient {
    stream: Box<dyn Stream>,
    agreed: Options,
    macros: Macros,
    chunk: usize,
}

/// The reply to a step, or to the whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `c`
    Continue,
    /// `a`
    Accept,
    /// `d`
    Discard,
    /// `r`
    Reject,
    /// `t`
    Tempfail,
    /// `s`: no more body.
    Skip,
    /// `y` with the text of the SMTP reply.
    ReplyCode(String),
    /// `f` or `4`.
    Shutdown,
    /// The step was negotiated away, or its reply was.
    NotAsked,
}

impl Reply {
    /// Whether the message goes on with the next step.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(self, Self::Continue | Self::Skip | Self::NotAsked)
    }
}

/// Who sends a message to whom, as the MTA says it.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The client's name as the MTA found it; "unknown" if it found none.
    pub client_name: &'a str,
    /// The client's address; none for mail that did not come over the network.
    pub client_address: Option<IpAddr>,
    /// The HELO name.
    pub helo: &'a str,
    /// Without angle brackets.
    pub sender: &'a str,
    /// Without angle brackets.
    pub recipients: Vec<&'a str>,
}

impl Default for Envelope<'_> {
    fn default() -> Self {
        Self {
            client_name: "unknown",
            client_address: Some(IpAddr::from([192, 0, 2, 9])),
            helo: "client.example",
            sender: "anna@a.example",
            recipients: vec!["bob@b.example"],
        }
    }
}

/// How a milter has dealt with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The last step that was sent, as its letter: `E` is the end of the message.
    pub stage: char,
    /// The reply to it.
    pub reply: Reply,
    /// What is to be changed, in order.
    pub edits: Vec<Edit>,
    leading_space: bool,
}

impl Outcome {
    /// The message with the changes made.
    #[must_use]
    pub fn apply(&self, message: &Message) -> Message {
        apply(&self.edits, message, self.leading_space)
    }
}

impl MilterClient {
    /// Connects and agrees on what Postfix offers.
    #[must_use]
    pub fn connect(milter: &Milter) -> Self {
        let mut client = Self::open(milter);
        client.negotiate(Options::POSTFIX).unwrap();
        client
    }

    /// Connects and says nothing yet.
    #[must_use]
    pub fn open(milter: &Milter) -> Self {
        let stream: Box<dyn Stream> = match milter.socket() {
            Socket::Unix(path) => Box::new(UnixStream::connect(path).unwrap()),
            Socket::Inet(port) => Box::new(TcpStream::connect(("127.0.0.1", port.number())).unwrap()),
        };
        stream.set_timeout(PATIENCE);
        let agreed = Options { version: 6, actions: 0, protocol: 0 };
        Self { stream, agreed, macros: Macros::postfix(), chunk: 65_535 }
    }

    /// Sends the option packet and keeps what the milter wants.
    ///
    /// # Errors
    ///
    /// If the connection ends, or another packet comes.
    pub fn negotiate(&mut self, offer: Options) -> io::Result<Options> {
        self.send(&Packet::new(b'O', offer.to_bytes()))?;
        let packet = self.receive()?;
        let wanted = (packet.letter == b'O').then(|| Options::parse(&packet.data)).flatten();
        let Some((agreed, lists)) = wanted else {
            return Err(io::Error::other(format!("not an option packet: {packet:?}")));
        };
        self.macros.take_lists(lists);
        self.agreed = agreed;
        Ok(agreed)
    }

    /// What was agreed on.
    #[must_use]
    pub fn agreed(&self) -> Options {
        self.agreed
    }

    /// Sets a macro, such as `i`, `{auth_authen}` or `{daemon_name}`, in place of what Postfix would say.
    pub fn set_macro(&mut self, name: &str, value: &str) {
        self.macros.set(name, value);
    }

    /// Takes a macro out.
    pub fn unset_macro(&mut self, name: &str) {
        self.macros.unset(name);
    }

    /// Sends bodies in parts of this size instead of 65535 bytes.
    pub fn set_chunk(&mut self, bytes: usize) {
        self.chunk = bytes;
    }

    /// One message from connection to end, on a connection that was not used yet. It can be used for further
    /// messages with [`message`](Self::message) unless this was refused earlier than at MAIL.
    ///
    /// # Errors
    ///
    /// If the milter closes the connection or says something that Postfix would not understand.
    pub fn first_message(&mut self, envelope: &Envelope<'_>, message: &Message) -> io::Result<Outcome> {
        let reply = self.introduce(envelope)?;
        if !reply.goes_on() {
            return Ok(self.outcome(b'C', reply, Vec::new()));
        }
        let reply = self.helo(envelope.helo)?;
        if !reply.goes_on() {
            return Ok(self.outcome(b'H', reply, Vec::new()));
        }
        self.message(envelope, message)
    }

    /// One message from MAIL to end. One that is not taken to its end is aborted, as Postfix does it.
    ///
    /// # Errors
    ///
    /// As [`first_message`](Self::first_message).
    pub fn message(&mut self, envelope: &Envelope<'_>, message: &Message) -> io::Result<Outcome> {
        let (stage, reply) = self.until_body(envelope, message)?;
        if !reply.goes_on() {
            self.abort()?;
            return Ok(self.outcome(stage, reply, Vec::new()));
        }
        for chunk in message.body_bytes().chunks(self.chunk) {
            match self.body(chunk)? {
                Reply::Skip => break,
                reply if reply.goes_on() => {}
                reply => {
                    self.abort()?;
                    return Ok(self.outcome(b'B', reply, Vec::new()));
                }
            }
        }
        self.end()
    }

    /// `C`: client name and address.
    ///
    /// # Errors
    ///
    /// As [`first_message`](Self::first_message), here and at the steps below.
    pub fn client(&mut self, name: &str, address: Option<IpAddr>) -> io::Result<Reply> {
        let mut data = strings(&[name.as_bytes()]);
        match address {
            None => data.push(b'U'),
            Some(address) => {
                data.push(if address.is_ipv4() { b'4' } else { b'6' });
                data.extend(45_678_u16.to_be_bytes());
                data.extend(strings(&[address.to_string().as_bytes()]));
            }
        }
        self.step(b'C', data, no::CONNECT, no_reply::CONNECT)
    }

    /// `H`: the HELO name.
    ///
    /// # Errors
    ///
    /// See [`client`](Self::client).
    pub fn helo(&mut self, name: &str) -> io::Result<Reply> {
        self.step(b'H', strings(&[name.as_bytes()]), no::HELO, no_reply::HELO)
    }

    /// `M`: the sender without angle brackets.
    ///
    /// # Errors
    ///
    /// See [`client`](Self::client).
    pub fn mail(&mut self, sender: &str) -> io::Result<Reply> {
        self.step(b'M', strings(&[format!("<{sender}>").as_bytes()]), no::MAIL, no_reply::MAIL)
    }

    /// `R`: a recipient without angle brackets.
    ///
    /// # Errors
    ///
    /// See [`client`](Self::client).
    pub fn rcpt(&mut self, recipient: &str) -> io::Result<Reply> {
        self.step(b'R', strings(&[format!("<{recipient}>").as_bytes()]), no::RCPT, no_reply::RCPT)
    }

    /// `T`: DATA.
    ///
    /// # Errors
    ///
    /// See [`client`](Self::client).
    pub fn data(&mut self) -> io::Result<Reply> {
        self.step(b'T', Vec::new(), no::DATA, no_reply::DATA)
    }

    /// `L`: a field; `value` is what follows the colon. Folds go as LF, as Postfix sends them.
    ///
    /// # Errors
    ///
    /// See [`client`](Self::client).
    pub fn header(&mut self, name: &str, value: &[u8]) -> io::Result<Reply> {
        let mut value: Vec<u8> = value.iter().copied().filter(|&byte| byte != b'\r').collect();
        if !self.agreed.has(HEADER_LEADING_SPACE) && matches!(value.first(), Some(b' ' | b'\t')) {
            value.remove(0);
        }
        self.step(b'L', strings(&[name.as_bytes(), &value]), no::HEADERS, no_reply::HEADERS)
    }

    /// `N`: the end of the header.
    ///
    /// # Errors
    ///
    /// See [`client`](Self::client).
    pub fn eoh(&mut self) -> io::Result<Reply> {
        self.step(b'N', Vec::new(), no::EOH, no_reply::EOH)
    }

    /// `B`: a part of the body, with CRLF.
    ///
    /// # Errors
    ///
    /// See [`client`](Self::client).
    pub fn body(&mut self, chunk: &[u8]) -> io::Result<Reply> {
        self.step(b'B', chunk.to_vec(), no::BODY, no_reply::BODY)
    }

    /// `E`: the end of the message; returns the changes and the last reply.
    ///
    /// # Errors
    ///
    /// See [`client`](Self::client).
    pub fn end(&mut self) -> io::Result<Outcome> {
        self.send_macros(b'E')?;
        self.send(&Packet::new(b'E', []))?;
        let mut edits = Vec::new();
        loop {
            let packet = self.receive()?;
            if packet.letter == b'p' {
                continue;
            }
            match Edit::parse(&packet) {
                Some(edit) => edits.push(edit),
                None => return Ok(self.outcome(b'E', reply(&packet)?, edits)),
            }
        }
    }

    /// `A`: forget the message; there is no reply.
    ///
    /// # Errors
    ///
    /// If the connection has ended.
    pub fn abort(&mut self) -> io::Result<()> {
        self.send(&Packet::new(b'A', []))
    }

    /// `Q`, and the connection's end by the milter.
    ///
    /// # Errors
    ///
    /// If the milter says something or does not close.
    pub fn quit(mut self) -> io::Result<()> {
        self.send(&Packet::new(b'Q', []))?;
        match self.stream.read(&mut [0; 1])? {
            0 => Ok(()),
            _ => Err(io::Error::other("a reply to Q")),
        }
    }

    /// Sends one packet.
    ///
    /// # Errors
    ///
    /// If the connection has ended.
    pub fn send(&mut self, packet: &Packet) -> io::Result<()> {
        self.send_raw(&packet.to_bytes())
    }

    /// Sends any bytes: half a packet, a wrong length, garbage.
    ///
    /// # Errors
    ///
    /// If the connection has ended.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent, and still reads.
    pub fn close_writing(&mut self) {
        self.stream.close_writing();
    }

    /// How long to wait for a packet.
    pub fn set_timeout(&mut self, limit: Duration) {
        self.stream.set_timeout(limit);
    }

    /// Reads one packet.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the milter closes, `WouldBlock` if it says nothing in time.
    pub fn receive(&mut self) -> io::Result<Packet> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
        if length == 0 || length > MAX_PACKET {
            return Err(io::Error::other(format!("a packet of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(Packet::new(bytes[0], &bytes[1..]))
    }

    fn introduce(&mut self, envelope: &Envelope<'_>) -> io::Result<Reply> {
        let address = envelope.client_address.map_or_else(String::new, |address| address.to_string());
        self.set_macro("{client_addr}", &address);
        self.set_macro("{client_name}", envelope.client_name);
        self.set_macro("_", &format!("{} [{address}]", envelope.client_name));
        // Postfix gives the address literal as the name of a client without one.
        let literal = format!("[{address}]");
        let unknown = envelope.client_name == "unknown" && envelope.client_address.is_some();
        let name = if unknown { literal.as_str() } else { envelope.client_name };
        self.client(name, envelope.client_address)
    }

    fn until_body(&mut self, envelope: &Envelope<'_>, message: &Message) -> io::Result<(u8, Reply)> {
        self.set_macro("{mail_addr}", envelope.sender);
        let reply = self.mail(envelope.sender)?;
        if !reply.goes_on() {
            return Ok((b'M', reply));
        }
        for recipient in &envelope.recipients {
            self.set_macro("{rcpt_addr}", recipient);
            let reply = self.rcpt(recipient)?;
            if !reply.goes_on() {
                return Ok((b'R', reply));
            }
        }
        let reply = self.data()?;
        if !reply.goes_on() {
            return Ok((b'T', reply));
        }
        for field in message.fields() {
            let reply = self.header(&field.name, &field.value)?;
            if !reply.goes_on() {
                return Ok((b'L', reply));
            }
        }
        Ok((b'N', self.eoh()?))
    }

    fn step(&mut self, letter: u8, data: Vec<u8>, skipped: u32, unanswered: u32) -> io::Result<Reply> {
        if self.agreed.has(skipped) {
            return Ok(Reply::NotAsked);
        }
        self.send_macros(letter)?;
        self.send(&Packet { letter, data })?;
        if self.agreed.has(unanswered) {
            return Ok(Reply::NotAsked);
        }
        loop {
            let packet = self.receive()?;
            if packet.letter != b'p' {
                return reply(&packet);
            }
        }
    }

    fn send_macros(&mut self, stage: u8) -> io::Result<()> {
        match self.macros.packet(stage) {
            Some(packet) => self.send(&packet),
            None => Ok(()),
        }
    }

    fn outcome(&self, stage: u8, reply: Reply, edits: Vec<Edit>) -> Outcome {
        let leading_space = self.agreed.has(HEADER_LEADING_SPACE);
        Outcome { stage: char::from(stage), reply, edits, leading_space }
    }
}

impl fmt::Debug for MilterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MilterClient").field("agreed", &self.agreed).finish_non_exhaustive()
    }
}

fn reply(packet: &Packet) -> io::Result<Reply> {
    Ok(match packet.letter {
        b'c' => Reply::Continue,
        b'a' => Reply::Accept,
        b'd' => Reply::Discard,
        b'r' => Reply::Reject,
        b't' => Reply::Tempfail,
        b's' => Reply::Skip,
        b'f' | b'4' => Reply::Shutdown,
        b'y' => {
            let text = split_strings(&packet.data).concat();
            Reply::ReplyCode(String::from_utf8_lossy(&text).into_owned())
        }
        _ => return Err(io::Error::other(format!("not a reply: {packet:?}"))),
    })
}

const MAX_PACKET: usize = 1 << 24;
const PATIENCE: Duration = Duration::from_secs(30);
