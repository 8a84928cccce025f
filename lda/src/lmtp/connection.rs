//! One connection: reads, lets the session and the agent do their work, writes, keeps the time limits. Knows no mail.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::clock::monotonic_now;

use super::command::LONGEST_LINE;
use super::path::Mailbox;
use super::reply::Reply;
use super::session::{Session, Step, Terms, Transaction};
use super::stream::Stream;

/// What delivers: the part of the conversation that needs users and folders.
pub trait Agent {
    /// What is known of a recipient.
    type User;

    /// Whether there is such a recipient, and may get mail.
    ///
    /// # Errors
    /// The reply that refuses it.
    fn look_up(&mut self, mailbox: &Mailbox) -> Result<Self::User, Reply>;

    /// A message begins.
    ///
    /// # Errors
    /// The reply for all recipients.
    fn begin(&mut self, client: &str, transaction: &Transaction<Self::User>) -> Result<(), Reply>;

    /// Its next bytes, with line ends as they arrive.
    ///
    /// # Errors
    /// The reply for all recipients; what was stored has to be gone then.
    fn write(&mut self, transaction: &Transaction<Self::User>, bytes: &[u8]) -> Result<(), Reply>;

    /// The message is not to come: nothing may be left of it.
    fn discard(&mut self);

    /// The message is whole: deliver it, and tell `each` the reply for every recipient, in their order. It says whether
    /// the client has been told; if not, the client will try again.
    fn deliver(&mut self, transaction: &mut Transaction<Self::User>, each: &mut dyn FnMut(Reply) -> bool);
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Without a byte.
    pub idle: Duration,
    /// For one message, from DATA or the first BDAT on.
    pub message: Duration,
}

/// What the daemon tells its connections, and they tell it.
#[derive(Debug, Default)]
pub struct Shared {
    /// The daemon is to end: no new transaction begins.
    pub stopping: AtomicBool,
    /// There is a transaction in hand.
    pub in_hand: AtomicBool,
}

/// Bytes that are read at a time; a command line fits.
const INPUT: usize = 16 * 1024;
/// Replies are sent when they are as long, although more input is there.
const OUTPUT: usize = 4 * 1024;
const _: () = assert!(INPUT > LONGEST_LINE, "a command line must fit");

/// A connection and all it holds.
pub struct Connection<'a, A: Agent> {
    stream: &'a Stream,
    session: Session<A::User>,
    agent: A,
    shared: &'a Shared,
    patience: Patience,
    /// When the message that is coming in must be there.
    deadline: Option<Instant>,
    /// What the socket's time limit is.
    limit: Duration,
    input: Vec<u8>,
    /// What of `input` is filled and not used.
    filled: std::ops::Range<usize>,
    out: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client said QUIT, or the session closed it.
    Closed,
    /// The client was gone; in a message, nothing of it is kept.
    Gone,
    /// The client took too long.
    TimedOut,
    /// The daemon ends.
    Stopped,
}

/// Why no more bytes come.
enum Stop {
    Gone,
    Idle,
    Deadline,
}

impl<'a, A: Agent> Connection<'a, A> {
    /// A connection that has just been accepted. `id` is its name in replies and the log.
    pub fn new(
        stream: &'a Stream,
        shared: &'a Shared,
        terms: Arc<Terms>,
        patience: Patience,
        id: String,
        agent: A,
    ) -> Self {
        let mut out = Vec::new();
        let session = Session::new(terms, id, &mut out);
        Self {
            stream,
            session,
            agent,
            shared,
            patience,
            deadline: None,
            limit: Duration::ZERO,
            input: Vec::new(),
            filled: 0..0,
            out,
        }
    }

    /// Serves it to its end.
    ///
    /// # Errors
    /// What the socket says when it fails; the message in hand is not kept then.
    pub fn run(&mut self) -> io::Result<End> {
        let result = self.serve();
        self.agent.discard();
        result
    }

