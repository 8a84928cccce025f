//! The limits in force: what the configuration says, with the store's rules, overrides and raises.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::condition::{Condition, Listing, Shared};
use crate::config::Settings;
use crate::config::settings::{Limit, LimitStage};
use crate::key::{BETWEEN, Form};
use crate::limiter::Level;
use crate::list::List;
use crate::lookup::Lookup;
use crate::lookup::template::Sought;
use crate::protocol::Stage;
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
    /// Whether any list has to be asked.
    pub asks_lists: bool,
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
enum Overrides {
    Read {
        list: Shared,
        /// The list that the rules were made from, and the rules: `None` for unlimited.
        made: ArcSwap<Made>,
    },
    Asked {
        list: Arc<Lookup>,
        made: Mutex<MadeOfTexts>,
    },
}

/// Rules made of what a database said.
#[derive(Debug, Default)]
struct MadeOfTexts {
    /// By the text.
    rules: HashMap<Arc<str>, Overriding>,
    /// Keys whose text is no rate, as has been said.
    complained: HashMap<Box<[u8]>, Arc<str>>,
}

/// What an override says.
#[derive(Debug, Clone)]
enum Overriding {
    Rule(Arc<Rule>),
    Unlimited,
    /// Nothing that can be understood: a sentence.
    Wrong(Arc<str>),
}

/// Where a key's rates come from, when they are not the limit's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The list.
    pub list: String,
    /// What it says.
    pub text: String,
}

/// Different texts, and wrong ones, that are remembered of one list.
const TEXTS: usize = 10_000;

/// A list, and the rules of its entries.
type Made = (Arc<List>, HashMap<Box<[u8]>, Option<Arc<Rule>>>);

#[derive(Debug, Clone)]
struct Raised {
    rule: Arc<Rule>,
    hundredths: u32,
    until: u64,
}

impl Limits {
    /// The limits of settings. `id` gives the store's number of a name.
    #[must_use]
    pub fn new(settings: &Settings, generation: u32, mut id: impl FnMut(&str) -> LimitId) -> Self {
        let lists: HashMap<&str, &Listing> =
            settings.lists.iter().map(|list| (list.name.as_str(), &list.content)).collect();
        let all: Vec<ActiveLimit> = settings
            .limits
            .iter()
            .map(|limit| {
                let list = limit.overrides.as_deref().and_then(|name| lists.get(name));
                ActiveLimit::new(limit, id(&limit.name), list.map(|list| (*list).clone()))
            })
            .collect();
        for limit in &all {
            for wrong in limit.follow_list() {
                log::error!("{wrong}");
            }
        }
        let calendar = |level: &Level| matches!(level.algorithm, crate::limiter::Algorithm::Calendar(_));
        let asks_lists = settings.exempt.iter().any(Condition::is_asked)
            || all.iter().any(|limit| {
                limit.settings.when.iter().chain(&limit.settings.except).any(Condition::is_asked)
                    || limit.asks_overrides()
            });
        Self {
            generation,
            asks_lists,
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
        let lists = self.all.iter().filter_map(|limit| match &limit.overrides {
            Some(Overrides::Read { list, .. }) => Some(limit.read_list(list.load_full()).1),
            Some(Overrides::Asked { .. }) | None => None,
        });
        lists.flatten().collect()
    }

    /// Makes rules of overrides anew where a list has changed; a sentence for each entry that is wrong.
    pub fn follow_lists(&self) -> Vec<String> {
        self.all.iter().flat_map(ActiveLimit::follow_list).collect()
    }
}

impl ActiveLimit {
    fn new(settings: &Limit, id: LimitId, list: Option<Listing>) -> Self {
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
            overrides: list.map(|list| match list {
                Listing::Read(list) => Overrides::Read { list, made: nothing() },
                Listing::Asked(list) => Overrides::Asked { list, made: Mutex::default() },
            }),
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
            // What is raised may have become known, or another, since.
            return Some(match self.asks_overrides() {
                true => self.raised_rule(key, raised.hundredths),
                false => Arc::clone(&raised.rule),
            });
        }
        self.overridden(key)
    }

    fn overridden(&self, key: &[u8]) -> Option<Arc<Rule>> {
        match &self.overrides {
            Some(Overrides::Read { made, .. }) => {
                if let Some(rule) = made.load().1.get(key) {
                    return rule.clone();
                }
            }
            Some(Overrides::Asked { list, made }) => {
                if let Some(text) = self.said(list, key) {
                    return self.made_of(&text, key, made, &list.settings().name);
                }
            }
            None => {}
        }
        Some(Arc::clone(&self.rule))
    }

    /// What a list that is asked says of a key, as far as is known.
    fn said(&self, list: &Lookup, key: &[u8]) -> Option<Arc<str>> {
        let sought = list.settings().query.of_key(&self.settings.key, key)?;
        list.known(&sought).flatten()
    }

