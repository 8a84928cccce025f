//! What is remembered of one MTA connection and of the message in hand. Bounded: a header beyond
//! its limit is not kept, a body never is.

use std::net::IpAddr;
use std::sync::Arc;

use crate::active::Active;
use crate::authres;
use crate::dkim::HeaderBlock;
use crate::pipeline::Work;
use crate::report;

/// Bytes of header that are kept when `MaximumHeaders` sets no limit.
const HARD_HEADER_BYTES: usize = 16 * 1024 * 1024;
/// Header fields that are kept at most, whatever their size.
const HARD_HEADER_FIELDS: usize = 20_000;
/// Authentication-Results fields with our id that can be removed from one message; one that has
/// more is deferred, never let through with them.
const MOST_FORGED: usize = 10_000;
/// Recipients that are remembered, and the bytes of them; Postfix sends at most 1000 by default.
const MOST_RECIPIENTS: usize = 10_000;
const MOST_RECIPIENT_BYTES: usize = 4 * 1024 * 1024;
/// The longest host name that is looked at, in bytes; the DNS knows none longer than 253. A table of
/// hosts is asked for every part of a name, which takes time with the square of its length.
const LONGEST_HOST: usize = 1024;
/// Room for a header that is kept between messages of a connection; more is given back.
const KEPT_HEADER_BYTES: usize = 32 * 1024;
/// What stands for the MTA's name when it has told none (OpenDKIM's wording).
const UNKNOWN_HOST: &str = "unknown-host";
/// What stands for the queue id before the MTA has told it (OpenDKIM's wording).
const UNKNOWN_JOB: &str = "(unknown-jobid)";

/// The SMTP client that the MTA talks to.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Its host name as the MTA found it, or an address in brackets.
    pub host: String,
    /// Its address; `None` for mail that was submitted on the machine itself.
    pub address: Option<IpAddr>,
}

/// The answer to one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Go on.
    Continue,
    /// Nothing more is wanted of this message (or connection, at connect).
    Accept,
    /// Take the message and throw it away.
    Discard,
    /// Try again later; without a reply the MTA uses its own text.
    Tempfail(Option<Reply>),
    /// Refuse for good.
    Reject(Option<Reply>),
}

/// An SMTP reply for the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: &'static str,
    /// Enhanced status code (RFC 3463).
    pub enhanced: &'static str,
    /// One line of text.
    pub text: String,
}

/// One connection of the MTA.
#[derive(Debug)]
pub struct Session {
    active: Arc<Active>,
    /// The milter options that were agreed on, for `callbacks.rs`.
    options: u32,
    /// Who the client is.
    pub(crate) client: Client,
    /// The MTA's own name (macro `j`).
    pub(crate) mta_host: String,
    /// The name of the Postfix service (macro `{daemon_name}`).
    pub(crate) daemon_name: String,
    /// Peers are let through untouched (`PeerList`).
    is_peer: bool,
    pub(crate) message: Message,
}

/// The message in hand.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) queue_id: String,
    pub(crate) authenticated: bool,
    pub(crate) recipients: Vec<String>,
    recipient_bytes: usize,
    pub(crate) headers: HeaderBlock,
    /// Fields that are ignored for everything, since their name has a semicolon in it.
    pub(crate) ignored_fields: usize,
    /// The header is beyond its limit; what came after that is not kept.
    pub(crate) header_too_large: bool,
    /// Authentication-Results fields so far, and which of them carry our own id (counted from 1).
    results_fields: u32,
    pub(crate) forged: Vec<u32>,
    /// A mistake of ours stopped the handling; the message must be deferred.
    pub(crate) failed: bool,
    pub(crate) work: Work,
}

impl Session {
    /// A new connection under the configuration that is active now.
    #[must_use]
    pub fn new(active: Arc<Active>, options: u32) -> Self {
        Self {
            active,
            options,
            client: Client::default(),
            mta_host: String::new(),
            daemon_name: String::new(),
            is_peer: false,
            message: Message::default(),
        }
    }

    /// The configuration that this connection keeps.
    #[must_use]
    pub fn active(&self) -> &Arc<Active> {
        &self.active
    }

    /// The milter options that were agreed on.
    #[must_use]
    pub fn options(&self) -> u32 {
        self.options
    }

    /// Our name in Authentication-Results: `AuthservID`, else the MTA's own name.
    #[must_use]
    pub fn authserv_id(&self) -> &str {
        match &self.active.settings.verifying.authserv_id {
            Some(id) => id,
            None if self.mta_host.is_empty() => UNKNOWN_HOST,
            None => &self.mta_host,
        }
    }

    /// The queue id, for log lines.
    #[must_use]
    pub fn queue_id(&self) -> &str {
        if self.message.queue_id.is_empty() { UNKNOWN_JOB } else { &self.message.queue_id }
    }

