//! A request, the limits and what is known of its message → a question for the store; its answer → a verdict.
//!
//! [`plan`] asks, [`conclude`] answers. Neither waits for anything, so a store may take its time in between.

use std::net::IpAddr;

use crate::action::Values;
use crate::config::settings::{Count, LimitStage};
use crate::key::{self, masked, shown};
use crate::limiter::Moment;
use crate::limits::{ActiveLimit, Limits};
use crate::messages::{Kind, Message, MessageId, Messages, ServiceId, Told, Whole};
use crate::protocol::{Attribute, Request, Stage};
use crate::store::{Answer, Ask, Charge, Outcome};

/// What a request asks for, and what is to be remembered of it.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The question for the store.
    pub ask: Ask,
    /// The places of its counters' limits in the configuration.
    pub limits: Vec<u16>,
    /// Limits that this settles, as bits: those asked about, and those that need not be.
    bits: u64,
    /// What a message has reserved too much, by the place of its limit.
    too_much: Vec<(u16, Box<[u8]>, u64)>,
    /// Units that are in the message's charges already, by counter.
    stage: Option<Stage>,
    message: Option<MessageId>,
    service: ServiceId,
    recipient: u64,
    /// Recipients that Postfix has refused by now, for limits that count them.
    unknown: u64,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// Ask the store.
    Ask,
    /// Nothing applies, or all has been counted.
    Pass,
    /// It was asked before, and is answered the same.
    Told(Box<str>),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What Postfix is told; `None` is DUNNO.
    pub action: Option<String>,
    /// Whether it is refused.
    pub refused: bool,
    /// What is over, with the place of its limit in [`Plan`]'s counters.
    pub over: Vec<(usize, Outcome)>,
}

/// The limits that apply to a request, as a question. `wall` is the time since 1970 in seconds.
pub fn plan(
    request: &Request<'_>,
    limits: &Limits,
    messages: &mut Messages,
    service: ServiceId,
    wall: u64,
    plan: &mut Plan,
) -> Planned {
    plan.ask.clear();
    plan.limits.clear();
    plan.too_much.clear();
    (plan.bits, plan.unknown) = (0, 0);
    let stage = request.stage();
    plan.stage = Some(stage);
    plan.service = service;
    plan.message = Messages::id(request.value(Attribute::Instance));
    if stage == Stage::Other || limits.exempt.iter().any(|condition| condition.holds(request)) {
        return Planned::Pass;
    }
    if matches!(stage, Stage::Data | Stage::EndOfMessage) {
        messages.asked_later(service);
    }
    plan.recipient = match stage {
        Stage::Rcpt => messages.recipient(request.value(Attribute::Recipient)),
        _ => 0,
    };
    let message = plan.message.and_then(|id| messages.message(id));
    if let Some(action) = message.and_then(|message| told(message, stage, plan.recipient)) {
        return Planned::Told(action.into());
    }
    let counted =
        message.filter(|message| message.generation == limits.generation).map_or(0, |message| match stage {
            Stage::Rcpt => message.recipient(plan.recipient).map_or(0, |seen| seen.limits),
            _ => message.whole_limits.get(whole(stage)).copied().unwrap_or(0),
        });
    let asking = Asking { request, limits, message, stage, wall };
    for (place, limit) in limits.all.iter().enumerate() {
        let bit = 1_u64 << (place % 64);
        if counted & bit == 0 && asking.applies(limit) {
            plan.bits |= bit;
            asking.add(limit, u16::try_from(place).unwrap_or(u16::MAX), plan);
        }
    }
    if matches!(stage, Stage::Data | Stage::EndOfMessage)
        && let Some(message) = message.filter(|message| !message.unknown_counted)
    {
        let count = request.number(Attribute::RecipientCount).max(1);
        plan.unknown = message.passed().saturating_sub(count);
    }
    if plan.bits == 0 && plan.message.is_none() { Planned::Pass } else { Planned::Ask }
}

/// The place of DATA and END-OF-MESSAGE among two.
fn whole(stage: Stage) -> usize {
    match stage {
        Stage::EndOfMessage => Whole::EndOfMessage as usize,
        _ => Whole::Data as usize,
    }
}

/// What the same request was told, if that was something.
fn told(message: &Message, stage: Stage, recipient: u64) -> Option<&str> {
    match stage {
        Stage::Rcpt => message.recipient(recipient)?.told.action.as_deref(),
        _ => message.told.get(whole(stage))?.action.as_deref(),
    }
}

struct Asking<'a> {
    request: &'a Request<'a>,
    limits: &'a Limits,
    message: Option<&'a Message>,
    stage: Stage,
    wall: u64,
}

