//! Dovecot's chain of passdbs (and userdbs): what one outcome means for the next. Pure.
//!
//! Defaults: success ends the chain with success, anything else goes on; at the end an internal
//! failure on the way makes the whole a temporary failure, for the failed one might have said yes.

use crate::config::settings::{Results, Rule, Skip};

/// What one passdb or userdb said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The password is right, or the user was found.
    Yes,
    /// It is wrong, or the user is unknown.
    No,
    /// The back end could not answer.
    Unavailable,
}

/// What comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Ask the next one.
    Continue,
    /// The chain is at its end.
    Stop,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Authenticated, or found.
    Yes,
    /// Not.
    No,
    /// Nobody said yes, and somebody could not answer.
    Unavailable,
}

/// A walk along a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walk {
    /// A rule has said so: `return-ok`, `continue-ok`.
    yes: bool,
    unavailable: bool,
    /// Somebody has found the password right: it is not asked for again.
    verified: bool,
    last: Option<Said>,
}

impl Walk {
    /// Whether an element with this `skip` is passed over.
    #[must_use]
    pub fn skips(&self, skip: Skip) -> bool {
        match skip {
            Skip::Never => false,
            Skip::Authenticated => self.yes,
            Skip::Unauthenticated => !self.yes,
        }
    }

    /// Takes in what an element said.
    pub fn after(&mut self, said: Said, results: &Results) -> Flow {
        let rule = match said {
            Said::Yes => results.success,
            Said::No => results.failure,
            Said::Unavailable => results.internalfail,
        };
        if said == Said::Unavailable && !matches!(rule, Rule::ReturnFail | Rule::ContinueFail) {
            self.unavailable = true;
        }
        self.last = Some(said);
        match rule {
            Rule::ReturnOk | Rule::ContinueOk => self.yes = true,
            Rule::ReturnFail | Rule::ContinueFail => {
                self.yes = false;
                self.last = Some(Said::No);
            }
            Rule::Return | Rule::Continue => {}
        }
        if rule == Rule::ContinueOk || (rule == Rule::Continue && said == Said::Yes) {
            self.verified = true;
        }
        match rule {
            Rule::ReturnOk | Rule::ReturnFail | Rule::Return => Flow::Stop,
            Rule::ContinueOk | Rule::ContinueFail | Rule::Continue => Flow::Continue,
        }
    }

    /// The end of the chain.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.yes, self.unavailable, self.last) {
            (true, _, _) => Verdict::Yes,
            (false, true, _) => Verdict::Unavailable,
            // Without a rule's word the last one's counts.
            (false, false, Some(Said::Yes)) => Verdict::Yes,
            (false, false, _) => Verdict::No,
        }
    }

    /// Whether an earlier one has found the password right and left the verdict to a later one, which
    /// then only has to know the user.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.verified
    }
}

/// Whether `user` passes a `username_filter`: patterns with `*` and `?`, `!` before one excludes.
/// An empty filter lets all pass; with excluding patterns only, whoever is not excluded passes.
#[must_use]
pub fn passes_filter(user: &str, filter: &[String]) -> bool {
    let mut included = false;
    let mut has_including = false;
    for pattern in filter {
        if let Some(excluded) = pattern.strip_prefix('!') {
            if matches(excluded.as_bytes(), user.as_bytes()) {
                return false;
            }
        } else {
            has_including = true;
            included |= matches(pattern.as_bytes(), user.as_bytes());
        }
    }
    included || !has_including
}

/// Whether `text` matches a mask with `*` and `?`; linear in the product of their lengths at worst.
#[must_use]
pub fn matches(mask: &[u8], text: &[u8]) -> bool {
    let (mut m, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        match mask.get(m) {
            Some(b'*') => {
                star = Some((m, t));
                m += 1;
            }
            Some(&want) if want == b'?' || want == byte => {
                m += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    m = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    mask.get(m..).unwrap_or_default().iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Results =
        Results { success: Rule::ReturnOk, failure: Rule::Continue, internalfail: Rule::Continue };

    fn end(said: &[(Said, Results)]) -> (Verdict, usize) {
        let mut walk = Walk::default();
        for (n, (said, results)) in said.iter().enumerate() {
            if walk.after(*said, results) == Flow::Stop {
                return (walk.verdict(), n + 1);
            }
        }
        (walk.verdict(), said.len())
    }

    #[test]
    fn by_default_the_first_yes_counts() {
        use Said::{No, Unavailable, Yes};
        for (said, want) in [
            (&[No, Yes][..], (Verdict::Yes, 2)),
            (&[Yes, No], (Verdict::Yes, 1)),
            (&[No, No], (Verdict::No, 2)),
            (&[Unavailable, Yes], (Verdict::Yes, 2)),
            (&[Unavailable, No], (Verdict::Unavailable, 2)),
            (&[No, Unavailable], (Verdict::Unavailable, 2)),
            (&[], (Verdict::No, 0)),
        ] {
            let chain: Vec<_> = said.iter().map(|said| (*said, DEFAULT)).collect();
            assert_eq!(end(&chain), want, "{said:?}");
        }
    }

    #[test]
    fn rules_bend_it() {
        let needs_both = Results { success: Rule::ContinueOk, failure: Rule::ReturnFail, ..DEFAULT };
        let second = Results { success: Rule::Return, failure: Rule::ReturnFail, ..DEFAULT };
        assert_eq!(end(&[(Said::Yes, needs_both), (Said::Yes, second)]), (Verdict::Yes, 2));
        assert_eq!(end(&[(Said::Yes, needs_both), (Said::No, second)]), (Verdict::No, 2));
        assert_eq!(end(&[(Said::No, needs_both), (Said::Yes, second)]), (Verdict::No, 1));
        let open = Results { success: Rule::Continue, ..DEFAULT };
        assert_eq!(end(&[(Said::Yes, open), (Said::No, DEFAULT)]), (Verdict::No, 2));
        assert_eq!(end(&[(Said::Yes, open), (Said::Yes, DEFAULT)]), (Verdict::Yes, 2));
        assert_eq!(end(&[(Said::Yes, Results { success: Rule::ReturnFail, ..DEFAULT })]), (Verdict::No, 1));
        let hard = Results { internalfail: Rule::ReturnFail, ..DEFAULT };
        assert_eq!(end(&[(Said::Unavailable, hard), (Said::Yes, DEFAULT)]), (Verdict::No, 1));
    }

    #[test]
    fn skipping() {
        let mut walk = Walk::default();
        assert!(walk.skips(Skip::Unauthenticated) && !walk.skips(Skip::Authenticated));
        let go_on = Results { success: Rule::ContinueOk, ..DEFAULT };
        assert_eq!(walk.after(Said::Yes, &go_on), Flow::Continue);
        assert!(
            !walk.skips(Skip::Unauthenticated) && walk.skips(Skip::Authenticated) && !walk.skips(Skip::Never)
        );
    }

    #[test]
    fn filters() {
        let filter = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect::<Vec<_>>();
        assert!(passes_filter("a@x", &[]));
        assert!(passes_filter("a@x.example", &filter(&["*@x.example"])));
        assert!(!passes_filter("a@y.example", &filter(&["*@x.example"])));
        assert!(!passes_filter("bad@x.example", &filter(&["*@x.example", "!bad@*"])));
        assert!(passes_filter("good@y.example", &filter(&["!bad@*"])));
    }

    #[test]
    fn masks() {
        for (mask, text, want) in [
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("*ab", "aba", false),
            ("", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(matches(mask.as_bytes(), text.as_bytes()), want, "{mask} {text}");
        }
    }
}
