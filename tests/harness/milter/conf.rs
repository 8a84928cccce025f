//! An opendkim.conf that a test writes line by line, with the data sets and keys it names.

use std::fmt::Write as _;
use std::path::Path;

use super::Subject;
use crate::dns::Dns;
use crate::keys::TestKey;
use crate::scratch::Scratch;

/// A configuration in OpenDKIM's syntax.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    parameters: Vec<(String, String)>,
    raw: String,
}

/// One key that signs for one domain.
#[derive(Clone, Copy, Debug)]
pub struct SigningKey<'a> {
    /// The key.
    pub key: TestKey,
    /// `d=`.
    pub domain: &'a str,
    /// `s=`.
    pub selector: &'a str,
}

impl Conf {
    /// What every test wants: everything logged, and nothing of the machine's own settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default().set("Syslog", "yes").set("SyslogSuccess", "yes").set("LogWhy", "yes")
    }

    /// A milter that signs what loopback clients send with `keys`, `Mode s`.
    ///
    /// Writes the KeyTable, the SigningTable (`*@DOMAIN`) and the private keys into `scratch` under names that
    /// begin with `name`. Several keys of one domain all sign (`MultipleSignatures yes`).
    #[must_use]
    pub fn signing(scratch: &Scratch, name: &str, keys: &[SigningKey<'_>]) -> Self {
        let (mut key_table, mut signing_table) = (String::new(), String::new());
        for SigningKey { key, domain, selector } in keys {
            let file = scratch.write_secret(&format!("{name}-{selector}-{domain}.private"), key.pem);
            writeln!(key_table, "{selector}.{domain} {domain}:{selector}:{}", file.display()).unwrap();
            writeln!(signing_table, "*@{domain} {selector}.{domain}").unwrap();
        }
        let key_table = scratch.write(&format!("{name}.KeyTable"), key_table);
        let signing_table = scratch.write(&format!("{name}.SigningTable"), signing_table);
        let hosts = scratch.write(&format!("{name}.InternalHosts"), "127.0.0.1\n");
        let conf = Self::new()
            .set("Mode", "s")
            .set("Canonicalization", "relaxed/relaxed")
            .set("KeyTable", key_table.to_str().unwrap())
            .set("SigningTable", &format!("refile:{}", signing_table.display()))
            .set("InternalHosts", hosts.to_str().unwrap())
            .set("RequireSafeKeys", "yes");
        if keys.len() > 1 { conf.set("MultipleSignatures", "yes") } else { conf }
    }

    /// A milter that verifies what any client sends, loopback included, `Mode v`.
    #[must_use]
    pub fn verifying(scratch: &Scratch, name: &str, authserv_id: &str) -> Self {
        // Somebody has to be internal, or OpenDKIM takes 127.0.0.1 to be.
        let hosts = scratch.write(&format!("{name}.InternalHosts"), "192.0.2.1\n");
        Self::new()
            .set("Mode", "v")
            .set("AuthservID", authserv_id)
            .set("InternalHosts", hosts.to_str().unwrap())
            .set("AlwaysAddARHeader", "yes")
    }

    /// Sets a parameter, in place of what it was set to before.
    #[must_use]
    pub fn set(mut self, parameter: &str, value: &str) -> Self {
        self.parameters.retain(|(name, _)| !name.eq_ignore_ascii_case(parameter));
        self.parameters.push((parameter.to_owned(), value.to_owned()));
        self
    }

    /// Takes a parameter out.
    #[must_use]
    pub fn unset(mut self, parameter: &str) -> Self {
        self.parameters.retain(|(name, _)| !name.eq_ignore_ascii_case(parameter));
        self
    }

    /// Adds a line as it is, right or wrong.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.raw.push_str(line);
        self.raw.push('\n');
        self
    }

    /// Asks `dns` instead of the machine's nameservers.
    #[must_use]
    pub fn dns(self, subject: Subject, dns: &Dns) -> Self {
        // libunbound's notation differs from everybody's.
        let at = match subject {
            Subject::Ours => ':',
            Subject::Reference => '@',
        };
        self.set("Nameservers", &format!("127.0.0.1{at}{}", dns.port()))
    }

    /// Writes it to a file.
    pub fn write(&self, path: &Path) {
        let mut text = String::new();
        for (name, value) in &self.parameters {
            writeln!(text, "{name} {value}").unwrap();
        }
        std::fs::write(path, text + &self.raw).unwrap();
    }
}
