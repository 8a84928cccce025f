//! Finds which of many patterns match a text, in the order of the file, without backtracking.

use std::{collections::HashMap, fmt};

use regex::bytes::{RegexSet, RegexSetBuilder};

use super::dataset::Case;

/// The patterns of a `refile:` data set (OpenDKIM 2.11 observed): `*` stands for any text, also
/// none, `.` and `+` for themselves, and the pattern must match the whole text. All other
/// characters are those of a regular expression.
///
/// Patterns without an operator, with one `*` at an end, or of the form `*@*literal` are found by
/// hashing, so that a table of a hundred thousand lines `*@domain` costs no more than a small one;
/// the others are tried by finite automata. Neither can be made slow by a text.
pub struct Patterns {
    case: Case,
    literal: Index,
    by_suffix: Affixes,
    /// `*@*suffix`: there is an `@` before the suffix.
    by_suffix_after_at: Affixes,
    by_prefix: Affixes,
    any: Vec<u32>,
    general: Vec<Chunk>,
}

/// Why a line cannot be used as a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It is not a regular expression, or too large a one when compiled (256 KiB).
    Regex(String),
    /// There are more than [`MAX_GENERAL`] patterns that need a regular expression.
    TooMany,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regex(why) => write!(f, "the pattern cannot be compiled: {why}"),
            Self::TooMany => write!(f, "more than {MAX_GENERAL} patterns need a regular expression"),
        }
    }
}

/// How many patterns may be of the kind that hashing does not find.
pub const MAX_GENERAL: usize = 10_000;

/// Whether a pattern of a `refile:` set holds a character that a regular expression understands
/// as an operator (`*` is not one of them).
#[must_use]
pub fn has_operator(pattern: &str) -> bool {
    pattern.contains(['?', '[', ']', '(', ')', '{', '}', '|', '^', '$', '\\'])
}

impl Patterns {
    /// Builds the index. Each pattern comes with the number under which it is found.
    ///
    /// Patterns that cannot be used are left out and returned with their number.
    pub fn new<'a>(
        case: Case,
        patterns: impl IntoIterator<Item = (u32, &'a str)>,
    ) -> (Self, Vec<(u32, PatternError)>) {
        let mut this = Self {
            case,
            literal: Index::default(),
            by_suffix: Affixes::default(),
            by_suffix_after_at: Affixes::default(),
            by_prefix: Affixes::default(),
            any: Vec::new(),
            general: Vec::new(),
        };
        let mut errors = Vec::new();
        let mut general = Vec::new();
        for (index, pattern) in patterns {
            let folded = fold(case, pattern);
            match Form::of(&folded) {
                Form::Literal => this.literal.insert(&folded, index),
                Form::Suffix(suffix) => this.by_suffix.insert(suffix, index),
                Form::SuffixAfterAt(suffix) => this.by_suffix_after_at.insert(suffix, index),
                Form::Prefix(prefix) => this.by_prefix.insert(prefix, index),
                Form::Any => this.any.push(index),
                Form::General => match expression(pattern) {
                    _ if general.len() >= MAX_GENERAL => errors.push((index, PatternError::TooMany)),
                    expression => match compile(case, std::slice::from_ref(&expression)) {
                        Ok(_) => general.push((index, expression)),
                        Err(error) => errors.push((index, error)),
                    },
                },
            }
        }
        for affixes in [&mut this.by_suffix, &mut this.by_suffix_after_at, &mut this.by_prefix] {
            affixes.lengths.sort_unstable();
        }
        for part in general.chunks(CHUNK) {
            let expressions: Vec<_> = part.iter().map(|(_, expression)| expression.as_str()).collect();
            let indices = part.iter().map(|(index, _)| *index).collect();
            match compile(case, &expressions) {
                Ok(set) => this.general.push(Chunk { set, indices }),
                Err(error) => errors.extend(part.iter().map(|(index, _)| (*index, error.clone()))),
            }
        }
        (this, errors)
    }

