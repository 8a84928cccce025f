//! One delivery, from a message on disk to what came of it. Read this first.
//!
//! A script (or, without one, the command line) says where the message goes; it is placed into each folder, unless
//! the quota forbids it; then what the script wants sent is sent. Only when all of it is done has the message been
//! delivered. Whatever fails before that is taken back.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Settings;
use crate::envelope::Envelope;
use crate::maildir::size::Size;
use crate::maildir::{Folder, INBOX, Mailboxes, Message, Placed, StoreError, clean};
use crate::outcome::Outcome;
use crate::plan::{Plan, Step, Store};
use crate::quota;
use crate::recipient::User;
use crate::report::{self, Facts};
use crate::sieve;

/// Whom a message is delivered to, and how.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// Who gets it; the caller has taken on this user's credentials.
    pub user: &'a User,
    /// From and for whom.
    pub envelope: &'a Envelope,
    /// `lda` or `lmtp`.
    pub service: &'a str,
    /// Names the session in the log.
    pub session: &'a str,
    /// The folder that it goes to without a script: `-m`, or the detail of the address.
    pub mailbox: Option<&'a str>,
    /// The time.
    pub now: Duration,
}

/// Delivers the message, and logs it.
pub fn deliver(delivery: &Delivery<'_>, boxes: &Mailboxes, message: &mut Message) -> Outcome {
    let facts = Facts::of(message.head(), message.size(), message.virtual_size());
    let outcome = match plan(delivery, boxes, message) {
        Ok(plan) => carry_out(delivery, boxes, message, &facts, &plan),
        Err(error) => {
            report::warning(delivery, &facts, &error);
            Outcome::internal()
        }
    };
    if outcome == Outcome::Delivered {
        message.delivered();
        clean(delivery, &boxes.place().inbox);
    } else {
        message.take_back();
    }
    outcome
}

/// Removes what killed deliveries left in a folder's `tmp`, when it is old.
fn clean(delivery: &Delivery<'_>, folder: &Path) {
    let removed = clean::old_files(folder, delivery.now);
    if removed > 0 {
        log::info!("{}: {removed} old files removed", folder.join("tmp").display());
    }
}

/// What is to be done with the message.
fn plan(delivery: &Delivery<'_>, boxes: &Mailboxes, message: &mut Message) -> Result<Plan, String> {
    let mailbox = delivery.mailbox.filter(|name| !name.is_empty()).unwrap_or(INBOX);
    if !delivery.settings.sieve.enabled {
        return Ok(Plan::store(mailbox));
    }
    Ok(sieve::run(delivery, boxes, message)?.unwrap_or_else(|| Plan::store(mailbox)))
}

fn carry_out(
    delivery: &Delivery<'_>,
    boxes: &Mailboxes,
    message: &mut Message,
    facts: &Facts,
    plan: &Plan,
) -> Outcome {
    let mut said = Vec::new();
    let mut added = Vec::new();
    let only = plan.steps.iter().filter(|step| matches!(step, Step::Store(_))).count() == 1;
    for (number, step) in plan.steps.iter().enumerate() {
        match step {
            Step::Store(store) => match place(delivery, boxes, message, (number, store), only, facts) {
                Ok((folder, placed, size)) => {
                    if !folder.is_inbox() {
                        clean(delivery, &folder.path);
                    }
                    if placed == Placed::New {
                        added.extend(size);
                        let stored = message.placed().last().map(|file| facts.stored_as(file));
                        said.push((stored, format!("saved mail to {}", folder.name)));
                    } else {
                        said.push((None, format!("saved mail to {} (by an earlier attempt)", folder.name)));
                    }
                }
                Err(outcome) => return outcome,
            },
            Step::Reject(reason) => {
                report::line(
                    delivery,
                    facts,
                    &format!("rejected: {}", base::log::escaped(reason.as_bytes(), 500)),
                );
                return Outcome::Rejected { reason: reason.clone(), quota: false };
            }
            Step::Send(sending) => match sieve::send(delivery, sending, message) {
                Ok(()) if sending.logged.is_empty() => {}
                Ok(()) => said.push((None, sending.logged.clone())),
                Err(error) => {
                    report::warning(delivery, facts, &error);
                    if sending.required {
                        return Outcome::internal();
                    }
                }
            },
        }
    }
    for (mut size, bytes) in added {
        if let Err(error) = size.add(bytes) {
            // The message is there; the next count will find it.
            report::warning(delivery, facts, &error.to_string());
        }
    }
    if plan.steps.is_empty() {
        let text = "marked message to be discarded if not explicitly delivered (discard action)";
        said.push((None, text.to_owned()));
    }
    for (stored, line) in said {
        report::line(delivery, stored.as_ref().unwrap_or(facts), &line);
    }
    Outcome::Delivered
}

/// A folder's figures, and what is to be added to them.
type Added = Option<(Size, u64)>;

