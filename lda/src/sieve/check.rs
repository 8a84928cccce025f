//! Holds a parsed script against the vocabulary: what is wrong is said in Pigeonhole's words, what is right comes out
//! with its arguments sorted; `ihave` is answered here, and what it rules out is left out.

mod values;

pub(in crate::sieve) use self::values::{is_reference, is_script_name, names_variables, strings};

use super::extensions::Extensions;
use super::syntax::{Argument, Mistake, Node, Value};
use super::vocabulary::{self, Entry, Kind, Optional, Role, Tag, Tests};

/// A command or a test with its arguments in their places.
#[derive(Debug)]
pub struct Checked {
    /// What it is.
    pub entry: &'static Entry,
    /// Its line.
    pub line: usize,
    /// Its tags, with the argument of each.
    pub tags: Vec<(&'static Tag, Option<Value>)>,
    /// What stands without a tag.
    pub positional: Vec<Value>,
    /// Its tests.
    pub tests: Vec<Self>,
    /// Its block.
    pub block: Option<Vec<Self>>,
    /// The answer of a test that is known before any message is (`ihave`, `true`, `false` and what they decide).
    pub known: Option<bool>,
}

impl Checked {
    /// The argument of a tag, when the tag is there and has one.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&Value> {
        self.tags.iter().find(|(tag, _)| tag.name == name).and_then(|(_, value)| value.as_ref())
    }

    /// Whether a tag is there.
    #[must_use]
    pub fn has_tag(&self, name: &str) -> bool {
        self.tags.iter().any(|(tag, _)| tag.name == name)
    }
}

/// A script without mistakes.
#[derive(Debug)]
pub struct Sound {
    /// Its commands, `require` left out.
    pub commands: Vec<Checked>,
    /// The extensions it asked for.
    pub required: Vec<String>,
    /// What is suspicious but not wrong.
    pub warnings: Vec<Mistake>,
}

/// Checks a script.
///
/// # Errors
/// All mistakes, in the order of their lines; never an empty list.
pub fn check(nodes: &[Node], available: &Extensions) -> Result<Sound, Vec<Mistake>> {
    let mut checker = Checker {
        available,
        required: Vec::new(),
        mistakes: Vec::new(),
        warnings: Vec::new(),
        reported: Vec::new(),
        loops: 0,
    };
    let head = nodes.iter().position(|node| node.name != "require").unwrap_or(nodes.len());
    let (requires, rest) = nodes.split_at_checked(head).unwrap_or((nodes, &[]));
    for node in requires {
        checker.require(node);
    }
    if let Some(first) = requires.first()
        && checker.has("extracttext")
        && !checker.has("variables")
    {
        // RFC 5703 §7: what it takes out goes into a variable.
        checker.wrong(first.line, "extracttext extension cannot be used without variables extension.");
    }
    let commands = checker.block(rest);
    if checker.mistakes.is_empty() {
        Ok(Sound { commands, required: checker.required, warnings: checker.warnings })
    } else {
        checker.mistakes.sort_by_key(|mistake| mistake.line);
        Err(checker.mistakes)
    }
}

struct Checker<'a> {
    available: &'a Extensions,
    required: Vec<String>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
    reported: Vec<String>,
    /// How many loops over parts are open.
    loops: usize,
}

