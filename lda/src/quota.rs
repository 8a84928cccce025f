//! Limits of mailboxes: Dovecot's `quota_rule` and what it says of a folder (pure).

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes; 0 is no limit.
    pub bytes: u64,
    /// Messages; 0 is no limit.
    pub count: u64,
}

impl Limits {
    /// Whether there is any limit.
    #[must_use]
    pub fn are_set(self) -> bool {
        self.bytes > 0 || self.count > 0
    }
}

/// What a mailbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: i64,
    /// Messages.
    pub count: i64,
}

/// How far the last message may go beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// A part of the limit in percent.
    Percent(u32),
    /// Bytes.
    Bytes(u64),
}

impl Grace {
    /// Reads `10%`, `10%%`, `100M`, `0`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches('%');
        if digits.len() < text.len() {
            return digits
                .trim()
                .parse()
                .map(Self::Percent)
                .map_err(|_no_number| format!("{text:?} is no percentage"));
        }
        size(text, 1).map(Self::Bytes).ok_or_else(|| format!("{text:?} is no size"))
    }

    /// The bytes of this grace.
    #[must_use]
    pub fn bytes(self, limit: u64) -> u64 {
        match self {
            Self::Percent(part) => limit / 100 * u64::from(part) + limit % 100 * u64::from(part) / 100,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// One rule: `mask:limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    mask: String,
    bytes: Option<Change>,
    count: Option<Change>,
    ignore: bool,
}

/// What a rule says of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It is this.
    To(u64),
    /// It is the default limit and this.
    By(i64),
    /// It is the default limit and this part of it.
    ByPercent(i64),
    /// It is this part of the default limit.
    Percent(u64),
}

impl Change {
    fn of(self, default: u64) -> u64 {
        let part = |percent: u64| default / 100 * percent + default % 100 * percent / 100;
        match self {
            Self::To(limit) => limit,
            Self::By(more) => default.saturating_add_signed(more),
            Self::ByPercent(more) if more < 0 => default.saturating_sub(part(more.unsigned_abs())),
            Self::ByPercent(more) => default.saturating_add(part(more.unsigned_abs())),
            Self::Percent(percent) => part(percent),
        }
    }
}

/// All rules of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    /// Reads rules in their order.
    ///
    /// # Errors
    /// A sentence about the first one that cannot be read.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let rules = texts.into_iter().map(rule).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// These rules with a user's own in their places, as Dovecot has it: `quota_rule` goes for the first, `quota_rule2` for
    /// the second; what the user has no rule for stays.
    ///
    /// # Errors
    /// A sentence about the first one that cannot be read.
    pub fn overridden<'a>(&self, own: impl IntoIterator<Item = (usize, &'a str)>) -> Result<Self, String> {
        let mut rules = self.rules.clone();
        for (number, text) in own {
            let own = rule(text)?;
            match number.checked_sub(1).and_then(|place| rules.get_mut(place)) {
                Some(rule) => *rule = own,
                None => rules.push(own),
            }
        }
        Ok(Self { rules })
    }

    /// The limits of the whole mailbox.
    #[must_use]
    pub fn root(&self) -> Limits {
        let mut limits = Limits::default();
        for rule in self.rules.iter().filter(|rule| rule.mask == "*") {
            rule.change(Limits::default(), &mut limits);
        }
        limits
    }

    /// The limits for saving into a folder, which may be above the root's; `None` where nothing is counted.
    #[must_use]
    pub fn of(&self, folder: &str) -> Option<Limits> {
        let root = self.root();
        let mut limits = root;
        for rule in self.rules.iter().filter(|rule| rule.mask != "*" && matches(&rule.mask, folder)) {
            if rule.ignore {
                return None;
            }
            rule.change(root, &mut limits);
        }
        Some(limits)
    }

    /// Whether there are rules at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a folder's messages are not counted.
    #[must_use]
    pub fn ignores(&self, folder: &str) -> bool {
        self.of(folder).is_none()
    }
}

impl Rule {
    fn change(&self, root: Limits, limits: &mut Limits) {
        if let Some(bytes) = self.bytes {
            limits.bytes = bytes.of(root.bytes);
        }
        if let Some(count) = self.count {
            limits.count = count.of(root.count);
        }
    }
}

/// Whether saving `bytes` more keeps to the limits. Like Dovecot, grace lets the last message go beyond.
#[must_use]
pub fn allows(limits: Limits, grace: Grace, usage: Usage, bytes: u64) -> bool {
    let over = |limit: u64, grace: u64, used: i64, more: u64| {
        limit > 0
            && used.saturating_add_unsigned(more)
                > i64::try_from(limit.saturating_add(grace)).unwrap_or(i64::MAX)
    };
    let full = |limit: u64, used: i64| limit > 0 && used >= i64::try_from(limit).unwrap_or(i64::MAX);
    // Within the grace only while the limit itself is not reached yet.
    let grace_bytes = if full(limits.bytes, usage.bytes) { 0 } else { grace.bytes(limits.bytes) };
    !over(limits.bytes, grace_bytes, usage.bytes, bytes) && !over(limits.count, 0, usage.count, 1)
}

