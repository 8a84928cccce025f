//! The fields that are put in front of a message: Return-Path, Delivered-To, Received (RFC 5321 §4.4). Pure.

use super::path::Mailbox;

/// What the fields say.
#[derive(Debug, Clone, Copy)]
pub struct Trace<'a> {
    /// The sender of MAIL.
    pub sender: Option<&'a Mailbox>,
    /// The recipient, when there is only one and it may be told.
    pub recipient: Option<&'a Mailbox>,
    /// Whether there is a `Delivered-To` for it.
    pub delivered_to: bool,
    /// What the client calls itself; empty when it has not said, or said nothing that is a host's name.
    pub client: &'a str,
    /// Our name.
    pub host: &'a str,
    /// The transaction's name.
    pub id: &'a str,
    /// Whether MAIL asked for SMTPUTF8 (RFC 6531 §4.3).
    pub is_internationalized: bool,
    /// Whether there is a `Received`.
    pub received: bool,
    /// Seconds since 1970.
    pub now: u64,
}

impl Trace<'_> {
    /// The fields, each line ended by CR LF. Their length depends on nothing but the lengths of what they quote.
    #[must_use]
    pub fn fields(&self) -> Vec<u8> {
        let sender = self.sender.map_or_else(String::new, ToString::to_string);
        let mut text = format!("Return-Path: <{sender}>\r\n");
        if let Some(recipient) = self.recipient.filter(|_| self.delivered_to) {
            text.push_str(&format!("Delivered-To: {recipient}\r\n"));
        }
        if self.received {
            let client = if is_host_name(self.client) { self.client } else { "unknown" };
            let protocol = if self.is_internationalized { "UTF8LMTP" } else { "LMTP" };
            text.push_str(&format!(
                "Received: from {client}\r\n\tby {} with {protocol}\r\n\tid {}\r\n\t(envelope-from <{sender}>)",
                self.host, self.id
            ));
            if let Some(recipient) = self.recipient {
                text.push_str(&format!("\r\n\tfor <{recipient}>"));
            }
            text.push_str(&format!("; {}\r\n", date(self.now)));
        }
        text.into_bytes()
    }
}

/// Whether LHLO named a domain or an address literal; the field must not be broken by anything else.
fn is_host_name(text: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(of_name)
}

/// A date of RFC 5322 §3.3, in UTC.
#[must_use]
pub fn date(now: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (now / 86_400, now % 86_400);
    // Days since 0000-03-01, in eras of 400 years; years begin in March, so that leap days come last.
    let shifted = days + 719_468;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + shifted / 146_097 * 400 + u64::from(month >= 10);
    let name = |names: &[&'static str], place: u64| {
        usize::try_from(place).ok().and_then(|place| names.get(place).copied()).unwrap_or_default()
    };
    let weekday = name(&DAYS, days % 7);
    let month = name(&MONTHS, (month + 2) % 12);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_dovecot_writes_them() {
        let mailbox = |local: &str| Mailbox { local: local.to_owned(), domain: "a.example".to_owned() };
        let (sender, recipient) = (mailbox("x y"), mailbox("anna"));
        let trace = Trace {
            sender: Some(&sender),
            recipient: Some(&recipient),
            delivered_to: true,
            client: "c.example",
            host: "mx.a.example",
            id: "ID",
            is_internationalized: false,
            received: true,
            now: 1_795_686_970,
        };
        let text = |trace: &Trace<'_>| String::from_utf8(trace.fields()).unwrap();
        assert_eq!(
            text(&trace),
            "Return-Path: <\"x y\"@a.example>\r\nDelivered-To: anna@a.example\r\nReceived: from c.example\r\n\
             \tby mx.a.example with LMTP\r\n\tid ID\r\n\t(envelope-from <\"x y\"@a.example>)\r\n\
             \tfor <anna@a.example>; Thu, 26 Nov 2026 09:56:10 +0000\r\n"
        );
        let several = Trace { recipient: None, sender: None, client: "<x>", ..trace };
        assert_eq!(
            text(&several),
            "Return-Path: <>\r\nReceived: from unknown\r\n\tby mx.a.example with LMTP\r\n\tid ID\r\n\
             \t(envelope-from <>); Thu, 26 Nov 2026 09:56:10 +0000\r\n"
        );
        let bare = Trace { received: false, delivered_to: false, ..trace };
        assert_eq!(text(&bare), "Return-Path: <\"x y\"@a.example>\r\n");
        assert!(text(&Trace { is_internationalized: true, ..trace }).contains(" with UTF8LMTP\r\n"));
    }

    #[test]
    fn dates() {
        for (now, wanted) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_226_000, "Thu, 29 Feb 2024 17:00:00 +0000"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 +0000"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 +0000"),
        ] {
            assert_eq!(date(now), wanted);
        }
    }
}