    /// The client is known. Peers are let through, now and for every message.
    pub fn connect(&mut self, client: Client, mta_host: String, daemon_name: String) -> Step {
        self.client = client;
        if self.client.host.len() > LONGEST_HOST {
            self.client.host.clear();
        }
        self.mta_host = mta_host;
        self.daemon_name = daemon_name;
        self.is_peer =
            self.active.settings.clients.peers.matches(Some(&self.client.host), Some(self.address()));
        if self.is_peer { Step::Accept } else { Step::Continue }
    }

    /// The client's address; mail submitted on the machine itself counts as from loopback.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.client.address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }

    /// A message begins.
    pub fn begin_message(&mut self, authenticated: bool) {
        self.forget_message();
        self.message.authenticated = authenticated;
    }

    /// The MTA tells the queue id, perhaps late; the last word counts. Only plain characters are
    /// kept, since it goes into log lines and header fields.
    pub fn set_queue_id(&mut self, id: Option<&[u8]>) {
        if let Some(id) = id {
            self.message.queue_id = id
                .iter()
                .take(64)
                .filter(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
                .map(|byte| char::from(*byte))
                .collect();
        }
    }

    /// A recipient, in brackets as MAIL and RCPT have it.
    pub fn recipient(&mut self, address: &[u8]) -> Step {
        let message = &mut self.message;
        let bytes = message.recipient_bytes.saturating_add(address.len());
        if message.recipients.len() < MOST_RECIPIENTS && bytes <= MOST_RECIPIENT_BYTES {
            message.recipient_bytes = bytes;
            let text = String::from_utf8_lossy(address);
            message.recipients.push(text.trim_matches(['<', '>']).to_owned());
        }
        Step::Continue
    }

    /// A header field: the value as the MTA has it, with or without its leading blank by what was
    /// agreed on.
    pub fn header(&mut self, name: &[u8], value: &[u8]) -> Step {
        let limit = match self.active.settings.limits.header_bytes {
            Some(bytes) => usize::try_from(bytes).unwrap_or(HARD_HEADER_BYTES).min(HARD_HEADER_BYTES),
            None => HARD_HEADER_BYTES,
        };
        // Before any limit: what is forged is removed also from a header that is too large.
        if name.trim_ascii().eq_ignore_ascii_case(report::FIELD_NAME.as_bytes()) {
            self.note_results_field(value);
        }
        let message = &mut self.message;
        if message.header_too_large {
            return Step::Continue;
        }
        let size = message.headers.byte_len() + 2 * message.headers.len() + name.len() + value.len();
        if size > limit || message.headers.len() >= HARD_HEADER_FIELDS {
            message.header_too_large = true;
            message.headers = HeaderBlock::new();
            return Step::Continue;
        }
        if name.contains(&b';') {
            // Such a name would read as the end of h= (OpenDKIM ignores these fields as well).
            message.ignored_fields += 1;
            return Step::Continue;
        }
        if self.options & LEADING_SPACE == 0 {
            let with_blank = [b" ", value].concat();
            message.headers.push(name, &with_blank);
        } else {
            message.headers.push(name, value);
        }
        Step::Continue
    }

    fn note_results_field(&mut self, value: &[u8]) {
        self.message.results_fields += 1;
        let settings = &self.active.settings.verifying;
        if settings.keep_results {
            return;
        }
        let own = self.authserv_id().to_lowercase();
        let is_ours = |id: &str| match &settings.remove_results_from {
            Some(hosts) => hosts.contains(id),
            None => id == own.trim_end_matches('.'),
        };
        if authres::could_be_ours(value, is_ours) {
            if self.message.forged.len() < MOST_FORGED {
                self.message.forged.push(self.message.results_fields);
            } else {
                log::warn!(
                    "{}: more than {MOST_FORGED} forged result fields; it is deferred",
                    self.queue_id()
                );
                self.message.failed = true;
            }
        }
    }

    /// The message is over or aborted; nothing of it is kept.
    pub fn forget_message(&mut self) {
        let mut headers = std::mem::take(&mut self.message.headers);
        let message = Message { queue_id: String::new(), ..Message::default() };
        if headers.byte_len() <= KEPT_HEADER_BYTES {
            headers.clear();
            self.message = Message { headers, ..message };
        } else {
            self.message = message;
        }
    }

    /// A mistake of ours: what was gathered is dropped and the message will be deferred.
    pub fn fail_message(&mut self) {
        let queue_id = std::mem::take(&mut self.message.queue_id);
        self.forget_message();
        self.message.failed = true;
        self.message.queue_id = queue_id;
    }
}

/// The milter option that keeps the blank after a field's colon in its value.
pub(crate) const LEADING_SPACE: u32 = 0x10_0000;
