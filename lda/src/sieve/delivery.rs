//! One delivery with scripts: they are run, what they ask for becomes the pipeline's plan, and what is to be sent is sent.
//!
//! Redirects go first and are remembered one by one, so that an attempt that fails later, at a folder or another
//! redirect, does not send them again when it is repeated. Answers and notifications go last: nobody is told that a
//! message was received before it is stored.

use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use base::log::escaped;

use super::confine::{Unanswered, apart, confined};
use super::duplicates::{Duplicates, LOCK_WAIT};
use super::evaluate::{Evaluation, Failed, Owner, World, evaluate};
use super::interpreter::Facts;
use super::library::Library;
use super::options::{self, MAX_MESSAGE, Options, RedirectFrom};
use super::plan::{self, Notification, Redirect, Step};
use super::rewrite::Circumstances;
use super::wire::Wire;
use super::{action::Vacation, address, compose, user_log, vacation, zone};
use crate::maildir::{INBOX, Mailboxes, Marks, Message};
use crate::message::Header;
use crate::pipeline::Delivery;
use crate::plan::{Plan, Sending, Store};
use crate::report;
use crate::submit;

/// How long a redirect is remembered (Pigeonhole: 12 h; Postfix gives up after five days).
const REDIRECT_SECONDS: u64 = 6 * 86_400;

/// What the sending process may take besides its own time limits.
const MARGIN: Duration = Duration::from_secs(10);

/// Runs the user's scripts. `Ok(None)` when there is no script: the message goes where it would go anyway.
///
/// # Errors
/// A sentence for the log: the delivery is to be tried again.
pub fn run(
    delivery: &Delivery<'_>,
    boxes: &Mailboxes,
    message: &mut Message,
) -> Result<Option<Plan>, String> {
    let options = options::of(delivery.settings, delivery.user, delivery.service)?;
    if !any_script(&options) {
        return Ok(None);
    }
    let evaluation = evaluated(delivery, &options, boxes, message)?;
    if let Some(failed) = &evaluation.failed {
        complain(delivery, &options, failed);
    }
    if !evaluation.any {
        return Ok(None);
    }
    Ok(Some(Translator::new(delivery, &options, message).plan(&evaluation.plan)))
}

/// Most users have no script: then nothing is started.
fn any_script(options: &Options) -> bool {
    let places = &options.places;
    let listed = !places.before.is_empty() || !places.after.is_empty() || places.default.is_some();
    // An error other than "not there" is met again, and told, when the script is read.
    let absent = |path: &Path| {
        path.metadata().is_err_and(|error| {
            matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
        })
    };
    listed || places.active.as_deref().is_some_and(|path| !absent(path))
}

fn evaluated(
    delivery: &Delivery<'_>,
    options: &Options,
    boxes: &Mailboxes,
    message: &Message,
) -> Result<Evaluation, String> {
    let size = message.size();
    let circumstances = Circumstances {
        zone_minutes: zone::minutes_east(delivery.now.as_secs()),
        size: (size > MAX_MESSAGE).then_some(size),
    };
    let mut confines = options.confines;
    // The text, what is made of it, and an edition of it.
    confines.memory = confines.memory.saturating_add(size.min(MAX_MESSAGE).saturating_mul(6));
    let answer = confined(confines, || {
        let mut out = Vec::new();
        let evaluation = beginning(message.file(), size.min(MAX_MESSAGE))
            .map_err(|error| format!("the message cannot be read: {error}"))
            .and_then(|text| in_child(delivery, options, boxes, circumstances, &text));
        evaluation.put(&mut out);
        out
    });
    match answer {
        Ok(bytes) => match Wire::take(&mut bytes.as_slice()) {
            Some(evaluation) => evaluation,
            None => Err("the process that ran the Sieve scripts gave an answer that is none".to_owned()),
        },
        Err(Unanswered::System(why)) => Err(why),
        // A script, or the message, was too much: the message is kept.
        Err(Unanswered::Work(why)) => {
            let active = options.places.active.clone().unwrap_or_default();
            let complaints = vec![super::syntax::Mistake::new(0, why)];
            Ok(Evaluation {
                plan: plan::Plan::keep(),
                failed: Some(Failed { script: active, owner: Owner::User, complaints }),
                any: true,
            })
        }
    }
}

