//! The mails that tell of an incident. Pure: text in, bytes out.

use std::fmt::Write as _;

use super::Refusal;

/// The longest value that is quoted.
const LONGEST: usize = 200;

/// For whom a mail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// The people in charge.
    Admin,
    /// Whose account it is.
    User,
}

/// Whether a text can be a recipient: an address of plain characters, which no program takes for an option.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_graphic() && !"<>()[]\\,;:\"'`|&$!*?%".contains(c);
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    text.len() <= 254
        && !local.is_empty()
        && !local.starts_with('-')
        && domain.contains('.')
        && !domain.starts_with(['.', '-'])
        && text.chars().all(fine)
}

/// A value for one line: no control characters, not too long, ASCII only.
fn plain(text: &str) -> String {
    let mut out: String =
        text.chars().take(LONGEST).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    if text.chars().count() > LONGEST {
        out.push_str("...");
    }
    out
}

/// The whole message, with lines that end in LF as sendmail(1) wants them.
pub(super) fn message(refusal: &Refusal, from: &str, to: &[String], whom: For, date: &str) -> String {
    let Refusal { limit, key, used, allowed, count, .. } = refusal;
    let (limit, key, count) = (plain(limit), plain(key), plain(count));
    let mut out = String::new();
    let dry = if refusal.dry_run { " (dry run)" } else { "" };
    let subject = match whom {
        For::Admin => format!("policyd: {key} has reached limit {limit}{dry}"),
        For::User => "You have reached a sending limit".to_owned(),
    };
    // Writing to a String cannot fail.
    let _ok = write!(
        out,
        "From: {from}\nTo: {}\nSubject: {subject}\nDate: {date}\nAuto-Submitted: auto-generated\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\n\n",
        to.join(", ")
    );
    let again = refusal.retry_after.map_or_else(
        || "It is more than the whole limit and will not pass.".to_owned(),
        |secs| format!("It is worth trying again in {}.", time(secs)),
    );
    match whom {
        For::Admin => {
            let rows = [
                ("limit", limit),
                ("key", key),
                ("used", format!("{used} of {allowed} {count}")),
                ("answer", plain(&refusal.action)),
                ("login", plain(&refusal.login)),
                ("client", plain(&refusal.client)),
                ("sender", plain(&refusal.sender)),
                ("recipient", plain(&refusal.recipient)),
                ("host", plain(&refusal.host)),
            ];
            for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
                let _ok = writeln!(out, "{:<10}{value}", format!("{name}:"));
            }
            let _ok = write!(
                out,
                "\n{again}\n{}You are told once; again when it gets worse, or anew after it was quiet.\n\n\
                 postrider-policyd explain, reset and raise are the next steps.\n",
                if refusal.dry_run { "Nothing was refused: the limit has dry_run set.\n" } else { "" },
            );
        }
        For::User => {
            let _ok = write!(
                out,
                "Your account {key} has sent more than it may: {used} of {allowed} {count} are used.\n{again}\n\n\
                 If this was not you, somebody may know your password: change it, and tell your provider.\n",
            );
        }
    }
    out
}

/// A length of time in words.
fn time(secs: u64) -> String {
    match secs {
        0..=119 => format!("{secs} seconds"),
        120..=7199 => format!("{} minutes", secs.div_ceil(60)),
        7200..=172_799 => format!("{} hours", secs.div_ceil(3600)),
        _ => format!("{} days", secs.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::send::tests::refusal;

    const DATE: &str = "Thu, 26 Nov 2026 10:00:00 +0000";

    #[test]
    fn the_mails_read_well() {
        let to = ["admin@a.example".to_owned()];
        let text = message(&refusal(), "policyd@a.example", &to, For::Admin, DATE);
        for line in [
            "From: policyd@a.example\nTo: admin@a.example\nSubject: policyd: joe@a.example has reached limit per-user\n",
            "\nAuto-Submitted: auto-generated\n",
            "\nused:     100 of 100 recipients\n",
            "\nIt is worth trying again in 10 minutes.\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        let text = message(&refusal(), "policyd@a.example", &["joe@a.example".to_owned()], For::User, DATE);
        assert!(text.contains("100 of 100 recipients are used"), "{text}");
        assert!(!text.contains("192.0.2.1"), "what is of no use to the user");
    }

    #[test]
    fn strangers_put_no_header_in() {
        let evil = "x\nBcc: all@a.example\r\n\r\nbody \u{202e}\u{e4}".to_owned();
        let refusal = Refusal { key: evil.clone(), limit: evil.clone(), sender: evil, ..refusal() };
        let text = message(&refusal, "p@a.example", &["a@a.example".to_owned()], For::Admin, DATE);
        let head = text.split("\n\n").next().unwrap();
        assert_eq!(head.lines().count(), 7, "{head}");
        assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
        assert!(text.is_ascii());
        let long = Refusal { sender: "x".repeat(8192), ..refusal };
        assert!(message(&long, "p@a.example", &[], For::Admin, DATE).lines().all(|line| line.len() < 998));
    }

    #[test]
    fn recipients_are_addresses_and_no_options() {
        for good in ["joe@a.example", "joe+x@a.example", "j.o-e_1=2/3@mail.a.example"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "joe",
            "@a.example",
            "joe@",
            "joe@host",
            "-f@a.example",
            "a b@a.example",
            "a@b.example,c@d.example",
            "a\n@b.example",
            "\"a\"@b.example",
            "|cmd@b.example",
            "j\u{f6}@a.example",
            "joe@-x.example",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
