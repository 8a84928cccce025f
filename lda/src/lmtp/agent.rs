//! Delivers what one connection brings: users, the file that a message goes to, one delivery for each recipient.
//!
//! The body goes to the first recipient's mailbox while it arrives. Recipients with the same owner share that file;
//! others get a copy when it is whole. Where one mailbox cannot take it, the message moves on to the next recipient's,
//! so that nobody's mail waits for somebody else's broken mailbox.

use std::sync::Arc;
use std::time::Duration;

use base::clock;
use base::log::escaped;

use super::connection::Agent;
use super::identity::Identity;
use super::path::Mailbox;
use super::reply::Reply;
use super::service::Service;
use super::session::{Recipient, Transaction};
use super::slots::Slot;
use super::trace::Trace;
use crate::config::Settings;
use crate::config::settings::DeliveryAddress;
use crate::envelope::{self, Envelope};
use crate::maildir::{Incoming, Mailboxes, Message, StoreError};
use crate::outcome::Outcome;
use crate::pipeline::{self, Delivery};
use crate::recipient::{self, NoUser, User};

/// What the log and the pipeline call this service.
const SERVICE: &str = "lmtp";

/// The agent of one connection.
pub struct DeliveryAgent {
    service: Arc<Service>,
    /// The connection's name, for the log.
    session: String,
    storing: Option<Storing>,
}

/// What is known of a recipient.
#[derive(Debug)]
pub struct Known {
    settings: Arc<Settings>,
    user: User,
    detail: Option<String>,
    _slot: Slot,
}

/// A message that is coming in.
struct Storing {
    // Fields are dropped in this order: the file goes away while the thread is still its owner.
    incoming: Incoming,
    boxes: Mailboxes,
    _identity: Identity,
    /// The recipient whose mailbox it goes to.
    owner: usize,
    /// Recipients whose mailboxes could not take it.
    failed: Vec<usize>,
    trace: Vec<u8>,
    now: Duration,
}

/// A message that is whole, and whose file it is.
struct Stored {
    message: Message,
    owner: recipient::Identity,
}

impl DeliveryAgent {
    /// The agent of the connection called `session`.
    #[must_use]
    pub fn new(service: Arc<Service>, session: String) -> Self {
        Self { service, session, storing: None }
    }

    fn known(&self, name: &str, settings: &Arc<Settings>, mailbox: &Mailbox) -> Result<Known, Reply> {
        let parts = envelope::parts(name, &settings.recipient_delimiter);
        let user = match recipient::find(settings, &parts.user, SERVICE) {
            Ok(user) => user,
            Err(NoUser::Unknown) => {
                let text = format!("<{mailbox}> User doesn't exist: {}", parts.user);
                return Err(Reply::new(550, "5.1.1", text));
            }
            Err(NoUser::Temporary(why)) => {
                log::warn!("{}: {}", self.prefix(&parts.user), escaped(why.as_bytes(), 1000));
                return Err(Reply::TEMPORARY);
            }
        };
        let limit = settings.lmtp.user_concurrency_limit;
        let Some(slot) = self.service.slots.take(&user.name, limit) else {
            log::warn!(
                "{}: {limit} deliveries are in hand (see user_concurrency_limit)",
                self.prefix(&user.name)
            );
            return Err(Reply::TOO_MANY_DELIVERIES);
        };
        let detail = parts.detail.filter(|_| settings.lmtp.save_to_detail_mailbox).map(str::to_owned);
        Ok(Known { settings: Arc::clone(settings), user, detail, _slot: slot })
    }

    /// `lmtp_rcpt_check_quota`.
    fn check_quota(&self, known: &Known, mailbox: &Mailbox) -> Result<(), Reply> {
        let settings = &known.settings;
        if !settings.lmtp.rcpt_check_quota {
            return Ok(());
        }
        let full = act_as(&known.user).and_then(|_identity| {
            let boxes = known.user.mailboxes(settings).map_err(|error| error.to_string())?;
            let envelope = Envelope { recipient: mailbox.to_string(), ..Envelope::default() };
            let delivery = delivery(known, &envelope, &self.session, Duration::from_secs(clock::unix_now()));
            pipeline::is_full(&delivery, &boxes).map_err(|error| error.to_string())
        });
        match full {
            Ok(false) => Ok(()),
            Ok(true) => {
                let reason = settings.quota.exceeded_message.clone();
                let outcome = if settings.quota_full_tempfail {
                    Outcome::Temporary { reason, quota: true }
                } else {
                    Outcome::Rejected { reason, quota: true }
                };
                log::info!("{}: refused at RCPT: the mailbox is full", self.prefix(&known.user.name));
                Err(reply(&outcome, mailbox, &self.session))
            }
            Err(why) => {
                // The delivery itself will tell, and count.
                log::warn!("{}: quota: {why}", self.prefix(&known.user.name));
                Ok(())
            }
        }
    }