fn beginning(file: &File, length: u64) -> std::io::Result<Vec<u8>> {
    let mut text = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut text, 0)?;
    Ok(text)
}

fn in_child(
    delivery: &Delivery<'_>,
    options: &Options,
    boxes: &Mailboxes,
    circumstances: Circumstances,
    text: &[u8],
) -> Result<Evaluation, String> {
    let facts = Facts {
        sender: delivery.envelope.sender.clone(),
        recipient: delivery.envelope.recipient.clone(),
        hostname: delivery.settings.hostname.clone(),
    };
    let extensions = options.extensions.clone();
    let mut library =
        Library::new(&options.places, extensions, options.limits, options.max_script_size, circumstances);
    let mut world = Here { delivery, boxes };
    evaluate(&options.places, &mut library, text, &facts, options.policy, &mut world)
}

/// The user's folders and memory, for scripts' questions.
struct Here<'a> {
    delivery: &'a Delivery<'a>,
    boxes: &'a Mailboxes,
}

impl World for Here<'_> {
    fn mailbox_exists(&mut self, name: &str) -> bool {
        self.boxes.folder(name).and_then(|folder| self.boxes.exists(&folder)).unwrap_or(false)
    }

    fn is_duplicate(&mut self, id: &str) -> bool {
        let Some(duplicates) = remembered(self.delivery) else { return false };
        duplicates.read(self.delivery.now).is_ok_and(|known| known.contains(&key(&["duplicate", id])))
    }
}

fn remembered(delivery: &Delivery<'_>) -> Option<Duplicates> {
    (!delivery.user.home.is_empty()).then(|| Duplicates::in_home(Path::new(&delivery.user.home)))
}

/// Parts of an identifier, which none of them can imitate.
fn key(parts: &[&str]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        key.extend_from_slice(part.as_bytes());
        key.push(0);
    }
    key
}

/// Tells whose script it is what is wrong with it.
fn complain(delivery: &Delivery<'_>, options: &Options, failed: &Failed) {
    let prefix = report::prefix(delivery.service, &delivery.user.name, delivery.session);
    let mut log = None;
    if failed.owner == Owner::User {
        let path = options.places.log.clone().unwrap_or_else(|| user_log::beside(&failed.script));
        match user_log::append(&path, failed, delivery.now.as_secs()) {
            Ok(()) => log = Some(path),
            Err(error) => log::warn!("{prefix}sieve: {}: {error}", path.display()),
        }
    }
    let script = failed.script.display();
    match log {
        Some(path) => log::warn!(
            "{prefix}sieve: Execution of script {script} failed, the message is kept (user logfile {} may reveal additional details)",
            path.display()
        ),
        None => {
            for line in user_log::lines(failed).take(20) {
                log::warn!("{prefix}sieve: {script}: {line}; the message is kept");
            }
        }
    }
}

/// Turns what scripts ask for into the pipeline's steps.
struct Translator<'a> {
    delivery: &'a Delivery<'a>,
    options: &'a Options,
    message: &'a Message,
    plan: Plan,
    last: Vec<crate::plan::Step>,
    unique: u32,
}

impl<'a> Translator<'a> {
    fn new(delivery: &'a Delivery<'a>, options: &'a Options, message: &'a Message) -> Self {
        Self { delivery, options, message, plan: Plan::default(), last: Vec::new(), unique: 0 }
    }

    fn plan(mut self, found: &plan::Plan) -> Plan {
        let mut stores = Vec::new();
        for step in &found.steps {
            match step {
                Step::Store(store) => stores.push(self.store(store, found)),
                Step::Redirect(redirect) => {
                    if let Some(kept) = self.redirect(redirect, found) {
                        stores.push(kept);
                    }
                }
                Step::Discard => {}
                Step::Reject { reason, .. } => {
                    self.plan.steps.push(crate::plan::Step::Reject(reason.clone()));
                }
                Step::Vacation(vacation) => self.vacation(vacation),
                Step::Notify(notification) => self.notify(notification),
                Step::Track { id, seconds } => self.last.push(crate::plan::Step::Send(Sending {
                    remember: Some((key(&["duplicate", id]), self.delivery.now.as_secs() + seconds)),
                    ..Sending::default()
                })),
                Step::Debug(text) => self.log(&format!("DEBUG: {}", escaped(text.as_bytes(), 500))),
            }
        }
        if let Some(keep) = &found.implicit_keep {
            stores.push(self.store(keep, found));
        }
        // A redirect that is kept, and a keep, are one.
        let mut once: Vec<Store> = Vec::new();
        for store in stores {
            if !once.iter().any(|known| known.mailbox == store.mailbox && known.content == store.content) {
                once.push(store);
            }
        }
        self.plan.steps.extend(once.into_iter().map(crate::plan::Step::Store));
        self.plan.steps.append(&mut self.last);
        self.plan
    }

