//! What is to be done with a message: the actions of all scripts brought together (RFC 5228 §2.10), conflicts and
//! limits looked at. Pure.

use super::action::{Action, Edition, Notify, Ran, Vacation};
use super::{address, mailto};

/// The folder of `keep`.
pub const DEFAULT_MAILBOX: &str = "INBOX";

/// What an administrator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Actions of one script; 0 is no limit (Pigeonhole's sieve_max_actions).
    pub max_actions: usize,
    /// Redirects of one script; 0 allows none (sieve_max_redirects).
    pub max_redirects: usize,
    /// Seconds between answers to one sender: the least (sieve_vacation_min_period).
    pub vacation_min: u64,
    /// The most; 0 is no limit.
    pub vacation_max: u64,
    /// When a script says nothing.
    pub vacation_default: u64,
    /// Seconds that `duplicate` may remember (sieve_duplicate_max_period).
    pub duplicate_max: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_actions: 32,
            max_redirects: 4,
            vacation_min: 86_400,
            vacation_max: 0,
            vacation_default: 7 * 86_400,
            duplicate_max: 2 * 86_400,
        }
    }
}

/// A folder the message goes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Its name.
    pub mailbox: String,
    /// By `keep`, explicit or implicit, and not by `fileinto`.
    pub keep: bool,
    /// Flags and keywords; system flags in IMAP's spelling.
    pub flags: Vec<String>,
    /// Created when it is not there.
    pub create: bool,
    /// The implicit keep remained (`:copy`).
    pub copy: bool,
    /// Which edition of the message.
    pub edition: usize,
}

/// An address the message goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The address.
    pub address: String,
    /// The implicit keep remained (`:copy`).
    pub copy: bool,
    /// Which edition of the message.
    pub edition: usize,
}

/// A notification with its method read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What the script gave.
    pub notify: Notify,
    /// To whom.
    pub mailto: mailto::Mailto,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Store.
    Store(Store),
    /// Send on.
    Redirect(Redirect),
    /// Nothing; the script said so.
    Discard,
    /// Refuse.
    Reject {
        /// What the sender is told.
        reason: String,
        /// By `ereject`.
        extended: bool,
    },
    /// Answer; `period` is filled in.
    Vacation(Vacation),
    /// Notify.
    Notify(Notification),
    /// Remember an identifier of `duplicate`.
    Track {
        /// The identifier.
        id: String,
        /// For how long.
        seconds: u64,
    },
    /// Tell the log.
    Debug(String),
}

/// All that is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order of the scripts.
    pub steps: Vec<Step>,
    /// The implicit keep, when it remains.
    pub implicit_keep: Option<Store>,
    /// Editions that stores and redirects name; entry n - 1 is edition n.
    pub editions: Vec<Edition>,
}

impl Plan {
    /// What is done when no script says otherwise, and when one fails.
    #[must_use]
    pub fn keep() -> Self {
        Self { steps: Vec::new(), implicit_keep: Some(store(DEFAULT_MAILBOX, &[], 0)), editions: Vec::new() }
    }

    /// Where the message is stored, explicitly or not.
    pub fn stores(&self) -> impl Iterator<Item = &Store> {
        let explicit = self.steps.iter().filter_map(|step| match step {
            Step::Store(store) => Some(store),
            _ => None,
        });
        explicit.chain(&self.implicit_keep)
    }
}

/// Brings scripts' actions together, script by script.
#[derive(Debug)]
pub struct Planner {
    policy: Policy,
    plan: Plan,
    reject: bool,
    vacation: bool,
    /// The edition that the next script is run over.
    base: usize,
}

