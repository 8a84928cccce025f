//! Sign with which keys, verify, or leave alone: decided from facts and settings alone.
//!
//! The steps and their order are OpenDKIM 2.11's; what is intentionally otherwise is numbered in
//! docs/differences/opendkim.md.

use std::net::IpAddr;

use base::log::escaped;
use log::Level;

use crate::address::{Address, AddressError, first_address};
use crate::config::Settings;
use crate::dkim::HeaderBlock;
use crate::table::{KeysFor, Sender, SigningChoice};

/// Bytes of a peer's text that a log line shows.
const SHOWN: usize = 200;

/// What is known of a message when its header is complete.
pub struct Facts<'a, 'm> {
    /// The client's host name as the MTA has it.
    pub host: &'a str,
    /// The client's address; loopback for mail submitted on the machine.
    pub address: IpAddr,
    /// The MTA's own host name.
    pub mta_host: &'a str,
    /// The name of the MTA's service.
    pub daemon_name: &'a str,
    /// Whether the client logged in.
    pub authenticated: bool,
    /// Values of the MTA's macros.
    pub macro_value: &'m dyn Fn(&str) -> Option<&'m str>,
    /// The header as it was received.
    pub headers: &'a HeaderBlock,
    /// The recipients, without brackets.
    pub recipients: &'a [String],
}

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Plan {
    /// Sign, with each of these.
    Sign(Vec<SigningChoice>),
    /// Verify; the author's domain when there is one author.
    Verify {
        /// The domain of the From field.
        author_domain: Option<String>,
        /// The header has no usable From field, or several.
        malformed: bool,
    },
    /// Neither.
    Leave,
    /// The message ought to be signed and cannot be now: it must not leave unsigned.
    Defer,
}

/// A plan, and what the log should tell about the way to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub plan: Plan,
    /// Lines without the queue id.
    pub notes: Vec<(Level, String)>,
}

/// Decides about one message.
#[must_use]
pub fn decide(facts: &Facts<'_, '_>, settings: &Settings) -> Decision {
    let mut notes = Vec::new();
    let plan = Decider { facts, settings, notes: &mut notes }.plan();
    Decision { plan, notes }
}

struct Decider<'a, 'm> {
    facts: &'a Facts<'a, 'm>,
    settings: &'a Settings,
    notes: &'a mut Vec<(Level, String)>,
}

/// Who wrote the message, for signing.
enum Author {
    One(Address),
    /// None, or none that can be read; the text says why.
    Unusable(String),
    /// Several From fields; the first one's address if it has one.
    Several(Option<Address>),
}

impl Decider<'_, '_> {
    fn plan(&mut self) -> Plan {
        let author = self.author();
        let address = match &author {
            Author::One(address) | Author::Several(Some(address)) => Some(address.clone()),
            Author::Unusable(_) | Author::Several(None) => None,
        };
        if let Some(Address { domain, .. }) = &address
            && self.settings.clients.exempt_domains.contains(domain)
        {
            self.note(
                Level::Info,
                format!("domain '{}' exempted, accepting", escaped(domain.as_bytes(), SHOWN)),
            );
            return Plan::Leave;
        }
        let origin = self.origin();
        let malformed = !matches!(author, Author::One(_));
        let verify = Plan::Verify { author_domain: address.as_ref().map(|it| it.domain.clone()), malformed };
        let sender = match &author {
            Author::One(address) => address,
            Author::Several(Some(address)) if self.settings.signing.multiple_from => address,
            Author::Several(_) => {
                if origin {
                    self.not_signed("it has more than one From field (SignMultipleFrom yes would sign it)");
                }
                return self.by_mode(verify);
            }
            Author::Unusable(why) => {
                let signed = if origin && self.settings.mode.sign { "; not signed" } else { "" };
                self.note(Level::Info, format!("can't determine message sender{signed}: {why}"));
                return self.by_mode(verify);
            }
        };
        let sender = Sender::new(sender.local.clone(), &sender.domain);
        if !origin {
            self.external(&sender);
            return self.by_mode(verify);
        }
        let plan = match self.settings.signing.policy.keys_for(&sender) {
            KeysFor::Sign(choices) => self.unless_unwanted_recipient(choices),
            KeysFor::NoMatch(why) => {
                for line in why.lines() {
                    self.why(line);
                }
                if self.settings.mode.sign {
                    self.not_signed(&match why.lines().as_slice() {
                        [] => "no keys are configured (KeyTable and SigningTable, or Domain, Selector and KeyFile)".to_owned(),
                        [first, ..] => format!("{first}; a line for it in the table would sign it"),
                    });
                }
                verify
            }
            KeysFor::Failed(errors) if self.settings.mode.sign => {
                for error in errors {
                    self.note(Level::Error, format!("{error}; the message is deferred"));
                }
                Plan::Defer
            }
            KeysFor::Failed(_) => Plan::Leave,
        };
        self.by_mode(plan)
    }