    /// Where the conversation stands, for the log.
    #[must_use]
    pub fn place(&self) -> &'static str {
        self.session.place()
    }

    fn serve(&mut self) -> io::Result<End> {
        self.stream.set_write_timeout(self.patience.idle)?;
        loop {
            let input = self.input.get(self.filled.clone()).unwrap_or_default();
            let (used, step) = self.session.step(input, &mut self.out);
            match step {
                Step::Body(bytes) => {
                    let written = match self.session.envelope() {
                        Some(envelope) => caught(|| self.agent.write(envelope, bytes)),
                        None => Ok(()),
                    };
                    self.filled.start += used;
                    self.failed(written);
                }
                Step::More => {
                    self.filled.start += used;
                    if let Some(end) = self.more()? {
                        return Ok(end);
                    }
                }
                Step::Close => {
                    self.flush()?;
                    return Ok(End::Closed);
                }
                Step::Recipient(mailbox) => {
                    self.filled.start += used;
                    let answer = caught(|| self.agent.look_up(&mailbox));
                    self.session.recipient(answer, &mut self.out);
                }
                Step::Begin => {
                    self.filled.start += used;
                    self.begin();
                }
                Step::Discard => {
                    self.filled.start += used;
                    self.agent.discard();
                }
                Step::Deliver => {
                    self.filled.start += used;
                    self.deliver()?;
                }
            }
            if self.out.len() >= OUTPUT {
                self.flush()?;
            }
        }
    }

    fn begin(&mut self) {
        self.deadline = monotonic_now().checked_add(self.patience.message);
        let begun = match self.session.envelope() {
            Some(envelope) => caught(|| self.agent.begin(self.session.client(), envelope)),
            None => Ok(()),
        };
        self.failed(begun);
    }

    /// The agent could not do it: the message is read to its end, then the reply is given.
    fn failed(&mut self, result: Result<(), Reply>) {
        if let Err(reply) = result {
            self.agent.discard();
            self.session.fail(reply);
        }
    }

    fn deliver(&mut self) -> io::Result<()> {
        let Some(mut transaction) = self.session.transaction() else { return Ok(()) };
        let wanted = transaction.recipients.len();
        let mut given = 0;
        let mut sent = Ok(());
        let (out, stream) = (&mut self.out, self.stream);
        let agent = &mut self.agent;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            agent.deliver(&mut transaction, &mut |reply| {
                reply.write(out);
                given += 1;
                // Whoever is delivered to is told at once, before what the delivery has in tmp goes: if the next one
                // takes long, or we are killed, the client knows what it need not send again.
                if sent.is_ok() {
                    sent = send(stream, out);
                }
                sent.is_ok()
            });
        }));
        if outcome.is_err() {
            self.agent.discard();
        }
        for _ in given..wanted {
            Reply::TEMPORARY.write(&mut self.out);
        }
        sent
    }

    /// Sends the replies and reads more; tells the end when nothing more comes.
    fn more(&mut self) -> io::Result<Option<End>> {
        let in_hand = self.session.envelope().is_some();
        self.shared.in_hand.store(in_hand, Ordering::SeqCst);
        if !in_hand && self.shared.stopping.load(Ordering::SeqCst) {
            self.session.close("4.3.2", "Shutting down", &mut self.out);
            self.flush()?;
            return Ok(Some(End::Stopped));
        }
        self.flush()?;
        match self.read()? {
            Ok(()) => Ok(None),
            Err(Stop::Gone) if self.shared.stopping.load(Ordering::SeqCst) => {
                self.session.close("4.3.2", "Shutting down", &mut self.out);
                self.flush()?;
                Ok(Some(End::Stopped))
            }
            Err(Stop::Gone) => Ok(Some(End::Gone)),
            Err(stop) => {
                let why = match stop {
                    Stop::Deadline => "The message took too long",
                    Stop::Gone | Stop::Idle => "Disconnected for inactivity",
                };
                self.session.close("4.4.2", why, &mut self.out);
                self.flush()?;
                Ok(Some(End::TimedOut))
            }
        }
    }

    fn read(&mut self) -> io::Result<Result<(), Stop>> {
        let limit = match self.deadline.filter(|_| self.session.is_receiving()) {
            None => self.patience.idle,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(monotonic_now());
                if left.is_zero() {
                    return Ok(Err(Stop::Deadline));
                }
                left.min(self.patience.idle)
            }
        };
        // Far from the deadline the socket's own limit stays as it is.
        if limit != self.limit {
            self.stream.set_read_timeout(limit)?;
            self.limit = limit;
        }
        if self.input.is_empty() {
            self.input.resize(INPUT, 0);
        }
        self.input.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        let room = self.input.get_mut(self.filled.end..).unwrap_or_default();
        let mut stream = self.stream;
        match stream.read(room) {
            Ok(0) => Ok(Err(Stop::Gone)),
            Ok(count) => {
                self.filled.end += count;
                Ok(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Ok(())),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(Err(if limit < self.patience.idle { Stop::Deadline } else { Stop::Idle }))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Err(Stop::Gone)),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        send(self.stream, &mut self.out)
    }
}

fn send(mut stream: &Stream, out: &mut Vec<u8>) -> io::Result<()> {
    if !out.is_empty() {
        stream.write_all(out)?;
        out.clear();
        out.shrink_to(OUTPUT);
    }
    Ok(())
}

/// A bug ends what is in hand with a temporary failure, never the daemon.
fn caught<T>(work: impl FnOnce() -> Result<T, Reply>) -> Result<T, Reply> {
    // What the panic may have left half done is thrown away with the message.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Reply::TEMPORARY))
}

#[cfg(test)]
mod tests;