    /// Whether there is no pattern at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.literal.0.is_empty()
            && self.by_suffix.index.0.is_empty()
            && self.by_suffix_after_at.index.0.is_empty()
            && self.by_prefix.index.0.is_empty()
            && self.any.is_empty()
            && self.general.is_empty()
    }

    /// The lowest number of a pattern that matches.
    #[must_use]
    pub fn first(&self, text: &str) -> Option<u32> {
        let mut first = None;
        self.each(text, |index| first = Some(first.map_or(index, |lowest: u32| lowest.min(index))));
        first
    }

    /// The numbers of all patterns that match, lowest first.
    #[must_use]
    pub fn all(&self, text: &str) -> Vec<u32> {
        let mut all = Vec::new();
        self.each(text, |index| all.push(index));
        all.sort_unstable();
        all
    }

    fn each(&self, text: &str, mut found: impl FnMut(u32)) {
        let folded = fold(self.case, text);
        let text = folded.as_str();
        self.literal.each(text, &mut found);
        for &length in &self.by_suffix.lengths {
            let Some(at) = text.len().checked_sub(length) else { break };
            if let Some(suffix) = text.get(at..) {
                self.by_suffix.index.each(suffix, &mut found);
            }
        }
        for &length in &self.by_suffix_after_at.lengths {
            let Some(at) = text.len().checked_sub(length) else { break };
            if let (Some(before), Some(suffix)) = (text.get(..at), text.get(at..))
                && before.contains('@')
            {
                self.by_suffix_after_at.index.each(suffix, &mut found);
            }
        }
        for &length in &self.by_prefix.lengths {
            if length > text.len() {
                break;
            }
            if let Some(prefix) = text.get(..length) {
                self.by_prefix.index.each(prefix, &mut found);
            }
        }
        self.any.iter().copied().for_each(&mut found);
        for chunk in &self.general {
            for at in chunk.set.matches(text.as_bytes()) {
                if let Some(index) = chunk.indices.get(at) {
                    found(*index);
                }
            }
        }
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").field("case", &self.case).finish_non_exhaustive()
    }
}

/// Text as it is compared: lower-cased when case does not matter.
pub(super) fn fold(case: Case, text: &str) -> String {
    match case {
        Case::Sensitive => text.to_owned(),
        Case::Insensitive => text.to_ascii_lowercase(),
    }
}

/// Text to the numbers of the records that have it as their key, lowest first.
#[derive(Default)]
pub(super) struct Index(HashMap<Box<str>, Numbers>);

enum Numbers {
    One(u32),
    Many(Vec<u32>),
}

impl Index {
    pub(super) fn insert(&mut self, key: &str, index: u32) {
        match self.0.get_mut(key) {
            Some(Numbers::Many(many)) => many.push(index),
            Some(one) => {
                if let Numbers::One(first) = *one {
                    *one = Numbers::Many(vec![first, index]);
                }
            }
            None => {
                self.0.insert(key.into(), Numbers::One(index));
            }
        }
    }

    pub(super) fn each(&self, key: &str, found: &mut impl FnMut(u32)) {
        match self.0.get(key) {
            Some(Numbers::One(index)) => found(*index),
            Some(Numbers::Many(many)) => many.iter().copied().for_each(found),
            None => {}
        }
    }

    pub(super) fn first(&self, key: &str) -> Option<u32> {
        match self.0.get(key)? {
            Numbers::One(index) => Some(*index),
            Numbers::Many(many) => many.first().copied(),
        }
    }
}

/// Beginnings or ends of texts, with the lengths that occur, so that a lookup hashes once for each.
#[derive(Default)]
struct Affixes {
    index: Index,
    lengths: Vec<usize>,
}

impl Affixes {
    fn insert(&mut self, affix: &str, index: u32) {
        if !self.lengths.contains(&affix.len()) {
            self.lengths.push(affix.len());
        }
        self.index.insert(affix, index);
    }
}