    /// Mail that should be signed while `Mode` has no `s`, or verified while it has no `v`, is left
    /// alone.
    fn by_mode(&self, plan: Plan) -> Plan {
        match plan {
            Plan::Sign(_) if !self.settings.mode.sign => Plan::Leave,
            Plan::Verify { .. } if !self.settings.mode.verify => Plan::Leave,
            plan => plan,
        }
    }

    fn unless_unwanted_recipient(&mut self, choices: Vec<SigningChoice>) -> Plan {
        let unwanted = self
            .facts
            .recipients
            .iter()
            .find(|recipient| self.settings.signing.dont_sign_mail_to.contains(recipient));
        match unwanted {
            Some(recipient) => {
                let recipient = escaped(recipient.as_bytes(), SHOWN).to_string();
                self.note(Level::Info, format!("skipping signing of mail to '{recipient}'"));
                Plan::Leave
            }
            None => Plan::Sign(choices),
        }
    }

    /// The first field of `SenderHeaders` that exists names the author.
    fn author(&self) -> Author {
        let fields = |name: &str| {
            let name = name.to_owned();
            self.facts.headers.iter().filter(move |field| field.is_called(name.as_bytes()))
        };
        let names = self.settings.signing.sender_headers.iter().map(String::as_str).chain(["From"]);
        for name in names {
            let Some(field) = fields(name).next() else { continue };
            let address = first_address(field.value);
            if fields("From").count() > 1 {
                return Author::Several(address.ok());
            }
            return match address {
                Ok(address) => Author::One(address),
                Err(AddressError::None) => Author::Unusable(format!("the {name} field is empty")),
                Err(error) => Author::Unusable(format!(
                    "can't parse {name}: header value '{}': it {error}",
                    escaped(field.value.trim_ascii(), SHOWN)
                )),
            };
        }
        Author::Unusable("there is no From field".to_owned())
    }

    /// Whether the message comes from where mail is signed: a service of ours, a macro that marks
    /// it, an internal host, a client that logged in.
    fn origin(&mut self) -> bool {
        let facts = self.facts;
        let settings = self.settings;
        if settings.clients.mta.as_ref().is_some_and(|names| names.contains(facts.daemon_name)) {
            return true;
        }
        if settings.clients.mta.is_some() {
            self.why(format!(
                "no MTA name match (host={}, MTA={})",
                escaped(facts.mta_host.as_bytes(), SHOWN),
                escaped(facts.daemon_name.as_bytes(), SHOWN)
            ));
        }
        if settings.clients.macros.matches(|name| (facts.macro_value)(name)) {
            return true;
        }
        if !settings.clients.macros.is_empty() {
            self.why("no macros match".to_owned());
        }
        if settings.clients.internal.matches(Some(facts.host), Some(facts.address)) {
            return true;
        }
        self.why(format!("{} [{}] not internal", escaped(facts.host.as_bytes(), SHOWN), facts.address));
        if facts.authenticated {
            return true;
        }
        self.why("not authenticated".to_owned());
        false
    }

    /// A stranger's mail; it is worth a line when it claims one of our signing domains.
    fn external(&mut self, sender: &Sender) {
        let facts = self.facts;
        let Some(domain) = self.settings.signing.policy.own_domain(sender) else { return };
        if !self.settings.clients.external_ignore.matches(Some(facts.host), Some(facts.address)) {
            let line = format!(
                "external host {} attempted to send as {}; not signed: [{}] is neither in InternalHosts nor \
                 logged in",
                escaped(facts.host.as_bytes(), SHOWN),
                escaped(domain.as_bytes(), SHOWN),
                facts.address
            );
            self.note(Level::Warn, line);
        }
    }

