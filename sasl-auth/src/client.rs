//! One connection of Postfix or Exim: bytes to the session, its requests to the pipeline, answers back.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use base::clock;
use base::dovecot::LONGEST_CLIENT_LINE;
use base::dovecot::reply::{self, Reply};
use base::line::Lines;
use base::service::stream::Stream;
use tokio::io::AsyncWrite;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Sleep;

use crate::config::settings::InternalFailure;
use crate::outcome::Answer;
use crate::pipeline::{Exchange, Turn};
use crate::request::{Request, described};
use crate::server::Service;
use crate::session::{Event, Session};

/// With this much unread, the client is not read from until it has taken most of it (Dovecot's bound).
const MOST_UNREAD: usize = 50 * 1024;
/// How often waiting clients are looked at.
const TICK: Duration = Duration::from_secs(5);
/// A client that takes nothing of its answers for so long is given up, or sooner by `request_timeout`.
const LONGEST_BLOCK: Duration = Duration::from_secs(30);

/// A connection.
pub struct Client {
    stream: Stream,
    service: Service,
    number: u64,
    peer: String,
    session: Session<Box<Exchange>>,
    /// The names in the greeting: a reload may change them for later connections only.
    offered: Arc<[&'static str]>,
    lines: Lines,
    out: Vec<u8>,
    sent: usize,
    paused: bool,
    blocked_since: Option<Instant>,
    opened: Instant,
    tick: Option<Pin<Box<Sleep>>>,
    running: HashMap<u32, AbortHandle>,
    tasks: JoinSet<(u32, Turn)>,
    work: Vec<Work>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A turn under way. Boxed: most are over before the connection does anything else.
type Turning = Pin<Box<dyn Future<Output = Turn> + Send>>;

/// What a line has set going.
enum Work {
    Begin { id: u32, request: Box<Request>, options: crate::request::Options, initial: Option<Vec<u8>> },
    Continue { id: u32, exchange: Box<Exchange>, data: Vec<u8> },
    End { id: u32, fail: Option<(Option<&'static str>, &'static str)> },
}

/// What has happened on the connection.
enum Happened {
    Read(Result<(), End>),
    Written(std::io::Result<()>),
    Done(Result<(Id, (u32, Turn)), JoinError>),
    Tick,
    Stop,
}

/// Why a connection ends.
enum End {
    /// The client has closed it, or the system has.
    Gone,
    /// The client has done something that ends it; for the log.
    Broken(String),
    /// A database is away: Postfix is to say 454.
    Unavailable,
    /// The daemon stops.
    Stopping,
}

impl Client {
    /// A connection, before the greeting. `number` is unique among this process's connections.
    #[must_use]
    pub fn new(stream: Stream, service: Service, number: u64) -> Self {
        let active = service.active.load();
        let session = Session::new(active.settings.limits.requests_per_connection);
        let peer = match stream.peer() {
            Some(peer) => format!("client (pid {}, uid {})", peer.pid.unwrap_or(0), peer.uid),
            None => "client (TCP)".to_owned(),
        };
        let mut out = Vec::new();
        let mut cookie = [0; 16];
        if aws_lc_rs::rand::fill(&mut cookie).is_err() {
            // Only Dovecot's own login processes look at it.
            log::error!("no random bytes for a cookie");
        }
        let mechanisms = active.offered.iter().map(|one| (one.name, one.flags));
        reply::greeting(mechanisms, std::process::id(), number, &cookie, &mut out);
        let offered = Arc::clone(&active.offered_names);
        let tick = Some(Box::pin(tokio::time::sleep(active.settings.limits.handshake_timeout)));
        drop(active);
        let mut stopping = service.stopping.clone();
        let stop = Box::pin(async move {
            // An error means that the daemon's loop has ended: a stop as well.
            drop(stopping.wait_for(|stopping| *stopping).await);
        });
        Self {
            stream,
            service,
            number,
            peer,
            session,
            offered,
            lines: Lines::new(LONGEST_CLIENT_LINE),
            out,
            sent: 0,
            paused: false,
            blocked_since: None,
            opened: clock::monotonic_now(),
            tick,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            work: Vec::new(),
            stop,
        }
    }

    /// Serves the connection to its end.
    pub async fn run(mut self) {
        let end = loop {
            let happened = self.next().await;
            let step = match happened {
                Happened::Read(result) => match result {
                    Ok(()) => self.work(),
                    // What the lines before the broken one asked for is dropped with the connection.
                    Err(end) => Err(end),
                },
                Happened::Written(result) => result.map_err(|_error| End::Gone),
                Happened::Done(done) => self.done(done),
                Happened::Tick => self.tick(),
                Happened::Stop => Err(End::Stopping),
            };
            if let Err(end) = step {
                break end;
            }
        };
        match end {
            End::Gone => {}
            End::Broken(why) => {
                self.service.shared.metrics.disconnect();
                log::warn!("{} {why}; connection {} closed", self.peer, self.number);
            }
            End::Unavailable => log::debug!("connection {} closed without an answer", self.number),
            End::Stopping => self.finish().await,
        }
    }

    /// Waits for whatever comes first.
    async fn next(&mut self) -> Happened {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        if self.sent < self.out.len() {
            match self.poll_write(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Happened::Written(Err(error))),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    if self.blocked_since.is_none() {
                        self.blocked_since = Some(clock::monotonic_now());
                        self.arm(TICK);
                        return Poll::Ready(Happened::Written(Ok(())));
                    }
                }
            }
        }
        if !self.tasks.is_empty()
            && let Poll::Ready(Some(done)) = self.tasks.poll_join_next_with_id(cx)
        {
            return Poll::Ready(Happened::Done(done));
        }
        if let Some(tick) = &mut self.tick
            && tick.as_mut().poll(cx).is_ready()
        {
            self.tick = None;
            return Poll::Ready(Happened::Tick);
        }
        if self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Happened::Stop);
        }
        if !self.paused
            && let Poll::Ready(result) = self.poll_read(cx)
        {
            return Poll::Ready(Happened::Read(result));
        }
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Self { stream, session, lines, work, offered, .. } = self;
        let read = stream.poll_read_with(cx, |bytes| {
            if bytes.is_empty() {
                return Err(End::Gone);
            }
            let fed = lines.feed(bytes, |line| match session.line(line, offered) {
                Err(why) => ControlFlow::Break(End::Broken(why.to_string())),
                Ok(event) => {
                    work.extend(begun(event, offered));
                    ControlFlow::Continue(())
                }
            });
            match fed {
                Ok(ControlFlow::Continue(())) => Ok(()),
                Ok(ControlFlow::Break(end)) => Err(end),
                Err(_too_long) => {
                    Err(End::Broken(format!("sent us more than {LONGEST_CLIENT_LINE} bytes in a line")))
                }
            }
        });
        read.map(|result| result.unwrap_or(Err(End::Gone)))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let count = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            self.blocked_since = None;
            if self.out.len() - self.sent < MOST_UNREAD / 3 {
                self.paused = false;
            }
        }
        self.sent = 0;
        self.out.clear();
        // An idle connection holds no buffer.
        self.out.shrink_to(256);
        Poll::Ready(Ok(()))
    }

    /// Sets going what lines have asked for; what needs no waiting is answered here and now.
    fn work(&mut self) -> Result<(), End> {
        let arrived = clock::monotonic_now();
        let mut work = std::mem::take(&mut self.work);
        for one in work.drain(..) {
            match one {
                Work::Begin { id, request, options, initial } => {
                    let active = self.service.active.load_full();
                    if !active.offered_names.contains(&request.mechanism) {
                        // A new connection sees the new greeting.
                        let why =
                            format!("uses mechanism {}, which a reload has taken away", request.mechanism);
                        return Err(End::Broken(why));
                    }
                    let shared = Arc::clone(&self.service.shared);
                    let within = active.settings.limits.reply_within;
                    match Exchange::open(active, shared, request, options, initial.as_deref()) {
                        Some((exchange, step)) => {
                            self.start(id, Box::pin(exchange.drive(step, arrived)), arrived + within)?;
                        }
                        None => self.answer(id, (Answer::TemporaryFailure { user: String::new() }, None))?,
                    }
                }
                Work::Continue { id, exchange, data } => {
                    let within = self.service.active.load().settings.limits.reply_within;
                    self.start(id, Box::pin(exchange.go_on(data, arrived)), arrived + within)?;
                }
                Work::End { id, fail } => {
                    if let Some(task) = self.running.remove(&id) {
                        task.abort();
                    }
                    if let Some((code, reason)) = fail {
                        let mut line = Reply::new("FAIL", id, &mut self.out);
                        if let Some(code) = code {
                            line.field("code", code);
                        }
                        line.field("reason", reason);
                        line.end();
                    }
                }
            }
        }
        self.work = work;
        if self.out.len() - self.sent > MOST_UNREAD {
            self.paused = true;
        }
        Ok(())
    }

    /// Runs a turn: to its end if nothing has to be waited for, else as a task of its own.
    fn start(&mut self, id: u32, mut turn: Turning, deadline: Instant) -> Result<(), End> {
        // If it has to wait, its own task asks again at once, and is the one to be woken.
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => self.answer(id, turn),
            Poll::Pending => {
                let handle = self.tasks.spawn(async move { (id, bounded(turn, deadline).await) });
                self.running.insert(id, handle);
                Ok(())
            }
        }
    }

    /// A task has ended.
    fn done(&mut self, done: Result<(Id, (u32, Turn)), JoinError>) -> Result<(), End> {
        match done {
            Ok((task, (id, turn))) => {
                // A cancelled id may have been used again since.
                if self.running.get(&id).is_some_and(|handle| handle.id() == task) {
                    self.running.remove(&id);
                    return self.answer(id, turn);
                }
                Ok(())
            }
            Err(error) => {
                let id = self.running.iter().find(|(_, handle)| handle.id() == error.id()).map(|(id, _)| *id);
                match id {
                    Some(id) => {
                        self.running.remove(&id);
                        self.answer(id, (Answer::TemporaryFailure { user: String::new() }, None))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn answer(&mut self, id: u32, (answer, exchange): Turn) -> Result<(), End> {
        if let Answer::TemporaryFailure { .. } = &answer {
            let close = self.service.active.load().settings.internal_failure == InternalFailure::Close;
            // Requests whose client has given up (Postfix never cancels) are nobody's any more.
            if close && self.session.minor() == 0 && self.session.working() == 1 {
                return Err(End::Unavailable);
            }
        }
        answer.write(id, &mut self.out);
        match exchange {
            Some(exchange) => {
                self.session.wait(id, exchange, clock::monotonic_now());
                self.arm(TICK);
            }
            None => self.session.finish(id),
        }
        Ok(())
    }

    /// Looks at what waits for the client.
    fn tick(&mut self) -> Result<(), End> {
        let now = clock::monotonic_now();
        let limits = self.service.active.load().settings.limits;
        if !self.session.is_ready() {
            if now.saturating_duration_since(self.opened) >= limits.handshake_timeout {
                let secs = limits.handshake_timeout.as_secs();
                return Err(End::Broken(format!("did not complete the handshake within {secs} s")));
            }
            self.arm(limits.handshake_timeout);
            return Ok(());
        }
        let longest_block = LONGEST_BLOCK.min(limits.request_timeout);
        if self.blocked_since.is_some_and(|since| now.saturating_duration_since(since) >= longest_block) {
            let secs = longest_block.as_secs();
            return Err(End::Broken(format!("has not read its answers for {secs} s")));
        }
        let expired = self.session.expire(now, limits.request_timeout);
        if expired > 0 {
            log::debug!("{expired} requests of connection {} were given up by their clients", self.number);
        }
        if self.session.open() > 0 || self.blocked_since.is_some() {
            self.arm(TICK);
        }
        Ok(())
    }

    fn arm(&mut self, after: Duration) {
        if self.tick.is_none() {
            self.tick = Some(Box::pin(tokio::time::sleep(after)));
        }
    }

    /// The daemon stops: requests in hand are still answered.
    async fn finish(&mut self) {
        while !self.tasks.is_empty() || self.sent < self.out.len() {
            let step = std::future::poll_fn(|cx| {
                if self.sent < self.out.len()
                    && let Poll::Ready(written) = self.poll_write(cx)
                {
                    return Poll::Ready(written.map_err(|_error| End::Gone));
                }
                match self.tasks.poll_join_next_with_id(cx) {
                    Poll::Ready(Some(done)) => Poll::Ready(self.done(done)),
                    Poll::Ready(None) if self.sent >= self.out.len() => Poll::Ready(Ok(())),
                    Poll::Ready(None) | Poll::Pending => Poll::Pending,
                }
            });
            if step.await.is_err() {
                return;
            }
        }
    }
}

/// A turn that ends in time, whatever happens.
async fn bounded(turn: Turning, deadline: Instant) -> Turn {
    tokio::time::timeout_at(deadline.into(), turn).await.unwrap_or_else(|_elapsed| {
        log::error!("a login was not decided in time; its client will try again");
        (Answer::TemporaryFailure { user: String::new() }, None)
    })
}

/// What an event sets going, in a form that outlives the line.
fn begun(event: Event<'_, Box<Exchange>>, offered: &[&'static str]) -> Option<Work> {
    match event {
        Event::Nothing => None,
        Event::Begin(begin) => {
            let name = offered.get(begin.mechanism).copied().unwrap_or_default();
            let (request, options) = described(begin.parameters, name);
            Some(Work::Begin { id: begin.id, request: Box::new(request), options, initial: begin.initial })
        }
        Event::Continue { id, exchange, data } => Some(Work::Continue { id, exchange, data }),
        Event::End { id, fail } => Some(Work::End { id, fail }),
    }
}