    fn log(&self, text: &str) {
        log::info!(
            "{}sieve: {text}",
            report::prefix(self.delivery.service, &self.delivery.user.name, self.delivery.session)
        );
    }

    fn header(&self) -> Header<'a> {
        Header::new(self.message.head())
    }

    fn mailbox(&self) -> &'a str {
        self.delivery.mailbox.filter(|name| !name.is_empty()).unwrap_or(INBOX)
    }

    fn store(&self, store: &plan::Store, found: &plan::Plan) -> Store {
        let default = store.mailbox.eq_ignore_ascii_case(plan::DEFAULT_MAILBOX);
        let mailbox = if store.keep && default { self.mailbox().to_owned() } else { store.mailbox.clone() };
        let edition = Self::edition(store.edition, found);
        Store {
            mailbox,
            marks: marks(&store.flags),
            create: store.create,
            content: edition.map(|(head, _)| head.to_vec()),
            rest_at: edition.map(|(_, rest)| rest),
        }
    }

    /// What stands before the rest of the message in an edition, and where the rest begins; `None` for the message as
    /// it came.
    fn edition(edition: usize, found: &plan::Plan) -> Option<(&[u8], u64)> {
        let edition = edition.checked_sub(1).and_then(|at| found.editions.get(at))?;
        Some((&edition.head, edition.rest_at))
    }

    /// A redirect; or a store, when sending it on would only bring it back.
    fn redirect(&mut self, redirect: &Redirect, found: &plan::Plan) -> Option<Store> {
        let (delivery, target) = (self.delivery, &redirect.address);
        let shown = escaped(target.as_bytes(), 300).to_string();
        let recipient = &delivery.envelope.recipient;
        let looped = self.header().fields().any(|(name, body)| {
            let value = String::from_utf8_lossy(body);
            (name.eq_ignore_ascii_case(compose::REDIRECTED_FROM.as_bytes())
                && value.trim().eq_ignore_ascii_case(recipient))
                || (name.eq_ignore_ascii_case(b"Delivered-To") && value.trim().eq_ignore_ascii_case(target))
        });
        if looped || target.eq_ignore_ascii_case(recipient) {
            self.log(&format!(
                "redirect action: not forwarded to <{shown}>: it would come back; the message is kept"
            ));
            return Some(Store { mailbox: self.mailbox().to_owned(), ..Store::default() });
        }
        let remember = self.redirect_key(target);
        if let Some(duplicates) = remembered(delivery)
            && duplicates.read(delivery.now).is_ok_and(|known| known.contains(&remember))
        {
            self.log(&format!("redirect action: already forwarded to <{shown}> by an earlier attempt"));
            return None;
        }
        let own = self.message.size().saturating_sub(self.message.own_size());
        let (head, rest_at) = match Self::edition(redirect.edition, found) {
            Some((head, rest)) => {
                let (mut new, end) = compose::redirected(head, recipient);
                new.extend_from_slice(head.get(end..).unwrap_or_default());
                (new, rest)
            }
            None => {
                let (new, end) = compose::redirected(self.message.head(), recipient);
                (new, own.saturating_add(u64::try_from(end).unwrap_or(u64::MAX)))
            }
        };
        self.plan.steps.push(crate::plan::Step::Send(Sending {
            sender: self.redirect_sender(),
            recipients: vec![target.clone()],
            content: Some(head),
            rest_at: Some(rest_at),
            logged: format!("redirect action: forwarded to <{shown}>"),
            remember: Some((remember, delivery.now.as_secs() + REDIRECT_SECONDS)),
            required: true,
        }));
        None
    }

    /// The same attempt again has the same header; another copy of the message has not.
    fn redirect_key(&self, target: &str) -> Vec<u8> {
        let head = String::from_utf8_lossy(self.message.head());
        key(&["redirect", &self.delivery.envelope.recipient, target, &head])
    }

    fn redirect_sender(&self) -> String {
        let envelope = self.delivery.envelope;
        if envelope.sender.is_empty() {
            return String::new();
        }
        match &self.options.redirect_from {
            RedirectFrom::Sender => envelope.sender.clone(),
            RedirectFrom::Recipient => envelope.recipient.clone(),
            RedirectFrom::OriginalRecipient => envelope.original().to_owned(),
            RedirectFrom::UserEmail => self.user_address().to_owned(),
            RedirectFrom::Postmaster => self.postmaster(),
            RedirectFrom::Address(address) => address.clone(),
        }
    }

    fn postmaster(&self) -> String {
        let (settings, user) = (self.delivery.settings, self.delivery.user);
        match &settings.postmaster_address {
            Some(template) => template.expand(&user.values(settings, self.delivery.service)),
            None => {
                let domain = self.user_address().rsplit_once('@').map(|(_, domain)| domain);
                format!("postmaster@{}", domain.unwrap_or(&settings.hostname))
            }
        }
    }

    fn user_address(&self) -> &'a str {
        if self.options.user_email.is_empty() {
            &self.delivery.envelope.recipient
        } else {
            &self.options.user_email
        }
    }

    fn stamp(&mut self) -> compose::Stamp<'a> {
        self.unique = self.unique.wrapping_add(1);
        let unique = std::process::id().wrapping_mul(32).wrapping_add(self.unique);
        compose::Stamp { now: self.delivery.now, unique, hostname: &self.delivery.settings.hostname }
    }

    fn vacation(&mut self, vacation: &Vacation) {
        let envelope = self.delivery.envelope;
        let own = [envelope.recipient.as_str(), envelope.original(), self.user_address()];
        if let Err(why) = vacation::may_answer(vacation, self.header(), &envelope.sender, &own) {
            self.log(&format!("vacation action: {why}"));
            return;
        }
        let handle = vacation.handle.as_deref().unwrap_or(&vacation.reason);
        let remember = key(&["vacation", handle, &envelope.sender.to_ascii_lowercase()]);
        let shown = escaped(envelope.sender.as_bytes(), 300).to_string();
        let Some(duplicates) = remembered(self.delivery) else {
            self.log(
                "vacation action: not answered: the user has no home in which answers could be remembered",
            );
            return;
        };
        match duplicates.read(self.delivery.now) {
            Ok(known) if known.contains(&remember) => {
                self.log(&format!("vacation action: discarded duplicate vacation response to <{shown}>"));
                return;
            }
            Ok(_) => {}
            Err(error) => {
                self.log(&format!("vacation action: not answered: {}: {error}", duplicates.path().display()));
                return;
            }
        }
        let from =
            vacation.from.as_deref().map_or_else(|| format!("<{}>", self.user_address()), mailbox_field);
        let content = compose::vacation(vacation, &from, &envelope.sender, self.header(), self.stamp());
        let until = self.delivery.now.as_secs().saturating_add(vacation.period.unwrap_or(0));
        self.last.push(crate::plan::Step::Send(Sending {
            recipients: vec![envelope.sender.clone()],
            content: Some(content),
            logged: format!("vacation action: sent vacation response to <{shown}>"),
            remember: Some((remember, until)),
            ..Sending::default()
        }));
    }

    fn notify(&mut self, notification: &Notification) {
        // RFC 5436 §2.7.1: no loops of machines.
        let automatic = self
            .header()
            .text("Auto-Submitted")
            .is_some_and(|value| !value.trim().to_ascii_lowercase().starts_with("no"));
        if automatic {
            self.log("notify action: not sent: the message is auto-submitted");
            return;
        }
        let owner = self.user_address();
        let asked = notification.notify.from.as_deref().filter(|from| address::parse(from).is_ok());
        let from = asked.map_or_else(|| format!("<{}>", self.postmaster()), mailbox_field);
        let content = compose::notification(notification, &from, owner, self.header(), self.stamp());
        let recipients: Vec<_> = notification.mailto.recipients().cloned().collect();
        let shown: Vec<_> =
            recipients.iter().map(|to| format!("<{}>", escaped(to.as_bytes(), 300))).collect();
        // RFC 5436 §2.7.2: from <> when the message itself is from <>.
        let sender = if self.delivery.envelope.sender.is_empty() { String::new() } else { self.postmaster() };
        self.last.push(crate::plan::Step::Send(Sending {
            sender,
            recipients,
            content: Some(content),
            logged: format!("notify action: sent mail notification to {}", shown.join(", ")),
            ..Sending::default()
        }));
    }
}

