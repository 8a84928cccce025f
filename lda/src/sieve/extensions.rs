//! The Sieve extensions that scripts may ask for, and Dovecot's notation for switching them on and off.

/// Those that are on by default, as Pigeonhole 0.5.19 has them.
pub const ON_BY_DEFAULT: &[&str] = &[
    "body",
    "comparator-i;ascii-numeric",
    "copy",
    "date",
    "duplicate",
    "encoded-character",
    "enotify",
    "envelope",
    "environment",
    "extracttext",
    "fileinto",
    "foreverypart",
    "ihave",
    "imap4flags",
    "include",
    "index",
    "mailbox",
    "mime",
    "regex",
    "reject",
    "relational",
    "subaddress",
    "vacation",
    "variables",
    "vnd.dovecot.debug",
];

/// Those that an administrator may add.
pub const ON_REQUEST: &[&str] = &["editheader", "ereject", "vacation-seconds"];

/// Comparators that RFC 5228 §2.7.3 always gives; a script may name them all the same.
const ALWAYS: &[&str] = &["comparator-i;octet", "comparator-i;ascii-casemap"];

/// The extensions that are there for a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extensions {
    enabled: Vec<&'static str>,
}

impl Default for Extensions {
    fn default() -> Self {
        Self { enabled: ON_BY_DEFAULT.to_vec() }
    }
}

impl Extensions {
    /// Reads Dovecot's `sieve_extensions`: names with `+` or `-` change the default, names without replace it.
    ///
    /// # Errors
    /// A word that names no extension of ours, with what may be written.
    pub fn parse(setting: &str) -> Result<Self, String> {
        let mut words = setting.split_whitespace().peekable();
        let relative = words.peek().is_none_or(|word| word.starts_with(['+', '-']));
        let mut extensions = if relative { Self::default() } else { Self { enabled: Vec::new() } };
        for word in words {
            let (on, name) = match (relative, word.strip_prefix('+'), word.strip_prefix('-')) {
                (true, Some(name), _) => (true, name),
                (true, _, Some(name)) => (false, name),
                (true, None, None) => {
                    return Err(format!(
                        "{word:?} stands among words with + and -: write +{word} or -{word}"
                    ));
                }
                (false, None, None) => (true, word),
                (false, ..) => {
                    return Err(format!(
                        "{word:?} stands among words without + and -: write all of them in one way"
                    ));
                }
            };
            let Some(known) = known(name) else {
                return Err(format!(
                    "{name:?} is not an extension that is here; those that are switched off are {}",
                    ON_REQUEST.join(" ")
                ));
            };
            extensions.enabled.retain(|name| *name != known);
            if on {
                extensions.enabled.push(known);
            }
        }
        Ok(extensions)
    }

    /// Whether a script may `require` this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.enabled.contains(&name) || ALWAYS.contains(&name)
    }

    /// The names, in the order of the alphabet.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let mut names = self.enabled.clone();
        names.sort_unstable();
        names
    }
}

fn known(name: &str) -> Option<&'static str> {
    ON_BY_DEFAULT.iter().chain(ON_REQUEST).find(|known| **known == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dovecots_notation() {
        let default = Extensions::parse("").unwrap();
        assert_eq!(default, Extensions::default());
        assert!(default.has("fileinto") && !default.has("editheader"));
        assert!(default.has("comparator-i;octet"));

        let changed = Extensions::parse("+editheader -regex  +vacation-seconds").unwrap();
        assert!(changed.has("editheader") && changed.has("fileinto") && !changed.has("regex"));

        let replaced = Extensions::parse("fileinto copy").unwrap();
        assert_eq!(replaced.names(), ["copy", "fileinto"]);
    }

    #[test]
    fn what_is_not_here_is_refused() {
        for (setting, says) in [
            ("+spamtest", "not an extension"),
            ("+editheader copy", "write +copy or -copy"),
            ("copy -regex", "in one way"),
            ("nonsense", "not an extension"),
        ] {
            let refusal = Extensions::parse(setting).unwrap_err();
            assert!(refusal.contains(says), "{setting}: {refusal}");
        }
    }
}