    fn prefix(&self, user: &str) -> String {
        let prefix = crate::report::prefix(SERVICE, user, &self.session);
        prefix.trim_end_matches(": ").to_owned()
    }

    /// Opens the mailbox of the first recipient from `from` on that can be opened.
    fn open(
        &self,
        transaction: &Transaction<Known>,
        from: usize,
        failed: &mut Vec<usize>,
    ) -> Option<(usize, Mailboxes, Identity)> {
        for (place, recipient) in transaction.recipients.iter().enumerate().skip(from) {
            let Some(known) = &recipient.known else { continue };
            let opened = act_as(&known.user).and_then(|identity| {
                let boxes = known.user.mailboxes(&known.settings).map_err(|error| error.to_string())?;
                Ok((boxes, identity))
            });
            match opened {
                Ok((boxes, identity)) => return Some((place, boxes, identity)),
                Err(why) => {
                    log::warn!("{}: {why}", self.prefix(&known.user.name));
                    failed.push(place);
                }
            }
        }
        None
    }

    /// One mailbox cannot take the message: on to the next recipient's, with what has come so far.
    fn move_on(
        &self,
        transaction: &Transaction<Known>,
        mut storing: Storing,
        error: &StoreError,
    ) -> Result<Storing, Reply> {
        let mut why = error.to_string();
        let refusal = refusal(error);
        loop {
            let recipient = transaction.recipients.get(storing.owner);
            if let Some(known) = recipient.and_then(|recipient| recipient.known.as_ref()) {
                log::warn!("{}: save failed: {why}", self.prefix(&known.user.name));
            }
            storing.failed.push(storing.owner);
            let Storing { mut incoming, boxes: _, _identity: identity, owner, mut failed, trace, now } =
                storing;
            drop(identity);
            let next = self.open(transaction, owner + 1, &mut failed);
            let moved = next.map(|(place, boxes, identity)| {
                let key = key(transaction, place);
                let moved = incoming.move_to(&boxes, &trace, &[&key.0, &key.1]);
                (place, boxes, identity, moved)
            });
            let old = transaction.recipients.get(owner).and_then(|recipient| recipient.known.as_ref());
            let Some((place, boxes, identity, moved)) = moved else {
                let _identity = old.map(|known| act_as(&known.user));
                drop(incoming);
                return Err(refusal);
            };
            match moved {
                Ok(moved) => {
                    drop(identity);
                    {
                        // The old file is removed by its owner.
                        let _identity = old.map(|known| act_as(&known.user));
                        drop(incoming);
                    }
                    let known = transaction.recipients.get(place).and_then(|new| new.known.as_ref());
                    let identity = known.map(|known| act_as(&known.user));
                    let Some(Ok(identity)) = identity else { return Err(Reply::TEMPORARY) };
                    return Ok(Storing {
                        incoming: moved,
                        boxes,
                        _identity: identity,
                        owner: place,
                        failed,
                        trace,
                        now,
                    });
                }
                Err(error) => {
                    why = error.to_string();
                    storing =
                        Storing { incoming, boxes, _identity: identity, owner: place, failed, trace, now };
                }
            }
        }
    }

    /// The whole message on disk, in the mailbox of a recipient that can take it.
    fn store(
        &self,
        transaction: &Transaction<Known>,
        mut storing: Storing,
    ) -> Result<(Stored, usize, Vec<usize>, Vec<u8>), Reply> {
        while let Err(error) = storing.incoming.settle(&storing.boxes) {
            storing = self.move_on(transaction, storing, &error)?;
        }
        let Storing { incoming, boxes, _identity, owner, failed, trace, .. } = storing;
        let known = transaction.recipients.get(owner).and_then(|recipient| recipient.known.as_ref());
        let Some(known) = known else { return Err(Reply::TEMPORARY) };
        match incoming.finish(&boxes) {
            Ok(message) => Ok((Stored { message, owner: known.user.identity.clone() }, owner, failed, trace)),
            Err(error) => {
                log::warn!("{}: save failed: {error}", self.prefix(&known.user.name));
                Err(refusal(&error))
            }
        }
    }

