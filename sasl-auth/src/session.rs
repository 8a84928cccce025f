//! One client's conversation: handshake, request ids, CONT and CANCEL. No socket, no clock.

use std::fmt;
use std::time::{Duration, Instant};

use base::dovecot::MAJOR;
use base::dovecot::request::{Auth, Broken, ClientLine, Parameters, client_line};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What is remembered of a connection. `E` is an exchange that waits for its client.
#[derive(Debug)]
pub struct Session<E> {
    stage: Stage,
    minor: u32,
    most: usize,
    /// By rising number. A client counts up, so that what is new goes last.
    open: Vec<(u32, Open<E>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Version,
    Cpid,
    Requests,
}

#[derive(Debug)]
enum Open<E> {
    /// We are at it; `serial` tells a reused id from the request that had it before.
    Working,
    /// The client was sent a challenge.
    Waiting(E, Instant),
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a, E> {
    /// Nothing to do.
    Nothing,
    /// A new request.
    Begin(Begin<'a>),
    /// The client's answer to a challenge.
    Continue {
        /// The request's number.
        id: u32,
        /// The exchange that was waiting.
        exchange: E,
        /// The answer, decoded.
        data: Vec<u8>,
    },
    /// The request is over, by the client's wish or mistake: drop what works at it, and send
    /// FAIL when there is a text.
    End {
        /// The request's number.
        id: u32,
        /// `code=` and `reason=` for the client.
        fail: Option<(Option<&'static str>, &'static str)>,
    },
}

/// A new request, as the line has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Begin<'a> {
    /// The request's number.
    pub id: u32,
    /// Which of the offered mechanisms: its place in the list.
    pub mechanism: usize,
    /// What the client tells about the connection.
    pub parameters: Parameters<'a>,
    /// The initial response, decoded.
    pub initial: Option<Vec<u8>>,
}

/// Why the connection must end. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
    /// A line that is none of the protocol's.
    Broken(Broken),
    /// Another major version than ours.
    Version(u32),
    /// A request before the handshake is complete, or a second handshake.
    OutOfOrder,
    /// A mechanism that was not offered.
    Mechanism(String),
    /// A request number that is still in use.
    DuplicateId(u32),
    /// More requests in hand than one client may have.
    TooMany(usize),
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => broken.fmt(f),
            Self::Version(major) => write!(f, "speaks protocol version {major}, we speak {MAJOR}"),
            Self::OutOfOrder => f.write_str("did not begin with VERSION and CPID"),
            Self::Mechanism(name) => write!(f, "asked for mechanism {name}, which was not offered"),
            Self::DuplicateId(id) => write!(f, "used request id {id} while it was in use"),
            Self::TooMany(most) => write!(f, "has more than {most} requests in hand"),
        }
    }
}

