//! The MTA's side of one milter connection, as Postfix 3.x speaks it: protocol version 6, every step
//! and action offered, and whatever the milter asked for in its answer honoured.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::message::{Edit, Message};

/// Where a milter listens: Postfix's `unix:/path` and `inet:host:port`, OpenDKIM's `inet:port@host`.
#[derive(Clone, Debug)]
pub enum Address {
    /// A path in the file system.
    Unix(PathBuf),
    /// `host:port`.
    Inet(String),
}

impl Address {
    /// Reads an address; without a known prefix it is a path.
    pub fn parse(text: &str) -> Self {
        if let Some(inet) = text.strip_prefix("inet:") {
            return match inet.split_once('@') {
                Some((port, host)) => Self::Inet(format!("{host}:{port}")),
                None => Self::Inet(inet.to_owned()),
            };
        }
        let path = text.strip_prefix("unix:").or_else(|| text.strip_prefix("local:")).unwrap_or(text);
        Self::Unix(PathBuf::from(path))
    }
}

/// What the milter is told of the SMTP client and the envelope.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The SMTP client's address: decides, with `InternalHosts`, whether a message is signed or verified.
    pub client: IpAddr,
    /// The SMTP client's verified host name.
    pub client_name: String,
    /// The sender's address, without angle brackets.
    pub sender: String,
    /// The recipients' addresses, without angle brackets.
    pub recipients: Vec<String>,
    /// Further macros: the command letter they belong to (`*`: every one), name, value.
    pub macros: Vec<(char, String, String)>,
}

/// What the milter said to a whole message.
#[derive(Debug)]
pub struct Outcome {
    /// The reply code that ended it: `c`, `a`, `r`, `d`, `t`, `y`.
    pub code: char,
    /// The changes asked for, in order.
    pub edits: Vec<Edit>,
}

/// The milter's answer to one step before the end of the message.
enum Answer {
    Continue,
    /// No more of this kind is wanted (SMFIR_SKIP).
    Skip,
    /// The message is decided already.
    Final(char),
}

/// One protocol step: command letter, the bit that switches it off, the bit that suppresses its reply,
/// and the stage under which SMFIR_SETSYMLIST names its macros.
struct Step {
    command: u8,
    off: u32,
    silent: u32,
    stage: u32,
}

const CONNECT: Step = Step { command: b'C', off: 0x1, silent: 0x1000, stage: 0 };
const HELO: Step = Step { command: b'H', off: 0x2, silent: 0x2000, stage: 1 };
const MAIL: Step = Step { command: b'M', off: 0x4, silent: 0x4000, stage: 2 };
const RCPT: Step = Step { command: b'R', off: 0x8, silent: 0x8000, stage: 3 };
const DATA: Step = Step { command: b'T', off: 0x200, silent: 0x1_0000, stage: 4 };
/// Postfix gives header fields the end-of-header macros, and body chunks those of the end of the message.
const HEADER: Step = Step { command: b'L', off: 0x20, silent: 0x80, stage: 6 };
const EOH: Step = Step { command: b'N', off: 0x40, silent: 0x4_0000, stage: 6 };
const BODY: Step = Step { command: b'B', off: 0x10, silent: 0x8_0000, stage: 5 };
const EOM: Step = Step { command: b'E', off: 0, silent: 0, stage: 5 };

/// SMFIP_HDR_LEADSPC: header values keep the blank after the colon.
const LEADING_SPACE: u32 = 0x10_0000;
/// All protocol bits of version 6, and all actions: what Postfix offers.
const OFFERED_STEPS: u32 = 0x1f_ffff;
const OFFERED_ACTIONS: u32 = 0x1ff;
/// The size of Postfix's body chunks (MILTER_CHUNK_SIZE).
pub const CHUNK_BYTES: usize = 65535;
/// The longest packet taken from a milter.
const PACKET_LIMIT: usize = 16 << 20;

/// A connection to a milter, past negotiation, CONNECT and HELO.
pub struct Session {
    reader: BufReader<Box<dyn Read + Send>>,
    writer: BufWriter<Box<dyn Write + Send>>,
    /// The protocol bits that the milter answered with.
    pub steps: u32,
    /// The actions that the milter announced.
    pub actions: u32,
    /// Macro names by stage, where the milter asked for some (SMFIR_SETSYMLIST).
    pub symbols: BTreeMap<u32, Vec<String>>,
    payload: Vec<u8>,
}

impl Session {
    /// Connects, negotiates and introduces the SMTP client. `timeout` holds for each read and write.
    pub fn open(address: &Address, envelope: &Envelope, timeout: Duration) -> io::Result<Self> {
        let (reader, writer): (Box<dyn Read + Send>, Box<dyn Write + Send>) = match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
            Address::Inet(host) => {
                let stream = TcpStream::connect(host.as_str())?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
        };
        let mut session = Self {
            reader: BufReader::with_capacity(8192, reader),
            writer: BufWriter::with_capacity(2 * CHUNK_BYTES, writer),
            steps: 0,
            actions: 0,
            symbols: BTreeMap::new(),
            payload: Vec::new(),
        };
        session.negotiate()?;
        session.introduce(envelope)?;
        Ok(session)
    }