    fn not_signed(&mut self, why: &str) {
        if self.settings.mode.sign {
            self.note(Level::Info, format!("not signed: {why}"));
        }
    }

    /// A line of `LogWhy`.
    fn why(&mut self, line: String) {
        if self.settings.log.why {
            self.note(Level::Info, line);
        }
    }

    fn note(&mut self, level: Level, line: String) {
        self.notes.push((level, line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, load};

    const TABLES: &str = "KeyTable csl:k=example.com:sel:key\nSigningTable csl:*=k\n";

    fn settings(text: &str) -> Settings {
        let loaded = load(&Origin::Text { name: "test".to_owned(), text: text.to_owned() }, &[]);
        loaded.settings.unwrap_or_else(|| panic!("{}", loaded.report.render(false)))
    }

    struct Case<'a> {
        host: &'a str,
        address: &'a str,
        daemon: &'a str,
        authenticated: bool,
        headers: &'a [(&'a str, &'a str)],
        to: &'a str,
    }

    const INSIDE: Case<'static> = Case {
        host: "localhost",
        address: "127.0.0.1",
        daemon: "smtpd",
        authenticated: false,
        headers: &[("From", " Jo <jo@example.com>")],
        to: "b@dest.example",
    };
    const OUTSIDE: Case<'static> = Case { host: "far.example", address: "192.0.2.9", ..INSIDE };

