//! One conversation on a userdb socket: who may ask for what, and the lines of the answers. No socket.

use std::fmt;

use base::dovecot::MAJOR;
use base::dovecot::reply::Reply;
use base::dovecot::request::{Broken, Named, Parameters, UserdbLine, userdb_line};
use base::service::stream::Peer;

use crate::lookup::Answer;

/// What is remembered of a connection.
#[derive(Debug)]
pub struct UserdbSession {
    greeted: bool,
    /// May only ask for users with this uid.
    only_uid: Option<u32>,
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing to do.
    Nothing,
    /// `USER`.
    User(Named<'a>),
    /// `PASS`.
    Pass(Named<'a>),
    /// `LIST`.
    List(u32, Parameters<'a>),
    /// `CACHE-FLUSH`.
    CacheFlush(u32),
    /// `PASS` or `LIST` of a peer that may only look up itself; its name, for the log.
    /// [`UserdbSession::refused`] answers it.
    NotAllowed(u32, &'static str),
}

/// Why the connection must end. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
    /// A line that is none of the protocol's.
    Broken(Broken),
    /// Another major version than ours.
    Version(u32),
    /// A request before VERSION.
    OutOfOrder,
    /// The peer may only look up itself.
    NotAllowed(&'static str),
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => broken.fmt(f),
            Self::Version(major) => write!(f, "speaks protocol version {major}, we speak {MAJOR}"),
            Self::OutOfOrder => f.write_str("did not begin with VERSION"),
            Self::NotAllowed(command) => {
                write!(f, "asked for {command}; on a socket of mode 0666 only its owner may")
            }
        }
    }
}

/// The owner and mode of the socket that a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketFile {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl UserdbSession {
    /// Dovecot's rule: through a socket of mode 0666, whoever is neither root nor the socket's owner may
    /// look up users of his own uid only; any other mode leaves it to the file's permissions.
    #[must_use]
    pub fn new(file: Option<SocketFile>, peer: Option<Peer>) -> Self {
        let only_uid = match (file, peer) {
            (Some(file), Some(peer)) if file.mode & 0o777 == 0o666 => {
                let owner = peer.uid == 0 || peer.uid == file.uid || peer.gid == file.gid;
                (!owner).then_some(peer.uid)
            }
            _ => None,
        };
        Self { greeted: false, only_uid }
    }

    /// Takes a line without its LF.
    ///
    /// # Errors
    /// [`Disconnect`] when the connection must be closed, as Dovecot does.
    pub fn line<'a>(&mut self, line: &'a [u8]) -> Result<Event<'a>, Disconnect> {
        match userdb_line(line).map_err(Disconnect::Broken)? {
            UserdbLine::Version { major, .. } if major != MAJOR => Err(Disconnect::Version(major)),
            UserdbLine::Version { .. } => {
                self.greeted = true;
                Ok(Event::Nothing)
            }
            UserdbLine::Cpid(_) => Ok(Event::Nothing),
            _ if !self.greeted => Err(Disconnect::OutOfOrder),
            UserdbLine::User(named) => Ok(Event::User(named)),
            UserdbLine::Pass(named) if self.only_uid.is_some() => Ok(Event::NotAllowed(named.id, "PASS")),
            UserdbLine::Pass(named) => Ok(Event::Pass(named)),
            UserdbLine::List { id, .. } if self.only_uid.is_some() => Ok(Event::NotAllowed(id, "LIST")),
            UserdbLine::List { id, parameters } => Ok(Event::List(id, parameters)),
            UserdbLine::CacheFlush { .. } if self.only_uid.is_some() => {
                Err(Disconnect::NotAllowed("CACHE-FLUSH"))
            }
            UserdbLine::CacheFlush { id, .. } => Ok(Event::CacheFlush(id)),
        }
    }

    /// Appends the answer to `USER`; tells the result in a word for the figures.
    pub fn user(&self, id: u32, answer: &Answer, out: &mut Vec<u8>) -> &'static str {
        match answer {
            Answer::Found(user, fields) => {
                let uid = fields.value("uid").and_then(|uid| uid.parse::<u32>().ok());
                if self.only_uid.is_some() && uid != self.only_uid {
                    Reply::new("FAIL", id, out).end();
                    return "refused";
                }
                let mut line = Reply::new("USER", id, out);
                line.text(user.as_bytes());
                for (name, value) in fields.iter() {
                    let fits = match value {
                        Some(value) => line.field(name, value),
                        None => line.flag(name),
                    };
                    if !fits {
                        log::warn!("userdb: field {name} does not fit into the answer for {user}");
                    }
                }
                line.end();
                "found"
            }
            Answer::Unknown => {
                Reply::new("NOTFOUND", id, out).end();
                "unknown"
            }
            Answer::Unavailable { .. } => {
                Reply::new("FAIL", id, out).end();
                "unavailable"
            }
        }
    }

    /// Appends the answer to `PASS`; tells the result in a word for the figures.
    pub fn pass(id: u32, answer: &Answer, out: &mut Vec<u8>) -> &'static str {
        match answer {
            Answer::Found(user, fields) => {
                let mut line = Reply::new("PASS", id, out);
                line.field("user", user);
                for (name, value) in fields.iter().filter(|(name, _)| is_shown(name)) {
                    let fits = match value {
                        Some(value) => line.field(name, value),
                        None => line.flag(name),
                    };
                    if !fits {
                        log::warn!("passdb: field {name} does not fit into the answer for {user}");
                    }
                }
                line.end();
                "found"
            }
            Answer::Unknown => {
                Reply::new("NOTFOUND", id, out).end();
                "unknown"
            }
            Answer::Unavailable { .. } => {
                Reply::new("FAIL", id, out).end();
                "unavailable"
            }
        }
    }

    /// Appends one line of a `LIST`.
    pub fn listed(id: u32, user: &str, out: &mut Vec<u8>) {
        let mut line = Reply::new("LIST", id, out);
        line.text(user.as_bytes());
        line.end();
    }

    /// Appends the end of a `LIST`.
    pub fn list_done(id: u32, complete: bool, out: &mut Vec<u8>) {
        let mut line = Reply::new("DONE", id, out);
        line.text(if complete { b"" } else { b"fail" });
        line.end();
    }

    /// Appends the answer to what [`Event::NotAllowed`] tells of: as Dovecot's, which keeps the connection.
    pub fn refused(id: u32, command: &str, out: &mut Vec<u8>) {
        match command {
            "LIST" => Self::list_done(id, false, out),
            _ => Reply::new("FAIL", id, out).end(),
        }
    }

    /// Appends the answer to `CACHE-FLUSH`.
    pub fn flushed(id: u32, count: usize, out: &mut Vec<u8>) {
        let mut line = Reply::new("OK", id, out);
        line.text(count.to_string().as_bytes());
        line.end();
    }
}