impl Asking<'_> {
    fn applies(&self, limit: &ActiveLimit) -> bool {
        limit.is_at(self.stage)
            && limit.settings.when.iter().all(|condition| condition.holds(self.request))
            && !limit.settings.except.iter().any(|condition| condition.holds(self.request))
    }

    /// Adds a limit to the question, with what is not counted yet.
    fn add(&self, limit: &ActiveLimit, place: u16, plan: &mut Plan) {
        let mut rule = None;
        let mut cost = 0;
        let form = self.limits.form(limit);
        let added = plan.ask.add(&limit.rule, 0, |keys| {
            let start = keys.len();
            if !limit.settings.key.write(self.request, &form, keys) {
                return false;
            }
            let key = keys.get(start..).unwrap_or_default();
            rule = limit.rule(key, self.wall);
            if rule.is_none() {
                return false;
            }
            match self.cost(limit, key) {
                Cost::Ask(units) => {
                    cost = units;
                    true
                }
                Cost::TooMuch(units) => {
                    plan.too_much.push((place, key.into(), units));
                    false
                }
                Cost::Counted => false,
            }
        });
        if added && let (Some(counter), Some(rule)) = (plan.ask.counters_mut().last_mut(), rule) {
            counter.cost = cost;
            counter.rule = rule;
            plan.limits.push(place);
        }
    }

    /// What is still to be counted of this message.
    fn cost(&self, limit: &ActiveLimit, key: &[u8]) -> Cost {
        let name = &*limit.settings.name;
        let held = self.message.map_or(0, |message| message.held(name, key));
        let known = self.message.is_some_and(|message| message.is_counted(name, key));
        let attempted = self.message.is_some_and(|message| message.is_attempted(name, key));
        let wanted = match (limit.settings.count, self.stage) {
            (Count::Networks | Count::Countries | Count::Asns, _) => {
                return if known { Cost::Counted } else { self.member(limit) };
            }
            (Count::NewRecipients, Stage::Rcpt) => {
                return Cost::Ask(hash(self.request.value(Attribute::Recipient)));
            }
            (Count::NewRecipients, _) => return Cost::Counted,
            // Counted when they are known; here only whether there were too many.
            (Count::UnknownRecipients, _) => return Cost::Ask(0),
            (Count::Recipients, Stage::Rcpt) => return Cost::Ask(1),
            (_, Stage::Rcpt) if known => return Cost::Counted,
            // It has been counted as refused, and is refused further on.
            (_, Stage::Rcpt) if attempted => return Cost::Ask(0),
            // Nobody says which of the recipients were refused.
            (Count::Recipients, _) if limit.by_recipient && known => return Cost::Counted,
            (Count::Recipients, _) => match self.request.number(Attribute::RecipientCount) {
                0 => held.max(1),
                count => count,
            },
            (Count::Messages, _) => 1,
            (Count::Bytes, _) => match self.request.number(Attribute::Size) {
                // Declared by few clients before the end.
                0 => held,
                size => size,
            },
        };
        match wanted.cmp(&held) {
            std::cmp::Ordering::Greater => Cost::Ask(wanted - held),
            std::cmp::Ordering::Less => Cost::TooMuch(held - wanted),
            std::cmp::Ordering::Equal => Cost::Counted,
        }
    }

    /// The place that the client is at.
    fn member(&self, limit: &ActiveLimit) -> Cost {
        let Some(address) = key::address(self.request.value(Attribute::ClientAddress)) else {
            return Cost::Counted;
        };
        let places = self.limits.places.as_deref();
        let member = match limit.settings.count {
            Count::Countries => places.and_then(|places| places.country(address)),
            Count::Asns => places.and_then(|places| places.asn(address)),
            _ => Some(network(address, limit)),
        };
        member.map_or(Cost::Counted, Cost::Ask)
    }
}

/// A hash of the network that an address is in; the same on every machine.
fn network(address: IpAddr, limit: &ActiveLimit) -> u64 {
    match masked(address, limit.settings.prefixes).0 {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3)
    };
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    // Its low half is what a member is.
    hash ^ (hash >> 32)
}

enum Cost {
    /// Ask whether so many units more are allowed.
    Ask(u64),
    /// So many were reserved too much.
    TooMuch(u64),
    /// There is nothing to ask.
    Counted,
}

impl Plan {
    /// Leaves out the counters of a limit, which cannot be counted now.
    pub fn leave_out(&mut self, name: &str) {
        let mut kept = self.ask.counters().iter().map(|counter| &*counter.rule.name != name);
        self.limits.retain(|_| kept.next().unwrap_or(true));
        self.ask.leave_out(name);
    }

    /// Whether there is a question for the store.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.ask.counters().is_empty()
    }
}

/// Everything that an answer needs beside the plan.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The request.
    pub request: &'a Request<'a>,
    /// The limits that the plan was made by.
    pub limits: &'a Limits,
    /// When.
    pub at: &'a Moment,
}

