//! THE table: every parameter of opendkim.conf, and what becomes of it.
//!
//! The reader, the check, the manual page and docs/differences/opendkim.md are made from it.

use std::{collections::HashMap, sync::OnceLock};

use base::config::nearest::nearest;

use super::parameters;

/// What a parameter's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first character counts: `T t Y y 1` or `F f N n 0`.
    Boolean,
    /// Decimal, octal after `0`, hexadecimal after `0x`.
    Integer,
    /// The rest of the line.
    String,
    /// A list, a file or a file of patterns.
    DataSet,
    /// `accept`, `discard`, `quarantine`, `reject`, `tempfail` or the first letter of one.
    Action,
}

impl Kind {
    /// The word for it in the manual page.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::String => "string",
            Self::DataSet => "data set",
            Self::Action => "action",
        }
    }
}

/// What becomes of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what its description says.
    Honoured,
    /// It is accepted with a warning and has no effect so far; the text says what that means.
    NotYet(&'static str),
    /// It is accepted with a warning and has no effect for good; the text says why.
    Ignored(&'static str),
    /// It is a mistake, because leaving it out silently would change what happens to mail.
    Refused {
        /// Why.
        why: &'static str,
        /// What to use instead.
        instead: &'static str,
    },
    /// OpenDKIM 2.11 of Debian refuses the name as well; the text says what to use instead.
    Gone(&'static str),
}

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name; case does not matter when it is read.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The value when it is not set; empty for none.
    pub default: &'static str,
    /// What becomes of it.
    pub status: Status,
    /// Whether a reload brings a new value into force.
    pub reloadable: bool,
    /// Whether Postrider added it.
    pub ours: bool,
    /// One line for the manual page.
    pub doc: &'static str,
}

impl Parameter {
    pub(super) const fn honoured(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, kind, default, status: Status::Honoured, reloadable: true, ours: false, doc }
    }

    pub(super) const fn not_yet(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
        why: &'static str,
    ) -> Self {
        Self { status: Status::NotYet(why), ..Self::honoured(name, kind, default, doc) }
    }

    pub(super) const fn ignored(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
        why: &'static str,
    ) -> Self {
        Self { status: Status::Ignored(why), ..Self::honoured(name, kind, default, doc) }
    }

    pub(super) const fn refused(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
        why: &'static str,
        instead: &'static str,
    ) -> Self {
        Self { status: Status::Refused { why, instead }, ..Self::honoured(name, kind, default, doc) }
    }

    pub(super) const fn gone(name: &'static str, doc: &'static str, instead: &'static str) -> Self {
        Self { status: Status::Gone(instead), ..Self::honoured(name, Kind::String, "", doc) }
    }

    /// The same, of which a reload does not bring a new value into force.
    pub(super) const fn at_start(self) -> Self {
        Self { reloadable: false, ..self }
    }

    /// The same as one of Postrider's own.
    pub(super) const fn own(self) -> Self {
        Self { ours: true, ..self }
    }

    /// Whether a value may hold a secret that a report must not show.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.kind == Kind::DataSet || self.name == "LDAPBindPassword"
    }
}

/// All parameters, in the order of the manual page.
pub fn all() -> impl Iterator<Item = &'static Parameter> {
    [
        parameters::process::TABLE,
        parameters::signing::TABLE,
        parameters::clients::TABLE,
        parameters::verifying::TABLE,
        parameters::own::TABLE,
        parameters::absent::TABLE,
    ]
    .into_iter()
    .flatten()
}

/// The parameter of this name, in any case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Parameter> {
    static BY_NAME: OnceLock<HashMap<String, &'static Parameter>> = OnceLock::new();
    let by_name = BY_NAME
        .get_or_init(|| all().map(|parameter| (parameter.name.to_ascii_lowercase(), parameter)).collect());
    by_name.get(&name.to_ascii_lowercase()).copied()
}

/// The name that an unknown one was probably meant to be: the closest within a third of its
/// length in insertions, deletions, replacements and swaps.
#[must_use]
pub fn suggest(name: &str) -> Option<&'static str> {
    let known = all().filter(|parameter| !matches!(parameter.status, Status::Gone(_)));
    nearest(name, known.map(|parameter| parameter.name))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_line_has_its_text() {
        let mut names = HashSet::new();
        for parameter in all() {
            assert!(names.insert(parameter.name.to_ascii_lowercase()), "{}", parameter.name);
            assert!(!parameter.doc.is_empty(), "{}", parameter.name);
            assert!(!parameter.doc.contains('\n') && parameter.doc.ends_with('.'), "{}", parameter.name);
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        for name in ["OverSignHeaders", "Userid", "SysLog", "x-header", "ON-DNSERROR"] {
            assert!(find(name).is_some(), "{name}");
        }
        assert!(find("NoSuchThing").is_none());
    }

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        for (written, meant) in [
            ("Cannonicalization", Some("Canonicalization")),
            ("Canonicalisation", Some("Canonicalization")),
            ("SigingTable", Some("SigningTable")),
            ("KeyTabel", Some("KeyTable")),
            ("InternalHost", Some("InternalHosts")),
            ("On-BadSignatures", Some("On-BadSignature")),
            ("OnBadSignature", Some("On-BadSignature")),
            ("Listen", None),
            ("SomethingElseAltogether", None),
        ] {
            assert_eq!(suggest(written), meant, "{written}");
        }
    }
}
