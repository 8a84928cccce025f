//! The whole story of a request: read it first.
//!
//! 1. The connection's former message is over when another instance begins on it ([`crate::messages`]).
//! 2. [`decide::plan`] finds the limits that apply and what is not counted yet, and makes one question of it.
//! 3. The store counts all of it or nothing ([`crate::store`]). One in this process answers on the spot, so
//!    that a request is answered without waiting for anything; one that others share answers in a while.
//! 4. [`decide::conclude`] makes a verdict of the answer, and remembers it for the message.
//! 5. Postfix gets the first refusing limit's action, or DUNNO.

use std::sync::Arc;

use base::clock;

use crate::active::{Books, Shared, lock, release, settle};
use crate::decide::{self, Context, Plan, Planned, Verdict};
use crate::limiter::Moment;
use crate::limits::Limits;
use crate::messages::{MessageId, Messages, ServiceId};
use crate::protocol::{Attribute, Request, reply};
use crate::report;
use crate::store::{Answer, Unavailable};

/// What a connection is known by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Connection {
    /// Which listener it came to.
    pub listener: u16,
    /// The message that it asked about last.
    message: Option<MessageId>,
}

/// What is to be waited for.
#[derive(Debug)]
pub struct Waiting {
    plan: Plan,
    limits: Arc<Limits>,
    at: Moment,
    /// The request's lines, for reading it again.
    request: Vec<u8>,
}

impl Connection {
    /// A new one, of a listener.
    #[must_use]
    pub fn new(listener: u16) -> Self {
        Self { listener, message: None }
    }

    /// The connection has closed: its message is over, unless it goes on elsewhere.
    pub fn close(&mut self, shared: &Shared) {
        if let Some(id) = self.message.take() {
            let mut books = lock(&shared.books);
            let now = books.moment().now;
            books.messages.closed(id, now);
        }
    }
}

fn end(books: &mut Books, shared: &Shared, id: MessageId, at: &Moment) {
    let ended = books.messages.end(id);
    books.finish(ended, shared.remote.as_ref(), at);
}

