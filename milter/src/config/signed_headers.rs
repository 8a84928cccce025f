//! Which header fields a signature covers: `SignHeaders`, `OmitHeaders`, `OversignHeaders`.

use std::{collections::HashSet, fmt};

use base::config::{Report, Span};

use crate::table::{
    Case,
    pattern::{Patterns, has_operator},
};

/// The names that OpenDKIM signs by itself (RFC 6376 §5.4.1, OpenDKIM 2.11 observed).
pub const DEFAULT_SIGNED: [&str; 20] = [
    "from",
    "reply-to",
    "subject",
    "date",
    "to",
    "cc",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "in-reply-to",
    "references",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
];
/// The names that OpenDKIM leaves out by itself.
pub const DEFAULT_OMITTED: [&str; 4] = ["return-path", "received", "comments", "keywords"];

/// The compiled choice.
#[derive(Debug)]
pub struct SignedHeaders {
    sign: Names,
    omit: Names,
    oversigned: HashSet<Box<[u8]>>,
    oversign: Vec<String>,
}

/// A list of names with the places where they stand.
pub type NameList = Vec<(String, Span)>;

impl SignedHeaders {
    /// Compiles the three lists; `None` is a parameter that is not set.
    ///
    /// A list that holds `*` changes the default set by its `+name` and `-name` entries, any other
    /// replaces it. `*` within a name stands for any text. Reported are patterns that cannot be
    /// compiled, names that are no header field's, entries without effect, and names that are both
    /// signed and omitted.
    #[must_use]
    pub fn new(
        sign: Option<&NameList>,
        omit: Option<&NameList>,
        oversign: Option<&NameList>,
        report: &mut Report,
    ) -> Self {
        let mut this = Self {
            sign: Names::new(DEFAULT_SIGNED, sign, report),
            omit: Names::new(DEFAULT_OMITTED, omit, report),
            oversigned: HashSet::new(),
            oversign: Vec::new(),
        };
        for (name, span) in oversign.into_iter().flatten() {
            if !is_field_name(name) {
                report
                    .error(span, format!("'{name}' is not the name of a header field"))
                    .help("patterns cannot be oversigned: write each name in full");
            } else if this.oversigned.insert(name.to_ascii_lowercase().into_bytes().into()) {
                this.oversign.push(name.clone());
            }
        }
        for (name, span) in sign.into_iter().flatten() {
            let bare = name.strip_prefix('+').unwrap_or(name);
            if this.sign.contains(bare.to_ascii_lowercase().as_bytes()) && !this.selects(bare.as_bytes()) {
                report
                    .warning(span, format!("{bare} is also in OmitHeaders, so it is not signed"))
                    .help("OmitHeaders . omits nothing");
            }
        }
        this
    }

    /// Whether every field of this name is signed. Case does not matter. From always is, and so
    /// is every oversigned name: one that is left out would make the signature invalid.
    #[must_use]
    pub fn selects(&self, name: &[u8]) -> bool {
        let mut buffer = [0; 64];
        let Some(lower) = buffer.get_mut(..name.len()) else {
            return self.decides(&name.to_ascii_lowercase());
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.decides(lower)
    }

    /// The names that are listed once more in `h=`, as written and in the order of the list.
    #[must_use]
    pub fn oversign(&self) -> &[String] {
        &self.oversign
    }

    fn decides(&self, lower: &[u8]) -> bool {
        lower == b"from"
            || self.oversigned.contains(lower)
            || (self.sign.contains(lower) && !self.omit.contains(lower))
    }
}

/// A set of names in lower case, with exceptions.
struct Names {
    exact: HashSet<Box<[u8]>>,
    patterns: Option<Patterns>,
    except: Option<Patterns>,
}

impl Names {
    fn new<'a>(
        base: impl IntoIterator<Item = &'a str>,
        list: Option<&NameList>,
        report: &mut Report,
    ) -> Self {
        let as_key = |name: &str| Box::from(name.to_ascii_lowercase().into_bytes());
        let mut this = Self { exact: HashSet::new(), patterns: None, except: None };
        let Some(list) = list else {
            this.exact = base.into_iter().map(as_key).collect();
            return this;
        };
        let delta = list.iter().any(|(name, _)| name == "*");
        if delta {
            this.exact = base.into_iter().map(as_key).collect();
        }
        let (mut patterns, mut except) = (Vec::new(), Vec::new());
        for (number, (name, span)) in (0..).zip(list) {
            let change =
                name.strip_prefix('+').or_else(|| name.strip_prefix('-')).filter(|name| !name.is_empty());
            match change {
                Some(bare) if delta => {
                    let to = if name.starts_with('+') { &mut patterns } else { &mut except };
                    to.push((number, bare));
                }
                Some(_) => {
                    report
                        .warning(
                            span,
                            format!("'{name}' names no header field: + and - need a * in the list"),
                        )
                        .help("add * to change the default set, or remove the sign");
                }
                None if delta => {
                    if name != "*" {
                        report
                            .warning(span, format!("'{name}' has no effect in a list with *"))
                            .help(format!("write +{name} to add it to the default set"));
                    }
                }
                None => patterns.push((number, name.as_str())),
            }
        }
        for (_, name) in &except {
            this.exact.remove(name.to_ascii_lowercase().as_bytes());
        }
        let is_literal = |name: &str| !name.contains('*') && !has_operator(name);
        this.exact.extend(patterns.iter().filter(|(_, name)| is_literal(name)).map(|(_, name)| as_key(name)));
        patterns.retain(|(_, name)| !is_literal(name));
        this.patterns = compile(patterns, list, report);
        this.except = compile(except, list, report);
        this
    }

