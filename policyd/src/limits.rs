//! The limits in force: what the configuration says, with the store's rules, overrides and raises.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::condition::{Condition, Shared};
use crate::config::Settings;
use crate::config::settings::{Limit, LimitStage};
use crate::key::{BETWEEN, Form};
use crate::limiter::Level;
use crate::list::List;
use crate::rate;
use crate::store::{LimitId, Raise, Rule, Step};

/// Where an address is, by the admin's databases.
pub trait Places: Send + Sync + std::fmt::Debug {
    /// A number for the country; `None` where it is not known.
    fn country(&self, address: IpAddr) -> Option<u64>;
    /// The number of the autonomous system.
    fn asn(&self, address: IpAddr) -> Option<u64>;
}

/// The limits of a configuration.
#[derive(Debug)]
pub struct Limits {
    /// Which configuration; another one at each reload.
    pub generation: u32,
    /// Conditions that exempt from all limits.
    pub exempt: Vec<Condition>,
    /// Characters that begin an extension in keys.
    pub delimiter: Vec<u8>,
    /// The limits, in the order of the file.
    pub all: Vec<ActiveLimit>,
    /// Countries and autonomous systems.
    pub places: Option<Arc<dyn Places>>,
    /// Whether any limit follows the calendar.
    pub has_calendar: bool,
}

/// One limit in force.
#[derive(Debug)]
pub struct ActiveLimit {
    /// What the configuration says.
    pub settings: Limit,
    /// The rule for keys without another.
    pub rule: Arc<Rule>,
    /// Whether a key depends on the recipient.
    pub by_recipient: bool,
    overrides: Option<Overrides>,
    raised: ArcSwap<HashMap<Box<[u8]>, Raised>>,
}

#[derive(Debug)]
struct Overrides {
    list: Shared,
    /// The list that the rules were made from, and the rules: `None` for unlimited.
    made: ArcSwap<Made>,
}

/// A list, and the rules of its entries.
type Made = (Arc<List>, HashMap<Box<[u8]>, Option<Arc<Rule>>>);

#[derive(Debug, Clone)]
struct Raised {
    rule: Arc<Rule>,
    until: u64,
}

impl Limits {
    /// The limits of settings. `id` gives the store's number of a name.
    #[must_use]
    pub fn new(settings: &Settings, generation: u32, mut id: impl FnMut(&str) -> LimitId) -> Self {
        let lists: HashMap<&str, &Shared> =
            settings.lists.iter().map(|list| (list.name.as_str(), &list.content)).collect();
        let all: Vec<ActiveLimit> = settings
            .limits
            .iter()
            .map(|limit| {
                let list = limit.overrides.as_deref().and_then(|name| lists.get(name));
                ActiveLimit::new(limit, id(&limit.name), list.map(|list| Arc::clone(list)))
            })
            .collect();
        for limit in &all {
            for wrong in limit.follow_list() {
                log::error!("{wrong}");
            }
        }
        let calendar = |level: &Level| matches!(level.algorithm, crate::limiter::Algorithm::Calendar(_));
        Self {
            generation,
            exempt: settings.exempt.clone(),
            delimiter: settings.recipient_delimiter.clone(),
            has_calendar: all.iter().any(|limit| limit.settings.levels.iter().any(calendar)),
            all,
            places: None,
        }
    }

    /// The rules, for the store.
    #[must_use]
    pub fn rules(&self) -> Vec<Arc<Rule>> {
        self.all.iter().map(|limit| Arc::clone(&limit.rule)).collect()
    }

    /// How values become keys of a limit.
    #[must_use]
    pub fn form<'a>(&'a self, limit: &ActiveLimit) -> Form<'a> {
        Form { prefixes: limit.settings.prefixes, delimiter: &self.delimiter }
    }

    /// The limit of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&ActiveLimit> {
        self.all.iter().find(|limit| limit.settings.name == name)
    }

    /// Takes over what is raised.
    pub fn set_raises(&self, raises: &[Raise]) {
        for limit in &self.all {
            let raised = raises
                .iter()
                .filter(|raise| *raise.limit == *limit.settings.name)
                .map(|raise| (raise.key.clone(), limit.raised(raise)))
                .collect();
            limit.raised.store(Arc::new(raised));
        }
    }

    /// What is wrong with overrides.
    #[must_use]
    pub fn wrong_overrides(&self) -> Vec<String> {
        let all = self.all.iter().filter_map(|limit| limit.overrides.as_ref().map(|_| limit.read_list()));
        all.flat_map(|(_, wrong)| wrong).collect()
    }

    /// Makes rules of overrides anew where a list has changed; a sentence for each entry that is wrong.
    pub fn follow_lists(&self) -> Vec<String> {
        self.all.iter().flat_map(ActiveLimit::follow_list).collect()
    }
}

