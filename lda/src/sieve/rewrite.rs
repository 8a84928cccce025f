//! Writes a checked script anew for the interpreter, so that it runs tests, variables and loops, and nothing else.
//!
//! Each action becomes one or more `fileinto :copy` whose folder begins with a letter that says what it is
//! (`Carrier`); it comes out of the interpreter as it is run, with variables filled in. What an action means, and
//! whether the implicit keep remains, is decided by us (`actions.rs`): the interpreter forgets an explicit `keep` that
//! is followed by `discard`, leaves redirects out in silence, and pastes text of the message into header fields
//! of answers. Strings are written so that only what the script's extensions say is replaced in them.

use std::fmt::Write;

use super::check::{self, Checked};
use super::syntax::Value;

/// A variable that no script can name, and that is always empty: it parts a `$` from a `{` that are only text.
const NOTHING: &str = "${global.postrider-nothing}";

/// What a folder of the rewritten script stands for, by its first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// An explicit keep.
    Keep,
    /// A folder.
    FileInto,
    /// A folder, and the implicit keep remains.
    FileIntoCopy,
    /// Discard.
    Discard,
    /// A redirect's address.
    Redirect,
    /// Likewise, and the implicit keep remains.
    RedirectCopy,
    /// A rejection's reason.
    Reject,
    /// Likewise of `ereject`.
    Ereject,
    /// The message of `error`.
    Error,
    /// The message of `debug_log`.
    Debug,
    /// An action with several arguments begins.
    Begin,
    /// Seconds between answers.
    Period,
    /// `:subject`.
    Subject,
    /// `:from`.
    From,
    /// One of `:addresses`.
    Address,
    /// `:handle`.
    Handle,
    /// `:mime`.
    Mime,
    /// A vacation's reason, which ends it.
    Vacation,
    /// `:importance`.
    Importance,
    /// `:message`.
    Message,
    /// A notification's method, which ends it.
    Notify,
}

const LETTERS: &[(Carrier, char)] = &[
    (Carrier::Keep, 'K'),
    (Carrier::FileInto, 'F'),
    (Carrier::FileIntoCopy, 'f'),
    (Carrier::Discard, 'D'),
    (Carrier::Redirect, 'R'),
    (Carrier::RedirectCopy, 'r'),
    (Carrier::Reject, 'J'),
    (Carrier::Ereject, 'j'),
    (Carrier::Error, 'E'),
    (Carrier::Debug, 'G'),
    (Carrier::Begin, 'B'),
    (Carrier::Period, 'P'),
    (Carrier::Subject, 'S'),
    (Carrier::From, 'O'),
    (Carrier::Address, 'A'),
    (Carrier::Handle, 'H'),
    (Carrier::Mime, 'M'),
    (Carrier::Vacation, 'V'),
    (Carrier::Importance, 'I'),
    (Carrier::Message, 'T'),
    (Carrier::Notify, 'N'),
];

impl Carrier {
    /// What a folder's name stands for, and its rest.
    pub(super) fn read(folder: &str) -> Option<(Self, &str)> {
        let letter = folder.chars().next()?;
        let (carrier, _) = LETTERS.iter().find(|(_, known)| *known == letter)?;
        Some((*carrier, folder.get(1..)?))
    }

    fn letter(self) -> char {
        LETTERS.iter().find(|(known, _)| *known == self).map_or('?', |(_, letter)| *letter)
    }
}

/// What is known before the script runs.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The local time zone, in minutes east of UTC.
    pub zone_minutes: i32,
    /// The size of the message when the interpreter is not given all of it.
    pub size: Option<u64>,
}

/// Writes the script.
#[must_use]
pub fn rewrite(commands: &[Checked], required: &[String], circumstances: Circumstances) -> String {
    let mut writer = Writer {
        out: String::new(),
        line: 1,
        variables: required.iter().any(|name| name == "variables"),
        encoded: required.iter().any(|name| name == "encoded-character"),
        circumstances,
    };
    let ours = ["fileinto", "copy", "imap4flags", "mailbox"];
    let mut names: Vec<&str> = ours.to_vec();
    names.extend(
        required
            .iter()
            .map(String::as_str)
            // What stands for actions that never reach the interpreter, or is no capability there.
            .filter(|name| !ours.contains(name) && !name.starts_with("vnd.") && *name != "encoded-character"),
    );
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    writer.put(&format!("require [{}];", names.join(",")));
    writer.commands(commands);
    writer.out.push_str("\r\n");
    writer.out
}