    fn negotiate(&mut self) -> io::Result<()> {
        let offer: Vec<u8> =
            [6, OFFERED_ACTIONS, OFFERED_STEPS].into_iter().flat_map(u32::to_be_bytes).collect();
        self.send(b'O', &offer)?;
        let (code, answer) = self.receive()?;
        let word = |at: usize| answer.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let (b'O', Some(version), Some(actions), Some(steps)) = (code, word(0), word(4), word(8)) else {
            return Err(protocol_error(format!("negotiation answered with {:?}", code as char)));
        };
        if version > 6 || actions & !OFFERED_ACTIONS != 0 || steps & !OFFERED_STEPS != 0 {
            return Err(protocol_error(format!("not offered: version {version} {actions:#x} {steps:#x}")));
        }
        (self.actions, self.steps) = (actions, steps);
        let mut at = 12;
        while let Some(stage) = word(at) {
            let rest = &answer[at + 4..];
            let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
            let names = String::from_utf8_lossy(&rest[..end]);
            self.symbols.insert(stage, names.split_whitespace().map(|name| bare(name).to_owned()).collect());
            at += 4 + end + 1;
        }
        Ok(())
    }

    fn introduce(&mut self, envelope: &Envelope) -> io::Result<()> {
        let seen = format!("{} [{}]", envelope.client_name, envelope.client);
        let macros = [
            ("j", "mx.bench.example"),
            ("{daemon_name}", "smtpd"),
            ("{daemon_addr}", "127.0.0.1"),
            ("v", "Postfix 3.7.11"),
            ("_", &seen),
        ];
        let (family, prefix) = if envelope.client.is_ipv6() { (b'6', "IPv6:") } else { (b'4', "") };
        let mut connect = envelope.client_name.clone().into_bytes();
        connect.extend_from_slice(&[0, family]);
        connect.extend_from_slice(&40_000_u16.to_be_bytes());
        connect.extend_from_slice(format!("{prefix}{}\0", envelope.client).as_bytes());
        let helo = format!("{}\0", envelope.client_name);
        for (step, payload, macros) in [(CONNECT, connect, &macros[..]), (HELO, helo.into_bytes(), &[])] {
            if let Answer::Final(code) = self.tell(&step, &payload, macros, envelope)? {
                return Err(protocol_error(format!("{} answered with {code:?}", step.command as char)));
            }
        }
        Ok(())
    }

    /// Takes one message through from MAIL to the end. `id` is the queue id that the milter is told.
    pub fn transact(&mut self, envelope: &Envelope, message: &Message, id: &str) -> io::Result<Outcome> {
        if let Some(code) = self.begin(envelope, message, id)? {
            return Ok(Outcome { code, edits: Vec::new() });
        }
        for chunk in message.body.chunks(CHUNK_BYTES) {
            match self.body(envelope, chunk, id)? {
                Answer::Continue => {}
                Answer::Skip => break,
                Answer::Final(code) => return Ok(Outcome { code, edits: Vec::new() }),
            }
        }
        self.send_macros(&EOM, &[("i", id)], envelope)?;
        self.send(EOM.command, b"")?;
        let mut edits = Vec::new();
        loop {
            let (code, data) = self.receive()?;
            match code {
                b'p' => {}
                b'h' | b'i' | b'm' | b'b' | b'+' | b'-' | b'2' | b'q' | b'e' => {
                    edits.push(Edit::parse(code, &data)?)
                }
                _ => return Ok(Outcome { code: code as char, edits }),
            }
        }
    }

