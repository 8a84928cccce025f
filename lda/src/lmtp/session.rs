//! The conversation of one connection: who may say what, and what is answered (RFC 2033). Pure.
//!
//! [`Session::step`] takes bytes and tells what is to be done next; the replies it gives itself go into `out`.
//! Where the answer needs the outside (is there such a user, was the message stored) it says so and is resumed.

use std::sync::Arc;

use super::command::{self, Command, LONGEST_LINE, Mail};
use super::data::{Chunk, Dots, Piece};
use super::path::Mailbox;
use super::reply::{self, Reply};

/// What the configuration says of every session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Our name in replies.
    pub host: String,
    /// What follows it in the greeting.
    pub greeting: String,
    /// The largest message in bytes, as it arrives; 0 for any.
    pub largest_message: u64,
    /// The most recipients of a transaction.
    pub most_recipients: usize,
    /// So many commands that cannot be followed are borne; at the next one the connection is closed.
    pub most_bad_commands: u32,
}

/// A connection, from its greeting to its end. `R` is what a look-up tells of a recipient.
#[derive(Debug)]
pub struct Session<R> {
    terms: Arc<Terms>,
    id: String,
    client: String,
    state: State,
    transaction: Option<Transaction<R>>,
    transactions: u32,
    bad_commands: u32,
}

#[derive(Debug)]
enum State {
    /// A command comes next.
    Command,
    /// A line that is too long goes on to its LF.
    LongLine,
    /// Bytes of DATA.
    Dots(Dots),
    /// Octets of BDAT.
    Chunk(Chunk),
    /// Octets of a BDAT that was refused, and the reply that follows them.
    Refused(Chunk, Reply),
    /// [`Step::Recipient`] was given; [`Session::recipient`] is awaited.
    Asked(Mailbox),
    /// [`Step::Deliver`] was given; [`Session::transaction`] is awaited.
    Complete,
    /// Nothing more is taken.
    Closed,
}

/// One message's envelope.
#[derive(Debug)]
pub struct Transaction<R> {
    /// The transaction's name in replies, the log and Received: the session's and the number, of the same length
    /// for all, because another attempt must make a file of the same size.
    pub id: String,
    /// Sender and parameters of MAIL.
    pub mail: Mail,
    /// The recipients that were taken, in order.
    pub recipients: Vec<Recipient<R>>,
    body: Body,
}

/// A recipient that was taken.
#[derive(Debug)]
pub struct Recipient<R> {
    /// As RCPT named it.
    pub mailbox: Mailbox,
    /// What is known of it; `None` when an earlier one is the same mailbox, whose delivery counts for both.
    pub known: Option<R>,
    /// The place of that earlier one.
    pub same_as: Option<usize>,
}

/// How far the message is.
#[derive(Debug, Default)]
enum Body {
    #[default]
    NotBegun,
    /// It comes in; so many bytes so far.
    Begun(u64),
    /// It cannot be taken: the rest is thrown away, then this is the answer.
    Failed(Reply),
    /// A chunk failed and the client knows; only RSET helps (RFC 3030 §2).
    Told,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// Send `out` and read more; what was not used of the input comes again.
    More,
    /// Look this recipient up and call [`Session::recipient`].
    Recipient(Mailbox),
    /// A message begins, in this transaction ([`Session::envelope`]).
    Begin,
    /// Its next bytes.
    Body(&'b [u8]),
    /// What has been stored of the message is to be thrown away. The transaction may go on.
    Discard,
    /// The message is whole: take the [`Session::transaction`], deliver it and answer for each recipient.
    Deliver,
    /// Send `out` and close the connection.
    Close,
}

impl<R> Session<R> {
    /// A new connection; the greeting goes into `out`. `id` names it in replies and the log.
    #[must_use]
    pub fn new(terms: Arc<Terms>, id: String, out: &mut Vec<u8>) -> Self {
        reply::greeting(out, &terms.host, &terms.greeting);
        Self {
            terms,
            id,
            client: String::new(),
            state: State::Command,
            transaction: None,
            transactions: 0,
            bad_commands: 0,
        }
    }

    /// What the client calls itself; empty before LHLO.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The session's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The transaction that is going on.
    #[must_use]
    pub fn envelope(&self) -> Option<&Transaction<R>> {
        self.transaction.as_ref()
    }