impl ActiveLimit {
    fn new(settings: &Limit, id: LimitId, list: Option<Shared>) -> Self {
        let rule = Rule {
            name: Arc::from(settings.name.as_str()),
            id,
            levels: settings.levels.clone().into_boxed_slice(),
            steps: settings
                .steps
                .iter()
                .map(|(hundredths, reaction)| Step {
                    hundredths: *hundredths,
                    passes: reaction.action.passes(),
                })
                .collect(),
            // What was seen was seen: places count whatever becomes of the message.
            count_refused: settings.count_refused
                || (settings.count.is_distinct()
                    && settings.count != crate::config::settings::Count::NewRecipients),
            dry_run: settings.dry_run,
            max_keys: settings.max_keys,
        };
        let nothing = || ArcSwap::from_pointee((Arc::new(List::default()), HashMap::new()));
        Self {
            by_recipient: settings.key.fields().any(crate::key::Field::is_of_recipient),
            settings: settings.clone(),
            rule: Arc::new(rule),
            overrides: list.map(|list| Overrides { list, made: nothing() }),
            raised: ArcSwap::from_pointee(HashMap::new()),
        }
    }

    /// The rule for a key; `None` when it is unlimited. `wall` is the time since 1970 in seconds.
    #[must_use]
    pub fn rule(&self, key: &[u8], wall: u64) -> Option<Arc<Rule>> {
        let raised = self.raised.load();
        if !raised.is_empty()
            && let Some(raised) = raised.get(key).filter(|raised| raised.until > wall)
        {
            return Some(Arc::clone(&raised.rule));
        }
        self.overridden(key)
    }

    fn overridden(&self, key: &[u8]) -> Option<Arc<Rule>> {
        if let Some(overrides) = &self.overrides {
            let made = overrides.made.load();
            if let Some(rule) = made.1.get(key) {
                return rule.clone();
            }
        }
        Some(Arc::clone(&self.rule))
    }

    /// Whether a limit is counted at a stage.
    #[must_use]
    pub fn is_at_rcpt(&self) -> bool {
        matches!(self.settings.stage, LimitStage::Auto | LimitStage::Rcpt)
    }

    fn raised(&self, raise: &Raise) -> Raised {
        let base = self.overridden(&raise.key).unwrap_or_else(|| Arc::clone(&self.rule));
        let more = |number: u64| {
            u64::try_from(u128::from(number) * u128::from(raise.hundredths) / 100).unwrap_or(u64::MAX).max(1)
        };
        let levels = base.levels.iter().map(|level| Level {
            limit: more(level.limit),
            algorithm: match level.algorithm {
                crate::limiter::Algorithm::Gcra { burst } => {
                    crate::limiter::Algorithm::Gcra { burst: more(burst) }
                }
                other => other,
            },
            ..*level
        });
        let rule = Rule { levels: levels.collect(), ..(*base).clone() };
        Raised { rule: Arc::new(rule), until: raise.until }
    }

    fn follow_list(&self) -> Vec<String> {
        let Some(overrides) = &self.overrides else { return Vec::new() };
        if Arc::ptr_eq(&overrides.list.load(), &overrides.made.load().0) {
            return Vec::new();
        }
        let (made, wrong) = self.read_list();
        overrides.made.store(Arc::new(made));
        wrong
    }

    /// Rules of the entries of the list, and sentences about those that are wrong.
    fn read_list(&self) -> (Made, Vec<String>) {
        let list = self.overrides.as_ref().map_or_else(Arc::default, |overrides| overrides.list.load_full());
        let mut rules = HashMap::new();
        let mut wrong = Vec::new();
        for (entry, text) in list.entries() {
            let key: Vec<u8> = entry.bytes().map(|byte| if byte == b',' { BETWEEN } else { byte }).collect();
            match rate::parse_all(text, self.settings.rates) {
                Ok(levels) if levels.is_empty() => {
                    rules.insert(key.into_boxed_slice(), None);
                }
                Ok(levels) if levels.len() <= crate::store::MOST_LEVELS => {
                    let rule = Rule { levels: levels.into_boxed_slice(), ..(*self.rule).clone() };
                    rules.insert(key.into_boxed_slice(), Some(Arc::new(rule)));
                }
                Ok(_) => {
                    wrong.push(format!("override of {entry} for {}: too many rates", self.settings.name));
                }
                Err((text, help)) => {
                    wrong.push(format!("override of {entry} for {}: {text}; {help}", self.settings.name));
                }
            }
        }
        ((list, rules), wrong)
    }
}