struct Writer {
    out: String,
    line: usize,
    variables: bool,
    encoded: bool,
    circumstances: Circumstances,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.line += text.matches('\n').count();
        self.out.push_str(text);
    }

    /// Lines of the interpreter's messages are those of the script.
    fn reach(&mut self, line: usize) {
        while self.line < line {
            self.put("\n");
        }
    }

    fn commands(&mut self, commands: &[Checked]) {
        for command in commands {
            self.reach(command.line);
            self.command(command);
        }
    }

    fn command(&mut self, command: &Checked) {
        let first = command.positional.first();
        match command.entry.name {
            "keep" => self.action(Carrier::Keep, &Value::Text(String::new()), command),
            "discard" => self.carry(Carrier::Discard, ""),
            "fileinto" => {
                let carrier = if command.has_tag("copy") { Carrier::FileIntoCopy } else { Carrier::FileInto };
                self.positional(carrier, first, command);
            }
            "redirect" => {
                let carrier = if command.has_tag("copy") { Carrier::RedirectCopy } else { Carrier::Redirect };
                self.positional(carrier, first, command);
            }
            "reject" => self.positional(Carrier::Reject, first, command),
            "ereject" => self.positional(Carrier::Ereject, first, command),
            "debug_log" => self.positional(Carrier::Debug, first, command),
            "error" => {
                self.positional(Carrier::Error, first, command);
                self.put("stop;");
            }
            "vacation" => self.vacation(command),
            "notify" => self.notify(command),
            // `global` of variables has no counterpart to carry; the rest is the interpreter's.
            _ => self.own(command),
        }
    }

    fn positional(&mut self, carrier: Carrier, value: Option<&Value>, command: &Checked) {
        if let Some(value) = value {
            self.action(carrier, value, command);
        }
    }

    /// One action, with the tags that the interpreter evaluates.
    fn action(&mut self, carrier: Carrier, value: &Value, command: &Checked) {
        self.put("fileinto :copy");
        if command.has_tag("create") {
            self.put(" :create");
        }
        if let Some(flags) = command.tag("flags") {
            self.put(" :flags ");
            self.value(flags);
        }
        let text = check::strings(value).first().map_or("", String::as_str);
        self.put(" ");
        self.prefixed(carrier, text);
        self.put(";");
    }

    fn carry(&mut self, carrier: Carrier, text: &str) {
        self.put("fileinto :copy ");
        self.prefixed(carrier, text);
        self.put(";");
    }

    fn carry_tag(&mut self, carrier: Carrier, value: Option<&Value>) {
        for text in value.iter().flat_map(|value| check::strings(value)) {
            self.carry(carrier, text);
        }
    }

    fn vacation(&mut self, command: &Checked) {
        self.carry(Carrier::Begin, "");
        let seconds = match (command.tag("days"), command.tag("seconds")) {
            (Some(Value::Number(days)), _) => Some(days.saturating_mul(86_400)),
            (_, Some(Value::Number(seconds))) => Some(*seconds),
            _ => None,
        };
        if let Some(seconds) = seconds {
            self.carry(Carrier::Period, &seconds.to_string());
        }
        self.carry_tag(Carrier::Subject, command.tag("subject"));
        self.carry_tag(Carrier::From, command.tag("from"));
        self.carry_tag(Carrier::Address, command.tag("addresses"));
        match command.tag("handle") {
            Some(handle) => self.carry_tag(Carrier::Handle, Some(handle)),
            None => self.default_handle(command),
        }
        if command.has_tag("mime") {
            self.carry(Carrier::Mime, "");
        }
        self.carry_tag(Carrier::Vacation, command.positional.first());
    }

    /// What stands for a handle (RFC 5230 §4.2) is the text of the script: what variables hold may differ from message
    /// to message, and each would be answered anew.
    fn default_handle(&mut self, command: &Checked) {
        let text = |value: Option<&Value>, default: &'static str| {
            value
                .and_then(|value| check::strings(value).first().cloned())
                .unwrap_or_else(|| default.to_owned())
        };
        let handle = format!(
            "{}{}{}{}",
            text(command.positional.first(), ""),
            text(command.tag("subject"), "<default-subject>"),
            text(command.tag("from"), "<default-from>"),
            if command.has_tag("mime") { "<MIME>" } else { "<NO-MIME>" }
        );
        let (variables, encoded) = (self.variables, self.encoded);
        (self.variables, self.encoded) = (false, false);
        self.carry(Carrier::Handle, &handle);
        (self.variables, self.encoded) = (variables, encoded);
    }

    fn notify(&mut self, command: &Checked) {
        self.carry(Carrier::Begin, "");
        self.carry_tag(Carrier::From, command.tag("from"));
        self.carry_tag(Carrier::Importance, command.tag("importance"));
        self.carry_tag(Carrier::Message, command.tag("message"));
        self.carry_tag(Carrier::Notify, command.positional.first());
    }

    /// A command that the interpreter runs itself.
    fn own(&mut self, command: &Checked) {
        let name = command.entry.name;
        let branch = matches!(name, "if" | "elsif");
        if branch && let Some(known) = command.known {
            self.put(&format!("{name} {known}"));
        } else {
            self.put(name);
            self.arguments(command);
            self.tests(command);
        }
        if let Some(block) = &command.block {
            self.put("{");
            self.commands(block);
            self.put("}");
        } else {
            self.put(";");
        }
    }

    fn tests(&mut self, node: &Checked) {
        match node.tests.as_slice() {
            [] => {}
            [test] if node.entry.name != "allof" && node.entry.name != "anyof" => {
                self.put(" ");
                self.test(test);
            }
            tests => {
                self.put("(");
                for (at, test) in tests.iter().enumerate() {
                    if at > 0 {
                        self.put(",");
                    }
                    self.test(test);
                }
                self.put(")");
            }
        }
    }

    fn test(&mut self, test: &Checked) {
        self.reach(test.line);
        if let Some(known) = test.known {
            self.put(if known { "true" } else { "false" });
            return;
        }
        if let (Some(size), "size") = (self.circumstances.size, test.entry.name) {
            let answer = match (test.tag("over"), test.tag("under")) {
                (Some(Value::Number(limit)), _) => size > *limit,
                (_, Some(Value::Number(limit))) => size < *limit,
                _ => false,
            };
            self.put(if answer { "true" } else { "false" });
            return;
        }
        self.put(test.entry.name);
        if matches!(test.entry.name, "date" | "currentdate")
            && !test.has_tag("zone")
            && !test.has_tag("originalzone")
        {
            let zone = zone(self.circumstances.zone_minutes);
            self.put(&format!(" :zone \"{zone}\""));
        }
        // Pigeonhole compares strings octet by octet, whatever RFC 5229 §5 says.
        if test.entry.name == "string" && !test.has_tag("comparator") {
            self.put(" :comparator \"i;octet\"");
        }
        if test.entry.name == "duplicate" {
            self.duplicate(test);
            return;
        }
        self.arguments(test);
        self.tests(test);
    }

    /// The handle is parted from the identifier, so that one cannot be taken for the other.
    fn duplicate(&mut self, test: &Checked) {
        for (tag, value) in &test.tags {
            if tag.name != "handle" {
                self.tag(tag.name, value.as_ref());
            }
        }
        self.put(" :handle ");
        let handle = check::strings(test.tag("handle").unwrap_or(&Value::Number(0)))
            .first()
            .map_or("", String::as_str);
        let text = self.literal(handle);
        self.put(&format!("\"{text}\u{1f}\""));
    }

    fn arguments(&mut self, node: &Checked) {
        for (tag, value) in &node.tags {
            self.tag(tag.name, value.as_ref());
        }
        let names = check::names_variables(node.entry.name, node.positional.len());
        let prefix = regex_prefix(node);
        for (at, value) in node.positional.iter().enumerate() {
            self.put(" ");
            if let (Some(prefix), true) = (prefix, at + 1 == node.positional.len()) {
                self.value(&prefixed(prefix, value));
            } else if at == 0 && names {
                self.value(&lower_case(value));
            } else {
                self.value(value);
            }
        }
    }

    fn tag(&mut self, name: &str, value: Option<&Value>) {
        self.put(&format!(" :{name}"));
        if let Some(value) = value {
            self.put(" ");
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Number(number) => self.put(&number.to_string()),
            Value::Text(text) => {
                let text = self.literal(text);
                self.put(&format!("\"{text}\""));
            }
            Value::List(list) => {
                let list: Vec<_> = list.iter().map(|text| format!("\"{}\"", self.literal(text))).collect();
                self.put(&format!("[{}]", list.join(",")));
            }
            Value::Tag(_) => {}
        }
    }

    fn prefixed(&mut self, carrier: Carrier, text: &str) {
        let text = self.literal(text);
        self.put(&format!("\"{}{text}\"", carrier.letter()));
    }

    /// A string's inside: encoded characters decoded, references kept, any other `${` parted, quotes escaped.
    fn literal(&self, text: &str) -> String {
        let decoded = if self.encoded { decode(text) } else { text.to_owned() };
        let mut out = String::with_capacity(decoded.len() + 8);
        let mut rest = decoded.as_str();
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            escape(&mut out, before);
            let after = from.get(2..).unwrap_or("");
            let reference =
                after.split_once('}').filter(|(name, _)| self.variables && check::is_reference(name));
            if let Some((name, behind)) = reference {
                out.push_str("${");
                out.push_str(&name.to_ascii_lowercase());
                out.push('}');
                rest = behind;
            } else {
                out.push('$');
                out.push_str(NOTHING);
                out.push('{');
                rest = after;
            }
        }
        escape(&mut out, rest);
        out
    }
}