    /// Whether a message is coming in, or is between two chunks.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| !matches!(transaction.body, Body::NotBegun))
    }

    /// Where the conversation stands, in a word for the log.
    #[must_use]
    pub fn place(&self) -> &'static str {
        match (&self.state, &self.transaction) {
            (State::Dots(_), _) => "DATA",
            (State::Chunk(_) | State::Refused(..), _) => "BDAT",
            (_, Some(transaction)) if transaction.recipients.is_empty() => "MAIL",
            (_, Some(_)) => "RCPT",
            (_, None) => "READY",
        }
    }

    /// Takes bytes from the beginning of `input`, tells how many it used and what is to be done. To be called again
    /// with the rest until it says [`Step::More`] or [`Step::Close`].
    ///
    /// `input` must be able to hold [`LONGEST_LINE`] bytes: with less in it, a command line may be incomplete.
    pub fn step<'b>(&mut self, input: &'b [u8], out: &mut Vec<u8>) -> (usize, Step<'b>) {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            if let State::Closed = self.state {
                return (used, Step::Close);
            }
            let (count, step) = self.advance(rest, out);
            used += count;
            match step {
                // A command that was answered here.
                None => {}
                Some(step) => return (used, step),
            }
        }
    }

    fn advance<'b>(&mut self, input: &'b [u8], out: &mut Vec<u8>) -> (usize, Option<Step<'b>>) {
        if let Some(step) = self.chunk_end(out) {
            return (0, step);
        }
        if input.is_empty() {
            return (0, Some(Step::More));
        }
        match &mut self.state {
            State::Command => self.line(input, out),
            State::LongLine => match memchr::memchr(b'\n', input) {
                None => (input.len(), Some(Step::More)),
                Some(end) => {
                    self.state = State::Command;
                    self.bad(&Reply::LINE_TOO_LONG, out);
                    (end + 1, None)
                }
            },
            State::Dots(dots) => match dots.next(input) {
                (used, Piece::Bytes(bytes)) => (used, self.body(bytes)),
                (used, Piece::End) => (used, self.message_end(out)),
            },
            State::Chunk(chunk) => {
                let bytes = chunk.next(input);
                (bytes.len(), self.body(bytes))
            }
            State::Refused(chunk, _) => (chunk.next(input).len(), None),
            // The caller has not done what it was told to; there is no other way to go on.
            State::Asked(_) | State::Complete | State::Closed => {
                self.state = State::Closed;
                (0, None)
            }
        }
    }

    /// What follows when the octets of a BDAT are there; `None` when they are not, or there is none.
    fn chunk_end<'b>(&mut self, out: &mut Vec<u8>) -> Option<Option<Step<'b>>> {
        match &self.state {
            State::Refused(chunk, reply) if chunk.is_complete() => {
                let reply = reply.clone();
                self.state = State::Command;
                self.bad(&reply, out);
                Some(None)
            }
            State::Chunk(chunk) if chunk.is_complete() && chunk.last => Some(self.message_end(out)),
            State::Chunk(chunk) if chunk.is_complete() => {
                self.state = State::Command;
                self.chunk_stored(out);
                Some(None)
            }
            _ => None,
        }
    }

    fn line<'b>(&mut self, input: &'b [u8], out: &mut Vec<u8>) -> (usize, Option<Step<'b>>) {
        let Some(end) = memchr::memchr(b'\n', input) else {
            if input.len() < LONGEST_LINE {
                return (0, Some(Step::More));
            }
            self.state = State::LongLine;
            return (input.len(), None);
        };
        if end >= LONGEST_LINE {
            self.bad(&Reply::LINE_TOO_LONG, out);
            return (end + 1, None);
        }
        let line = input.get(..end).unwrap_or_default();
        match command::parse(line) {
            Ok(command) => (end + 1, self.command(command, out)),
            Err(reply) => {
                self.bad(&reply, out);
                if line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT")) {
                    // Octets follow, nobody knows how many: a message's text must not be read as commands.
                    self.state = State::Closed;
                }
                (end + 1, None)
            }
        }
    }

    fn command<'b>(&mut self, command: Command<'_>, out: &mut Vec<u8>) -> Option<Step<'b>> {
        match command {
            Command::Lhlo(name) => {
                name.clone_into(&mut self.client);
                reply::extensions(out, &self.terms.host, self.terms.largest_message);
                self.reset()
            }
            Command::Rset => {
                Reply::OK.write(out);
                self.reset()
            }
            Command::Quit => {
                Reply::BYE.write(out);
                self.state = State::Closed;
                self.reset()
            }
            Command::Noop => {
                Reply::OK.write(out);
                None
            }
            Command::Vrfy => {
                Reply::TRY_RCPT.write(out);
                None
            }
            Command::Mail(mail) => {
                self.mail(mail, out);
                None
            }
            Command::Rcpt(mailbox) => self.rcpt(mailbox, out),
            Command::Data => self.data(out),
            Command::Bdat { size, last } => self.bdat(Chunk::new(size, last)),
        }
    }

    fn mail(&mut self, mail: Mail, out: &mut Vec<u8>) {
        if self.transaction.is_some() {
            return self.bad(&Reply::MAIL_ALREADY, out);
        }
        if self.terms.largest_message > 0 && mail.size.is_some_and(|size| size > self.terms.largest_message) {
            return Reply::TOO_BIG.write(out);
        }
        self.transactions = self.transactions.saturating_add(1);
        let id = format!("{}{}", self.id, base36(self.transactions));
        self.transaction = Some(Transaction { id, mail, recipients: Vec::new(), body: Body::NotBegun });
        Reply::SENDER_OK.write(out);
    }

    fn rcpt<'b>(&mut self, mailbox: Mailbox, out: &mut Vec<u8>) -> Option<Step<'b>> {
        let Some(transaction) = &mut self.transaction else {
            self.bad(&Reply::NO_MAIL, out);
            return None;
        };
        if !matches!(transaction.body, Body::NotBegun) {
            self.bad(&Reply::IN_CHUNKS, out);
            return None;
        }
        if mailbox.is_internationalized() && !transaction.mail.is_internationalized {
            Reply::NOT_INTERNATIONALIZED.write(out);
            return None;
        }
        if transaction.recipients.len() >= self.terms.most_recipients {
            Reply::TOO_MANY_RECIPIENTS.write(out);
            return None;
        }
        let earlier = transaction.recipients.iter().position(|earlier| earlier.mailbox.is_same(&mailbox));
        if let Some(place) = earlier {
            transaction.recipients.push(Recipient { mailbox, known: None, same_as: Some(place) });
            Reply::RECIPIENT_OK.write(out);
            return None;
        }
        self.state = State::Asked(mailbox.clone());
        Some(Step::Recipient(mailbox))
    }

    /// Resumes after [`Step::Recipient`]: what is known of the recipient, or why it is refused.
    pub fn recipient(&mut self, answer: Result<R, Reply>, out: &mut Vec<u8>) {
        let State::Asked(mailbox) = std::mem::replace(&mut self.state, State::Command) else { return };
        match (answer, &mut self.transaction) {
            (Ok(known), Some(transaction)) => {
                transaction.recipients.push(Recipient { mailbox, known: Some(known), same_as: None });
                Reply::RECIPIENT_OK.write(out);
            }
            (Err(reply), _) => reply.write(out),
            (Ok(_), None) => Reply::NO_MAIL.write(out),
        }
    }

    fn data<'b>(&mut self, out: &mut Vec<u8>) -> Option<Step<'b>> {
        let refusal = match &mut self.transaction {
            None => Reply::NO_MAIL,
            Some(transaction) => match transaction.body {
                Body::NotBegun if transaction.recipients.is_empty() => Reply::NO_RECIPIENTS,
                Body::NotBegun => {
                    transaction.body = Body::Begun(0);
                    self.state = State::Dots(Dots::default());
                    Reply::new(354, "", "OK").write(out);
                    return Some(Step::Begin);
                }
                Body::Begun(_) | Body::Failed(_) => Reply::IN_CHUNKS,
                Body::Told => Reply::CHUNK_FAILED,
            },
        };
        self.bad(&refusal, out);
        None
    }

    fn bdat<'b>(&mut self, chunk: Chunk) -> Option<Step<'b>> {
        let refusal = match &mut self.transaction {
            None => Reply::NO_MAIL,
            Some(transaction) => match transaction.body {
                Body::NotBegun if transaction.recipients.is_empty() => Reply::NO_RECIPIENTS,
                Body::NotBegun => {
                    transaction.body = Body::Begun(0);
                    self.state = State::Chunk(chunk);
                    return Some(Step::Begin);
                }
                Body::Begun(_) | Body::Failed(_) => {
                    self.state = State::Chunk(chunk);
                    return None;
                }
                Body::Told => Reply::CHUNK_FAILED,
            },
        };
        self.state = State::Refused(chunk, refusal);
        None
    }

    /// Bytes of the message: handed on, counted, or thrown away.
    fn body<'b>(&mut self, bytes: &'b [u8]) -> Option<Step<'b>> {
        let Some(Transaction { body: Body::Begun(size), .. }) = &mut self.transaction else { return None };
        if bytes.is_empty() {
            return None;
        }
        // A length in memory fits in 64 bits.
        *size = size.saturating_add(bytes.len() as u64);
        if self.terms.largest_message > 0 && *size > self.terms.largest_message {
            self.fail(Reply::TOO_BIG);
            return Some(Step::Discard);
        }
        Some(Step::Body(bytes))
    }

    /// The message cannot be stored: the rest of it is read and thrown away, and `reply` is the answer for every
    /// recipient. For use between [`Step::Begin`] and [`Step::Deliver`].
    pub fn fail(&mut self, reply: Reply) {
        if let Some(transaction) = &mut self.transaction
            && matches!(transaction.body, Body::Begun(_))
        {
            transaction.body = Body::Failed(reply);
        }
    }

    fn message_end<'b>(&mut self, out: &mut Vec<u8>) -> Option<Step<'b>> {
        self.state = State::Command;
        match &self.transaction {
            Some(Transaction { body: Body::Failed(reply), recipients, .. }) => {
                for _ in recipients {
                    reply.write(out);
                }
                self.transaction = None;
                None
            }
            Some(_) => {
                self.state = State::Complete;
                Some(Step::Deliver)
            }
            None => None,
        }
    }

    fn chunk_stored(&mut self, out: &mut Vec<u8>) {
        let Some(transaction) = &mut self.transaction else { return };
        match &transaction.body {
            Body::Failed(reply) => {
                reply.write(out);
                transaction.body = Body::Told;
            }
            Body::Begun(size) => Reply::new(250, "2.0.0", format!("{size} octets so far")).write(out),
            Body::NotBegun | Body::Told => {}
        }
    }

    /// Resumes after [`Step::Deliver`]: hands the transaction over. A reply has to follow for each of its recipients.
    pub fn transaction(&mut self) -> Option<Transaction<R>> {
        if !matches!(self.state, State::Complete) {
            return None;
        }
        self.state = State::Command;
        self.bad_commands = 0;
        self.transaction.take()
    }

    /// Ends the connection with a 421, whatever is going on; `why` follows the host's name.
    pub fn close(&mut self, status: &'static str, why: &str, out: &mut Vec<u8>) {
        Reply::closing(status, &self.terms.host, why).write(out);
        self.state = State::Closed;
        self.transaction = None;
    }

    fn reset<'b>(&mut self) -> Option<Step<'b>> {
        let transaction = self.transaction.take()?;
        matches!(transaction.body, Body::Begun(_)).then_some(Step::Discard)
    }

    /// Answers a command that cannot be followed, and counts it.
    fn bad(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        self.bad_commands += 1;
        if self.bad_commands > self.terms.most_bad_commands {
            self.close("4.7.0", "Too many invalid commands.", out);
        } else {
            reply.write(out);
        }
    }
}

/// Four digits of base 36.
fn base36(number: u32) -> String {
    let digit = |place: u32| char::from_digit(number / 36_u32.pow(place) % 36, 36).unwrap_or('0');
    [3, 2, 1, 0].map(digit).iter().collect()
}

impl<R> Transaction<R> {
    /// A recipient's name in replies and the log: the transaction's, with `:R2` from the second on.
    #[must_use]
    pub fn recipient_id(&self, place: usize) -> String {
        if place == 0 { self.id.clone() } else { format!("{}:R{}", self.id, place + 1) }
    }
}

#[cfg(test)]
mod tests;
