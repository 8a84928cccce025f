//! The only file that knows the interpreter (sieve-rs): compiles rewritten scripts, runs them, and turns what comes out
//! back into actions. Nothing outside is touched but through [`Outside`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sieve_rs::runtime::{RuntimeError, Variable};
use sieve_rs::{Compiler, Envelope, Event, Input, Mailbox, Runtime, Script, Sieve};

use super::action::{Action, Edition, Notify, Ran, Vacation};
use super::extensions::Extensions;
use super::rewrite::Carrier;
use super::syntax::Mistake;

/// A compiled script.
#[derive(Debug, Clone)]
pub struct Program(Arc<Sieve>);

/// What a script may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Instructions of the interpreter.
    pub instructions: usize,
    /// Depth of `include` (Pigeonhole: 10).
    pub include_depth: usize,
    /// Actions, of which a script can hardly have more by intent; the plan has its own, lower limit.
    pub actions: usize,
    /// Longest value of a variable (Pigeonhole: 4096).
    pub variable_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { instructions: 1_000_000, include_depth: 10, actions: 1000, variable_size: 4096 }
    }
}

/// What a script may know besides the message.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The envelope's sender, empty for `<>`.
    pub sender: String,
    /// The envelope's recipient.
    pub recipient: String,
    /// This host.
    pub hostname: String,
}

/// Where an included script is looked for (RFC 6609 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In the user's directory.
    Personal,
    /// In the administrator's.
    Global,
}

/// What scripts ask of the world.
pub trait Outside {
    /// Whether a folder is there and can be delivered into.
    fn mailbox_exists(&mut self, name: &str) -> bool;
    /// Whether an identifier of `duplicate` is known.
    fn is_duplicate(&mut self, id: &str) -> bool;
    /// An included script, compiled. `None`: there is none.
    ///
    /// # Errors
    /// It is there but cannot be used; why.
    fn include(&mut self, location: Location, name: &str) -> Result<Option<Program>, String>;
}

/// Compiles a script that `rewrite` wrote.
///
/// # Errors
/// What only the interpreter finds wrong, such as a regular expression.
pub fn compile(text: &str, limits: Limits) -> Result<Program, Mistake> {
    let compiler = Compiler::new()
        .with_max_script_size(usize::MAX)
        .with_max_string_size(usize::MAX)
        .with_max_variable_name_size(128)
        .with_max_nested_blocks(super::syntax::MAX_DEPTH * 2)
        .with_max_nested_tests(super::syntax::MAX_DEPTH * 2)
        .with_max_nested_foreverypart(3)
        .with_max_match_variables(63)
        .with_max_local_variables(128)
        .with_max_header_size(limits.variable_size)
        .with_max_includes(255);
    match catch_unwind(|| compiler.compile(text.as_bytes())) {
        Ok(Ok(script)) => Ok(Program(Arc::new(script))),
        Ok(Err(error)) => {
            Err(Mistake::new(error.line_num().max(1), format!("{}.", undecorated(&error.to_string()))))
        }
        Err(_panic) => Err(Mistake::new(1, "the interpreter failed on this script; please report it.")),
    }
}

/// Its messages end in "at line n, column m": the line is told in front, the column is not the script's.
fn undecorated(text: &str) -> &str {
    text.split_once(" at line ").map_or(text, |(before, _)| before)
}

/// Runs a script over a message.
///
/// # Errors
/// Why it could not be run to its end, for the script's log; nothing that it asked for before is to be done.
pub fn run(
    program: &Program,
    message: &[u8],
    facts: &Facts,
    extensions: &Extensions,
    limits: Limits,
    outside: &mut dyn Outside,
) -> Result<Ran, String> {
    catch_unwind(AssertUnwindSafe(|| run_to_end(program, message, facts, extensions, limits, outside)))
        .unwrap_or_else(|_panic| {
            Err("the interpreter failed on this script and message; please report it.".to_owned())
        })
}

