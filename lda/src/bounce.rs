//! The report that postrider-lda sends itself when `lda_rejection = "bounce"` asks for it, in the form
//! of dovecot-lda's: the text, the status (RFC 3464), the message's header.

use std::io::Cursor;

use crate::envelope::Envelope;
use crate::message::Header;
use crate::pipeline::Delivery;
use crate::sieve::compose;
use crate::submit;

/// Whether a rejection may be answered at all: not the empty sender, and no list or machine (RFC 3834 §2, RFC 5230 §4.6).
#[must_use]
pub fn may_be_answered(envelope: &Envelope, head: &[u8]) -> bool {
    let header = Header::new(head);
    let machine = header.text("Auto-Submitted").is_some_and(|value| !value.trim().eq_ignore_ascii_case("no"));
    let bulk = header.text("Precedence").is_some_and(|value| {
        ["bulk", "junk", "list"].iter().any(|word| value.trim().eq_ignore_ascii_case(word))
    });
    !envelope.sender.is_empty() && !machine && !bulk
}

/// Sends the report to the envelope sender.
///
/// # Errors
/// A sentence for the log: the mail is to be tried again.
pub fn send(delivery: &Delivery<'_>, head: &[u8], reason: &str, quota: bool) -> Result<(), String> {
    let report = report(delivery, head, reason, quota);
    let recipients = [delivery.envelope.sender.clone()];
    let sendmail = &delivery.settings.sendmail_path;
    submit::submit(sendmail, "", &recipients, &mut Cursor::new(report), submit::TIMEOUT)
}

/// The report. Nothing of the message gets into a header field of ours but its subject, in one line.
fn report(delivery: &Delivery<'_>, head: &[u8], reason: &str, quota: bool) -> Vec<u8> {
    let (settings, now) = (delivery.settings, delivery.now);
    let header = Header::new(head);
    let one_line =
        |text: &str| -> String { text.chars().filter(|letter| !letter.is_control()).take(500).collect() };
    let subject = one_line(&header.text("Subject").unwrap_or_default());
    let recipient = one_line(delivery.envelope.original());
    let values = delivery.user.values(settings, delivery.service);
    let from = settings.postmaster_address.as_ref().map_or_else(
        || {
            let domain =
                delivery.user.name.rsplit_once('@').map_or(settings.hostname.as_str(), |(_, domain)| domain);
            format!("postmaster@{domain}")
        },
        |address| address.expand(&values),
    );
    let filled = |text: &str| {
        text.replace("%n", "\n").replace("%t", &recipient).replace("%s", &subject).replace("%r", reason)
    };
    let (seconds, host, process) = (now.as_secs(), &settings.hostname, std::process::id());

    let boundary = format!("{process}/{seconds}.{}", one_line(host));
    let mut out = format!(
        "Message-ID: <dovecot-{seconds}-{}-0@{host}>\nDate: {}\nFrom: Postmaster <{}>\nTo: <{}>\n\
         MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"{boundary}\"\n\
         Subject: {}\nAuto-Submitted: auto-replied (rejected)\nPrecedence: bulk\n\nThis is a MIME-encapsulated message\n\n",
        now.subsec_nanos(),
        compose::date(seconds),
        one_line(&from),
        one_line(&delivery.envelope.sender),
        one_line(&filled(&settings.rejection_subject)),
    );
    out.push_str(&format!(
        "--{boundary}\nContent-Type: text/plain; charset=utf-8\nContent-Disposition: inline\nContent-Transfer-Encoding: 8bit\n\n{}\n\n\
         --{boundary}\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; {host}\n\n",
        filled(&settings.rejection_reason),
    ));
    if let Some(original) = &delivery.envelope.original_recipient {
        out.push_str(&format!("Original-Recipient: rfc822; {}\n", one_line(original)));
    }
    out.push_str(&format!(
        "Final-Recipient: rfc822; {}\nAction: failed\nStatus: {}\n\n--{boundary}\nContent-Type: text/rfc822-headers\n\n",
        one_line(&delivery.envelope.recipient),
        if quota { "5.2.2" } else { "5.7.1" },
    ));
    let mut out = out.into_bytes();
    out.extend(head.iter().filter(|byte| **byte != b'\r'));
    out.extend_from_slice(format!("\n\n--{boundary}--\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_not_answered() {
        let from = |sender: &str| Envelope { sender: sender.to_owned(), ..Envelope::default() };
        assert!(may_be_answered(&from("a@x"), b"Subject: x\nAuto-Submitted: no\n\n"));
        assert!(!may_be_answered(&from(""), b"Subject: x\n\n"));
        assert!(!may_be_answered(&from("a@x"), b"Auto-Submitted: auto-generated\n\n"));
        assert!(!may_be_answered(&from("a@x"), b"Precedence: Bulk\n\n"));
    }
}