impl Checker<'_> {
    fn wrong(&mut self, line: usize, text: impl Into<String>) {
        self.mistakes.push(Mistake::new(line, text));
    }

    fn wrong_once(&mut self, line: usize, text: &str) {
        if !self.reported.iter().any(|known| known == text) {
            self.reported.push(text.to_owned());
            self.wrong(line, format!("{text} (only reported once at first occurrence)."));
        }
    }

    fn has(&self, extension: &str) -> bool {
        extension.is_empty() || self.required.iter().any(|name| name == extension)
    }

    fn require(&mut self, node: &Node) {
        let Some(checked) = self.arguments(node, vocabulary::entry("require")) else {
            return;
        };
        for name in checked.positional.iter().flat_map(strings) {
            if self.available.has(name) {
                self.require_one(name);
            } else {
                self.wrong(node.line, format!("require command: unknown Sieve capability `{name}'."));
            }
        }
    }

    fn require_one(&mut self, name: &str) {
        self.required.push(name.to_owned());
        // RFC 6131 §2.
        if name == "vacation-seconds" {
            self.required.push("vacation".to_owned());
        }
    }

    fn block(&mut self, nodes: &[Node]) -> Vec<Checked> {
        let mut commands = Vec::new();
        let mut previous = "";
        // Whether an earlier branch of the running if is always taken, so that the later ones never are.
        let mut taken = false;
        for node in nodes {
            let chained = matches!(node.name.as_str(), "elsif" | "else");
            if chained && !matches!(previous, "if" | "elsif") {
                self.wrong(
                    node.line,
                    format!("the {} command must follow an if or elseif command.", node.name),
                );
            }
            if node.name == "require" {
                self.wrong(
                    node.line,
                    "require commands can only be placed at top level at the beginning of the file.",
                );
            }
            if !chained {
                taken = false;
            }
            previous = &node.name;
            if let Some(mut command) = self.command(node, taken) {
                let known = command.tests.first().and_then(|test| test.known);
                command.known = if taken { Some(false) } else { known };
                taken |= command.known == Some(true);
                commands.push(command);
            }
        }
        commands
    }

    fn command(&mut self, node: &Node, dead: bool) -> Option<Checked> {
        let Some(entry) = vocabulary::entry(&node.name) else {
            self.wrong_once(node.line, &format!("unknown command '{}'", node.name));
            return None;
        };
        if entry.role == Role::Test {
            self.wrong(node.line, format!("attempted to use test '{}' as command.", node.name));
            return None;
        }
        self.extension(node, entry, "command")?;
        let mut checked = self.arguments(node, Some(entry))?;
        checked.tests = self.tests(node, entry, dead);
        if entry.name == "extracttext" && self.loops == 0 {
            self.wrong(node.line, "the extracttext command is not placed inside a foreverypart loop.");
        }
        match (&node.block, entry.block) {
            (Some(block), true) => {
                let known = checked.tests.first().and_then(|test| test.known);
                let parts = usize::from(entry.name == "foreverypart");
                self.loops += parts;
                checked.block =
                    Some(if dead || known == Some(false) { Vec::new() } else { self.block(block) });
                self.loops -= parts;
            }
            (None, true) => self.wrong(
                node.line,
                format!("the {} command requires a command block, but it is missing.", node.name),
            ),
            (Some(_), false) => self.wrong(
                node.line,
                format!(
                    "the {} command does not accept a command block, but one is specified nonetheless.",
                    node.name
                ),
            ),
            (None, false) => {}
        }
        Some(checked)
    }

    fn extension(&mut self, node: &Node, entry: &Entry, what: &str) -> Option<()> {
        if self.has(entry.extension) {
            return Some(());
        }
        self.wrong_once(
            node.line,
            &format!("unknown {what} '{}': it needs require \"{}\"", node.name, entry.extension),
        );
        None
    }

    fn tests(&mut self, node: &Node, entry: &Entry, dead: bool) -> Vec<Checked> {
        let given = node.tests.len();
        let complaint = match entry.tests {
            Tests::None if given > 0 => Some("accepts no sub-tests, but tests are specified."),
            Tests::One if given == 0 => Some("requires one sub-test, but none is specified."),
            Tests::One if given > 1 || node.test_list => {
                Some("requires one sub-test, but a list of sub-tests is specified.")
            }
            Tests::List if !node.test_list => Some("requires a list of sub-tests in parentheses."),
            _ => None,
        };
        if let Some(complaint) = complaint {
            let what = match entry.role {
                Role::Command => "command",
                Role::Test => "test",
            };
            self.wrong(node.line, format!("the {} {what} {complaint}", node.name));
            return Vec::new();
        }
        let mut tests = Vec::new();
        for test in node.tests.iter().filter(|_| !dead) {
            let Some(test) = self.test(test) else {
                continue;
            };
            let known = test.known;
            tests.push(test);
            // What follows is never asked, and may use what is not here.
            if matches!((entry.name, known), ("allof", Some(false)) | ("anyof", Some(true))) {
                break;
            }
        }
        tests
    }

    fn test(&mut self, node: &Node) -> Option<Checked> {
        let Some(entry) = vocabulary::entry(&node.name) else {
            self.wrong_once(node.line, &format!("unknown test '{}'", node.name));
            return None;
        };
        if entry.role == Role::Command {
            self.wrong(node.line, format!("attempted to use command '{}' as test.", node.name));
            return None;
        }
        self.extension(node, entry, "test")?;
        let mut checked = self.arguments(node, Some(entry))?;
        checked.tests = self.tests(node, entry, false);
        checked.known = match entry.name {
            "true" => Some(true),
            "false" => Some(false),
            "ihave" => Some(self.ihave(&checked)),
            "not" => checked.tests.first().and_then(|test| test.known).map(|known| !known),
            "allof" => decided(&checked.tests, false),
            "anyof" => decided(&checked.tests, true),
            _ => None,
        };
        Some(checked)
    }

    /// RFC 5463 §4: what is tested and there may be used from here on.
    fn ihave(&mut self, checked: &Checked) -> bool {
        let names: Vec<_> = checked.positional.iter().flat_map(strings).cloned().collect();
        let all = names.iter().all(|name| self.available.has(name));
        if all {
            for name in &names {
                self.require_one(name);
            }
        }
        all
    }

    /// Sorts arguments into tags and positional ones.
    fn arguments(&mut self, node: &Node, entry: Option<&'static Entry>) -> Option<Checked> {
        let entry = entry?;
        let what = match entry.role {
            Role::Command => "command",
            Role::Test => "test",
        };
        let mut checked = Checked {
            entry,
            line: node.line,
            tags: Vec::new(),
            positional: Vec::new(),
            tests: Vec::new(),
            block: None,
            known: None,
        };
        let mut arguments = node.arguments.iter();
        while let Some(argument) = arguments.next() {
            match &argument.value {
                Value::Tag(name) => {
                    let tag = self.tag(entry, name, argument.line, &checked, what)?;
                    let value = match tag.argument {
                        None => None,
                        Some(kind) => Some(self.tag_argument(
                            tag,
                            kind,
                            arguments.next(),
                            argument.line,
                            entry,
                            what,
                        )?),
                    };
                    checked.tags.push((tag, value));
                }
                other => checked.positional.push(other.clone()),
            }
        }
        self.positional(node, entry, &checked, what)?;
        self.values(&checked)?;
        Some(checked)
    }

    fn tag(
        &mut self,
        entry: &'static Entry,
        name: &str,
        line: usize,
        so_far: &Checked,
        what: &str,
    ) -> Option<&'static Tag> {
        let found =
            entry.tags.iter().copied().flatten().find(|tag| tag.name == name && self.has(tag.extension));
        let Some(tag) = found else {
            self.wrong_once(
                line,
                &format!("unknown tagged argument ':{name}' for the {} {what}", entry.name),
            );
            return None;
        };
        let double = so_far
            .tags
            .iter()
            .any(|(other, _)| other.name == tag.name || (!tag.group.is_empty() && other.group == tag.group));
        if double {
            let group = if tag.group.is_empty() { "tagged" } else { tag.group };
            self.wrong(
                line,
                format!("encountered duplicate {group} argument (:{name}) for the {} {what}.", entry.name),
            );
            return None;
        }
        Some(tag)
    }

    fn tag_argument(
        &mut self,
        tag: &Tag,
        kind: Kind,
        argument: Option<&Argument>,
        line: usize,
        entry: &Entry,
        what: &str,
    ) -> Option<Value> {
        match argument {
            Some(argument) if values::fits(kind, &argument.value) => Some(argument.value.clone()),
            other => {
                let found = other.map_or("none", |argument| argument.value.kind());
                self.wrong(
                    line,
                    format!(
                        "the :{} tag for the {} {what} requires a {} argument, but {found} was found.",
                        tag.name,
                        entry.name,
                        kind.name()
                    ),
                );
                None
            }
        }
    }

    fn positional(&mut self, node: &Node, entry: &Entry, checked: &Checked, what: &str) -> Option<()> {
        let expected = entry.positional.len();
        let given = checked.positional.len();
        let fewest = expected - usize::from(entry.optional != Optional::None);
        if given > expected || given < fewest {
            self.wrong(
                node.line,
                format!(
                    "the {} {what} requires {expected} positional argument(s), but {given} is/are specified.",
                    node.name
                ),
            );
            return None;
        }
        let skipped = if entry.optional == Optional::First { expected - given } else { 0 };
        let places = entry.positional.iter().skip(skipped).enumerate();
        for ((at, place), value) in places.zip(&checked.positional) {
            if !values::fits(place.kind, value) {
                self.wrong(
                    node.line,
                    format!(
                        "the {} {what} expects a {} as argument {} ({}), but {} was found.",
                        node.name,
                        place.kind.name(),
                        at + 1,
                        place.name,
                        value.kind()
                    ),
                );
                return None;
            }
        }
        Some(())
    }
}

/// What a list of tests comes to when one answer decides it, or all are known.
fn decided(tests: &[Checked], by: bool) -> Option<bool> {
    if tests.iter().any(|test| test.known == Some(by)) {
        Some(by)
    } else if tests.iter().all(|test| test.known == Some(!by)) {
        Some(!by)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