/// The keys of `:regex`: the comparator says whether case counts, and a dot matches any character, line ends too.
fn regex_prefix(node: &Checked) -> Option<&'static str> {
    if !node.has_tag("regex") {
        return None;
    }
    let octet = match node.tag("comparator") {
        Some(Value::Text(name)) => name == "i;octet",
        _ => node.entry.name == "string",
    };
    Some(if octet { "(?s)" } else { "(?is)" })
}

fn prefixed(prefix: &str, keys: &Value) -> Value {
    Value::List(check::strings(keys).iter().map(|key| format!("{prefix}{key}")).collect()).single()
}

/// Names of variables have no case (RFC 5229 §3); the interpreter's have.
fn lower_case(names: &Value) -> Value {
    Value::List(check::strings(names).iter().map(|name| name.to_ascii_lowercase()).collect()).single()
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
}

fn zone(minutes: i32) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.abs();
    format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
}

/// RFC 5228 §2.4.2.4: `${hex:…}` and `${unicode:…}`; what is not well formed stays as it is.
fn decode(text: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let decoded = from
            .get(2..)
            .and_then(|after| after.split_once('}'))
            .and_then(|(inside, behind)| Some((encoded(inside)?, behind)));
        if let Some((bytes, behind)) = decoded {
            out.extend_from_slice(&bytes);
            rest = behind;
        } else {
            out.extend_from_slice(b"${");
            rest = from.get(2..).unwrap_or("");
        }
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn encoded(inside: &str) -> Option<Vec<u8>> {
    let (kind, digits) = inside.split_once(':')?;
    let mut numbers = digits.split_ascii_whitespace().peekable();
    numbers.peek()?;
    let mut out = Vec::new();
    for number in numbers {
        let hex = number.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            return None;
        }
        if kind.eq_ignore_ascii_case("hex") {
            out.push(u8::from_str_radix(number, 16).ok().filter(|_| number.len() <= 2)?);
        } else if kind.eq_ignore_ascii_case("unicode") {
            let c = char::from_u32(u32::from_str_radix(number, 16).ok()?)?;
            let mut text = String::new();
            write!(text, "{c}").ok()?;
            out.extend_from_slice(text.as_bytes());
        } else {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::{extensions::Extensions, syntax};
    use super::*;

    fn rewritten(script: &str) -> String {
        let nodes = syntax::parse(script.as_bytes()).unwrap();
        let sound = check::check(&nodes, &Extensions::default()).unwrap();
        let circumstances = Circumstances { zone_minutes: -90, size: None };
        let text = rewrite(&sound.commands, &sound.required, circumstances);
        text.split_once("];").unwrap().1.trim_end().to_owned()
    }

    #[test]
    fn actions_are_carried() {
        for (script, text) in [
            ("keep;", "fileinto :copy \"K\";"),
            ("discard;", "fileinto :copy \"D\";"),
            ("redirect \"a@b\";", "fileinto :copy \"Ra@b\";"),
            ("require \"ihave\";\nerror \"x\";", "\nfileinto :copy \"Ex\";stop;"),
        ] {
            assert_eq!(rewritten(script), text);
        }
    }

    #[test]
    fn strings_mean_what_the_extensions_say() {
        assert_eq!(rewritten("redirect \"${a}@b\";"), format!("fileinto :copy \"R${NOTHING}{{a}}@b\";"));
        assert_eq!(
            rewritten("require \"variables\";redirect \"${A}$${b}@b\";"),
            "fileinto :copy \"R${a}$${b}@b\";"
        );
        assert_eq!(
            rewritten(
                "require [\"encoded-character\",\"reject\"];reject \"${hex:24 7b}x}${unicode:40}${hex:zz}\";"
            ),
            format!("fileinto :copy \"J${NOTHING}{{x}}@${NOTHING}{{hex:zz}}\";")
        );
    }

    #[test]
    fn what_ihave_rules_out_is_left_out() {
        assert_eq!(
            rewritten("require \"ihave\";if ihave \"nonsense\" { nonsense :x; } else { keep; }"),
            "if false{}else{fileinto :copy \"K\";}"
        );
        assert_eq!(
            rewritten(
                "require \"ihave\";if allof(ihave \"nonsense\", nonsense \"x\") { stop; } elsif ihave \"copy\" { redirect :copy \"a@b\"; } else { nonsense; }"
            ),
            "if false{}elsif true{fileinto :copy \"ra@b\";}else{}"
        );
    }

    #[test]
    fn dates_are_local() {
        assert_eq!(
            rewritten("require \"date\";if currentdate \"hour\" \"1\" {stop;}"),
            "if currentdate :zone \"-0130\" \"hour\" \"1\"{stop;}"
        );
    }
}
