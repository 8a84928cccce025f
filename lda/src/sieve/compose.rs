//! Builds the messages that scripts send: answers, notifications, and what stands in front of redirected mail. Pure.

use std::time::Duration;

use super::action::Vacation;
use super::plan::Notification;
use crate::message::Header;

/// The longest subject that is taken over from a message, in bytes.
const MAX_SUBJECT: usize = 200;
/// The longest References field (RFC 5322 has no limit; lines have).
const MAX_REFERENCES: usize = 4000;

/// What marks a message of ours.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The time.
    pub now: Duration,
    /// Tells messages of one moment apart.
    pub unique: u32,
    /// This host.
    pub hostname: &'a str,
}

impl Stamp<'_> {
    fn fields(self, out: &mut String) {
        field(out, "X-Sieve", &format!("Postrider {}", env!("CARGO_PKG_VERSION")));
        let (seconds, nanos) = (self.now.as_secs(), self.now.subsec_nanos());
        let host = sound(self.hostname);
        field(out, "Message-ID", &format!("<postrider-sieve-{seconds}-{nanos}-{}@{host}>", self.unique));
        field(out, "Date", &date(seconds));
    }
}

/// A vacation answer (RFC 5230 §5): `from` as it stands in the field, `header` of the message that is answered.
#[must_use]
pub fn vacation(vacation: &Vacation, from: &str, to: &str, header: Header<'_>, stamp: Stamp<'_>) -> Vec<u8> {
    let mut out = String::new();
    stamp.fields(&mut out);
    field(&mut out, "From", from);
    field(&mut out, "To", &format!("<{to}>"));
    match (&vacation.subject, header.text("Subject")) {
        (Some(subject), _) => text_field(&mut out, "Subject", subject),
        // Already encoded; decoding it would only bring back what must not stand in a field.
        (None, Some(subject)) => text_field(&mut out, "Subject", &format!("Auto: {}", cut(&subject))),
        (None, None) => text_field(&mut out, "Subject", "Automated reply"),
    }
    if let Some(id) = header.text("Message-ID").map(|id| sound(&id)).filter(|id| !id.is_empty()) {
        field(&mut out, "In-Reply-To", &id);
        let references = header.text("References").map(|known| sound(&known)).unwrap_or_default();
        if references.is_empty() || references.len() + id.len() > MAX_REFERENCES {
            field(&mut out, "References", &id);
        } else {
            let all: Vec<_> = references.split_whitespace().chain([id.as_str()]).collect();
            field(&mut out, "References", &all.join("\n "));
        }
    }
    field(&mut out, "Auto-Submitted", "auto-replied (vacation)");
    field(&mut out, "Precedence", "bulk");
    field(&mut out, "X-Auto-Response-Suppress", "All");
    field(&mut out, "MIME-Version", "1.0");
    if vacation.mime {
        out.push_str(&vacation.reason);
    } else {
        plain(&mut out, &vacation.reason);
    }
    finish(&out)
}

/// A notification (RFC 5436 §2.7); `owner` is whose script it is.
#[must_use]
pub fn notification(
    notification: &Notification,
    from: &str,
    owner: &str,
    header: Header<'_>,
    stamp: Stamp<'_>,
) -> Vec<u8> {
    let (notify, mailto) = (&notification.notify, &notification.mailto);
    let mut out = String::new();
    stamp.fields(&mut out);
    field(&mut out, "From", from);
    for (name, addresses) in [("To", &mailto.to), ("Cc", &mailto.cc)] {
        if !addresses.is_empty() {
            field(&mut out, name, &addresses.join(",\n "));
        }
    }
    let original = header.text("Subject");
    let subject = notify.message.as_deref().or(mailto.subject.as_deref());
    match (subject, original) {
        (Some(subject), _) => text_field(&mut out, "Subject", subject),
        (None, Some(original)) => text_field(&mut out, "Subject", &cut(&original)),
        (None, None) => text_field(&mut out, "Subject", "Notification: new message"),
    }
    field(
        &mut out,
        "Auto-Submitted",
        &format!("auto-notified; owner-email=\"{}\"", owner.replace(['"', '\\'], "")),
    );
    field(&mut out, "Precedence", "bulk");
    let (priority, importance) = match notify.importance.as_deref() {
        Some("1") => ("1 (Highest)", "High"),
        Some("3") => ("5 (Lowest)", "Low"),
        _ => ("3 (Normal)", "Normal"),
    };
    field(&mut out, "X-Priority", priority);
    field(&mut out, "Importance", importance);
    for (name, value) in &mailto.fields {
        text_field(&mut out, name, value);
    }
    field(&mut out, "MIME-Version", "1.0");
    plain(&mut out, mailto.body.as_deref().unwrap_or(""));
    finish(&out)
}

/// What is sent in place of a redirected message's head: its own fields without Return-Path, ours in front.
///
/// Gives the new head, and where in `message` (a beginning that holds the whole head) the rest begins.
#[must_use]
pub fn redirected(message: &[u8], recipient: &str) -> (Vec<u8>, usize) {
    let end = crate::message::header_end(message).unwrap_or(message.len());
    let head = message.get(..end).unwrap_or_default();
    let mut out = String::new();
    field(&mut out, "X-Sieve", &format!("Postrider {}", env!("CARGO_PKG_VERSION")));
    field(&mut out, REDIRECTED_FROM, recipient);
    let mut out = out.into_bytes();
    let mut dropping = false;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let fold = line.starts_with(b" ") || line.starts_with(b"\t");
        if !fold {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            dropping = name.trim_ascii_end().eq_ignore_ascii_case(b"Return-Path");
        }
        if !dropping {
            out.extend_from_slice(line);
        }
    }
    (out, end)
}

