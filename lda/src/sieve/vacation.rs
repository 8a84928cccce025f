//! Whether a message is answered (RFC 5230 §4.5 and §4.6, RFC 3834). Pure.

use super::action::Vacation;
use super::address;
use crate::message::Header;

/// Fields of mailing lists.
const LIST_FIELDS: [&str; 8] = [
    "List-Id",
    "List-Owner",
    "List-Subscribe",
    "List-Post",
    "List-Unsubscribe",
    "List-Help",
    "List-Archive",
    "Mailing-List",
];
/// Fields with recipients.
const RECIPIENT_FIELDS: [&str; 6] = ["To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"];

/// Looks at the message. `own` are the addresses of the user, besides those that the script gives.
///
/// # Errors
/// Why it is not answered, for the log.
pub fn may_answer(vacation: &Vacation, header: Header<'_>, sender: &str, own: &[&str]) -> Result<(), String> {
    if sender.is_empty() {
        return Err("discarded vacation reply to <>".to_owned());
    }
    let to = base::log::escaped(sender.as_bytes(), 300);
    let not = |why: String| Err(format!("not sending vacation reply to <{to}>: {why}"));
    if address::parse(sender).is_err() {
        return not("it is no address".to_owned());
    }
    let mine = |address: &str| {
        let given = vacation.addresses.iter().map(String::as_str);
        own.iter().copied().chain(given).any(|own| !own.is_empty() && own.eq_ignore_ascii_case(address))
    };
    if mine(sender) {
        return not("it is the user's own address".to_owned());
    }
    if is_system(sender) {
        return not("it is the address of a system or list".to_owned());
    }
    let mut listed = false;
    for (name, body) in header.fields() {
        let name = String::from_utf8_lossy(name);
        let value = || String::from_utf8_lossy(body).trim().to_ascii_lowercase();
        if LIST_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            return not(format!("the message has the field {name}"));
        }
        let refused = if name.eq_ignore_ascii_case("Auto-Submitted") {
            let first = value();
            first.split([';', ' ', '(']).next() != Some("no")
        } else if name.eq_ignore_ascii_case("Precedence") {
            ["bulk", "junk", "list"].contains(&value().as_str())
        } else if name.eq_ignore_ascii_case("X-Auto-Response-Suppress") {
            value().split(',').any(|word| ["all", "oof"].contains(&word.trim()))
        } else {
            false
        };
        if refused {
            return not(format!("its field {name} says so"));
        }
        if RECIPIENT_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            listed =
                listed || address::in_field(&String::from_utf8_lossy(body)).any(|address| mine(&address));
        }
    }
    if !listed {
        return not("the user is no recipient that the header names".to_owned());
    }
    Ok(())
}

/// RFC 5230 §4.6: senders that are no persons.
fn is_system(sender: &str) -> bool {
    let sender = sender.to_ascii_lowercase();
    let local = sender.rsplit_once('@').map_or(sender.as_str(), |(local, _)| local);
    ["mailer-daemon", "listserv", "majordomo", "postmaster", "noreply", "no-reply", "donotreply"]
        .contains(&local)
        || local.starts_with("owner-")
        || local.ends_with("-request")
        || local.ends_with("-owner")
        || local.ends_with("-bounces")
        || local.contains("-bounces+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(message: &str, sender: &str) -> Result<(), String> {
        let vacation = Vacation { addresses: vec!["other@b.example".into()], ..Vacation::default() };
        may_answer(&vacation, Header::new(message.as_bytes()), sender, &["bob@b.example", ""])
    }

    #[test]
    fn who_is_answered() {
        for message in [
            "To: Bob <BOB@b.example>\n\n",
            "Cc: x@y.example,\n \"O\" <other@b.example>\n\n",
            "Resent-To: bob@b.example\nAuto-Submitted: no (really)\nPrecedence: first-class\n\n",
        ] {
            assert_eq!(answered(message, "alice@a.example"), Ok(()), "{message}");
        }
    }

    #[test]
    fn who_is_not() {
        let to = "To: bob@b.example\n";
        for (message, sender, says) in [
            (String::new(), "", "reply to <>"),
            (format!("{to}\n"), "bob@b.example", "own address"),
            (format!("{to}\n"), "Other@b.example", "own address"),
            (format!("{to}\n"), "MAILER-DAEMON@a.example", "system or list"),
            (format!("{to}\n"), "owner-list@a.example", "system or list"),
            (format!("{to}\n"), "list-request@a.example", "system or list"),
            (format!("{to}\n"), "no-reply@a.example", "system or list"),
            (format!("{to}\n"), "broken", "no address"),
            (format!("{to}List-Id: <x>\n\n"), "alice@a.example", "List-Id"),
            (format!("{to}auto-submitted: auto-replied\n\n"), "alice@a.example", "says so"),
            (format!("{to}Auto-Submitted:\n\n"), "alice@a.example", "says so"),
            (format!("{to}Precedence: Bulk\n\n"), "alice@a.example", "says so"),
            (format!("{to}X-Auto-Response-Suppress: DR, OOF\n\n"), "alice@a.example", "says so"),
            ("To: undisclosed:;\n\n".to_owned(), "alice@a.example", "no recipient"),
            ("From: a\n\nTo: bob@b.example\n".to_owned(), "alice@a.example", "no recipient"),
        ] {
            let why = answered(&message, sender).unwrap_err();
            assert!(why.contains(says), "{message}: {why}");
        }
    }
}
