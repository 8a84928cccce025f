//! What the settings and a user's fields come to for one delivery: places, extensions, limits.

use std::path::PathBuf;
use std::time::Duration;

use super::confine::Confines;
use super::extensions::Extensions;
use super::interpreter::Limits;
use super::library::Places;
use super::plan::Policy;
use crate::config::settings::Settings;
use crate::recipient::User;
use crate::variables::{Template, Values};

/// Of a larger message, scripts see the beginning only; `size` knows the whole.
pub const MAX_MESSAGE: u64 = 32 << 20;
/// What a script may take besides the message and what is made of it.
const MEMORY: u64 = 256 << 20;

/// What stands for no limit of time; no mail server waits for so long.
const NO_LIMIT: Duration = Duration::from_secs(86_400);

/// Who is the sender of redirected mail (Pigeonhole's sieve_redirect_envelope_from).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectFrom {
    /// The sender of the message.
    Sender,
    /// The recipient.
    Recipient,
    /// The original recipient.
    OriginalRecipient,
    /// `sieve_user_email`.
    UserEmail,
    /// The postmaster.
    Postmaster,
    /// This address.
    Address(String),
}

/// Everything of one user.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where scripts are.
    pub places: Places,
    /// What they may require.
    pub extensions: Extensions,
    /// What they may do.
    pub policy: Policy,
    /// What the interpreter may use up.
    pub limits: Limits,
    /// What its process may use up.
    pub confines: Confines,
    /// The largest script.
    pub max_script_size: u64,
    /// The user's address, empty when it is not set.
    pub user_email: String,
    /// The sender of redirected mail.
    pub redirect_from: RedirectFrom,
}

/// Brings settings and fields of the userdb together; `sieve_NAME` there goes before NAME here.
///
/// # Errors
/// What cannot be used, with its name.
pub fn of(settings: &Settings, user: &User, service: &str) -> Result<Options, String> {
    let sieve = &settings.sieve;
    let source = Source { user, values: user.values(settings, service) };
    let mut places = Places {
        before: source.paths("sieve_before", &sieve.before),
        after: source.paths("sieve_after", &sieve.after),
        default: source.path("sieve_default", &sieve.default),
        global: source.path("sieve_global", &sieve.global),
        log: source.path("sieve_user_log", &sieve.user_log),
        ..Places::default()
    };
    let own = source.text("sieve", &sieve.sieve);
    // Without a home there is no place for a script of one's own.
    if !user.home.is_empty() || !own.contains('~') {
        places.set_user(&own, &|path| source.resolve(path))?;
    }
    let extensions = source.text("sieve_extensions", &sieve.extensions.join(" "));
    let seconds = |name: &str, default: Duration| source.seconds(name, default);
    Ok(Options {
        places,
        extensions: Extensions::parse(&extensions).map_err(|why| format!("sieve_extensions: {why}"))?,
        policy: Policy {
            max_actions: source.number("sieve_max_actions", sieve.max_actions)?,
            max_redirects: source.number("sieve_max_redirects", sieve.max_redirects)?,
            vacation_min: seconds("sieve_vacation_min_period", sieve.vacation_min_period)?,
            vacation_max: seconds("sieve_vacation_max_period", sieve.vacation_max_period)?,
            vacation_default: seconds("sieve_vacation_default_period", sieve.vacation_default_period)?,
            ..Policy::default()
        },
        limits: Limits::default(),
        confines: Confines {
            cpu: match seconds("sieve_max_cpu_time", sieve.max_cpu_time)? {
                0 => NO_LIMIT,
                limit => Duration::from_secs(limit),
            },
            memory: MEMORY,
        },
        max_script_size: sieve.max_script_size,
        user_email: source.text("sieve_user_email", &sieve.user_email),
        redirect_from: redirect_from(
            &source.text("sieve_redirect_envelope_from", &sieve.redirect_envelope_from),
        )?,
    })
}

/// Reads `redirect_envelope_from`.
///
/// # Errors
/// What may be written.
pub fn redirect_from(text: &str) -> Result<RedirectFrom, String> {
    Ok(match text {
        "" | "sender" => RedirectFrom::Sender,
        "recipient" => RedirectFrom::Recipient,
        "orig_recipient" => RedirectFrom::OriginalRecipient,
        "user_email" => RedirectFrom::UserEmail,
        "postmaster" => RedirectFrom::Postmaster,
        other => match other.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            Some(address) => RedirectFrom::Address(address.to_owned()),
            None => {
                return Err(format!(
                    "redirect_envelope_from: {other:?}: write sender, recipient, orig_recipient, user_email, postmaster or <address>"
                ));
            }
        },
    })
}

struct Source<'a> {
    user: &'a User,
    values: Values<'a>,
}

