//! Lines that a client sends: `VERSION CPID AUTH CONT CANCEL` on a client socket, `VERSION USER
//! PASS LIST` and the cache commands on a userdb socket.

use std::borrow::Cow;
use std::fmt;

use super::unescaped;

/// A line on a client socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientLine<'a> {
    /// `VERSION major minor`.
    Version {
        /// Must be [`super::MAJOR`].
        major: u32,
        /// What the client knows of.
        minor: u32,
    },
    /// `CPID pid`.
    Cpid(u32),
    /// `AUTH id mechanism parameters…`.
    Auth(Auth<'a>),
    /// `CONT id base64`.
    Cont {
        /// The request that goes on.
        id: u32,
        /// The client's answer, still in base64.
        data: &'a [u8],
    },
    /// `CANCEL id`.
    Cancel(u32),
}

/// An AUTH line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The client's number for this request, not 0.
    pub id: u32,
    /// The mechanism's name as sent.
    pub mechanism: &'a [u8],
    /// What the client tells about the connection, without `resp=`.
    pub parameters: Parameters<'a>,
    /// The initial response, still in base64; `None` without `resp=`.
    pub initial: Option<&'a [u8]>,
}

/// `key=value` fields of a line.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters<'a>(&'a [u8]);

impl<'a> Parameters<'a> {
    /// Fields with a TAB between them, as a line has them.
    #[must_use]
    pub fn new(fields: &'a [u8]) -> Self {
        Self(fields)
    }

    /// All fields in order: the key, and the value without escapes; bare keys have an empty value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Cow<'a, [u8]>)> + use<'a> {
        self.0.split(|&byte| byte == b'\t').filter(|field| !field.is_empty()).map(|field| {
            let (key, value) = split_once(field, b'=').unwrap_or((field, b""));
            (key, unescaped(value))
        })
    }

    /// The value of the first field called `key`.
    #[must_use]
    pub fn value(&self, key: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

impl fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned())).finish()
    }
}

/// A line on a userdb socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserdbLine<'a> {
    /// `VERSION major minor`.
    Version {
        /// Must be [`super::MAJOR`].
        major: u32,
        /// What the client knows of.
        minor: u32,
    },
    /// `CPID pid`, which a userdb client may send.
    Cpid(u32),
    /// `USER id name service=…`.
    User(Named<'a>),
    /// `PASS id name service=…`.
    Pass(Named<'a>),
    /// `LIST id service=… [user=mask]`.
    List {
        /// The client's number for this request.
        id: u32,
        /// What else the line holds.
        parameters: Parameters<'a>,
    },
    /// `CACHE-FLUSH id [user…]`.
    CacheFlush {
        /// The client's number for this request.
        id: u32,
        /// Whose entries; everybody's when empty.
        users: Vec<Cow<'a, [u8]>>,
    },
}

/// A lookup of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// The client's number for this request.
    pub id: u32,
    /// The user.
    pub user: Cow<'a, [u8]>,
    /// What else the line holds; `service=` is there.
    pub parameters: Parameters<'a>,
}

/// Why a line ends the connection. The text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// No such command.
    UnknownCommand,
    /// An id that is missing, 0, or no 32 bit number.
    BadId,
    /// `VERSION` or `CPID` without sound numbers.
    BadHandshake,
    /// `AUTH` without a mechanism.
    NoMechanism,
    /// `service=` is missing.
    NoService,
    /// Something follows `resp=`.
    AfterResponse,
    /// `CONT` without a data field.
    NoData,
    /// A lookup without a user.
    NoUser,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCommand => "sent an unknown command",
            Self::BadId => "sent a bad request id",
            Self::BadHandshake => "sent a broken handshake",
            Self::NoMechanism => "sent AUTH without a mechanism",
            Self::NoService => "sent a request without service=",
            Self::AfterResponse => "sent something after resp=",
            Self::NoData => "sent CONT without data",
            Self::NoUser => "sent a lookup without a user",
        })
    }
}

