//! The last refusals, so that `explain` can say why.

use std::collections::VecDeque;

use crate::notice::Refusal;

/// Refusals that are kept.
const MOST: usize = 2000;
/// The longest text that is kept of each.
const LONGEST: usize = 256;

/// The last refusals, oldest first.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<Refusal>);

impl Recent {
    /// Adds one; the oldest gives way.
    pub fn add(&mut self, mut refusal: Refusal) {
        for text in [
            &mut refusal.key,
            &mut refusal.login,
            &mut refusal.sender,
            &mut refusal.recipient,
            &mut refusal.action,
        ] {
            text.truncate(text.floor_char_boundary(LONGEST));
        }
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(refusal);
    }

    /// The last ones about somebody: by key, login, sender, recipient or client, newest first.
    #[must_use]
    pub fn about(&self, who: &str, most: usize) -> Vec<Refusal> {
        let is = |refusal: &&Refusal| {
            [&refusal.key, &refusal.login, &refusal.sender, &refusal.recipient, &refusal.client]
                .iter()
                .any(|text| text.eq_ignore_ascii_case(who))
        };
        self.0.iter().rev().filter(is).take(most).cloned().collect()
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