impl<E> Session<E> {
    /// A connection with at most `most` open requests.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { stage: Stage::Version, minor: 0, most, open: Vec::new() }
    }

    /// Whether the handshake is complete.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Requests
    }

    /// The client's minor version.
    #[must_use]
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// How many requests are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// How many of them we are at; the others wait for their clients.
    #[must_use]
    pub fn working(&self) -> usize {
        self.open.iter().filter(|(_, open)| matches!(open, Open::Working)).count()
    }

    /// Takes a line without its LF. `offered` are the names in the greeting.
    ///
    /// # Errors
    /// [`Disconnect`] when the connection must be closed, as Dovecot does.
    pub fn line<'a>(&mut self, line: &'a [u8], offered: &[&str]) -> Result<Event<'a, E>, Disconnect> {
        let parsed = client_line(line).map_err(Disconnect::Broken)?;
        match (self.stage, parsed) {
            (Stage::Version, ClientLine::Version { major, minor }) => {
                if major != MAJOR {
                    return Err(Disconnect::Version(major));
                }
                self.minor = minor;
                self.stage = Stage::Cpid;
                Ok(Event::Nothing)
            }
            (Stage::Cpid, ClientLine::Cpid(_)) => {
                self.stage = Stage::Requests;
                Ok(Event::Nothing)
            }
            (Stage::Requests, ClientLine::Auth(auth)) => self.begin(&auth, offered),
            (Stage::Requests, ClientLine::Cont { id, data }) => Ok(self.go_on(id, data)),
            (Stage::Requests, ClientLine::Cancel(id)) => {
                self.take(id);
                Ok(Event::End { id, fail: None })
            }
            _ => Err(Disconnect::OutOfOrder),
        }
    }

    /// The request `id` was answered with a challenge and waits for its client from `now` on.
    /// Nothing happens when the client has given it up meanwhile.
    pub fn wait(&mut self, id: u32, exchange: E, now: Instant) {
        if let Ok(place) = self.place(id)
            && let Some((_, open)) = self.open.get_mut(place)
        {
            *open = Open::Waiting(exchange, now);
        }
    }

    /// The request `id` has its final answer.
    pub fn finish(&mut self, id: u32) {
        self.take(id);
    }

    /// Where a request is, or where it would go.
    fn place(&self, id: u32) -> Result<usize, usize> {
        self.open.binary_search_by_key(&id, |(id, _)| *id)
    }

    fn take(&mut self, id: u32) -> Option<Open<E>> {
        self.place(id).ok().map(|place| self.open.remove(place).1)
    }

    fn put(&mut self, id: u32, open: Open<E>) {
        match self.place(id) {
            Ok(place) => {
                if let Some((_, old)) = self.open.get_mut(place) {
                    *old = open;
                }
            }
            Err(place) => self.open.insert(place, (id, open)),
        }
    }

    /// Drops requests whose client has been silent for `patience`, and tells how many. A client
    /// that gives up by `*` leaves its request open; Postfix never cancels.
    pub fn expire(&mut self, now: Instant, patience: Duration) -> usize {
        let before = self.open.len();
        self.open.retain(|(_, open)| match open {
            Open::Working => true,
            Open::Waiting(_, since) => now.saturating_duration_since(*since) < patience,
        });
        if self.open.is_empty() && self.open.capacity() > 64 {
            self.open = Vec::new();
        }
        before - self.open.len()
    }

    fn begin<'a>(&mut self, auth: &Auth<'a>, offered: &[&str]) -> Result<Event<'a, E>, Disconnect> {
        let id = auth.id;
        let known = offered.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(auth.mechanism));
        let Some(mechanism) = known else {
            let name = String::from_utf8_lossy(auth.mechanism).chars().take(40).collect();
            return Err(Disconnect::Mechanism(name));
        };
        if self.place(id).is_ok() {
            return Err(Disconnect::DuplicateId(id));
        }
        let initial = match auth.initial {
            None => None,
            Some(b"") if self.minor < 2 => None,
            Some(b"" | b"=") => Some(Vec::new()),
            Some(data) => match decoded(data) {
                Some(data) => Some(data),
                None => {
                    let reason = "Invalid base64 data in initial response";
                    return Ok(Event::End { id, fail: Some((Some("invalid_base64"), reason)) });
                }
            },
        };
        if self.open.len() >= self.most && !self.drop_longest_waiting() {
            return Err(Disconnect::TooMany(self.most));
        }
        self.put(id, Open::Working);
        Ok(Event::Begin(Begin { id, mechanism, parameters: auth.parameters, initial }))
    }

    fn go_on(&mut self, id: u32, data: &[u8]) -> Event<'static, E> {
        let fail = |code, reason| Event::End { id, fail: Some((code, reason)) };
        match self.take(id) {
            None => fail(None, "Authentication request timed out"),
            Some(Open::Working) => fail(None, "Unexpected continuation"),
            Some(Open::Waiting(exchange, _)) => match decoded(data) {
                Some(data) => {
                    self.put(id, Open::Working);
                    Event::Continue { id, exchange, data }
                }
                None => fail(Some("invalid_base64"), "Invalid base64 data in continued response"),
            },
        }
    }

    /// Makes room by giving up the request that has waited longest for its client.
    fn drop_longest_waiting(&mut self) -> bool {
        let waiting = self.open.iter().filter_map(|(id, open)| match open {
            Open::Working => None,
            Open::Waiting(_, since) => Some((*since, *id)),
        });
        match waiting.min() {
            Some((_, id)) => self.take(id).is_some(),
            None => false,
        }
    }
}