fn rule(text: &str) -> Result<Rule, String> {
    let (mask, limits) =
        text.split_once(':').ok_or_else(|| format!("{text:?}: write it as \"*:storage=1G\""))?;
    let mask = if mask == "?" { "*" } else { mask };
    let mut rule = Rule { mask: mask.to_owned(), bytes: None, count: None, ignore: false };
    for limit in limits.split(':') {
        let (name, value) = limit.split_once('=').unwrap_or((limit, ""));
        match name {
            "ignore" => rule.ignore = true,
            "storage" => rule.bytes = Some(change(value, 1024, text)?),
            "bytes" => rule.bytes = Some(change(value, 1, text)?),
            "messages" => rule.count = Some(change(value, 1, text)?),
            // Limits that a quota back end of another kind has for itself.
            "backend" | "" => {}
            _ => {
                return Err(format!(
                    "{text:?}: {name} is not known; it may be storage, bytes, messages or ignore"
                ));
            }
        }
    }
    Ok(rule)
}

fn change(text: &str, unit: u64, whole: &str) -> Result<Change, String> {
    let wrong = || format!("{whole:?}: {text:?} is no limit; write storage=1G, messages=1000, storage=+10%");
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'+') => (Some(1), text.get(1..).unwrap_or_default()),
        Some(b'-') => (Some(-1), text.get(1..).unwrap_or_default()),
        _ => (None, text),
    };
    let number = digits.trim_end_matches('%');
    if number.len() < digits.len() {
        let percent: u32 = number.parse().map_err(|_no_number| wrong())?;
        return Ok(match sign {
            Some(sign) => Change::ByPercent(i64::from(percent) * sign),
            None => Change::Percent(u64::from(percent)),
        });
    }
    let amount = size(digits, unit).ok_or_else(wrong)?;
    Ok(match sign {
        Some(sign) => Change::By(i64::try_from(amount).map_err(|_no_number| wrong())? * sign),
        None => Change::To(amount),
    })
}

/// A number with B, K, M, G or T behind it; without, in `unit`.
fn size(text: &str, unit: u64) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at_checked(end)?;
    let unit = match suffix.trim().to_ascii_uppercase().as_str() {
        "" => unit,
        "B" => 1,
        "K" | "KB" => 1 << 10,
        "M" | "MB" => 1 << 20,
        "G" | "GB" => 1 << 30,
        "T" | "TB" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Dovecot's masks: `*` stands for anything, `?` for one character; INBOX in any case.
fn matches(mask: &str, folder: &str) -> bool {
    if mask.eq_ignore_ascii_case("INBOX") {
        return folder.eq_ignore_ascii_case("INBOX");
    }
    let (mask, folder): (Vec<char>, Vec<char>) = (mask.chars().collect(), folder.chars().collect());
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < folder.len() {
        match mask.get(at) {
            Some('*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(letter) if *letter == '?' || folder.get(of) == Some(letter) => {
                at += 1;
                of += 1;
            }
            _ => match star {
                Some((from, eaten)) => {
                    star = Some((from, eaten + 1));
                    at = from + 1;
                    of = eaten + 1;
                }
                None => return false,
            },
        }
    }
    mask.get(at..).unwrap_or_default().iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_dovecots() {
        let rules = Rules::parse([
            "*:storage=1G:messages=10",
            "Trash:storage=+10%%",
            "Spam:ignore",
            "A*:bytes=+100",
            "Half:storage=50%",
        ])
        .unwrap();
        assert_eq!(rules.root(), Limits { bytes: 1 << 30, count: 10 });
        assert_eq!(
            rules.of("Trash").unwrap().bytes,
            (1 << 30) / 100 * 10 + (1 << 30) + ((1 << 30) % 100) * 10 / 100
        );
        assert_eq!(rules.of("Spam"), None);
        assert_eq!(rules.of("Abc").unwrap().bytes, (1 << 30) + 100);
        assert_eq!(rules.of("Half").unwrap().bytes, 1 << 29);
        assert_eq!(Rules::parse(["*:storage=20"]).unwrap().root().bytes, 20480);
        assert_eq!(Rules::parse(["*:bytes=100K"]).unwrap().root().bytes, 102_400);
        for bad in ["storage=1G", "*:storage=x", "*:nosuch=1", "*:storage=1Q"] {
            assert!(Rules::parse([bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_users_rules_go_before_those_of_the_same_number() {
        let site = Rules::parse(["*:storage=1G", "Trash:storage=+10%"]).unwrap();
        let own = site.overridden([(1, "*:storage=2G"), (3, "Spam:ignore")]).unwrap();
        assert_eq!(own, Rules::parse(["*:storage=2G", "Trash:storage=+10%", "Spam:ignore"]).unwrap());
        assert!(site.overridden([(1, "nonsense")]).is_err());
    }

    #[test]
    fn grace_lets_the_last_message_go_beyond() {
        let limits = Limits { bytes: 20480, count: 0 };
        let grace = Grace::parse("10%").unwrap();
        let used = |bytes| Usage { bytes, count: 1 };
        assert!(allows(limits, grace, used(16384), 4096));
        assert!(allows(limits, grace, used(20000), 2000));
        assert!(!allows(limits, grace, used(20000), 3000));
        assert!(!allows(limits, grace, used(20480), 1));
        assert!(allows(Limits::default(), grace, used(i64::MAX), u64::MAX));
        assert!(!allows(Limits { bytes: 0, count: 5 }, grace, Usage { bytes: 0, count: 5 }, 1));
        assert_eq!(Grace::parse("10%%"), Ok(Grace::Percent(10)));
        assert_eq!(Grace::parse("1M"), Ok(Grace::Bytes(1 << 20)));
        assert!(Grace::parse("x").is_err());
    }

    #[test]
    fn masks() {
        for (mask, folder, want) in [
            ("*", "x", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("inbox", "INBOX", true),
            ("?x", "ax", true),
            ("?x", "x", false),
        ] {
            assert_eq!(matches(mask, folder), want, "{mask} {folder}");
        }
    }
}
