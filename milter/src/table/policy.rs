//! Which keys sign for a sender, whether the configuration names domains or tables.

use std::fmt;

use base::config::report::printable;

use super::{
    key_table::{KeyEntry, KeySource, KeyTable, KeyTableError, to_ascii},
    lookup::Table,
    signing_table::{Sender, SigningTable},
};

/// Who may be signed for, and with what.
#[derive(Debug)]
pub enum SigningPolicy {
    /// Neither `Domain` nor `SigningTable` is set: nothing is ever signed.
    None,
    /// `Domain`, `SubDomains`, `Selector`, `KeyFile`.
    Domains(SigningDomains),
    /// `SigningTable`, `KeyTable`, `MultipleSignatures`.
    Tables {
        /// Senders to keys.
        signing: SigningTable,
        /// Names to keys.
        keys: KeyTable,
        /// Whether every match signs rather than the first.
        multiple: bool,
    },
}

/// The domains that one key signs for.
#[derive(Debug)]
pub struct SigningDomains {
    /// The domains; `*` stands for any.
    pub domains: Table,
    /// Whether a domain stands for its subdomains as well.
    pub sub_domains: bool,
    /// The selector.
    pub selector: String,
    /// The key's name in the log: the path of `KeyFile`.
    pub key_name: String,
    /// The key, read from `KeyFile`.
    pub key: KeySource,
}

/// A key to sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningChoice {
    /// The key with its domain and selector.
    pub key: KeyEntry,
    /// The text for `i=`, always at or below the key's domain; without one there is no `i=`.
    pub identity: Option<String>,
}

/// The answer of [`SigningPolicy::keys_for`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum KeysFor {
    /// Sign with all of these, never none, in this order: each signature goes above the one before.
    Sign(Vec<SigningChoice>),
    /// This sender is not signed for.
    NoMatch(NoMatch),
    /// A record matches but leads to no key: the message must wait.
    Failed(Vec<PolicyError>),
}

/// Why a sender is not signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// No signing is configured.
    NotConfigured,
    /// The domain is not in `Domain`.
    Domain {
        /// The sender's domain.
        domain: String,
        /// Whether parent domains were looked for as well.
        sub_domains: bool,
    },
    /// `SigningTable` has no record for the address.
    SigningTable {
        /// The sender's address.
        address: String,
    },
}

impl NoMatch {
    /// The lines that OpenDKIM logs with `LogWhy`, without the queue id.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::NotConfigured => Vec::new(),
            Self::Domain { domain, sub_domains } => {
                let domain = printable(domain);
                let mut lines = vec![format!("no signing domain match for '{domain}'")];
                if *sub_domains {
                    lines.push(format!("no signing subdomain match for '{domain}'"));
                }
                lines
            }
            Self::SigningTable { address } => {
                vec![format!("no signing table match for '{}'", printable(address))]
            }
        }
    }
}

/// Why a match leads to no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// The key table has no usable record.
    KeyTable(KeyTableError),
    /// The signer of a record is no address.
    Signer {
        /// The name of the key in that record.
        key_name: String,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTable(error) => error.fmt(f),
            Self::Signer { key_name } => {
                write!(f, "syntax error in signer value of key '{}'", printable(key_name))
            }
        }
    }
}

impl SigningPolicy {
    /// Whether `Domain` names the sender's domain, and then the name that matched: the domain
    /// itself or, with `SubDomains`, a parent. Always `None` with tables.
    ///
    /// OpenDKIM asks this for mail from outside as well, to say that somebody else sends as a
    /// domain of ours ("external host … attempted to send as …").
    #[must_use]
    pub fn own_domain<'a>(&self, sender: &'a Sender) -> Option<&'a str> {
        match self {
            Self::Domains(domains) => domains.matched(sender.domain()),
            Self::None | Self::Tables { .. } => None,
        }
    }

    /// The keys that sign for a sender whose mail is to be signed.
    pub fn keys_for(&self, sender: &Sender) -> KeysFor {
        match self {
            Self::None => KeysFor::NoMatch(NoMatch::NotConfigured),
            Self::Domains(domains) => domains.keys_for(sender),
            Self::Tables { signing, keys, multiple } => table_keys(signing, keys, *multiple, sender),
        }
    }
}