/// An address as a field takes it: with its display name, unless that would have to be encoded.
fn mailbox_field(from: &str) -> String {
    match address::parse(from) {
        Ok(bare) if !from.is_ascii() => format!("<{bare}>"),
        _ => from.to_owned(),
    }
}

fn marks(flags: &[String]) -> Marks {
    let mut marks = Marks::default();
    for flag in flags {
        match flag.as_str() {
            "\\Draft" => marks.flags.push('D'),
            "\\Flagged" => marks.flags.push('F'),
            "\\Answered" => marks.flags.push('R'),
            "\\Seen" => marks.flags.push('S'),
            "\\Deleted" => marks.flags.push('T'),
            keyword => marks.keywords.push(keyword.to_owned()),
        }
    }
    marks
}

/// Sends what a script wants sent, and remembers it. While it does, no other delivery to this user sends the same.
///
/// What is remembered is sent by a process that outlives this one: were both done here, a kill between them would make
/// the next attempt send it again.
///
/// # Errors
/// A sentence for the log: it could not be sent.
pub fn send(delivery: &Delivery<'_>, sending: &Sending, message: &mut Message) -> Result<(), String> {
    let whole = message.file();
    if sending.remember.is_none() {
        return hand_over(delivery, sending, whole);
    }
    let work = || {
        let mut out = Vec::new();
        remembering(delivery, sending, whole).put(&mut out);
        out
    };
    let answer = apart(submit::TIMEOUT + LOCK_WAIT + MARGIN, work)?;
    let warning = <Result<Option<String>, String> as Wire>::take(&mut answer.as_slice())
        .ok_or("the process that sends gave an answer that is none")??;
    if let Some(warning) = warning {
        let prefix = report::prefix(delivery.service, &delivery.user.name, delivery.session);
        log::warn!("{prefix}sieve: {warning}: what was sent is not remembered, and may be sent again");
    }
    Ok(())
}