impl Planner {
    /// Begins.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, plan: Plan::keep(), reject: false, vacation: false, base: 0 }
    }

    /// The edition of the message that the next script is run over; `None` is the original.
    #[must_use]
    pub fn edition(&self) -> Option<&Edition> {
        self.plan.editions.get(self.base.checked_sub(1)?)
    }

    /// Adds what a script asked for. True: the message is still to be kept, so that the next script is asked
    /// (Pigeonhole's rule for sieve_before and sieve_after).
    ///
    /// # Errors
    /// What contradicts itself or goes beyond the limits, for the script's log. Then nothing of this script counts.
    pub fn add(&mut self, ran: Ran) -> Result<bool, String> {
        // An explicit keep of a script that others follow is theirs to decide again.
        self.plan.steps.retain(|step| !matches!(step, Step::Store(store) if store.keep));
        let before = self.plan.editions.len();
        let renumber = |edition: usize| if edition == 0 { self.base } else { before + edition };
        let mut one = Self {
            policy: self.policy,
            plan: self.plan.clone(),
            reject: self.reject,
            vacation: self.vacation,
            base: renumber(ran.keep_edition),
        };
        one.plan.editions.extend(ran.editions);
        one.plan.implicit_keep = Some(store(DEFAULT_MAILBOX, &ran.keep_flags, one.base));
        for mut action in ran.actions {
            if let Action::Keep { edition, .. }
            | Action::FileInto { edition, .. }
            | Action::Redirect { edition, .. } = &mut action
            {
                *edition = renumber(*edition);
            }
            one.action(action)?;
        }
        one.limits(self.plan.steps.len())?;
        let kept = one.plan.implicit_keep.is_some()
            || one.plan.steps.iter().any(|step| matches!(step, Step::Store(store) if store.keep));
        *self = one;
        Ok(kept)
    }

    /// The end.
    #[must_use]
    pub fn finish(self) -> Plan {
        self.plan
    }

    fn limits(&self, before: usize) -> Result<(), String> {
        let steps = || self.plan.steps.iter().skip(before);
        let actions = steps().filter(|step| !matches!(step, Step::Debug(_) | Step::Track { .. })).count();
        if self.policy.max_actions > 0 && actions > self.policy.max_actions {
            let limit = self.policy.max_actions;
            return Err(format!("total number of actions exceeds policy limit ({actions} > {limit})."));
        }
        let redirects = steps().filter(|step| matches!(step, Step::Redirect(_))).count();
        if redirects > self.policy.max_redirects {
            let limit = self.policy.max_redirects;
            return Err(format!("number of redirect actions exceeds policy limit ({redirects} > {limit})."));
        }
        Ok(())
    }

    fn cancel_implicit_keep(&mut self) {
        self.plan.implicit_keep = None;
    }

    fn action(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Keep { flags, edition } => {
                self.cancel_implicit_keep();
                self.store(Store { keep: true, ..store(DEFAULT_MAILBOX, &flags, edition) })
            }
            Action::FileInto { mailbox, flags, create, copy, edition } => {
                if !copy {
                    self.cancel_implicit_keep();
                }
                self.store(Store { create, copy, keep: false, ..store(&mailbox, &flags, edition) })
            }
            Action::Discard => {
                self.cancel_implicit_keep();
                self.push_once(Step::Discard);
                Ok(())
            }
            Action::Redirect { address, copy, edition } => {
                let address = address::parse(&address)
                    .map_err(|why| format!("specified redirect address '{address}' is invalid: {why}."))?;
                if !copy {
                    self.cancel_implicit_keep();
                }
                self.redirect(Redirect { address, copy, edition })
            }
            Action::Reject { reason, extended } => self.refuse(reason, extended),
            Action::Vacation(vacation) => self.vacation(vacation),
            Action::Notify(notify) => {
                let mailto = mailto::parse(&notify.method).map_err(|why| format!("notify_action: {why}."))?;
                self.push_once(Step::Notify(Notification { notify, mailto }));
                Ok(())
            }
            Action::Debug(text) => {
                self.plan.steps.push(Step::Debug(text));
                Ok(())
            }
            Action::Track { id, seconds } => {
                let seconds = seconds.min(self.policy.duplicate_max);
                self.push_once(Step::Track { id, seconds });
                Ok(())
            }
        }
    }

    fn push_once(&mut self, step: Step) {
        if !self.plan.steps.contains(&step) {
            self.plan.steps.push(step);
        }
    }

    fn no_rejection(&self, what: &str) -> Result<(), String> {
        if self.reject {
            Err(format!("reject/ereject action conflicts with other action: {what}."))
        } else {
            Ok(())
        }
    }

    /// The same folder twice is one action, with the flags of the last.
    fn store(&mut self, new: Store) -> Result<(), String> {
        self.no_rejection("the store action tries to deliver the message")?;
        if new.mailbox.is_empty() || new.mailbox.len() > 1000 || new.mailbox.chars().any(char::is_control) {
            return Err(
                "fileinto: the name of the folder is empty, too long or has control characters.".to_owned()
            );
        }
        let same = self.plan.steps.iter_mut().find_map(|step| match step {
            Step::Store(known) if same_mailbox(&known.mailbox, &new.mailbox) => Some(known),
            _ => None,
        });
        match same {
            Some(known) => {
                known.flags = new.flags;
                known.create |= new.create;
                known.copy &= new.copy;
                known.keep |= new.keep;
            }
            None => self.plan.steps.push(Step::Store(new)),
        }
        Ok(())
    }

    fn redirect(&mut self, new: Redirect) -> Result<(), String> {
        self.no_rejection("the redirect action tries to deliver the message")?;
        let same = self.plan.steps.iter_mut().find_map(|step| match step {
            Step::Redirect(known) if known.address == new.address => Some(known),
            _ => None,
        });
        match same {
            Some(known) => known.copy &= new.copy,
            None => self.plan.steps.push(Step::Redirect(new)),
        }
        Ok(())
    }

    fn refuse(&mut self, reason: String, extended: bool) -> Result<(), String> {
        let conflict = self.plan.steps.iter().find_map(|step| match step {
            Step::Store(_) => Some("the store action tries to deliver the message"),
            Step::Redirect(_) => Some("the redirect action tries to deliver the message"),
            Step::Vacation(_) => Some("the vacation action also sends a response to the sender"),
            _ => None,
        });
        if self.reject {
            return Err("duplicate reject/ereject action not allowed.".to_owned());
        }
        if let Some(what) = conflict {
            return Err(format!("reject/ereject action conflicts with other action: {what}."));
        }
        self.reject = true;
        self.cancel_implicit_keep();
        self.plan.steps.push(Step::Reject { reason, extended });
        Ok(())
    }

    fn vacation(&mut self, mut vacation: Vacation) -> Result<(), String> {
        self.no_rejection("the vacation action also sends a response to the sender")?;
        if self.vacation {
            return Err("duplicate vacation action not allowed.".to_owned());
        }
        if let Some(from) = &vacation.from {
            address::parse(from).map_err(|why| {
                format!("specified :from address '{from}' is invalid for vacation action: {why}.")
            })?;
        }
        self.vacation = true;
        let policy = self.policy;
        let most = if policy.vacation_max == 0 { u64::MAX } else { policy.vacation_max };
        let period = vacation.period.unwrap_or(policy.vacation_default);
        vacation.period = Some(period.min(most).max(policy.vacation_min));
        self.plan.steps.push(Step::Vacation(vacation));
        Ok(())
    }
}

