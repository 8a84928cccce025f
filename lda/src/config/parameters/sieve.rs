//! Settings of Sieve: where scripts are, what they may do.

use base::config::toml::{Fallback, Kind, Section};

use super::{DAY_MS, bytes, count, setting, time};

pub(super) const SIEVE: Section = Section {
    name: "sieve",
    repeated: false,
    selector: None,
    doc: "Sieve scripts. Names are Pigeonhole's without sieve_ in front, but for sieve itself. Fields of these names (sieve, \
          sieve_before, sieve_max_redirects …) in the userdb go before.",
    settings: &[
        setting("enabled", Kind::Boolean, Fallback::Value("true"), "Run scripts at all."),
        setting(
            "sieve",
            Kind::Text,
            Fallback::Value("file:~/sieve;active=~/.dovecot.sieve"),
            "The user's script: a file, or file:DIRECTORY;active=FILE. May hold variables.",
        ),
        setting(
            "before",
            Kind::Texts,
            Fallback::None,
            "Scripts, or directories with scripts, to run before the user's.",
        ),
        setting("after", Kind::Texts, Fallback::None, "Likewise after it."),
        setting("default", Kind::Text, Fallback::Value(""), "The script of users who have none."),
        setting("global", Kind::Text, Fallback::Value(""), "The directory of scripts for include :global."),
        setting(
            "extensions",
            Kind::Texts,
            Fallback::None,
            "Extensions to add (\"+editheader\") or take away (\"-reject\").",
        ),
        setting("max_script_size", bytes(1, 1 << 30), Fallback::Value("1M"), "The largest script."),
        setting(
            "max_actions",
            count(0, 10_000),
            Fallback::Value("32"),
            "The most actions of a script; 0 is no limit.",
        ),
        setting(
            "max_redirects",
            count(0, 10_000),
            Fallback::Value("4"),
            "The most redirects of a script; 0 allows none.",
        ),
        setting(
            "max_cpu_time",
            time(0, DAY_MS),
            Fallback::Value("30s"),
            "The most processor time of a script; 0 is no limit.",
        ),
        setting(
            "user_email",
            Kind::Text,
            Fallback::Value(""),
            "The user's address, for vacation and reject.",
        ),
        setting(
            "redirect_envelope_from",
            Kind::Text,
            Fallback::Value("sender"),
            "The sender of redirected mail: sender, recipient, orig_recipient, user_email, postmaster or <address>.",
        ),
        setting(
            "vacation_min_period",
            time(0, 365 * DAY_MS),
            Fallback::Value("1d"),
            "The shortest time between answers to one sender.",
        ),
        setting(
            "vacation_max_period",
            time(0, 3650 * DAY_MS),
            Fallback::Value("0"),
            "The longest; 0 is no limit.",
        ),
        setting(
            "vacation_default_period",
            time(0, 365 * DAY_MS),
            Fallback::Value("7d"),
            "The time when a script says none.",
        ),
        setting(
            "user_log",
            Kind::Text,
            Fallback::Value(""),
            "Where errors of the user's script are written; beside the script with .log when empty.",
        ),
    ],
};