/// Puts the message into one folder; where that cannot be, into the INBOX.
fn place(
    delivery: &Delivery<'_>,
    boxes: &Mailboxes,
    message: &mut Message,
    (number, store): (usize, &Store),
    only: bool,
    facts: &Facts,
) -> Result<(Folder, Placed, Added), Outcome> {
    let wanted = folder(delivery, boxes, &store.mailbox, store.create);
    let found = match wanted {
        Err(error) if error.is_about_the_folder() && !store.mailbox.eq_ignore_ascii_case(INBOX) => {
            let name = base::log::escaped(store.mailbox.as_bytes(), 200);
            report::line(delivery, facts, &format!("save failed to open mailbox {name}: {error}"));
            boxes.inbox()
        }
        other => other,
    };
    let stored = found.and_then(|folder| {
        let mut copy = match &store.content {
            Some(content) => {
                // Each edited copy has a name of its own in tmp, the same at each attempt.
                let number = number.to_string();
                let key = [delivery.envelope.recipient.as_bytes(), b"edited", number.as_bytes()];
                let mut copy = crate::maildir::Incoming::begin(
                    boxes,
                    b"",
                    &key,
                    delivery.settings.save_crlf,
                    delivery.now,
                );
                copy.write(boxes, content)?;
                rest(message, store.rest_at, |piece| copy.write(boxes, piece))?;
                Some(copy.finish(boxes)?)
            }
            None => None,
        };
        let bytes = copy.as_ref().map_or(message.size(), Message::size);
        let Some(size) = room(delivery, boxes, &folder, bytes)? else {
            // Unless an attempt that was killed has used the room up, for this very message.
            let stored = copy.as_mut().unwrap_or(message);
            let is_there = stored.is_there(boxes, &folder, &store.marks, only)?;
            return Ok(is_there.then_some((folder, Placed::Already, None)));
        };
        let placed = match &mut copy {
            Some(copy) => copy.place(boxes, &folder, &store.marks, only)?,
            None => message.place(boxes, &folder, &store.marks, only)?,
        };
        if let Some(copy) = copy {
            message.adopt(copy);
        }
        Ok(Some((folder, placed, size)))
    });
    match stored {
        Ok(Some((folder, placed, size))) => {
            let bytes = message.size();
            Ok((folder, placed, size.map(|size| (size, bytes))))
        }
        Ok(None) => {
            let reason = delivery.settings.quota.exceeded_message.clone();
            report::line(delivery, facts, &format!("save failed to {}: {reason}", store.mailbox));
            Err(if delivery.settings.quota_full_tempfail {
                Outcome::Temporary { reason, quota: true }
            } else {
                Outcome::Rejected { reason, quota: true }
            })
        }
        Err(error) => {
            report::warning(delivery, facts, &format!("save failed to {}: {error}", store.mailbox));
            Err(Outcome::internal())
        }
    }
}

/// What follows a place in the message's file, piece by piece.
fn rest(
    message: &Message,
    from: Option<u64>,
    mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let Some(mut at) = from else { return Ok(()) };
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = message.file().read_at(&mut piece, at).map_err(|error| StoreError::Io {
            call: "pread",
            path: PathBuf::from("tmp"),
            error,
        })?;
        if length == 0 {
            return Ok(());
        }
        take(piece.get(..length).unwrap_or_default())?;
        at += u64::try_from(length).unwrap_or(0);
    }
}

/// The folder of this name, created where that is asked for.
fn folder(
    delivery: &Delivery<'_>,
    boxes: &Mailboxes,
    name: &str,
    create: bool,
) -> Result<Folder, StoreError> {
    let folder = boxes.folder(name)?;
    if boxes.exists(&folder)? {
        return Ok(folder);
    }
    if !create && !delivery.settings.autocreate {
        return Err(StoreError::NoSuchFolder(folder.name));
    }
    boxes.create(&folder)?;
    if delivery.settings.autosubscribe
        && let Err(error) = boxes.subscribe(&folder)
    {
        log::warn!("{}: cannot be subscribed to: {error}", folder.name);
    }
    Ok(folder)
}

/// Whether the quota has room: `None` when not, otherwise the figures to keep, if there are any.
fn room(
    delivery: &Delivery<'_>,
    boxes: &Mailboxes,
    folder: &Folder,
    bytes: u64,
) -> Result<Option<Option<Size>>, StoreError> {
    let settings = &delivery.settings.quota;
    if settings.mail_size > 0 && bytes > settings.mail_size {
        return Ok(None);
    }
    let rules = &delivery.user.quota;
    let Some(mut size) = Size::read(boxes, rules, delivery.now)? else { return Ok(Some(None)) };
    let limits = if rules.is_empty() {
        size.limits
    } else {
        match rules.of(&folder.name) {
            Some(limits) => limits,
            // This folder is not counted.
            None => return Ok(Some(None)),
        }
    };
    let fits = |size: &Size| quota::allows(limits, settings.grace, size.usage, bytes);
    if !fits(&size) && size.is_stale() {
        size.recalculate(boxes, rules)?;
    }
    Ok(fits(&size).then_some(Some(size)))
}

/// Whether a message of any size would be refused now (`lmtp_rcpt_check_quota`).
///
/// # Errors
/// The figures cannot be read.
pub fn is_full(delivery: &Delivery<'_>, boxes: &Mailboxes) -> Result<bool, StoreError> {
    let inbox = boxes.inbox()?;
    Ok(room(delivery, boxes, &inbox, 1)?.is_none())
}
