//! What has to be asked before a request can be decided. Pure: the time is an argument.

use std::sync::Arc;
use std::time::Instant;

use super::Lookup;
use super::template::Sought;
use crate::condition::Condition;
use crate::limits::Limits;
use crate::protocol::{Request, Stage};

/// A value that a list has to be asked for.
#[derive(Debug, Clone)]
pub struct Need {
    /// The list.
    pub list: Arc<Lookup>,
    /// The value.
    pub sought: Sought,
}

impl Need {
    /// Asks for it; see [`Lookup::learn`].
    pub async fn learn(self) {
        self.list.learn(self.sought).await;
    }
}

/// Adds a need once.
pub fn add(needs: &mut Vec<Need>, list: &Arc<Lookup>, sought: Sought) {
    if !needs.iter().any(|need| need.sought == sought && Arc::ptr_eq(&need.list, list)) {
        needs.push(Need { list: Arc::clone(list), sought });
    }
}

/// What decides conditions of which all must hold, or one: true as soon as one that is known makes `verdict` of them.
/// Else what is not known is added.
pub fn decided(
    conditions: &[Condition],
    verdict: bool,
    request: &Request<'_>,
    now: Instant,
    needs: &mut Vec<Need>,
) -> bool {
    let before = needs.len();
    for condition in conditions {
        match condition.asks(request) {
            Some((list, sought)) if list.is_asked_for(&sought, now) => add(needs, list, sought),
            _ if condition.holds(request) == verdict => {
                needs.truncate(before);
                return true;
            }
            _ => {}
        }
    }
    false
}

/// What the limits have to know about a request.
#[must_use]
pub fn of_limits(request: &Request<'_>, limits: &Limits, now: Instant) -> Vec<Need> {
    let mut needs = Vec::new();
    let stage = request.stage();
    if !limits.asks_lists || stage == Stage::Other || decided(&limits.exempt, true, request, now, &mut needs)
    {
        return needs;
    }
    for limit in limits.all.iter().filter(|limit| limit.is_at(stage)) {
        let before = needs.len();
        if decided(&limit.settings.when, false, request, now, &mut needs)
            || decided(&limit.settings.except, true, request, now, &mut needs)
        {
            needs.truncate(before);
            continue;
        }
        let mut key = Vec::new();
        if limit.asks_overrides()
            && limit.settings.key.write(request, &limits.form(limit), &mut key)
            && let Some((list, sought)) = limit.asks(&key)
            && list.is_asked_for(&sought, now)
        {
            add(&mut needs, list, sought);
        }
    }
    needs
}