    /// Delivers to one recipient, from a file of its owner; makes one where there is none yet.
    fn deliver_to(
        &self,
        transaction: &Transaction<Known>,
        place: usize,
        known: &Known,
        files: &mut Vec<Stored>,
        trace: &[u8],
    ) -> Result<Outcome, String> {
        let settings = &known.settings;
        let recipient = transaction.recipients.get(place).ok_or("no such recipient")?;
        let sender = transaction.mail.sender.as_ref().map_or_else(String::new, ToString::to_string);
        let envelope =
            Envelope { sender, recipient: recipient.mailbox.to_string(), original_recipient: None };
        let session = transaction.recipient_id(place);
        let delivery = delivery(known, &envelope, &session, clock::since_epoch());
        let _identity = act_as(&known.user)?;
        let boxes = known.user.mailboxes(settings).map_err(|error| error.to_string())?;
        let key = key(transaction, place);
        let key: [&[u8]; 2] = [&key.0, &key.1];
        let own = files.iter().position(|file| file.owner == known.user.identity);
        let file = match own {
            Some(found) => files.get_mut(found),
            None => {
                let first = files.first_mut().ok_or("there is no message")?;
                let copied = first.message.copy_to(&boxes, trace, &key, settings.save_crlf);
                let message = copied.map_err(|error| format!("save failed: {error}"))?;
                files.push(Stored { message, owner: known.user.identity.clone() });
                files.last_mut()
            }
        };
        let file = file.ok_or("there is no message")?;
        file.message.next_recipient(&boxes, &key).map_err(|error| format!("save failed: {error}"))?;
        Ok(pipeline::deliver(&delivery, &boxes, &mut file.message))
    }

    /// The message goes to nobody: counts that for everybody it was for.
    fn count_failed(&self, transaction: &Transaction<Known>) {
        for _known in transaction.recipients.iter().filter_map(|recipient| recipient.known.as_ref()) {
            self.service.metrics.delivery(&Outcome::internal(), 0, Duration::ZERO);
        }
    }

    /// Removes the files in `tmp`, each as its owner.
    fn clean_up(files: Vec<Stored>) {
        for file in files {
            let identity = &file.owner;
            match Identity::take_on(identity.uid, identity.gid, &identity.groups) {
                Ok(_identity) => drop(file.message),
                Err(error) => log::warn!("{error}"),
            }
        }
    }
}

impl Agent for DeliveryAgent {
    type User = Known;

    fn look_up(&mut self, mailbox: &Mailbox) -> Result<Known, Reply> {
        let settings = self.service.settings();
        let answer = self.known(&mailbox.user(), &settings, mailbox).and_then(|known| {
            self.check_quota(&known, mailbox)?;
            Ok(known)
        });
        self.service.metrics.recipient(answer.as_ref().err().map_or(250, |reply| reply.code));
        answer
    }

    fn begin(&mut self, client: &str, transaction: &Transaction<Known>) -> Result<(), Reply> {
        let mut failed = Vec::new();
        let Some((owner, boxes, identity)) = self.open(transaction, 0, &mut failed) else {
            self.count_failed(transaction);
            return Err(Reply::TEMPORARY);
        };
        let known = transaction.recipients.get(owner).and_then(|recipient| recipient.known.as_ref());
        let Some(Known { settings, .. }) = known else { return Err(Reply::TEMPORARY) };
        let only = match transaction.recipients.as_slice() {
            [only] => Some(&only.mailbox),
            _ => None,
        };
        let now = clock::since_epoch();
        let trace = Trace {
            sender: transaction.mail.sender.as_ref(),
            recipient: only,
            delivered_to: settings.lmtp.hdr_delivery_address != DeliveryAddress::None,
            client,
            host: &settings.hostname,
            id: &transaction.id,
            is_internationalized: transaction.mail.is_internationalized,
            received: settings.lmtp.add_received_header,
            now: now.as_secs(),
        }
        .fields();
        let key = key(transaction, owner);
        let mut incoming = Incoming::begin(&boxes, &trace, &[&key.0, &key.1], settings.save_crlf, now);
        if transaction.recipients.iter().filter(|recipient| recipient.known.is_some()).count() > 1 {
            incoming = incoming.for_several();
        }
        self.storing = Some(Storing { incoming, boxes, _identity: identity, owner, failed, trace, now });
        Ok(())
    }

    fn write(&mut self, transaction: &Transaction<Known>, bytes: &[u8]) -> Result<(), Reply> {
        let Some(storing) = &mut self.storing else { return Err(Reply::TEMPORARY) };
        let Err(error) = storing.incoming.write(&storing.boxes, bytes) else { return Ok(()) };
        if let Some(storing) = self.storing.take() {
            let moved = self.move_on(transaction, storing, &error);
            self.storing = Some(moved.inspect_err(|_| self.count_failed(transaction))?);
        }
        Ok(())
    }