impl Source<'_> {
    fn text(&self, name: &str, default: &str) -> String {
        match self.user.fields.value(name) {
            Some(value) => value.to_owned(),
            None => self.expanded(default),
        }
    }

    /// Texts of the configuration may hold variables; those of the userdb are as they are.
    fn expanded(&self, text: &str) -> String {
        Template::parse(text)
            .map_or_else(|_no_template| text.to_owned(), |template| template.expand(&self.values))
    }

    fn resolve(&self, path: &str) -> PathBuf {
        let home = PathBuf::from(&self.user.home);
        match path.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None if path == "~" => home,
            None => home.join(path),
        }
    }

    fn path(&self, name: &str, default: &str) -> Option<PathBuf> {
        let text = self.text(name, default);
        let text = text.strip_prefix("file:").unwrap_or(&text);
        (!text.is_empty()).then(|| self.resolve(text))
    }

    /// `sieve_before`, `sieve_before2` and so on in the userdb, or the list of the configuration.
    fn paths(&self, name: &str, default: &[String]) -> Vec<PathBuf> {
        let numbered = (2..100).map(|number| format!("{name}{number}"));
        let own: Vec<_> = std::iter::once(name.to_owned())
            .chain(numbered)
            .map_while(|name| self.user.fields.value(&name))
            .filter(|path| !path.is_empty())
            .map(|path| self.resolve(path))
            .collect();
        if self.user.fields.value(name).is_some() {
            return own;
        }
        default.iter().map(|path| self.resolve(&self.expanded(path))).collect()
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, String> {
        match self.user.fields.value(name) {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_not| format!("{name}={text}: it is no number")),
        }
    }

    /// Dovecot's times: a number with s, m, h, d or w.
    fn seconds(&self, name: &str, default: Duration) -> Result<u64, String> {
        let Some(text) = self.user.fields.value(name) else { return Ok(default.as_secs()) };
        let wrong = || format!("{name}={text}: it is no time (write 30s, 5m, 2h or 7d)");
        let text = text.trim();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit = match text.get(digits.len()..).unwrap_or("").trim() {
            "" | "s" | "sec" | "secs" => 1,
            "m" | "min" | "mins" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 7 * 86_400,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_not| wrong())?;
        number.checked_mul(unit).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::config::Source;

    use super::*;
    use crate::config;
    use crate::recipient;
    use crate::userdb::Fields;

    fn options(text: &str, fields: &[(&str, &str)]) -> Result<Options, String> {
        let source = Arc::new(Source::new("lda.toml", text));
        let loaded = config::load(&source);
        let settings = loaded.settings.ok_or_else(|| loaded.report.to_string())?;
        let mut found = Fields::default();
        for (name, value) in [("uid", "5000"), ("gid", "5000"), ("home", "/home/joe")].iter().chain(fields) {
            found.set(name, *value);
        }
        let user = recipient::user(&settings, "joe@b.example", found, "lda")?;
        of(&settings, &user, "lda")
    }

    const USERDB: &str = "[[userdb]]\ndriver = \"static\"\n[sieve]\n";

    #[test]
    fn settings_and_fields() {
        let plain = options(USERDB, &[]).unwrap();
        assert_eq!(plain.places.active.as_deref(), Some("/home/joe/.dovecot.sieve".as_ref()));
        assert_eq!(plain.places.personal.as_deref(), Some("/home/joe/sieve".as_ref()));
        assert_eq!((plain.policy.max_redirects, plain.policy.vacation_default), (4, 7 * 86_400));

        let set = format!(
            "{USERDB}before = [\"/etc/sieve/%d.sieve\"]\nextensions = [\"+editheader\"]\nmax_redirects = 1\n"
        );
        let set = options(&set, &[]).unwrap();
        assert_eq!(set.places.before, [PathBuf::from("/etc/sieve/b.example.sieve")]);
        assert!(set.extensions.has("editheader") && set.policy.max_redirects == 1);

        let own = options(
            USERDB,
            &[
                ("sieve", "~/own.sieve"),
                ("sieve_before", "/b1"),
                ("sieve_before2", "b2"),
                ("sieve_extensions", "-regex"),
                ("sieve_max_redirects", "9"),
                ("sieve_vacation_min_period", "2h"),
            ],
        )
        .unwrap();
        assert_eq!(own.places.active.as_deref(), Some("/home/joe/own.sieve".as_ref()));
        assert_eq!(own.places.before, [PathBuf::from("/b1"), PathBuf::from("/home/joe/b2")]);
        assert!(!own.extensions.has("regex"));
        assert_eq!((own.policy.max_redirects, own.policy.vacation_min), (9, 7200));
    }

    #[test]
    fn mistakes_are_found_when_the_configuration_is_read() {
        for (line, says) in [
            ("extensions = [\"+spamtest\"]", "\"spamtest\" is not an extension"),
            ("extensions = [\"+editheader\", \"copy\"]", "write +copy or -copy"),
            ("redirect_envelope_from = \"me\"", "write sender, recipient"),
            ("sieve = \"ldap:x\"", "files only"),
            ("default = \"%q\"", "default: "),
        ] {
            let refusal = options(&format!("{USERDB}{line}\n"), &[]).unwrap_err();
            assert!(refusal.contains(says) && refusal.contains("lda.toml:4:"), "{line}: {refusal}");
        }
        for (field, value) in
            [("sieve_max_actions", "x"), ("sieve_vacation_min_period", "1y"), ("sieve_extensions", "+x")]
        {
            assert!(options(USERDB, &[(field, value)]).unwrap_err().contains(field));
        }
    }
}