    fn run(text: &str, case: &Case<'_>) -> (String, Vec<String>) {
        let mut headers = HeaderBlock::new();
        for (name, value) in case.headers {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let recipients = [case.to.to_owned()];
        let facts = Facts {
            host: case.host,
            address: case.address.parse().unwrap(),
            mta_host: "mx.test.example",
            daemon_name: case.daemon,
            authenticated: case.authenticated,
            macro_value: &|name| (name == "zone").then_some("inner"),
            headers: &headers,
            recipients: &recipients,
        };
        let decision = decide(&facts, &settings(text));
        let plan = match decision.plan {
            Plan::Sign(choices) => {
                let names: Vec<String> = choices.into_iter().map(|choice| choice.key.name).collect();
                format!("sign {}", names.join(","))
            }
            Plan::Verify { author_domain, malformed } => {
                let bad = if malformed { " malformed" } else { "" };
                format!("verify {}{bad}", author_domain.unwrap_or_default())
            }
            Plan::Leave => "leave".to_owned(),
            Plan::Defer => "defer".to_owned(),
        };
        (plan, decision.notes.into_iter().map(|(_, line)| line).collect())
    }

    #[test]
    fn origin_decides_between_signing_and_verifying() {
        let cases: [(&str, Case<'_>, &str); 12] = [
            ("", INSIDE, "sign k"),
            ("", OUTSIDE, "verify example.com"),
            ("", Case { authenticated: true, ..OUTSIDE }, "sign k"),
            ("InternalHosts 192.0.2.0/24\n", OUTSIDE, "sign k"),
            ("InternalHosts 192.0.2.0/24\n", INSIDE, "verify example.com"),
            ("InternalHosts .example\n", OUTSIDE, "sign k"),
            ("InternalHosts !192.0.2.9,192.0.2.0/24\n", OUTSIDE, "verify example.com"),
            ("MTA ORIGINATING\n", Case { daemon: "ORIGINATING", ..OUTSIDE }, "sign k"),
            ("MTA ORIGINATING\n", OUTSIDE, "verify example.com"),
            ("MacroList zone\n", OUTSIDE, "sign k"),
            ("MacroList zone=inner|outer\n", OUTSIDE, "sign k"),
            ("MacroList zone=other\n", OUTSIDE, "verify example.com"),
        ];
        for (extra, case, want) in cases {
            assert_eq!(run(&format!("{TABLES}{extra}"), &case).0, want, "{extra}");
        }
    }

    #[test]
    fn mode_leaves_alone_what_it_does_not_name() {
        assert_eq!(run(&format!("{TABLES}Mode v\n"), &INSIDE).0, "leave");
        assert_eq!(run(&format!("{TABLES}Mode s\n"), &OUTSIDE).0, "leave");
        assert_eq!(run(&format!("{TABLES}Mode v\n"), &OUTSIDE).0, "verify example.com");
    }

    #[test]
    fn mail_left_unsigned_says_why() {
        let tables = "KeyTable csl:k=example.com:sel:key\nSigningTable csl:example.com=k\n";
        let other = Case { headers: &[("From", " jo@other.example")], ..INSIDE };
        let (plan, notes) = run(tables, &other);
        assert_eq!(plan, "verify other.example");
        assert!(
            notes
                .iter()
                .any(|line| line.starts_with("not signed: no signing table match for 'jo@other.example'")),
            "{notes:?}"
        );
        let two = Case { headers: &[("From", " a@example.com"), ("From", " b@example.com")], ..INSIDE };
        let (plan, notes) = run(tables, &two);
        assert_eq!(plan, "verify example.com malformed");
        assert!(notes.iter().any(|line| line.contains("more than one From field")), "{notes:?}");
        assert_eq!(run(&format!("{tables}SignMultipleFrom yes\n"), &two).0, "sign k");
        let none = Case { headers: &[("Subject", " x")], ..INSIDE };
        let (plan, notes) = run(tables, &none);
        assert_eq!(plan, "verify  malformed");
        assert!(notes.iter().any(|line| line.contains("there is no From field")), "{notes:?}");
        let garbled = Case { headers: &[("From", " a\rmail: forged")], ..INSIDE };
        let (_, notes) = run(tables, &garbled);
        assert!(notes.iter().all(|line| !line.contains('\r')), "{notes:?}");
    }

    #[test]
    fn lines_are_worded_as_opendkims() {
        let (_, notes) = run(&format!("{TABLES}MTA ORIGINATING\nLogWhy yes\n"), &OUTSIDE);
        assert!(
            notes.iter().any(|line| line == "no MTA name match (host=mx.test.example, MTA=smtpd)"),
            "{notes:?}"
        );
        let nobody = Case { headers: &[("From", " nobody")], ..INSIDE };
        let (_, notes) = run(TABLES, &nobody);
        assert!(
            notes.iter().any(|line| line.starts_with("can't determine message sender; not signed: ")),
            "{notes:?}"
        );
        let (_, notes) = run(&format!("{TABLES}Mode v\n"), &nobody);
        assert!(notes.iter().any(|line| line.starts_with("can't determine message sender: ")), "{notes:?}");
    }

    #[test]
    fn exempt_domains_and_unwanted_recipients_are_left_alone() {
        assert_eq!(run(&format!("{TABLES}ExemptDomains example.com\n"), &INSIDE).0, "leave");
        let below = Case { headers: &[("From", " jo@sub.example.com")], ..INSIDE };
        assert_eq!(run(&format!("{TABLES}ExemptDomains example.com\n"), &below).0, "sign k");
        let (plan, notes) = run(&format!("{TABLES}DontSignMailTo B@Dest.example\n"), &INSIDE);
        assert_eq!(plan, "leave");
        assert_eq!(notes, ["skipping signing of mail to 'b@dest.example'"]);
    }

    #[test]
    fn a_key_name_that_leads_nowhere_defers() {
        let text = "CheckSigningTable no\nKeyTable csl:k=example.com:sel:key\nSigningTable csl:*=gone\n";
        let (plan, notes) = run(text, &INSIDE);
        assert_eq!(plan, "defer");
        assert!(notes.iter().any(|line| line.contains("gone")), "{notes:?}");
    }

    #[test]
    fn a_stranger_with_our_domain_is_noted_unless_he_may() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let key = crate::dkim::SigningKey::generate_ed25519().unwrap();
        std::fs::write(&file, key.to_pkcs8().unwrap()).unwrap();
        let text =
            format!("Domain example.com\nSelector s\nKeyFile {}\nRequireSafeKeys no\n", file.display());
        let noted = |extra: &str| {
            let (plan, notes) = run(&format!("{text}{extra}"), &OUTSIDE);
            assert_eq!(plan, "verify example.com");
            notes
                .iter()
                .any(|line| line.starts_with("external host far.example attempted to send as example.com; "))
        };
        assert!(noted(""));
        assert!(!noted("ExternalIgnoreList 192.0.2.0/24\n"));
        assert_eq!(run(&text, &INSIDE).0.split(' ').next(), Some("sign"));
    }
}