/// What the store's answer means for Postfix, and what is to be remembered of it. What is to be taken back
/// is put at the end of `back`, and what is to be counted without asking into `settled`.
pub fn conclude(
    plan: &Plan,
    answer: &Answer,
    context: &Context<'_>,
    messages: &mut Messages,
    back: &mut Vec<Charge>,
    settled: &mut Ask,
) -> Verdict {
    let verdict = verdict(plan, answer, context);
    let now = context.at.now;
    let (Some(id), Some(stage)) = (plan.message, plan.stage) else { return verdict };
    if stage == Stage::Other {
        return verdict;
    }
    let message = messages.open(id, plan.service, context.limits.generation, now);
    remember(plan, answer, context, stage, message);
    let told = Told { action: verdict.action.as_deref().map(Box::from), refused: verdict.refused };
    match stage {
        Stage::Rcpt => {
            let bits = if verdict.refused { 0 } else { plan.bits };
            Messages::saw(message, plan.recipient, bits, told);
        }
        Stage::Data | Stage::EndOfMessage => {
            if let Some(place) = message.told.get_mut(whole(stage)) {
                *place = told;
            }
            if verdict.refused {
                back.append(&mut message.give_all_back());
            } else {
                if let Some(bits) = message.whole_limits.get_mut(whole(stage)) {
                    *bits |= plan.bits;
                }
                for (place, key, units) in &plan.too_much {
                    if let Some(limit) = context.limits.all.get(usize::from(*place)) {
                        back.append(&mut message.give_back(&limit.settings.name, key, *units));
                    }
                }
            }
            message.count_unknown(plan.unknown, settled);
            messages.settle(id, now);
        }
        Stage::Other => {}
    }
    verdict
}

/// Puts what was counted into the message's charges.
fn remember(plan: &Plan, answer: &Answer, context: &Context<'_>, stage: Stage, message: &mut Message) {
    for (index, (counter, outcome)) in plan.ask.counters().iter().zip(&answer.outcomes).enumerate() {
        let limit = plan.limits.get(index).and_then(|place| context.limits.all.get(usize::from(*place)));
        let Some(limit) = limit else { continue };
        if limit.settings.count == Count::UnknownRecipients {
            message.watch(&counter.rule, plan.ask.key(counter), limit.settings.share);
            continue;
        }
        if !outcome.counted {
            continue;
        }
        // Refused attempts are counted for good; so is what is counted at its one stage.
        let kind = if answer.refused && stage == Stage::Rcpt {
            Kind::Attempt
        } else if limit.settings.stage == LimitStage::Rcpt || limit.settings.count.is_distinct() {
            Kind::Final
        } else {
            Kind::Reserved
        };
        let charge = Charge {
            rule: std::sync::Arc::clone(&counter.rule),
            key: plan.ask.key(counter).into(),
            cost: counter.cost,
            when: context.at.now,
        };
        message.reserve(charge, kind);
    }
}

/// What Postfix is told.
fn verdict(plan: &Plan, answer: &Answer, context: &Context<'_>) -> Verdict {
    let mut verdict = Verdict { refused: answer.refused, ..Verdict::default() };
    let mut told = false;
    for (index, (counter, outcome)) in plan.ask.counters().iter().zip(&answer.outcomes).enumerate() {
        let Some(step) = outcome.step else { continue };
        verdict.over.push((index, *outcome));
        let limit = plan.limits.get(index).and_then(|place| context.limits.all.get(usize::from(*place)));
        let Some(limit) = limit else { continue };
        let passes = counter.rule.passes(outcome.step);
        // The first that refuses is told; where none does, the first that has something to tell.
        if counter.rule.dry_run || told || (answer.refused && passes) {
            continue;
        }
        told = true;
        let Some((_, reaction)) = limit.settings.steps.get(usize::from(step)) else { continue };
        let hopeless = outcome.retry_after.is_none() && !passes;
        let action = if hopeless { &limit.settings.too_big } else { &reaction.action };
        let key = shown(plan.ask.key(counter));
        let values = values(limit, counter.cost, outcome, &key, context);
        verdict.action = Some(action.render(&values));
    }
    verdict
}

/// What placeholders stand for.
#[must_use]
pub fn values<'a>(
    limit: &'a ActiveLimit,
    cost: u64,
    outcome: &Outcome,
    key: &'a str,
    context: &Context<'a>,
) -> Values<'a> {
    let level = limit.rule.levels.get(usize::from(outcome.level));
    Values {
        request: context.request,
        name: &limit.settings.name,
        count: limit.settings.count.word(),
        key,
        used: outcome.used,
        limit: outcome.allowed,
        cost: if limit.settings.count.is_distinct() { 1 } else { cost },
        period: level.map_or(0, |level| level.period),
        retry_after: outcome.retry_after,
    }
}