impl SigningDomains {
    fn matched<'a>(&self, domain: &'a str) -> Option<&'a str> {
        if self.domains.contains(domain) || self.domains.contains("*") {
            return Some(domain);
        }
        let parents = domain.match_indices('.').filter_map(|(at, _)| domain.get(at + 1..));
        parents.filter(|_| self.sub_domains).find(|parent| self.domains.contains(parent))
    }

    fn keys_for(&self, sender: &Sender) -> KeysFor {
        let Some(matched) = self.matched(sender.domain()) else {
            let (domain, sub_domains) = (sender.domain().to_owned(), self.sub_domains);
            return KeysFor::NoMatch(NoMatch::Domain { domain, sub_domains });
        };
        let Some(domain) = to_ascii(matched) else {
            let error = KeyTableError::Domain { name: self.key_name.clone(), domain: matched.to_owned() };
            return KeysFor::Failed(vec![PolicyError::KeyTable(error)]);
        };
        // OpenDKIM puts the parent here, not the subdomain that the message came from.
        let identity = (matched != sender.domain()).then(|| format!("@{domain}"));
        let key = KeyEntry {
            name: self.key_name.clone(),
            domain,
            selector: self.selector.clone(),
            key: self.key.clone(),
            algorithm: None,
        };
        KeysFor::Sign(vec![SigningChoice { key, identity }])
    }
}

fn table_keys(signing: &SigningTable, keys: &KeyTable, multiple: bool, sender: &Sender) -> KeysFor {
    let mut choices = Vec::new();
    let mut errors = Vec::new();
    for found in signing.lookup(sender, multiple) {
        if found.signer.as_deref().is_some_and(|signer| !signer.contains('@')) {
            errors.push(PolicyError::Signer { key_name: found.key_name });
            continue;
        }
        for name in key_names(keys, &found.key_name) {
            match keys.find(name, sender.domain()) {
                Ok(key) => {
                    let identity = found.signer.clone().filter(|signer| is_below(signer, &key.domain));
                    choices.push(SigningChoice { key, identity });
                }
                Err(error) => errors.push(PolicyError::KeyTable(error)),
            }
        }
    }
    if !errors.is_empty() {
        KeysFor::Failed(errors)
    } else if choices.is_empty() {
        KeysFor::NoMatch(NoMatch::SigningTable { address: sender.address() })
    } else {
        KeysFor::Sign(choices)
    }
}

/// The names in a record's key field: the field as it is when a key has that name, else the
/// parts between its commas. So one record can ask for an RSA and an Ed25519 signature.
pub(crate) fn key_names<'a>(keys: &KeyTable, field: &'a str) -> Vec<&'a str> {
    if keys.contains(field) || !field.contains(',') {
        return vec![field];
    }
    field.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Whether the domain of an address is `domain` or below it (RFC 6376 §3.5, `i=`).