    /// MAIL to the end of the header; `Some` is the reply that ended the message before its body.
    fn begin(&mut self, envelope: &Envelope, message: &Message, id: &str) -> io::Result<Option<char>> {
        let host = |address: &str| address.rsplit('@').next().unwrap_or_default().to_owned();
        let sender_host = host(&envelope.sender);
        let macros = [
            ("i", id),
            ("{mail_addr}", &envelope.sender),
            ("{mail_host}", &sender_host),
            ("{mail_mailer}", "smtp"),
        ];
        let mail = format!("<{}>\0SIZE={}\0", envelope.sender, message.size());
        if let Answer::Final(code) = self.tell(&MAIL, mail.as_bytes(), &macros, envelope)? {
            return Ok(Some(code));
        }
        for recipient in &envelope.recipients {
            let recipient_host = host(recipient);
            let macros = [
                ("i", id),
                ("{rcpt_addr}", recipient.as_str()),
                ("{rcpt_host}", &recipient_host),
                ("{rcpt_mailer}", "smtp"),
            ];
            let rcpt = format!("<{recipient}>\0");
            if let Answer::Final(code) = self.tell(&RCPT, rcpt.as_bytes(), &macros, envelope)? {
                return Ok(Some(code));
            }
        }
        if let Answer::Final(code) = self.tell(&DATA, b"", &[("i", id)], envelope)? {
            return Ok(Some(code));
        }
        for (name, value) in &message.header {
            let mut payload = std::mem::take(&mut self.payload);
            payload.clear();
            payload.extend_from_slice(name);
            payload.push(0);
            let value = match value.strip_prefix(b" ") {
                Some(bare) if self.steps & LEADING_SPACE == 0 => bare,
                _ => value.as_slice(),
            };
            // A folded value travels with bare LF.
            payload.extend(value.iter().filter(|&&byte| byte != b'\r'));
            payload.push(0);
            let answer = self.tell(&HEADER, &payload, &[("i", id)], envelope);
            self.payload = payload;
            match answer? {
                Answer::Continue => {}
                Answer::Skip => break,
                Answer::Final(code) => return Ok(Some(code)),
            }
        }
        match self.tell(&EOH, b"", &[("i", id)], envelope)? {
            Answer::Final(code) => Ok(Some(code)),
            Answer::Continue | Answer::Skip => Ok(None),
        }
    }

    fn body(&mut self, envelope: &Envelope, chunk: &[u8], id: &str) -> io::Result<Answer> {
        self.tell(&BODY, chunk, &[("i", id)], envelope)
    }

    /// Starts a message and goes to the end of its header; false when the milter decided it already.
    pub fn start(&mut self, envelope: &Envelope, message: &Message, id: &str) -> io::Result<bool> {
        Ok(self.begin(envelope, message, id)?.is_none())
    }

    /// Sends one body chunk; false when the milter wants no more of this message.
    pub fn feed(&mut self, envelope: &Envelope, chunk: &[u8], id: &str) -> io::Result<bool> {
        let answer = self.body(envelope, chunk, id)?;
        self.writer.flush()?;
        Ok(matches!(answer, Answer::Continue))
    }

    /// True when header values keep the blank after their colon on this connection (SMFIP_HDR_LEADSPC).
    pub fn keeps_leading_space(&self) -> bool {
        self.steps & LEADING_SPACE != 0
    }

    /// Says QUIT and closes. The milter sends nothing back, so its own close is awaited.
    pub fn quit(mut self) -> io::Result<()> {
        self.send(b'Q', b"")?;
        self.writer.flush()?;
        let mut rest = [0; 64];
        while self.reader.read(&mut rest)? > 0 {}
        Ok(())
    }

    fn tell(
        &mut self,
        step: &Step,
        payload: &[u8],
        macros: &[(&str, &str)],
        envelope: &Envelope,
    ) -> io::Result<Answer> {
        if self.steps & step.off != 0 {
            return Ok(Answer::Continue);
        }
        self.send_macros(step, macros, envelope)?;
        self.send(step.command, payload)?;
        if self.steps & step.silent != 0 {
            return Ok(Answer::Continue);
        }
        loop {
            match self.receive()?.0 {
                b'p' => {}
                b'c' => return Ok(Answer::Continue),
                b's' => return Ok(Answer::Skip),
                code => return Ok(Answer::Final(code as char)),
            }
        }
    }

    /// Macros go in a packet of their own before the command, and only those that the milter asked for.
    fn send_macros(&mut self, step: &Step, macros: &[(&str, &str)], envelope: &Envelope) -> io::Result<()> {
        let command = step.command as char;
        let further = envelope.macros.iter().filter(|(at, ..)| *at == command || *at == '*');
        let all =
            macros.iter().copied().chain(further.map(|(_, name, value)| (name.as_str(), value.as_str())));
        let wanted = self.symbols.get(&step.stage);
        let mut packet = vec![step.command];
        for (name, value) in all {
            if wanted.is_none_or(|names| names.iter().any(|n| n == bare(name))) {
                packet.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
            }
        }
        if packet.len() > 1 { self.send(b'D', &packet) } else { Ok(()) }
    }

    fn send(&mut self, command: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len() + 1).map_err(io::Error::other)?;
        self.writer.write_all(&length.to_be_bytes())?;
        self.writer.write_all(&[command])?;
        self.writer.write_all(payload)
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        self.writer.flush()?;
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > PACKET_LIMIT {
            return Err(protocol_error(format!("a packet of {length} bytes")));
        }
        let mut code = [0];
        self.reader.read_exact(&mut code)?;
        let mut data = vec![0; length - 1];
        self.reader.read_exact(&mut data)?;
        Ok((code[0], data))
    }
}

fn bare(name: &str) -> &str {
    name.trim_start_matches('{').trim_end_matches('}')
}

/// An error for what no milter may send.
pub fn protocol_error(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
