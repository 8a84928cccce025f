//! How many transactions at a time one user may have (Dovecot's `lmtp_user_concurrency_limit`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The users of transactions in hand; shared by all connections.
#[derive(Debug, Default)]
pub struct Slots {
    taken: Mutex<HashMap<String, usize>>,
}

/// One transaction's place; given back on drop.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    user: String,
}

impl Slots {
    /// A place for `user`, or `None` when it has `limit` already; 0 is no limit.
    #[must_use]
    pub fn take(self: &Arc<Self>, user: &str, limit: usize) -> Option<Slot> {
        let mut taken = self.lock();
        match taken.get_mut(user) {
            Some(count) if limit > 0 && *count >= limit => return None,
            Some(count) => *count += 1,
            None => {
                taken.insert(user.to_owned(), 1);
            }
        }
        drop(taken);
        Some(Slot { slots: Arc::clone(self), user: user.to_owned() })
    }

    /// What a panic elsewhere has left is still consistent: every change is one step.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        if let Some(count) = taken.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_per_user_and_places_come_back() {
        let slots = Arc::new(Slots::default());
        let first = slots.take("anna", 2);
        let second = slots.take("anna", 2);
        assert!(first.is_some() && second.is_some());
        assert!(slots.take("anna", 2).is_none());
        assert!(slots.take("bob", 2).is_some());
        drop(first);
        assert!(slots.take("anna", 2).is_some());
        drop(second);
        assert!(slots.lock().is_empty(), "nothing is kept of users without transactions");
        let all: Vec<_> = (0..100).map(|_| slots.take("anna", 0)).collect();
        assert!(all.iter().all(Option::is_some));
    }
}
