//! What the log says of a verdict.

use std::fmt::Write as _;

use base::log::escaped;

use crate::action::{Values, fill_text};
use crate::decide::{Plan, Verdict};
use crate::key::shown;
use crate::limits::{ActiveLimit, Limits};
use crate::notice::Refusal;
use crate::protocol::{Attribute, Request};
use crate::store::{Ask, Counter, Outcome};

/// The longest value that is shown.
const LONGEST: usize = 200;

/// A line for each limit that is over: `refused: limit=per-user key=... used=100 limit=100 ...`.
pub fn lines(plan: &Plan, verdict: &Verdict, limits: &Limits, request: &Request<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, outcome) in &verdict.over {
        let Some(counter) = plan.ask.counters().get(*index) else { continue };
        let limit = plan.limits.get(*index).and_then(|place| limits.all.get(usize::from(*place)));
        let Some(limit) = limit else { continue };
        let passes = counter.rule.passes(outcome.step);
        let what = match (counter.rule.dry_run, passes) {
            (true, false) => "would be refused",
            (true, true) => "would be told",
            (false, false) => "refused",
            (false, true) => "over",
        };
        let keyword = outcome
            .step
            .and_then(|step| limit.settings.steps.get(usize::from(step)))
            .map_or("", |(_, reaction)| reaction.action.keyword());
        let mut line = format!(
            "{what}: limit={} key={} used={} limit_units={} cost={} action={keyword}",
            limit.settings.name,
            escaped(shown(plan.ask.key(counter)).as_bytes(), LONGEST),
            outcome.used,
            outcome.allowed,
            // Of what must be different, it is a number for the thing itself.
            if limit.settings.count.is_distinct() { 1 } else { counter.cost },
        );
        if let Some(wait) = outcome.retry_after {
            // Writing to a String cannot fail.
            let _ok = write!(line, " retry_after={}", wait.div_ceil(crate::limiter::SECOND));
        }
        about(request, &mut line);
        lines.push(line);
    }
    lines
}

/// What a notice tells of a counter that is over.
pub fn refusal(
    counter: &Counter,
    outcome: &Outcome,
    limit: &ActiveLimit,
    ask: &Ask,
    request: &Request<'_>,
    host: &str,
) -> Refusal {
    let text = |attribute| {
        let mut text = request.text(attribute).into_owned();
        text.truncate(text.floor_char_boundary(LONGEST));
        text
    };
    let step = outcome.step.map_or(0, usize::from);
    let action = limit.settings.steps.get(step).map_or("", |(_, reaction)| reaction.action.keyword());
    Refusal {
        limit: counter.rule.name.to_string(),
        key: shown(ask.key(counter)),
        login: text(Attribute::SaslUsername),
        client: text(Attribute::ClientAddress),
        sender: text(Attribute::Sender),
        recipient: text(Attribute::Recipient),
        count: limit.settings.count.word().to_owned(),
        used: outcome.used,
        allowed: outcome.allowed,
        action: action.to_owned(),
        retry_after: outcome.retry_after.map(|wait| wait.div_ceil(crate::limiter::SECOND)),
        step: outcome.step.map_or(1, |step| u32::from(step) + 1),
        dry_run: counter.rule.dry_run,
        host: host.to_owned(),
        time: base::clock::unix_now(),
    }
}

/// The program of a step and its arguments with their placeholders filled. A value stays one argument, whatever
/// a stranger has put into it; none of them when a placeholder is not known.
pub fn program(text: &str, refusal: &Refusal, request: &Request<'_>) -> Vec<String> {
    let values = Values {
        request,
        name: &refusal.limit,
        count: &refusal.count,
        key: &refusal.key,
        used: refusal.used,
        limit: refusal.allowed,
        cost: 0,
        period: 0,
        retry_after: refusal.retry_after.map(|secs| secs.saturating_mul(crate::limiter::SECOND)),
    };
    text.split_whitespace().map(|word| fill_text(word, &values)).collect::<Result<_, _>>().unwrap_or_default()
}

/// Who and what a request is about.
pub fn about(request: &Request<'_>, line: &mut String) {
    for (name, attribute) in [
        ("state", Attribute::ProtocolState),
        ("user", Attribute::SaslUsername),
        ("client", Attribute::ClientAddress),
        ("from", Attribute::Sender),
        ("to", Attribute::Recipient),
        ("queue_id", Attribute::QueueId),
        ("instance", Attribute::Instance),
    ] {
        let value = request.value(attribute);
        if !value.is_empty() {
            let _ok = write!(line, " {name}={}", escaped(value, LONGEST));
        }
    }
}