/// Answers a request into `out`, or says what has to be waited for ([`finish`]).
pub fn handle(
    shared: &Shared,
    connection: &mut Connection,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Option<Box<Waiting>> {
    let stage = request.stage();
    let limits = shared.limits.load();
    let mut guard = lock(&shared.books);
    let books = &mut *guard;
    let (at, wall) = books.moment_and_wall();
    let ended = books.messages.expire(at.now);
    books.finish(ended, shared.remote.as_ref(), &at);
    let id = Messages::id(request.value(Attribute::Instance));
    if let Some(former) = connection.message
        && id.is_some_and(|id| id != former)
    {
        end(books, shared, former, &at);
    }
    connection.message = id.or(connection.message);
    let port = u16::try_from(request.number(Attribute::ServerPort)).unwrap_or(0);
    let service = ServiceId { listener: connection.listener, port };
    match decide::plan(request, &limits, &mut books.messages, service, wall, &mut books.plan) {
        Planned::Pass => reply("DUNNO", out),
        Planned::Told(action) => {
            shared.metrics.repeated();
            reply(&action, out);
        }
        Planned::Ask => {
            if books.plan.asks() && shared.remote.is_some() {
                let mut lines = Vec::new();
                request.write(&mut lines);
                let (plan, limits) = (std::mem::take(&mut books.plan), Arc::clone(&limits));
                return Some(Box::new(Waiting { plan, limits, at, request: lines }));
            }
            let answered = ask_here(books, &at);
            let context = Context { request, limits: &limits, at: &at };
            answer(shared, books, answered.as_ref().err(), &context, out);
        }
    }
    shared.metrics.request(stage);
    None
}

/// Asks the store of this process. A limit that has no room for another key is left out: the others hold.
fn ask_here(books: &mut Books, at: &Moment) -> Result<(), Unavailable> {
    books.answer.outcomes.clear();
    books.answer.refused = false;
    let mut trouble = Ok(());
    while books.plan.asks() {
        match books.store.decide(&books.plan.ask, at, &mut books.answer) {
            Ok(()) => break,
            Err(Unavailable::Full(name)) => {
                books.plan.leave_out(&name);
                books.answer.outcomes.clear();
                books.answer.refused = false;
                trouble = Err(Unavailable::Full(name));
            }
            Err(away) => return Err(away),
        }
    }
    trouble
}

/// Makes a reply of the answer in the books, with what it means for the message.
fn answer(
    shared: &Shared,
    books: &mut Books,
    trouble: Option<&Unavailable>,
    context: &Context<'_>,
    out: &mut Vec<u8>,
) {
    let Books { plan, answer, messages, store, back, settled, .. } = books;
    settled.clear();
    if matches!(trouble, Some(Unavailable::Away(_))) {
        *answer = Answer::default();
        plan.ask.clear();
    }
    let verdict = decide::conclude(plan, answer, context, messages, back, settled);
    if !back.is_empty() {
        release(store.as_mut(), shared.remote.as_ref(), std::mem::take(back), context.at);
    }
    if !settled.counters().is_empty() {
        settle(store.as_mut(), shared.remote.as_ref(), settled, context.at);
    }
    tell(shared, plan, &verdict, context);
    let closed = trouble.and_then(|trouble| complain(shared, trouble, context.request));
    match (&verdict.action, closed) {
        // What a limit refuses is refused whatever else cannot be counted.
        (_, Some(action)) if !verdict.refused => reply(&action, out),
        (Some(action), _) => reply(action, out),
        (None, _) => reply("DUNNO", out),
    }
}

/// Log and figures of a verdict.
fn tell(shared: &Shared, plan: &Plan, verdict: &Verdict, context: &Context<'_>) {
    if verdict.over.is_empty() {
        if log::log_enabled!(log::Level::Debug) {
            let mut line = "passed:".to_owned();
            report::about(context.request, &mut line);
            log::debug!("{line}");
        }
        return;
    }
    for line in report::lines(plan, verdict, context.limits, context.request) {
        log::info!("{line}");
    }
    for (index, outcome) in &verdict.over {
        let Some(counter) = plan.ask.counters().get(*index) else { continue };
        let Some(limit) = context.limits.named(&counter.rule.name) else { continue };
        let step = outcome.step.and_then(|step| limit.settings.steps.get(usize::from(step)));
        let keyword = step.map_or("", |(_, reaction)| reaction.action.keyword());
        let mode = match (counter.rule.dry_run, counter.rule.passes(outcome.step)) {
            (true, _) => "dry_run",
            (false, true) => "passed",
            (false, false) => "refused",
        };
        shared.metrics.over(&counter.rule.name, keyword, mode);
    }
}

/// Says that something could not be counted; the action for it, where it is not to pass.
fn complain(shared: &Shared, trouble: &Unavailable, request: &Request<'_>) -> Option<String> {
    shared.metrics.unavailable(match trouble {
        Unavailable::Full(_) => "full",
        Unavailable::Away(_) => "away",
    });
    let action = shared.settings.load().store.unavailable.as_ref().map(crate::action::Action::render_plain);
    if shared.may_complain() {
        let mut who = String::new();
        report::about(request, &mut who);
        let then = if action.is_some() { "refused" } else { "passes uncounted" };
        log::error!("{trouble}; {then}:{who}");
    }
    action
}

/// Asks the store that others share, and answers into `out`.
pub async fn finish(shared: &Shared, waiting: Box<Waiting>, out: &mut Vec<u8>) {
    let Waiting { mut plan, limits, at, request } = *waiting;
    let Some(remote) = &shared.remote else { return reply("DUNNO", out) };
    let began = clock::monotonic_now();
    let asked = loop {
        match remote.decide(&plan.ask, &at).await {
            Err(Unavailable::Full(name)) if plan.asks() => plan.leave_out(&name),
            other => break other,
        }
    };
    shared.metrics.store_took(clock::monotonic_now().saturating_duration_since(began));
    let lines = request.strip_suffix(b"\n\n").unwrap_or(&request);
    let Ok(request) = Request::parse(lines) else { return reply("DUNNO", out) };
    let mut guard = lock(&shared.books);
    let books = &mut *guard;
    let kept = std::mem::replace(&mut books.plan, plan);
    drop(kept);
    let trouble = match asked {
        Ok(answer) => {
            books.answer = answer;
            None
        }
        Err(trouble) => Some(trouble),
    };
    let context = Context { request: &request, limits: &limits, at: &at };
    answer(shared, books, trouble.as_ref(), &context, out);
    shared.metrics.request(request.stage());
}
