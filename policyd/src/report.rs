//! What the log says of a verdict.

use std::fmt::Write as _;

use base::log::escaped;

use crate::decide::{Plan, Verdict};
use crate::key::shown;
use crate::limits::Limits;
use crate::protocol::{Attribute, Request};

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
            counter.cost,
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