/// What a passdb knows for the userdb stays out of PASS, as with Dovecot, and secrets as well.
fn is_shown(name: &str) -> bool {
    name != "pass" && name != "password" && !name.starts_with("userdb_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    fn session(mode: u32, uid: u32) -> UserdbSession {
        let file = SocketFile { mode, uid: 100, gid: 100 };
        let peer = Peer { pid: Some(1), uid, gid: uid };
        let mut session = UserdbSession::new(Some(file), Some(peer));
        assert_eq!(session.line(b"VERSION\t1\t1"), Ok(Event::Nothing));
        session
    }

    fn found(uid: &str) -> Answer {
        let mut fields = Fields::new();
        fields.set("uid", Some(uid.into()));
        fields.set("home", Some("/h".into()));
        Answer::Found("bob".into(), fields)
    }

    #[test]
    fn who_may_ask() {
        let mut stranger = session(0o666, 1000);
        assert_eq!(stranger.line(b"PASS\t3\tbob\tservice=x"), Ok(Event::NotAllowed(3, "PASS")));
        assert_eq!(stranger.line(b"LIST\t4\tservice=x"), Ok(Event::NotAllowed(4, "LIST")));
        assert_eq!(stranger.line(b"CACHE-FLUSH\t5"), Err(Disconnect::NotAllowed("CACHE-FLUSH")));
        let mut out = Vec::new();
        UserdbSession::refused(3, "PASS", &mut out);
        UserdbSession::refused(4, "LIST", &mut out);
        assert_eq!(out, b"FAIL\t3\nDONE\t4\tfail\n");
        out.clear();
        assert_eq!(stranger.user(1, &found("1001"), &mut out), "refused");
        assert_eq!(stranger.user(2, &found("1000"), &mut out), "found");
        assert_eq!(out, b"FAIL\t1\nUSER\t2\tbob\tuid=1000\thome=/h\n");
        for (mode, uid) in [(0o600, 1000), (0o666, 100), (0o666, 0)] {
            assert!(session(mode, uid).line(b"PASS\t1\tbob\tservice=x").is_ok(), "{mode:o} {uid}");
        }
    }

    #[test]
    fn answers() {
        let mut out = Vec::new();
        let session = session(0o600, 0);
        session.user(1, &Answer::Unknown, &mut out);
        session.user(2, &Answer::Unavailable { source: "sql".into(), detail: "x".into() }, &mut out);
        UserdbSession::pass(3, &found("1"), &mut out);
        UserdbSession::listed(4, "bob", &mut out);
        UserdbSession::list_done(4, true, &mut out);
        UserdbSession::list_done(5, false, &mut out);
        UserdbSession::flushed(6, 3, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NOTFOUND\t1\nFAIL\t2\nPASS\t3\tuser=bob\tuid=1\thome=/h\nLIST\t4\tbob\nDONE\t4\t\nDONE\t5\tfail\nOK\t6\t3\n"
        );
    }

    #[test]
    fn order() {
        let mut session = UserdbSession::new(None, None);
        assert_eq!(session.line(b"USER\t1\tbob\tservice=x"), Err(Disconnect::OutOfOrder));
        assert_eq!(session.line(b"VERSION\t2\t0"), Err(Disconnect::Version(2)));
    }
}