/// Reads a line (without LF) from a client socket.
///
/// # Errors
/// [`Broken`] when it breaks the protocol, as Dovecot disconnects for it.
pub fn client_line(line: &[u8]) -> Result<ClientLine<'_>, Broken> {
    let (command, rest) = split_once(line, b'\t').unwrap_or((line, b""));
    match command {
        b"AUTH" => auth(rest).map(ClientLine::Auth),
        b"CONT" => {
            let (id, data) = split_once(rest, b'\t').ok_or(Broken::NoData)?;
            Ok(ClientLine::Cont { id: number(id).ok_or(Broken::BadId)?, data })
        }
        b"CANCEL" => Ok(ClientLine::Cancel(number(rest).ok_or(Broken::BadId)?)),
        b"VERSION" => version(rest).map(|(major, minor)| ClientLine::Version { major, minor }),
        b"CPID" => match number(rest) {
            Some(pid) if pid > 0 => Ok(ClientLine::Cpid(pid)),
            _ => Err(Broken::BadHandshake),
        },
        _ => Err(Broken::UnknownCommand),
    }
}

/// Reads a line (without LF) from a userdb socket.
///
/// # Errors
/// [`Broken`] when it breaks the protocol, as Dovecot disconnects for it.
pub fn userdb_line(line: &[u8]) -> Result<UserdbLine<'_>, Broken> {
    let (command, rest) = split_once(line, b'\t').unwrap_or((line, b""));
    match command {
        b"USER" => named(rest).map(UserdbLine::User),
        b"PASS" => named(rest).map(UserdbLine::Pass),
        b"LIST" => {
            let (id, parameters) = split_once(rest, b'\t').unwrap_or((rest, b""));
            let id = number(id).ok_or(Broken::BadId)?;
            Ok(UserdbLine::List { id, parameters: Parameters(parameters) })
        }
        b"CACHE-FLUSH" => {
            let (id, users) = split_once(rest, b'\t').unwrap_or((rest, b""));
            let id = number(id).ok_or(Broken::BadId)?;
            let users = users.split(|&byte| byte == b'\t').filter(|user| !user.is_empty());
            Ok(UserdbLine::CacheFlush { id, users: users.map(unescaped).collect() })
        }
        b"VERSION" => version(rest).map(|(major, minor)| UserdbLine::Version { major, minor }),
        b"CPID" => number(rest).map(UserdbLine::Cpid).ok_or(Broken::BadHandshake),
        _ => Err(Broken::UnknownCommand),
    }
}

fn auth(rest: &[u8]) -> Result<Auth<'_>, Broken> {
    let (id, rest) = split_once(rest, b'\t').unwrap_or((rest, b""));
    let id = number(id).filter(|&id| id > 0).ok_or(Broken::BadId)?;
    let (mechanism, rest) = split_once(rest, b'\t').unwrap_or((rest, b""));
    if mechanism.is_empty() {
        return Err(Broken::NoMechanism);
    }
    let mut initial = None;
    let mut parameters = rest;
    let mut at = 0;
    let mut service = false;
    for field in rest.split(|&byte| byte == b'\t') {
        if initial.is_some() {
            return Err(Broken::AfterResponse);
        }
        if let Some(data) = field.strip_prefix(b"resp=") {
            initial = Some(data);
            parameters = rest.get(..at).unwrap_or_default();
        }
        service |= is_service(field);
        at += field.len() + 1;
    }
    if !service {
        return Err(Broken::NoService);
    }
    Ok(Auth { id, mechanism, parameters: Parameters(parameters), initial })
}

fn named(rest: &[u8]) -> Result<Named<'_>, Broken> {
    let (id, rest) = split_once(rest, b'\t').unwrap_or((rest, b""));
    let id = number(id).ok_or(Broken::BadId)?;
    // An empty name is answered like an unknown one; no name at all breaks the protocol.
    let (user, rest) = split_once(rest, b'\t').ok_or(Broken::NoUser)?;
    if !rest.split(|&byte| byte == b'\t').any(is_service) {
        return Err(Broken::NoService);
    }
    Ok(Named { id, user: unescaped(user), parameters: Parameters(rest) })
}

/// `service=`, which Dovecot 2.4 also calls `protocol=`.
fn is_service(field: &[u8]) -> bool {
    field.starts_with(b"service=") || field.starts_with(b"protocol=")
}