fn store(mailbox: &str, flags: &[String], edition: usize) -> Store {
    let mut sound = Vec::new();
    for flag in flags.iter().filter_map(|flag| spelled(flag)) {
        if !sound.iter().any(|known: &String| known.eq_ignore_ascii_case(&flag)) {
            sound.push(flag);
        }
    }
    Store { mailbox: mailbox.to_owned(), keep: false, flags: sound, create: false, copy: false, edition }
}

/// A flag as IMAP spells it; `None` for system flags that are none, and for what cannot be a keyword.
fn spelled(flag: &str) -> Option<String> {
    const SYSTEM: [&str; 5] = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];
    if flag.starts_with('\\') {
        return SYSTEM.iter().find(|known| known.eq_ignore_ascii_case(flag)).map(|known| (*known).to_owned());
    }
    // RFC 9051: an atom.
    let atom = !flag.is_empty()
        && flag.len() <= 100
        && flag.bytes().all(|byte| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte));
    atom.then(|| flag.to_owned())
}

/// INBOX has no case (RFC 9051 §5.1).
fn same_mailbox(a: &str, b: &str) -> bool {
    a == b || (a.eq_ignore_ascii_case(DEFAULT_MAILBOX) && b.eq_ignore_ascii_case(DEFAULT_MAILBOX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(actions: Vec<Action>) -> Result<Plan, String> {
        let mut planner = Planner::new(Policy::default());
        planner.add(Ran { actions, ..Ran::default() })?;
        Ok(planner.finish())
    }

    fn keep(flags: &[&str]) -> Action {
        Action::Keep { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), edition: 0 }
    }

    fn into(mailbox: &str, copy: bool) -> Action {
        Action::FileInto { mailbox: mailbox.into(), flags: Vec::new(), create: false, copy, edition: 0 }
    }

    fn to(address: &str, copy: bool) -> Action {
        Action::Redirect { address: address.into(), copy, edition: 0 }
    }

    fn reject() -> Action {
        Action::Reject { reason: "no".into(), extended: false }
    }

    fn mailboxes(plan: &Plan) -> Vec<&str> {
        plan.stores().map(|store| store.mailbox.as_str()).collect()
    }

    #[test]
    fn the_implicit_keep_remains_or_goes() {
        for (actions, stores) in [
            (vec![], vec!["INBOX"]),
            (vec![Action::Discard], vec![]),
            (vec![keep(&[]), Action::Discard], vec!["INBOX"]),
            (vec![keep(&[]), into("a", false)], vec!["INBOX", "a"]),
            (vec![into("a", true)], vec!["a", "INBOX"]),
            (vec![into("a", true), into("a", false)], vec!["a"]),
            (vec![to("a@b.example", false)], vec![]),
            (vec![to("a@b.example", true)], vec!["INBOX"]),
            (vec![reject()], vec![]),
            (vec![keep(&[]), into("inbox", false)], vec!["INBOX"]),
        ] {
            assert_eq!(mailboxes(&planned(actions.clone()).unwrap()), stores, "{actions:?}");
        }
    }

    #[test]
    fn the_same_twice_is_once_with_the_last_flags() {
        let plan =
            planned(vec![keep(&["\\seen", "x"]), keep(&["\\FLAGGED", "y", "Y", "\\Foo", "a(b"])]).unwrap();
        let stores: Vec<_> = plan.stores().collect();
        assert_eq!(stores.len(), 1);
        assert_eq!(stores[0].flags, ["\\Flagged", "y"]);
        let plan = planned(vec![
            to("a@b.example", true),
            to("a@b.example", false),
            Action::Discard,
            Action::Discard,
        ]);
        assert_eq!(plan.unwrap().steps.len(), 2);
    }

    #[test]
    fn contradictions_and_excess_are_refused() {
        let vacation = || Action::Vacation(Vacation { reason: "gone".into(), ..Vacation::default() });
        for (actions, says) in [
            (vec![keep(&[]), reject()], "the store action"),
            (vec![reject(), keep(&[])], "the store action"),
            (vec![to("a@b.example", true), reject()], "the redirect action"),
            (vec![vacation(), reject()], "the vacation action"),
            (vec![reject(), vacation()], "the vacation action"),
            (vec![reject(), reject()], "duplicate reject"),
            (vec![vacation(), vacation()], "duplicate vacation"),
            (vec![to("bob", false)], "expecting '@'"),
            (vec![into("", false)], "is empty"),
            (vec![into("a\r\nb", false)], "control characters"),
            ((0..5).map(|n| to(&format!("a{n}@b.example"), false)).collect(), "(5 > 4)"),
            ((0..33).map(|n| into(&n.to_string(), false)).collect(), "(33 > 32)"),
        ] {
            let refusal = planned(actions).unwrap_err();
            assert!(refusal.contains(says), "{refusal}");
        }
        assert!(planned((0..32).map(|n| into(&n.to_string(), false)).collect()).is_ok());
    }

    #[test]
    fn scripts_follow_each_other_while_the_message_is_kept() {
        let mut planner = Planner::new(Policy::default());
        let script = |actions| Ran { actions, ..Ran::default() };
        assert!(planner.add(script(vec![into("a", true), keep(&["x"])])).unwrap());
        assert!(planner.add(script(vec![])).unwrap());
        assert!(!planner.add(script(vec![Action::Discard])).unwrap());
        assert_eq!(mailboxes(&planner.finish()), ["a"]);

        let mut planner = Planner::new(Policy::default());
        planner.add(script(vec![into("a", true)])).unwrap();
        assert!(planner.add(script(vec![to("x@y.example", true), reject()])).is_err());
        assert_eq!(mailboxes(&planner.finish()), ["a", "INBOX"]);
    }

    #[test]
    fn periods_lie_between_the_limits() {
        for (asked, period) in [(None, 7 * 86_400), (Some(0), 86_400), (Some(5 * 86_400), 5 * 86_400)] {
            let vacation = Vacation { period: asked, reason: "r".into(), ..Vacation::default() };
            let plan = planned(vec![Action::Vacation(vacation)]).unwrap();
            let [Step::Vacation(vacation)] = plan.steps.as_slice() else { panic!() };
            assert_eq!(vacation.period, Some(period));
        }
    }
}