/// Strict base64; a CR at the end, from a client with CR LF, is let pass as Dovecot does.
fn decoded(data: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(data.strip_suffix(b"\r").unwrap_or(data)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 2] = ["PLAIN", "LOGIN"];

    fn ready(minor: u32, most: usize) -> Session<&'static str> {
        let mut session = Session::new(most);
        session.line(format!("VERSION\t1\t{minor}").as_bytes(), &OFFERED).unwrap();
        assert!(!session.is_ready());
        session.line(b"CPID\t7", &OFFERED).unwrap();
        assert!(session.is_ready());
        session
    }

    fn auth(id: u32) -> Vec<u8> {
        format!("AUTH\t{id}\tplain\tservice=smtp").into_bytes()
    }

    #[test]
    fn the_handshake_comes_first_and_once() {
        let mut session = Session::<()>::new(10);
        assert_eq!(session.line(b"VERSION\t2\t0", &OFFERED), Err(Disconnect::Version(2)));
        let mut session = Session::<()>::new(10);
        assert_eq!(session.line(&auth(1), &OFFERED), Err(Disconnect::OutOfOrder));
        let mut session = Session::<()>::new(10);
        assert_eq!(session.line(b"CPID\t1", &OFFERED), Err(Disconnect::OutOfOrder));
        let mut session = ready(0, 10);
        assert_eq!(session.line(b"CPID\t1", &OFFERED), Err(Disconnect::OutOfOrder));
    }

    #[test]
    fn initial_responses_by_minor() {
        for (minor, field, want) in [
            (0, "", None),
            (1, "\tresp=", None),
            (2, "\tresp=", Some(vec![])),
            (0, "\tresp==", Some(vec![])),
            (0, "\tresp=AGEAYg==", Some(b"\0a\0b".to_vec())),
            (0, "\tresp=AGEAYg==\r", Some(b"\0a\0b".to_vec())),
        ] {
            let mut session = ready(minor, 10);
            let line = format!("AUTH\t1\tPLAIN\tservice=smtp{field}");
            let Ok(Event::Begin(begin)) = session.line(line.as_bytes(), &OFFERED) else { panic!("{line}") };
            assert_eq!(begin.initial, want, "{line}");
        }
        let mut session = ready(2, 10);
        let line = b"AUTH\t1\tPLAIN\tservice=smtp\tresp=!!";
        let Ok(Event::End { id: 1, fail: Some((Some("invalid_base64"), _)) }) = session.line(line, &OFFERED)
        else {
            panic!()
        };
        assert_eq!(session.open(), 0);
    }

    #[test]
    fn a_conversation() {
        let now = base::clock::monotonic_now();
        let mut session = ready(0, 10);
        assert!(matches!(session.line(&auth(1), &OFFERED), Ok(Event::Begin(_))));
        assert_eq!((session.open(), session.working()), (1, 1));
        session.wait(1, "first", now);
        assert_eq!((session.open(), session.working()), (1, 0));
        assert_eq!(
            session.line(b"CONT\t1\tYQ==", &OFFERED),
            Ok(Event::Continue { id: 1, exchange: "first", data: b"a".to_vec() })
        );
        session.finish(1);
        assert!(matches!(session.line(&auth(1), &OFFERED), Ok(Event::Begin(_))), "an id may come again");
    }

    #[test]
    fn ids_that_are_wrong() {
        let mut session = ready(0, 10);
        session.line(&auth(5), &OFFERED).unwrap();
        assert_eq!(session.line(&auth(5), &OFFERED), Err(Disconnect::DuplicateId(5)));
        let reason = |event| match event {
            Ok(Event::End { fail: Some((_, reason)), .. }) => reason,
            other => panic!("{other:?}"),
        };
        let mut session = ready(0, 10);
        assert_eq!(reason(session.line(b"CONT\t9\t", &OFFERED)), "Authentication request timed out");
        session.line(&auth(5), &OFFERED).unwrap();
        assert_eq!(reason(session.line(b"CONT\t5\t", &OFFERED)), "Unexpected continuation");
        session.line(&auth(6), &OFFERED).unwrap();
        session.wait(6, "x", base::clock::monotonic_now());
        assert!(reason(session.line(b"CONT\t6\t###", &OFFERED)).starts_with("Invalid base64"));
        assert_eq!(session.line(b"CANCEL\t77", &OFFERED), Ok(Event::End { id: 77, fail: None }));
        let other = b"AUTH\t1\tGSSAPI\tservice=smtp";
        assert_eq!(session.line(other, &OFFERED), Err(Disconnect::Mechanism("GSSAPI".into())));
    }

    #[test]
    fn the_number_of_requests_is_bounded() {
        let start = base::clock::monotonic_now();
        let mut session = ready(0, 3);
        for id in 1..=3 {
            session.line(&auth(id), &OFFERED).unwrap();
            session.wait(id, "x", start + Duration::from_secs(u64::from(10 - id)));
        }
        // The third has waited longest; it makes room.
        assert!(matches!(session.line(&auth(4), &OFFERED), Ok(Event::Begin(_))));
        assert!(matches!(session.line(b"CONT\t3\t", &OFFERED), Ok(Event::End { fail: Some(_), .. })));
        session.line(&auth(5), &OFFERED).unwrap();
        session.line(&auth(6), &OFFERED).unwrap();
        assert_eq!(session.line(&auth(7), &OFFERED), Err(Disconnect::TooMany(3)));
        assert_eq!(session.expire(start + Duration::from_secs(60), Duration::from_secs(150)), 0);
        session.wait(6, "x", start);
        assert_eq!(session.expire(start + Duration::from_secs(151), Duration::from_secs(150)), 1);
    }
}