/// The field that tells whose script sent a message on.
pub const REDIRECTED_FROM: &str = "X-Sieve-Redirected-From";

fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str(": ");
    // A line's end in a value is a fold of ours, never somebody else's.
    out.push_str(&value.split('\n').map(sound).collect::<Vec<_>>().join("\n "));
    out.push('\n');
}

/// A field of text, in encoded words (RFC 2047) unless it is printable ASCII.
fn text_field(out: &mut String, name: &str, text: &str) {
    let text = sound(text);
    if text.is_ascii() && text.len() < 900 {
        field(out, name, &text);
        return;
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars().take(2000) {
        let mut bytes = [0; 4];
        let coded: String = match c {
            c if c.is_ascii_alphanumeric() => c.to_string(),
            c => c.encode_utf8(&mut bytes).bytes().map(|byte| format!("={byte:02X}")).collect(),
        };
        // An encoded word has 75 characters at most.
        if word.len() + coded.len() > 60 {
            words.push(std::mem::take(&mut word));
        }
        word.push_str(&coded);
    }
    words.push(word);
    let words: Vec<_> = words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect();
    out.push_str(name);
    out.push_str(": ");
    out.push_str(&words.join("\n "));
    out.push('\n');
}

/// Without control characters, which end a field or worse.
fn sound(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_SUBJECT {
        return text.to_owned();
    }
    let mut end = MAX_SUBJECT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", text.get(..end).unwrap_or_default())
}

fn plain(out: &mut String, text: &str) {
    field(out, "Content-Type", "text/plain; charset=utf-8");
    field(out, "Content-Transfer-Encoding", if text.is_ascii() { "7bit" } else { "8bit" });
    out.push('\n');
    out.push_str(text);
    if !text.ends_with('\n') {
        out.push('\n');
    }
}

/// sendmail takes lines that end in LF.
fn finish(out: &str) -> Vec<u8> {
    out.replace("\r\n", "\n").replace('\r', " ").into_bytes()
}

/// RFC 5322 §3.3, in UTC.
#[must_use]
pub fn date(seconds: u64) -> String {
    let (year, month, day, weekday) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// The date of a day since 1970-01-01.
fn civil(days: u64) -> (u64, &'static str, u64, &'static str) {
    const MONTHS: [&str; 12] =
        ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    // Years of 400 begin on 1 March of year 0.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    let name = |names: &[&'static str], at: u64| {
        usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or("")
    };
    (year, name(&MONTHS, month), day, name(&WEEKDAYS, days % 7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sieve::action::Notify;
    use crate::sieve::mailto;

    const STAMP: Stamp<'_> =
        Stamp { now: Duration::from_secs(1_795_687_139), unique: 7, hostname: "mx.b.example" };

    #[test]
    fn dates() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(date(1_795_687_139), "Thu, 26 Nov 2026 09:58:59 +0000");
        assert_eq!(date(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 +0000");
    }

    #[test]
    fn answers() {
        let asked = b"Subject: =?utf-8?q?x=0AEvil:_1?=\nMessage-ID: <m@a>\nReferences: <r1>\n <r2>\n\n";
        let gone = Vacation { reason: "I am\r\naway".into(), ..Vacation::default() };
        let text = vacation(&gone, "<bob@b.example>", "alice@a.example", Header::new(asked), STAMP);
        let text = String::from_utf8(text).unwrap();
        for line in [
            "From: <bob@b.example>\n",
            "To: <alice@a.example>\n",
            "Subject: Auto: =?utf-8?q?x=0AEvil:_1?=\n",
            "In-Reply-To: <m@a>\n",
            "References: <r1>\n <r2>\n <m@a>\n",
            "Auto-Submitted: auto-replied (vacation)\n",
            "Date: Thu, 26 Nov 2026 09:58:59 +0000\n",
            "\n\nI am\naway\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        assert!(!text.contains('\r'));
    }

    #[test]
    fn no_value_begins_a_field() {
        let asked = b"Message-ID: <a>\r\n\x0bX\n\n";
        let gone =
            Vacation { subject: Some("a\r\nEvil: 1".into()), reason: "r".into(), ..Vacation::default() };
        let text = vacation(&gone, "x\nEvil: 2 <b@c>", "a@b\nEvil: 3", Header::new(asked), STAMP);
        let notify = Notify { message: Some("ü\nEvil: 4".into()), ..Notify::default() };
        let mailto = mailto::parse("mailto:a@x.example").unwrap();
        let note = notification(
            &Notification { notify, mailto },
            "f\rEvil: 5",
            "o\"\nEvil: 6",
            Header::new(b""),
            STAMP,
        );
        for text in [text, note] {
            let text = String::from_utf8(text).unwrap();
            assert!(!text.contains("\nEvil"), "{text}");
            assert_eq!(text.matches("\n\n").count(), 1, "{text}");
        }
    }

    #[test]
    fn other_letters_are_encoded() {
        let mut out = String::new();
        text_field(&mut out, "Subject", &"ü".repeat(40));
        assert!(out.lines().all(|line| line.len() <= 76 + 9 && line.is_ascii()), "{out}");
        assert!(out.starts_with("Subject: =?utf-8?Q?=C3=BC"));
        assert_eq!(out.matches("=C3=BC").count(), 40);
    }

    #[test]
    fn redirects_say_whose_they_are() {
        let message = b"Return-Path: <a@a>\n x\nFrom: a\nreturn-path : b\nTo: b\n\nReturn-Path: stays\n";
        let (head, rest) = redirected(message, "bob@b.example");
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("X-Sieve-Redirected-From: bob@b.example\nFrom: a\nTo: b\n\n"), "{head}");
        assert_eq!(&message[rest..], b"Return-Path: stays\n");
    }
}