fn version(rest: &[u8]) -> Result<(u32, u32), Broken> {
    let mut numbers = rest.split(|&byte| byte == b'\t').map(number);
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => Err(Broken::BadHandshake),
    }
}

/// A decimal number without sign; a CR after it, as from a client with CR LF, is let pass.
fn number(field: &[u8]) -> Option<u32> {
    let digits = field.strip_suffix(b"\r").unwrap_or(field);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, bytes)?;
    Some((bytes.get(..place)?, bytes.get(place + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postfix_sends_this() {
        let line =
            b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\tlip=127.0.0.1\trip=192.0.2.1\tsecured\tresp=AHUAcA==";
        let Ok(ClientLine::Auth(auth)) = client_line(line) else { panic!() };
        assert_eq!((auth.id, auth.mechanism, auth.initial), (1, &b"PLAIN"[..], Some(&b"AHUAcA=="[..])));
        assert_eq!(auth.parameters.value(b"rip").as_deref(), Some(&b"192.0.2.1"[..]));
        assert_eq!(auth.parameters.value(b"secured").as_deref(), Some(&b""[..]));
        assert_eq!(auth.parameters.value(b"resp"), None);
        assert_eq!(client_line(b"CONT\t3\t"), Ok(ClientLine::Cont { id: 3, data: b"" }));
        assert_eq!(client_line(b"VERSION\t1\t0"), Ok(ClientLine::Version { major: 1, minor: 0 }));
        assert_eq!(client_line(b"CPID\t77"), Ok(ClientLine::Cpid(77)));
    }

    #[test]
    fn what_breaks_the_protocol() {
        for (line, why) in [
            (&b""[..], Broken::UnknownCommand),
            (b"HELLO\t1", Broken::UnknownCommand),
            (b"auth\t1\tPLAIN\tservice=smtp", Broken::UnknownCommand),
            (b"AUTH\t0\tPLAIN\tservice=smtp", Broken::BadId),
            (b"AUTH\t-1\tPLAIN\tservice=smtp", Broken::BadId),
            (b"AUTH\t4294967296\tPLAIN\tservice=smtp", Broken::BadId),
            (b"AUTH\t1", Broken::NoMechanism),
            (b"AUTH\t1\tPLAIN", Broken::NoService),
            (b"AUTH\t1\tPLAIN\tservice=smtp\tresp=\tx", Broken::AfterResponse),
            (b"CONT\t1", Broken::NoData),
            (b"CONT\tx\ty", Broken::BadId),
            (b"CANCEL", Broken::BadId),
            (b"VERSION\t1", Broken::BadHandshake),
            (b"VERSION\tx\ty", Broken::BadHandshake),
            (b"CPID\t0", Broken::BadHandshake),
        ] {
            assert_eq!(client_line(line), Err(why), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn lookups() {
        let Ok(UserdbLine::User(user)) = userdb_line(b"USER\t3\ta\x01tb\tservice=lda\trip=::1") else {
            panic!()
        };
        assert_eq!((user.id, &*user.user), (3, &b"a\tb"[..]));
        assert_eq!(user.parameters.value(b"service").as_deref(), Some(&b"lda"[..]));
        assert_eq!(userdb_line(b"USER\t3\tu"), Err(Broken::NoUser));
        assert_eq!(userdb_line(b"USER\t3\tu\trip=::1"), Err(Broken::NoService));
        assert!(userdb_line(b"USER\t3\t\tservice=lda").is_ok());
        assert_eq!(userdb_line(b"PASS\t3"), Err(Broken::NoUser));
        let Ok(UserdbLine::List { id: 4, parameters }) = userdb_line(b"LIST\t4\tservice=doveadm\tuser=a*")
        else {
            panic!()
        };
        assert_eq!(parameters.value(b"user").as_deref(), Some(&b"a*"[..]));
        assert_eq!(
            userdb_line(b"CACHE-FLUSH\t1\tu"),
            Ok(UserdbLine::CacheFlush { id: 1, users: vec![Cow::Borrowed(&b"u"[..])] })
        );
    }
}