/// Sends unless it has been sent, and remembers that. Gives a warning when it cannot be remembered.
fn remembering(delivery: &Delivery<'_>, sending: &Sending, message: &File) -> Result<Option<String>, String> {
    let (Some(duplicates), Some((key, until))) = (remembered(delivery), &sending.remember) else {
        return hand_over(delivery, sending, message).map(|()| None);
    };
    let told = |error: std::io::Error| format!("{}: {error}", duplicates.path().display());
    let mut held = match duplicates.hold() {
        Ok(held) => held,
        // A redirect is better sent twice than lost; an answer is better lost.
        Err(error) if sending.required => {
            return hand_over(delivery, sending, message).map(|()| Some(told(error)));
        }
        Err(error) => return Err(told(error)),
    };
    if !sending.recipients.is_empty() && held.contains(key, delivery.now).unwrap_or(false) {
        return Ok(None);
    }
    hand_over(delivery, sending, message)?;
    Ok(held.remember(key, *until, delivery.now).err().map(told))
}

fn hand_over(delivery: &Delivery<'_>, sending: &Sending, message: &File) -> Result<(), String> {
    if sending.recipients.is_empty() {
        return Ok(());
    }
    let head = Cursor::new(sending.content.as_deref().unwrap_or_default());
    let from = if sending.content.is_none() { Some(0) } else { sending.rest_at };
    let mut content = head.chain(Rest { file: message, at: from.unwrap_or(u64::MAX) });
    let path = &delivery.settings.sendmail_path;
    submit::submit(path, &sending.sender, &sending.recipients, &mut content, submit::TIMEOUT)
}

/// A file from a place on, whatever its own position is.
struct Rest<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Rest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == u64::MAX {
            return Ok(0);
        }
        let length = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(u64::try_from(length).unwrap_or(0));
        Ok(length)
    }
}
