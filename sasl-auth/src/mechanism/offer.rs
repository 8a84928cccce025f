//! Which mechanisms there are, how the greeting describes them, and what each needs to be offered.

/// A mechanism as the greeting names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name in capitals.
    pub name: &'static str,
    /// The words after the name in a `MECH` line, in Dovecot's order (Dovecot 2.3 observed). Postfix
    /// compares them with `smtpd_sasl_security_options`.
    pub flags: &'static [&'static str],
    /// What the rest of the service must be able to do for it.
    pub needs: Need,
    /// Whether the client speaks first; if it sent no initial response it gets an empty challenge.
    pub client_first: bool,
}

/// What a mechanism needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A passdb of any kind: the clear password comes from the client.
    Verification,
    /// A passdb that hands out stored passwords: the client's answer is computed from them.
    Credentials,
    /// A passdb that tells whether a user exists, without a password.
    Lookup,
    /// `[oauth2]`.
    Tokens,
}

/// What the configured passdbs and `[oauth2]` together can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// At least one passdb can check a clear password.
    pub verification: bool,
    /// At least one passdb hands out stored passwords.
    pub credentials: bool,
    /// At least one passdb finds a user without a password.
    pub lookup: bool,
    /// There is an `[oauth2]` section.
    pub tokens: bool,
}

/// All mechanisms, in the order of Dovecot's greeting.
static DESCRIPTIONS: [Description; 9] = [
    client_first("PLAIN", &["plaintext"], Need::Verification),
    server_first("LOGIN", &["plaintext"], Need::Verification),
    server_first("CRAM-MD5", &["dictionary", "active"], Need::Credentials),
    client_first("SCRAM-SHA-1", &["mutual-auth"], Need::Credentials),
    client_first("SCRAM-SHA-256", &["mutual-auth"], Need::Credentials),
    client_first("OAUTHBEARER", &["plaintext"], Need::Tokens),
    client_first("XOAUTH2", &["plaintext"], Need::Tokens),
    client_first("ANONYMOUS", &["anonymous"], Need::Nothing),
    client_first("EXTERNAL", &[], Need::Lookup),
];

const fn client_first(name: &'static str, flags: &'static [&'static str], needs: Need) -> Description {
    Description { name, flags, needs, client_first: true }
}

const fn server_first(name: &'static str, flags: &'static [&'static str], needs: Need) -> Description {
    Description { name, flags, needs, client_first: false }
}

/// All mechanisms that are built in, in the order of Dovecot's greeting.
#[must_use]
pub fn descriptions() -> &'static [Description] {
    &DESCRIPTIONS
}

/// The mechanism called `name`, in any case; `None` when there is none. Channel binding (`-PLUS`) is
/// not among them: the greeting goes out before the client's protocol version is known.
#[must_use]
pub fn offered(name: &str) -> Option<&'static Description> {
    DESCRIPTIONS.iter().find(|description| description.name.eq_ignore_ascii_case(name))
}

/// Whether the mechanism `name` can work with what is configured.
///
/// # Errors
/// For the config check and the log: why it cannot.
pub fn offerable(name: &str, abilities: &Abilities) -> Result<(), &'static str> {
    let Some(description) = offered(name) else {
        return Err(if is_channel_binding(name) {
            "channel binding (-PLUS) is not supported: the auth protocol announces mechanisms before it \
             knows whether the client can carry the binding"
        } else {
            "there is no such mechanism"
        });
    };
    match description.needs {
        Need::Verification if !abilities.verification => Err("it needs a passdb, and there is none for it"),
        Need::Credentials if !abilities.credentials => Err(
            "it needs a passdb that hands out stored passwords; PAM, command and LDAP with auth_bind only check \
             a clear password",
        ),
        Need::Lookup if !abilities.lookup => {
            Err("it needs a passdb that finds a user without a password; PAM does not")
        }
        Need::Tokens if !abilities.tokens => Err("it needs an [oauth2] section"),
        Need::Nothing | Need::Verification | Need::Credentials | Need::Lookup | Need::Tokens => Ok(()),
    }
}

fn is_channel_binding(name: &str) -> bool {
    let name = name.as_bytes();
    name.len() > 5 && name.iter().rev().zip(b"SULP-").all(|(a, b)| a.eq_ignore_ascii_case(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_says_what_dovecot_says() {
        let lines: Vec<String> =
            descriptions().iter().map(|d| [&[d.name], d.flags].concat().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "PLAIN plaintext",
                "LOGIN plaintext",
                "CRAM-MD5 dictionary active",
                "SCRAM-SHA-1 mutual-auth",
                "SCRAM-SHA-256 mutual-auth",
                "OAUTHBEARER plaintext",
                "XOAUTH2 plaintext",
                "ANONYMOUS anonymous",
                "EXTERNAL",
            ]
        );
        assert_eq!(offered("cram-md5").map(|d| d.name), Some("CRAM-MD5"));
        assert!(offered("DIGEST-MD5").is_none());
    }

    #[test]
    fn a_mechanism_is_offered_only_if_something_can_serve_it() {
        let none = Abilities::default();
        let pam = Abilities { verification: true, ..none };
        let file = Abilities { credentials: true, lookup: true, ..pam };
        for (name, with_none, with_pam, with_file) in [
            ("PLAIN", false, true, true),
            ("LOGIN", false, true, true),
            ("CRAM-MD5", false, false, true),
            ("SCRAM-SHA-1", false, false, true),
            ("SCRAM-SHA-256", false, false, true),
            ("EXTERNAL", false, false, true),
            ("ANONYMOUS", true, true, true),
            ("XOAUTH2", false, false, false),
            ("OAUTHBEARER", false, false, false),
        ] {
            assert_eq!(offerable(name, &none).is_ok(), with_none, "{name}");
            assert_eq!(offerable(name, &pam).is_ok(), with_pam, "{name}");
            assert_eq!(offerable(name, &file).is_ok(), with_file, "{name}");
        }
        let tokens = Abilities { tokens: true, ..none };
        assert!(offerable("XOAUTH2", &tokens).is_ok() && offerable("oauthbearer", &tokens).is_ok());
        assert!(offerable("GSSAPI", &file).is_err_and(|why| why.contains("no such")));
        assert!(offerable("scram-sha-256-plus", &file).is_err_and(|why| why.contains("binding")));
    }
}