fn is_below(address: &str, domain: &str) -> bool {
    let Some((_, of)) = address.rsplit_once('@') else { return false };
    let of = of.to_ascii_lowercase();
    of == domain || of.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Case, DataSet};
    use base::config::{Report, Source, Span};
    use zeroize::Zeroizing;

    fn tables(signing: &str, keys: &str, multiple: bool) -> SigningPolicy {
        let mut report = Report::new();
        let set =
            |name: &str, text: &str| DataSet::from_lines(&Source::new(name, text), false, &mut Report::new());
        let signing = SigningTable::new(set("SigningTable", signing), &mut report);
        let keys = KeyTable::new(set("KeyTable", keys), None, &mut report);
        SigningPolicy::Tables { signing, keys, multiple }
    }

    fn domains(list: &str, sub_domains: bool) -> SigningPolicy {
        let mut report = Report::new();
        let set = DataSet::from_list(&Span::new(&Source::new("t", list), 1, 0, list.len()));
        SigningPolicy::Domains(SigningDomains {
            domains: Table::new(set, Case::Insensitive, &mut report),
            sub_domains,
            selector: "s".to_owned(),
            key_name: "/k".to_owned(),
            key: KeySource::Inline(Zeroizing::new(b"key".to_vec())),
        })
    }

    fn chosen(policy: &SigningPolicy, domain: &str) -> Vec<(String, Option<String>)> {
        match policy.keys_for(&Sender::new("jo", domain)) {
            KeysFor::Sign(choices) => {
                choices.into_iter().map(|choice| (choice.key.domain, choice.identity)).collect()
            }
            KeysFor::NoMatch(_) => Vec::new(),
            KeysFor::Failed(errors) => panic!("{errors:?}"),
        }
    }

    #[test]
    fn domains_match_exactly_by_star_or_by_parent() {
        for (list, sub_domains, domain, want) in [
            ("example.com", false, "Example.COM", Some(("example.com", None))),
            ("example.com", false, "sub.example.com", None),
            ("example.com", true, "a.sub.example.com", Some(("example.com", Some("@example.com")))),
            ("example.com,sub.example.com", true, "sub.example.com", Some(("sub.example.com", None))),
            ("example.com", true, "badexample.com", None),
            ("*", false, "any.example", Some(("any.example", None))),
            ("*,example.com", true, "sub.example.com", Some(("sub.example.com", None))),
        ] {
            let policy = domains(list, sub_domains);
            let want: Vec<_> = want
                .into_iter()
                .map(|(d, i): (&str, Option<&str>)| (d.to_owned(), i.map(str::to_owned)))
                .collect();
            assert_eq!(chosen(&policy, domain), want, "{list} {domain}");
            let sender = Sender::new("jo", domain);
            assert_eq!(policy.own_domain(&sender).is_some(), !want.is_empty());
        }
    }

    #[test]
    fn no_match_has_opendkims_lines() {
        let KeysFor::NoMatch(why) = domains("a", true).keys_for(&Sender::new("jo", "B.example")) else {
            panic!()
        };
        assert_eq!(
            why.lines(),
            ["no signing domain match for 'b.example'", "no signing subdomain match for 'b.example'"]
        );
        let KeysFor::NoMatch(why) = tables("", "", false).keys_for(&Sender::new("jo", "b.example")) else {
            panic!()
        };
        assert_eq!(why.lines(), ["no signing table match for 'jo@b.example'"]);
    }

    #[test]
    fn an_identity_outside_the_domain_is_left_out() {
        let policy = tables(
            "a.example k:jo@a.example\nsub.a.example k:@sub.a.example\nb.example k:jo@b.example\nbada.example k:@bada.example\n",
            "k a.example:s:/k",
            false,
        );
        assert_eq!(chosen(&policy, "a.example")[0].1.as_deref(), Some("jo@a.example"));
        assert_eq!(chosen(&policy, "sub.a.example")[0].1.as_deref(), Some("@sub.a.example"));
        assert_eq!(chosen(&policy, "b.example")[0].1, None);
        assert_eq!(chosen(&policy, "bada.example")[0].1, None);
    }

    #[test]
    fn several_keys_sign_by_several_matches_or_by_a_list() {
        let keys = "k1 a.example:s1:/1\nk2 a.example:s2:/2\nk3,k4 a.example:s34:/3\n";
        let selectors = |policy: &SigningPolicy| match policy.keys_for(&Sender::new("jo", "a.example")) {
            KeysFor::Sign(choices) => {
                choices.into_iter().map(|choice| choice.key.selector).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(selectors(&tables("jo@a.example k1\na.example k2\n", keys, true)), ["s1", "s2"]);
        assert_eq!(selectors(&tables("jo@a.example k1\na.example k2\n", keys, false)), ["s1"]);
        assert_eq!(selectors(&tables("a.example k1,k2\n", keys, false)), ["s1", "s2"]);
        assert_eq!(selectors(&tables("a.example k2, k1:@a.example\n", keys, false)), ["s2", "s1"]);
        assert_eq!(selectors(&tables("a.example k3,k4\n", keys, false)), ["s34"]);
        assert_eq!(selectors(&tables("jo@a.example k1\na.example k1\n", keys, true)), ["s1", "s1"]);
    }

    #[test]
    fn one_missing_key_fails_the_message() {
        let policy = tables("a.example k1,k9\nb.example k1:x\n", "k1 a.example:s1:/1", false);
        let failed = |domain: &str| match policy.keys_for(&Sender::new("jo", domain)) {
            KeysFor::Failed(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(failed("a.example"), ["signing table references unknown key 'k9'"]);
        assert_eq!(failed("b.example"), ["syntax error in signer value of key 'k1'"]);
    }
}