fn runtime(facts: &Facts, extensions: &Extensions, limits: Limits) -> Runtime {
    let mut runtime = Runtime::new()
        .with_cpu_limit(limits.instructions)
        // The script itself counts as the first.
        .with_max_nested_includes(limits.include_depth + 1)
        .with_max_variable_size(limits.variable_size)
        .with_max_header_size(limits.variable_size)
        .with_protected_headers(["Received", "Auto-Submitted"])
        .with_valid_notification_uri("mailto")
        .with_default_duplicate_expiry(DEFAULT_DUPLICATE_SECONDS)
        .with_env_variable("name", "Postrider")
        .with_env_variable("version", env!("CARGO_PKG_VERSION"))
        .with_env_variable("location", "MDA")
        .with_env_variable("phase", "during");
    let domain = facts.hostname.split_once('.').map_or("", |(_, domain)| domain);
    runtime.set_env_variable("host", facts.hostname.clone());
    runtime.set_env_variable("domain", domain.to_owned());
    for name in extensions.names() {
        runtime.set_capability(name);
    }
    runtime
}

fn run_to_end(
    program: &Program,
    message: &[u8],
    facts: &Facts,
    extensions: &Extensions,
    limits: Limits,
    outside: &mut dyn Outside,
) -> Result<Ran, String> {
    let runtime = runtime(facts, extensions, limits);
    let mut context = runtime.filter(message).with_envelope_list(vec![
        (Envelope::From, Variable::from(facts.sender.as_str())),
        (Envelope::To, Variable::from(facts.recipient.as_str())),
    ]);
    let mut collector = Collector { ran: Ran::default(), open: Open::default(), message };
    let mut input = Input::script("", Arc::clone(&program.0));
    while let Some(step) = context.run(input) {
        input = match step.map_err(|error| told(&error))? {
            Event::IncludeScript { name, optional } => included(outside, &name, optional)?,
            Event::MailboxExists { mailboxes, .. } => mailboxes
                .iter()
                .all(|mailbox| match mailbox {
                    Mailbox::Name(name) => outside.mailbox_exists(name),
                    Mailbox::Id(_) => false,
                })
                .into(),
            Event::DuplicateId { id, expiry, last } => {
                let known = outside.is_duplicate(&id);
                if !known || last {
                    collector.ran.actions.push(Action::Track { id, seconds: expiry });
                }
                known.into()
            }
            Event::FileInto { folder, flags, create, message_id, .. } => {
                collector.carried(&folder, &flags, create, message_id)?;
                true.into()
            }
            Event::Keep { flags, .. } => {
                collector.ran.keep_flags = words(&flags);
                // Its own number is that of the original when an action took the last edition before it.
                collector.ran.keep_edition = collector.ran.editions.len();
                true.into()
            }
            Event::CreatedMessage { message, .. } => {
                collector.edition(&message);
                true.into()
            }
            // Lists, functions and other actions have no command in the vocabulary.
            _ => false.into(),
        };
        if collector.ran.actions.len() > limits.actions {
            return Err(format!("the script has more than {} actions.", limits.actions));
        }
    }
    Ok(collector.ran)
}

fn included(outside: &mut dyn Outside, name: &Script, optional: bool) -> Result<Input, String> {
    let (location, name) = match name {
        Script::Personal(name) => (Location::Personal, name.as_str()),
        Script::Global(name) => (Location::Global, name.as_str()),
    };
    match outside.include(location, name)? {
        Some(program) => {
            let key = match location {
                Location::Personal => Script::Personal(name.to_owned()),
                Location::Global => Script::Global(name.to_owned()),
            };
            Ok(Input::Script { name: key, script: program.0 })
        }
        None if optional => Ok(Input::False),
        None => Err(format!("included script '{name}' does not exist.")),
    }
}

fn told(error: &RuntimeError) -> String {
    match error {
        RuntimeError::TooManyIncludes => "scripts include each other too deeply.".to_owned(),
        RuntimeError::InvalidInstruction(instruction) => {
            format!("line {}: invalid instruction '{}'.", instruction.line_num(), instruction.name())
        }
        RuntimeError::ScriptErrorMessage(message) => message.clone(),
        RuntimeError::CapabilityNotAllowed(name) => format!("the extension {name} is not allowed."),
        RuntimeError::CapabilityNotSupported(name) => format!("the extension {name} is not there."),
        RuntimeError::CPULimitReached => "execution exceeded the limit of instructions.".to_owned(),
    }
}

