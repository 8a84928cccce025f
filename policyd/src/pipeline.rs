//! The whole story of a request: read it first.
//!
//! 0. Lists in databases are asked, where their answers are not known and this request depends on them
//!    ([`crate::lookup`]); from then on nothing waits for them.
//! 0. Greylisting may ask the client to come again ([`crate::greylist`]); then nothing is counted.
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
use crate::greylist::{self, service::Say};
use crate::limiter::Moment;
use crate::limits::Limits;
use crate::lookup::needs::{self, Need};
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
pub enum Waiting {
    /// Lists that are asked.
    Lists(Box<Looking>),
    /// Records of greylisting that others share.
    Greylist(Box<Greylisting>),
    /// Counters that others share.
    Counters(Box<Counting>),
}

/// A request that depends on lists.
#[derive(Debug)]
pub struct Looking {
    needs: Vec<Need>,
    request: Vec<u8>,
}

/// A request whose client may have to come again.
#[derive(Debug)]
pub struct Greylisting {
    greylist: Arc<greylist::service::Service>,
    subject: greylist::Subject,
    request: Vec<u8>,
}

/// A question for the shared store.
#[derive(Debug)]
pub struct Counting {
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
) -> Option<Waiting> {
    let needs = needs(shared, request);
    if !needs.is_empty() {
        let mut lines = Vec::new();
        request.write(&mut lines);
        return Some(Waiting::Lists(Box::new(Looking { needs, request: lines })));
    }
    informed(shared, connection, request, out)
}

/// What lists have to be asked about a request.
pub(crate) fn needs(shared: &Shared, request: &Request<'_>) -> Vec<Need> {
    let limits = shared.limits.load();
    let greylist = shared.equipment.greylist.load();
    let greylist = greylist.as_ref().filter(|greylist| greylist.asks_lists());
    if !limits.asks_lists && greylist.is_none() {
        return Vec::new();
    }
    let now = clock::monotonic_now();
    let mut needs = needs::of_limits(request, &limits, now);
    if let Some(greylist) = greylist {
        greylist.needs(request, now, &mut needs);
    }
    needs
}

/// Asks lists, all at once; each is waited for no longer than its deadline.
pub(crate) async fn learn(mut needs: Vec<Need>) {
    let Some(last) = needs.pop() else { return };
    let mut others = tokio::task::JoinSet::new();
    for need in needs {
        others.spawn(need.learn());
    }
    last.learn().await;
    while others.join_next().await.is_some() {}
}

/// Answers a request by what lists have said.
fn informed(
    shared: &Shared,
    connection: &mut Connection,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Option<Waiting> {
    if let Some(greylist) = &*shared.equipment.greylist.load()
        && let Some(subject) = greylist.concerns(request)
    {
        match greylist.here(&subject, request, clock::unix_now()) {
            Some(Say::Delay(action)) => {
                reply(&action, out);
                shared.metrics.request(request.stage());
                return None;
            }
            Some(Say::Nothing) => {}
            None => {
                let mut lines = Vec::new();
                request.write(&mut lines);
                let greylist = Arc::clone(greylist);
                return Some(Waiting::Greylist(Box::new(Greylisting { greylist, subject, request: lines })));
            }
        }
    }
    limited(shared, connection, request, out)
}

/// Answers a request by the limits.
fn limited(
    shared: &Shared,
    connection: &mut Connection,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Option<Waiting> {
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
                return Some(Waiting::Counters(Box::new(Counting { plan, limits, at, request: lines })));
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
        let refusal =
            report::refusal(counter, outcome, limit, &plan.ask, context.request, &shared.equipment.host);
        let run = step.and_then(|(_, reaction)| reaction.run.as_deref());
        let run = run.map_or_else(Vec::new, |text| report::program(text, &refusal, context.request));
        shared.equipment.refused(refusal, &run);
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

/// Asks what others share, and answers into `out`.
pub async fn finish(shared: &Shared, connection: &mut Connection, waiting: Waiting, out: &mut Vec<u8>) {
    let waiting = match waiting {
        Waiting::Lists(looking) => {
            let Looking { needs, request } = *looking;
            learn(needs).await;
            let lines = request.strip_suffix(b"\n\n").unwrap_or(&request);
            let Ok(request) = Request::parse(lines) else { return reply("DUNNO", out) };
            match informed(shared, connection, &request, out) {
                Some(waiting) => waiting,
                None => return,
            }
        }
        other => other,
    };
    let counting = match waiting {
        Waiting::Lists(_) => None,
        Waiting::Counters(counting) => Some(counting),
        Waiting::Greylist(waiting) => {
            let lines = waiting.request.strip_suffix(b"\n\n").unwrap_or(&waiting.request);
            let Ok(request) = Request::parse(lines) else { return reply("DUNNO", out) };
            match waiting.greylist.shared(&waiting.subject, &request, clock::unix_now()).await {
                Say::Delay(action) => {
                    reply(&action, out);
                    return shared.metrics.request(request.stage());
                }
                Say::Nothing => match limited(shared, connection, &request, out) {
                    Some(Waiting::Counters(counting)) => Some(counting),
                    _ => None,
                },
            }
        }
    };
    if let Some(counting) = counting {
        Box::pin(counted(shared, *counting, out)).await;
    }
}

/// Asks the store that others share, and answers into `out`.
async fn counted(shared: &Shared, counting: Counting, out: &mut Vec<u8>) {
    let Counting { mut plan, limits, at, request } = counting;
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
