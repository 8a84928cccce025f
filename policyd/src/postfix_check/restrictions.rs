//! A restriction list, taken apart: what is asked, and what stands before it.

use super::main_cf::MainCf;

/// How deep restriction classes may name each other.
const DEEPEST: usize = 8;

/// Restrictions of one list, and classes that are looked into: such that name each other would have no end.
const MOST: usize = 1000;

/// Restrictions whose next word belongs to them (postconf(5)).
const WITH_ARGUMENT: [&str; 12] = [
    "check_policy_service",
    "permit_dnswl_client",
    "permit_rhswl_client",
    "reject_rbl_client",
    "reject_rhsbl_client",
    "reject_rhsbl_reverse_client",
    "reject_rhsbl_helo",
    "reject_rhsbl_sender",
    "reject_rhsbl_recipient",
    "reject_rbl",
    "sleep",
    "reject_maps_rbl",
];

/// One restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restriction {
    /// Its name in lower case.
    pub(super) name: String,
    /// The word after it, for those that take one.
    pub(super) argument: Option<String>,
}

/// The restrictions of a list in their order, with restriction classes replaced by what they hold.
pub(super) fn read(text: &str, main: &MainCf) -> Vec<Restriction> {
    let mut out = Vec::new();
    let classes =
        main.raw("smtpd_restriction_classes").map_or_else(String::new, |value| main.expand(&value.text));
    let classes = words(&classes);
    let mut room = MOST;
    read_into(text, main, &classes, DEEPEST, &mut room, &mut out);
    out
}

fn read_into(
    text: &str,
    main: &MainCf,
    classes: &[String],
    depth: usize,
    room: &mut usize,
    out: &mut Vec<Restriction>,
) {
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        if *room == 0 {
            return;
        }
        *room -= 1;
        if classes.contains(&word)
            && depth > 0
            && let Some(class) = main.raw(&word)
        {
            read_into(&main.expand(&class.text), main, classes, depth - 1, room, out);
            continue;
        }
        let name = word.to_ascii_lowercase();
        let takes = WITH_ARGUMENT.contains(&name.as_str()) || name.starts_with("check_");
        let argument = if takes { words.next() } else { None };
        out.push(Restriction { name, argument });
    }
}

/// Words separated by blanks and commas; `{ ... }` is one.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (c.is_whitespace() || c == ',') {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// What a restriction before ours does to those whom it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Ends the list for everybody.
    Everybody,
    /// Ends the list for clients with a login.
    Logins,
    /// Ends the list for clients of `mynetworks`.
    OwnNetworks,
    /// Ends the list for some others, by its name.
    Some,
    /// Lets the list go on, or refuses.
    Nobody,
}

impl Restriction {
    /// What it does to what stands after it.
    pub(super) fn before(&self) -> Before {
        match self.name.as_str() {
            "permit" | "reject" | "defer" => Before::Everybody,
            "permit_sasl_authenticated" => Before::Logins,
            "permit_mynetworks" => Before::OwnNetworks,
            name if name.starts_with("permit_") => Before::Some,
            _ => Before::Nobody,
        }
    }
}