    /// The rule of a text; the limit's own where it is none.
    fn made_of(
        &self,
        text: &Arc<str>,
        key: &[u8],
        made: &Mutex<MadeOfTexts>,
        list: &str,
    ) -> Option<Arc<Rule>> {
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.rules.len() >= TEXTS {
            made.rules.clear();
        }
        let overriding = made.rules.entry(Arc::clone(text)).or_insert_with(|| self.overriding(text)).clone();
        match overriding {
            Overriding::Rule(rule) => Some(rule),
            Overriding::Unlimited => None,
            Overriding::Wrong(why) => {
                if made.complained.get(key) != Some(text) {
                    if made.complained.len() >= TEXTS {
                        made.complained.clear();
                    }
                    made.complained.insert(key.into(), Arc::clone(text));
                    let (key, name) = (crate::key::shown(key), &self.settings.name);
                    let key = base::log::escaped(key.as_bytes(), 200);
                    let text = base::log::escaped(text.as_bytes(), 200);
                    log::error!(
                        "list {list} says \"{text}\" of {key} for limit {name}: {why}; its own rate holds"
                    );
                }
                Some(Arc::clone(&self.rule))
            }
        }
    }

    fn overriding(&self, text: &str) -> Overriding {
        match rate::parse_all(text, self.settings.rates) {
            Ok(levels) if levels.is_empty() => Overriding::Unlimited,
            Ok(levels) if levels.len() <= crate::store::MOST_LEVELS => {
                Overriding::Rule(Arc::new(Rule { levels: levels.into_boxed_slice(), ..(*self.rule).clone() }))
            }
            Ok(_) => Overriding::Wrong(Arc::from("too many rates")),
            Err((text, help)) => Overriding::Wrong(Arc::from(format!("{text}; {help}"))),
        }
    }

    /// Whether overrides are asked for, key by key.
    #[must_use]
    pub fn asks_overrides(&self) -> bool {
        matches!(self.overrides, Some(Overrides::Asked { .. }))
    }

    /// What has to be asked for the rates of a key.
    #[must_use]
    pub fn asks(&self, key: &[u8]) -> Option<(&Arc<Lookup>, Sought)> {
        match &self.overrides {
            Some(Overrides::Asked { list, .. }) => {
                Some((list, list.settings().query.of_key(&self.settings.key, key)?))
            }
            Some(Overrides::Read { .. }) | None => None,
        }
    }

    /// Where the rates of a key come from; `None` where they are the limit's own.
    #[must_use]
    pub fn override_of(&self, key: &[u8]) -> Option<Override> {
        let text = match self.overrides.as_ref()? {
            Overrides::Read { made, .. } => {
                let made = made.load();
                made.1.get(key)?;
                let entry: Vec<u8> =
                    key.iter().map(|byte| if *byte == BETWEEN { b',' } else { *byte }).collect();
                made.0.text(&entry)?.to_owned()
            }
            Overrides::Asked { list, .. } => {
                let text = self.said(list, key)?;
                if matches!(self.overriding(&text), Overriding::Wrong(_)) {
                    return None;
                }
                text.to_string()
            }
        };
        Some(Override { list: self.settings.overrides.clone()?, text })
    }

    /// Whether it is counted when Postfix asks at a stage.
    #[must_use]
    pub fn is_at(&self, stage: Stage) -> bool {
        matches!(
            (self.settings.stage, stage),
            (LimitStage::Auto, _)
                | (LimitStage::Rcpt, Stage::Rcpt)
                | (LimitStage::Data, Stage::Data)
                | (LimitStage::EndOfMessage, Stage::EndOfMessage)
        )
    }

    fn raised(&self, raise: &Raise) -> Raised {
        let rule = match self.asks_overrides() {
            // It is made when it is asked for.
            true => Arc::clone(&self.rule),
            false => self.raised_rule(&raise.key, raise.hundredths),
        };
        Raised { rule, hundredths: raise.hundredths, until: raise.until }
    }

    fn raised_rule(&self, key: &[u8], hundredths: u32) -> Arc<Rule> {
        let base = self.overridden(key).unwrap_or_else(|| Arc::clone(&self.rule));
        let more = |number: u64| {
            u64::try_from(u128::from(number) * u128::from(hundredths) / 100).unwrap_or(u64::MAX).max(1)
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
        Arc::new(Rule { levels: levels.collect(), ..(*base).clone() })
    }

    fn follow_list(&self) -> Vec<String> {
        let Some(Overrides::Read { list, made }) = &self.overrides else { return Vec::new() };
        let list = list.load_full();
        if Arc::ptr_eq(&list, &made.load().0) {
            return Vec::new();
        }
        let (rules, wrong) = self.read_list(list);
        made.store(Arc::new(rules));
        wrong
    }

    /// Rules of the entries of the list, and sentences about those that are wrong.
    fn read_list(&self, list: Arc<List>) -> (Made, Vec<String>) {
        let mut rules = HashMap::new();
        let mut wrong = Vec::new();
        for (entry, text) in list.entries() {
            let key: Vec<u8> = entry.bytes().map(|byte| if byte == b',' { BETWEEN } else { byte }).collect();
            match self.overriding(text) {
                Overriding::Unlimited => {
                    rules.insert(key.into_boxed_slice(), None);
                }
                Overriding::Rule(rule) => {
                    rules.insert(key.into_boxed_slice(), Some(rule));
                }
                Overriding::Wrong(why) => {
                    wrong.push(format!("override of {entry} for {}: {why}", self.settings.name));
                }
            }
        }
        ((list, rules), wrong)
    }
}