enum Form<'a> {
    Literal,
    Suffix(&'a str),
    SuffixAfterAt(&'a str),
    Prefix(&'a str),
    Any,
    General,
}

impl<'a> Form<'a> {
    fn of(pattern: &'a str) -> Self {
        if has_operator(pattern) {
            return Self::General;
        }
        if pattern == "*" {
            return Self::Any;
        }
        if !pattern.contains('*') {
            return Self::Literal;
        }
        let plain = |text: &str| text.len() <= MAX_AFFIX && !text.contains('*');
        if let Some(suffix) = pattern.strip_prefix("*@*").filter(|suffix| plain(suffix)) {
            return Self::SuffixAfterAt(suffix);
        }
        if let Some(suffix) = pattern.strip_prefix('*').filter(|suffix| plain(suffix)) {
            return Self::Suffix(suffix);
        }
        match pattern.strip_suffix('*').filter(|prefix| plain(prefix)) {
            Some(prefix) => Self::Prefix(prefix),
            None => Self::General,
        }
    }
}

/// The regular expression that a pattern stands for. The anchors are put around it as they are,
/// so that `a|b` binds to them as it does in OpenDKIM: `a` at the start or `b` at the end.
fn expression(pattern: &str) -> String {
    let mut expression = String::from("^");
    for c in pattern.chars() {
        match c {
            '*' => expression.push_str(".*"),
            '.' | '+' => expression.extend(['\\', c]),
            c => expression.push(c),
        }
    }
    expression.push('$');
    expression
}

fn compile(case: Case, expressions: &[impl AsRef<str>]) -> Result<RegexSet, PatternError> {
    RegexSetBuilder::new(expressions)
        .case_insensitive(case == Case::Insensitive)
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(MAX_COMPILED * expressions.len())
        .dfa_size_limit(256 << 10)
        .build()
        .map_err(|error| {
            let why = error.to_string();
            PatternError::Regex(why.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned())
        })
}

struct Chunk {
    set: RegexSet,
    indices: Vec<u32>,
}

const CHUNK: usize = 64;
const MAX_COMPILED: usize = 256 << 10;
/// Longer beginnings and ends are left to the automata, which bounds the lookups for each text.
const MAX_AFFIX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn build(case: Case, patterns: &[&str]) -> (Patterns, Vec<(u32, PatternError)>) {
        Patterns::new(case, (0..).zip(patterns.iter().copied()))
    }

    #[test]
    fn patterns_match_as_in_opendkim() {
        for (pattern, text, want) in [
            ("*@example.com", "a@example.com", true),
            ("*@example.com", "a@sub.example.com", false),
            ("*@example.com", "a@b@example.com", true),
            ("*@example.com", "@example.com", true),
            ("*@Example.com", "a@eXample.com", true),
            ("*@*.example.com", "a@b.c.example.com", true),
            ("*@*.example.com", "a@example.com", false),
            ("*@*.example.com", "a.example.com", false),
            ("*example.com", "a@badexample.com", true),
            ("*", "anything", true),
            ("*", "", true),
            ("**", "x", true),
            ("info@*", "info@x", true),
            ("info@*", "infox", false),
            ("10.9.*", "10.9.1.1", true),
            ("10.9.*", "1009.1", false),
            ("a.b", "axb", false),
            ("a+b@x", "a+b@x", true),
            ("a+b@x", "aab@x", false),
            ("i*o@ex*le.com", "info@example.com", true),
            ("i*o@ex*le.com", "info@example.com.x", false),
            ("us[ea]r@x", "usar@x", true),
            ("colou?r@x", "color@x", true),
            ("(a|b)@x", "b@x", true),
            ("a|b", "axxx", true),
            ("a|b", "xxxb", true),
            ("a|b", "xabx", false),
            ("x@y", "x@y\n", false),
        ] {
            let (patterns, errors) = build(Case::Insensitive, &[pattern]);
            assert!(errors.is_empty(), "{pattern}: {errors:?}");
            assert_eq!(patterns.first(text).is_some(), want, "{pattern} {text}");
        }
    }

    #[test]
    fn case_matters_only_where_it_is_said() {
        for pattern in ["Key", "K*y", "K*", "*Y"] {
            assert_eq!(build(Case::Insensitive, &[pattern]).0.first("kEy"), Some(0), "{pattern}");
            assert_eq!(build(Case::Sensitive, &[pattern]).0.first("kEy"), None, "{pattern}");
        }
    }

    #[test]
    fn the_order_of_the_file_decides() {
        let patterns =
            ["x@*", "*@d.example", "i*o@d.example", "*", "info@d.example", "*@*.example", "*@d.example"];
        let (patterns, _) = build(Case::Insensitive, &patterns);
        assert_eq!(patterns.all("info@d.example"), [1, 2, 3, 4, 5, 6]);
        assert_eq!(patterns.first("info@d.example"), Some(1));
        assert_eq!(patterns.all("x@a.b.example"), [0, 3, 5]);
    }

    #[test]
    fn many_general_patterns_keep_their_numbers() {
        let patterns: Vec<String> = (0..300).map(|number| format!("a*b@d{number}.example")).collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let (index, errors) = build(Case::Insensitive, &patterns);
        assert!(errors.is_empty());
        for number in [0, 63, 64, 299] {
            assert_eq!(index.all(&format!("axb@D{number}.example")), [number]);
        }
        assert_eq!(index.first("axb@d300.example"), None);
    }

    #[test]
    fn there_is_a_bound_for_general_patterns() {
        let patterns = vec!["a*b*c"; MAX_GENERAL + 1];
        let (index, errors) = build(Case::Sensitive, &patterns);
        let last = u32::try_from(MAX_GENERAL).unwrap();
        assert_eq!(errors, [(last, PatternError::TooMany)]);
        assert_eq!(index.first("abc"), Some(0));
    }

    #[test]
    fn broken_expressions_are_named() {
        let (patterns, errors) = build(Case::Insensitive, &["ok@x", "a(b", "[z", "a{99999}"]);
        assert_eq!(errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(patterns.first("ok@x").is_some());
    }

    #[test]
    fn hashing_and_automata_agree() {
        use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
        proptest!(ProptestConfig::with_cases(400), |(
            patterns in proptest::collection::vec("[ab*@.]{1,5}", 1..20),
            text in "[ab@.]{0,6}",
        )| {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let (index, errors) = build(Case::Sensitive, &patterns);
            prop_assert_eq!(errors, vec![]);
            let naive: Vec<u32> = (0..)
                .zip(&patterns)
                .filter(|(_, pattern)| regex::Regex::new(&expression(pattern)).unwrap().is_match(&text))
                .map(|(at, _)| at)
                .collect();
            prop_assert_eq!(index.all(&text), naive, "{:?} {:?}", patterns, text);
        });
    }
}
