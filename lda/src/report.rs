//! The line of each delivery, in dovecot-lda's form (pure, but for writing it).

use base::log::escaped;

use crate::message::Header;
use crate::pipeline::Delivery;

/// What a line says of the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    msgid: String,
    subject: String,
    from: String,
    size: u64,
    virtual_size: u64,
    storage_id: String,
}

impl Facts {
    /// From a header, and the sizes on disk and with CR LF.
    #[must_use]
    pub fn of(head: &[u8], size: u64, virtual_size: u64) -> Self {
        let header = Header::new(head);
        let text = |name: &str| match header.text(name) {
            Some(text) => escaped(text.as_bytes(), 200).to_string(),
            None => String::new(),
        };
        let msgid = match text("Message-ID") {
            id if id.is_empty() => "unspecified".to_owned(),
            id => id,
        };
        let (subject, from) = (text("Subject"), text("From"));
        Self { msgid, subject, from, size, virtual_size, storage_id: String::new() }
    }

    /// The same of a message that lies in a folder under this name.
    #[must_use]
    pub fn stored_as(&self, file: &std::path::Path) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // Flags are no part of what the store calls it.
        let id = name.split(":2,").next().unwrap_or_default().to_owned();
        Self { storage_id: id, ..self.clone() }
    }

    /// The Message-ID, `unspecified` without one; fit for a log.
    #[must_use]
    pub fn msgid(&self) -> &str {
        &self.msgid
    }

    /// The subject, fit for a log.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// Logs what happened, by `deliver_log_format`.
pub fn line(delivery: &Delivery<'_>, facts: &Facts, happened: &str) {
    log::info!(
        "{}{}",
        prefix(delivery.service, &delivery.user.name, delivery.session),
        text(delivery, facts, happened)
    );
}

/// Logs what went wrong.
pub fn warning(delivery: &Delivery<'_>, facts: &Facts, happened: &str) {
    log::warn!(
        "{}{}",
        prefix(delivery.service, &delivery.user.name, delivery.session),
        text(delivery, facts, happened)
    );
}

/// `lda(joe)<1582><session>: `.
#[must_use]
pub fn prefix(service: &str, user: &str, session: &str) -> String {
    format!("{service}({})<{}><{session}>: ", escaped(user.as_bytes(), 200), std::process::id())
}

fn text(delivery: &Delivery<'_>, facts: &Facts, happened: &str) -> String {
    let mut out = String::new();
    let mut rest = delivery.settings.deliver_log_format.as_str();
    let envelope = delivery.envelope;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let (name, after) = match after.strip_prefix('{').and_then(|long| long.split_once('}')) {
            Some((name, after)) => (name, after),
            None => {
                after.split_at_checked(after.chars().next().map_or(0, char::len_utf8)).unwrap_or(("", after))
            }
        };
        let address = |address: &str| escaped(address.as_bytes(), 300).to_string();
        match name {
            "$" | "message" => out.push_str(happened),
            "m" | "msgid" => out.push_str(&facts.msgid),
            "s" | "subject" => out.push_str(&facts.subject),
            "f" | "from" => out.push_str(&facts.from),
            "e" | "from_envelope" => out.push_str(&address(&envelope.sender)),
            "to_envelope" => out.push_str(&address(&envelope.recipient)),
            "p" | "size" => out.push_str(&facts.size.to_string()),
            "w" | "vsize" => out.push_str(&facts.virtual_size.to_string()),
            "delivery_time" | "session_time" => {
                let took = base::clock::since_epoch().saturating_sub(delivery.now);
                out.push_str(&took.as_millis().to_string());
            }
            "%" => out.push('%'),
            "storage_id" => out.push_str(&facts.storage_id),
            _ => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A name for a session, as Dovecot's look: letters and digits that do not come again soon.
#[must_use]
pub fn session(now: std::time::Duration, process: u32) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut number = now.as_nanos() << 22 | u128::from(process);
    let mut out = String::with_capacity(22);
    for _ in 0..16 {
        let digit = usize::try_from(number & 63).unwrap_or(0);
        out.push(char::from(DIGITS.get(digit).copied().unwrap_or(b'A')));
        number >>= 6;
    }
    out
}