    fn discard(&mut self) {
        self.storing = None;
    }

    fn deliver(&mut self, transaction: &mut Transaction<Known>, each: &mut dyn FnMut(Reply) -> bool) {
        let began = clock::monotonic_now();
        let Some(storing) = self.storing.take() else { return };
        let received = storing.now;
        let stored = self.store(transaction, storing);
        let (file, failed, trace, refusal) = match stored {
            Ok((file, _, failed, trace)) => (Some(file), failed, trace, Reply::TEMPORARY),
            Err(refusal) => (None, Vec::new(), Vec::new(), refusal),
        };
        let is_stored = file.is_some();
        let size = file.as_ref().map_or(0, |file| file.message.size());
        let mut files: Vec<Stored> = file.into_iter().collect();
        let mut replies: Vec<Reply> = Vec::with_capacity(transaction.recipients.len());
        for (place, Recipient { mailbox, known, same_as }) in transaction.recipients.iter().enumerate() {
            let answer = match (known, same_as.and_then(|earlier| replies.get(earlier))) {
                (_, Some(earlier)) => earlier.clone(),
                (None, None) => Reply::TEMPORARY,
                (Some(_), None) if !is_stored || failed.contains(&place) => {
                    self.service.metrics.delivery(&Outcome::internal(), size, began.elapsed());
                    refusal.clone()
                }
                (Some(known), None) => {
                    let outcome = self
                        .deliver_to(transaction, place, known, &mut files, &trace)
                        .unwrap_or_else(|why| {
                            log::warn!("{}: {why}", self.prefix(&known.user.name));
                            Outcome::internal()
                        });
                    self.service.metrics.delivery(&outcome, size, began.elapsed());
                    reply(&outcome, mailbox, &transaction.recipient_id(place))
                }
            };
            let own =
                |file: &&mut Stored| known.as_ref().is_some_and(|known| file.owner == known.user.identity);
            if !each(answer.clone())
                && let Some(file) = files.iter_mut().find(own)
            {
                file.message.keep_for_another_attempt();
            }
            replies.push(answer);
        }
        log::debug!("{}: {} bytes, received since {}", self.session, size, received.as_secs());
        Self::clean_up(files);
    }
}

fn delivery<'a>(known: &'a Known, envelope: &'a Envelope, session: &'a str, now: Duration) -> Delivery<'a> {
    Delivery {
        settings: &known.settings,
        user: &known.user,
        envelope,
        service: SERVICE,
        session,
        mailbox: known.detail.as_deref(),
        now,
    }
}

/// What names a recipient's file: the user and the address.
fn key(transaction: &Transaction<Known>, place: usize) -> (Vec<u8>, Vec<u8>) {
    let recipient = transaction.recipients.get(place);
    let user = recipient.and_then(|recipient| recipient.known.as_ref()).map(|known| known.user.name.clone());
    let address = recipient.map_or_else(String::new, |recipient| recipient.mailbox.to_string());
    (user.unwrap_or_default().into_bytes(), address.into_bytes())
}

fn act_as(user: &User) -> Result<Identity, String> {
    let identity = &user.identity;
    Identity::take_on(identity.uid, identity.gid, &identity.groups).map_err(|error| error.to_string())
}

/// The reply when a message cannot be stored at all.
fn refusal(error: &StoreError) -> Reply {
    let StoreError::Io { error, .. } = error else { return Reply::TEMPORARY };
    match error.kind() {
        std::io::ErrorKind::StorageFull => Reply::new(452, "4.3.1", "Insufficient system storage"),
        std::io::ErrorKind::QuotaExceeded => Reply::new(452, "4.2.2", "Disk quota exceeded"),
        _ => Reply::TEMPORARY,
    }
}

/// The reply to one recipient.
fn reply(outcome: &Outcome, mailbox: &Mailbox, session: &str) -> Reply {
    match outcome {
        Outcome::Delivered => Reply::new(250, "2.0.0", format!("<{mailbox}> {session} Saved")),
        Outcome::Rejected { reason, quota: true } => {
            Reply::new(552, "5.2.2", format!("<{mailbox}> {reason}"))
        }
        Outcome::Rejected { reason, quota: false } => {
            Reply::new(552, "5.2.0", format!("<{mailbox}> {reason}"))
        }
        Outcome::Temporary { reason, quota: true } => {
            Reply::new(452, "4.2.2", format!("<{mailbox}> {reason}"))
        }
        Outcome::Temporary { reason, quota: false } => {
            Reply::new(451, "4.2.0", format!("<{mailbox}> {reason}"))
        }
    }
}