/// Flags may be many in one string (RFC 5232 §2).
fn words(flags: &[String]) -> Vec<String> {
    flags.iter().flat_map(|flag| flag.split_ascii_whitespace()).map(str::to_owned).collect()
}

/// The arguments of an action that has several, as they come.
#[derive(Debug, Default)]
struct Open {
    vacation: Vacation,
    from: Option<String>,
    importance: Option<String>,
    message: Option<String>,
}

struct Collector<'m> {
    ran: Ran,
    open: Open,
    message: &'m [u8],
}

impl Collector<'_> {
    fn carried(
        &mut self,
        folder: &str,
        flags: &[String],
        create: bool,
        edition: usize,
    ) -> Result<(), String> {
        let Some((carrier, text)) = Carrier::read(folder) else {
            return Err("the interpreter gave an action that is none.".to_owned());
        };
        let text = text.to_owned();
        let action = match carrier {
            Carrier::Keep => Action::Keep { flags: words(flags), edition },
            Carrier::FileInto | Carrier::FileIntoCopy => Action::FileInto {
                mailbox: text,
                flags: words(flags),
                create,
                copy: carrier == Carrier::FileIntoCopy,
                edition,
            },
            Carrier::Discard => Action::Discard,
            Carrier::Redirect | Carrier::RedirectCopy => {
                Action::Redirect { address: text, copy: carrier == Carrier::RedirectCopy, edition }
            }
            Carrier::Reject | Carrier::Ereject => {
                Action::Reject { reason: text, extended: carrier == Carrier::Ereject }
            }
            Carrier::Error => return Err(text),
            Carrier::Debug => Action::Debug(text),
            Carrier::Vacation => {
                let open = std::mem::take(&mut self.open);
                Action::Vacation(Vacation { reason: text, from: open.from, ..open.vacation })
            }
            Carrier::Notify => {
                let open = std::mem::take(&mut self.open);
                Action::Notify(Notify {
                    from: open.from,
                    importance: open.importance,
                    message: open.message,
                    method: text,
                })
            }
            argument => {
                self.argument(argument, text);
                return Ok(());
            }
        };
        self.ran.actions.push(action);
        Ok(())
    }

    fn argument(&mut self, carrier: Carrier, text: String) {
        let open = &mut self.open;
        match carrier {
            Carrier::Begin => *open = Open::default(),
            Carrier::Period => open.vacation.period = text.parse().ok(),
            Carrier::Subject => open.vacation.subject = Some(text),
            Carrier::From => open.from = Some(text),
            Carrier::Address => open.vacation.addresses.push(text),
            Carrier::Handle => open.vacation.handle = Some(text),
            Carrier::Mime => open.vacation.mime = true,
            Carrier::Importance => open.importance = Some(text),
            Carrier::Message => open.message = Some(text),
            _ => {}
        }
    }

    /// Keeps of a changed message only what is not in the original; new lines end as the others do.
    fn edition(&mut self, changed: &[u8]) {
        let body_at = header_end(self.message);
        let body = self.message.get(body_at..).unwrap_or_default();
        let (head, rest_at) = match changed.strip_suffix(body) {
            Some(head) => (head, body_at),
            None => (changed, self.message.len()),
        };
        let bare = memchr::memchr(b'\n', self.message)
            .is_some_and(|at| at == 0 || self.message.get(at - 1) != Some(&b'\r'));
        let head = if bare { without_cr(head) } else { head.to_vec() };
        self.ran.editions.push(Edition { head, rest_at: u64::try_from(rest_at).unwrap_or(u64::MAX) });
    }
}

fn without_cr(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// Where the body begins, behind the empty line.
fn header_end(message: &[u8]) -> usize {
    let mut at = 0;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line == b"\n" || line == b"\r\n" {
            return at;
        }
    }
    message.len()
}

/// Pigeonhole's sieve_duplicate_default_period.
const DEFAULT_DUPLICATE_SECONDS: u64 = 12 * 3600;

#[cfg(test)]
mod tests;