    fn contains(&self, lower: &[u8]) -> bool {
        let matches = |patterns: &Option<Patterns>| {
            patterns.as_ref().is_some_and(|patterns| {
                std::str::from_utf8(lower).is_ok_and(|name| patterns.first(name).is_some())
            })
        };
        (self.exact.contains(lower) || matches(&self.patterns)) && !matches(&self.except)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Names({} names)", self.exact.len())
    }
}

fn compile(patterns: Vec<(u32, &str)>, list: &NameList, report: &mut Report) -> Option<Patterns> {
    if patterns.is_empty() {
        return None;
    }
    let (patterns, errors) = Patterns::new(Case::Insensitive, patterns);
    for (number, error) in errors {
        let entry = usize::try_from(number).ok().and_then(|number| list.get(number));
        if let Some((_, span)) = entry {
            report.error(span, error.to_string()).help("write the name, with * for any text");
        }
    }
    Some(patterns)
}

/// Whether a text can be the name of a header field (RFC 5322 §3.6.8) without wildcards.
fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| matches!(byte, 33..=126) && !matches!(byte, b':' | b';' | b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::config::Source;

    fn list(text: &str) -> Option<NameList> {
        let source = Source::new("t", text);
        let mut at = 0;
        let mut names = Vec::new();
        for item in text.split(',') {
            names.push((item.to_owned(), Span::new(&source, 1, at, at + item.len())));
            at += item.len() + 1;
        }
        (!text.is_empty()).then_some(names)
    }

    fn compiled(sign: &str, omit: &str, oversign: &str) -> (SignedHeaders, Report) {
        let mut report = Report::new();
        let headers = SignedHeaders::new(
            list(sign).as_ref(),
            list(omit).as_ref(),
            list(oversign).as_ref(),
            &mut report,
        );
        (headers, report)
    }

    #[test]
    fn the_lists_choose_as_in_opendkim() {
        for (sign, omit, oversign, name, want) in [
            ("", "", "", "Subject", true),
            ("", "", "", "LIST-archive", true),
            ("", "", "", "Message-ID", false),
            ("", "", "", "Received", false),
            ("Subject", "", "", "subject", true),
            ("Subject", "", "", "To", false),
            ("Subject", "", "", "From", true),
            ("*,+Content-Type,-Subject", "", "", "content-type", true),
            ("*,+Content-Type,-Subject", "", "", "Subject", false),
            ("*,+Content-Type,-Subject", "", "", "To", true),
            ("*,-List-*", "", "", "List-Id", false),
            ("*,-List-*", "", "", "To", true),
            ("*,-From", "", "", "From", true),
            ("*,Content-Type", "", "", "Content-Type", false),
            ("X-*", "", "", "x-anything", true),
            ("X-*", "", "", "y", false),
            ("X.Y", "", "", "xzy", false),
            ("", "Subject", "", "Subject", false),
            ("", "Subject,From", "", "From", true),
            ("Subject", "Subject", "", "Subject", false),
            ("Received", "", "", "Received", false),
            ("Received", ".", "", "Received", true),
            ("Received", "*,-Received", "", "Received", true),
            ("Subject", "-", "", "Subject", true),
            ("Subject", "", "Cc", "CC", true),
            ("", "Cc", "Cc", "Cc", true),
        ] {
            let (headers, report) = compiled(sign, omit, oversign);
            assert!(!report.has_errors());
            assert_eq!(headers.selects(name.as_bytes()), want, "{sign} {omit} {oversign} {name}");
        }
    }

    #[test]
    fn oversigned_names_keep_order_and_spelling() {
        let (headers, _) = compiled("", "", "From,Subject,from,X-Y");
        assert_eq!(headers.oversign(), ["From", "Subject", "X-Y"]);
        assert!(compiled("", "", "X-*").1.has_errors());
        assert!(compiled("", "", "a b").1.has_errors());
    }

    #[test]
    fn doubtful_lists_are_warned_about() {
        for (sign, omit, warnings) in [
            ("*,Subject", "", 1),
            ("+Subject,To", "", 1),
            ("Received,To", "", 1),
            ("Subject,To", "Subject", 1),
            ("*,+X-Y,-To", "", 0),
            ("X-*,To", "a,b,c", 0),
            ("", ".", 0),
        ] {
            assert_eq!(compiled(sign, omit, "").1.warnings(), warnings, "{sign} {omit}");
        }
        assert!(compiled("a(b", "", "").1.has_errors());
    }

    #[test]
    fn any_bytes_may_be_asked_for() {
        let (headers, _) = compiled("X-*,To", "", "");
        assert!(!headers.selects(b"X-\xff\xfe"));
        assert!(!headers.selects(b""));
        assert!(headers.selects(format!("X-{}", "y".repeat(500)).as_bytes()));
    }
}
