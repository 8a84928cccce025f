//! Settings of notices.

use base::config::toml::{Fallback, Kind, Section};

use super::{DAY_MS, setting, time};

pub(super) const NOTICE: Section = Section {
    name: "notice",
    repeated: true,
    selector: None,
    doc: "Who is told when a limit is reached: once for each limit and key, again when a further step of escalate is \
          reached, and anew after the limit was quiet. Nothing waits for it.",
    settings: &[
        setting("limits", Kind::Texts, Fallback::Found("all"), "The names of the limits that it is about."),
        setting("mail_to", Kind::Texts, Fallback::None, "Addresses that get a mail."),
        setting(
            "mail_user",
            Kind::Boolean,
            Fallback::Value("false"),
            "Send a mail to the user as well, where the key or the login is an address.",
        ),
        setting(
            "mail_from",
            Kind::Text,
            Fallback::Found("postmaster at the first domain of mail_to"),
            "The sender of these mails. A limit must not hold them up: they pass sendmail, not smtpd.",
        ),
        setting(
            "sendmail",
            Kind::Path,
            Fallback::Value("/usr/sbin/sendmail"),
            "The program that takes mails.",
        ),
        setting(
            "command",
            Kind::Texts,
            Fallback::None,
            "A program with its arguments. It gets the refusal as one line of JSON on standard input, and POLICYD_LIMIT, \
             POLICYD_KEY, POLICYD_LOGIN and POLICYD_CLIENT in its environment.",
        ),
        setting(
            "webhook",
            Kind::Text,
            Fallback::None,
            "An https URL (or http to this host itself) that the same JSON is posted to; three tries.",
        ),
        setting(
            "webhook_authorization",
            Kind::Secret,
            Fallback::None,
            "The value of the header Authorization there, \"Bearer ...\" for instance.",
        ),
        setting(
            "timeout",
            time(100, 600_000),
            Fallback::Value("30s"),
            "How long sendmail, the program and each try of the webhook may take.",
        ),
        setting(
            "quiet",
            time(1000, 30 * DAY_MS),
            Fallback::Value("6h"),
            "An incident is over when the limit was not reached for so long.",
        ),
        setting("dry_run", Kind::Boolean, Fallback::Value("false"), "Tell of limits with dry_run too."),
    ],
};
