//! Who is never greylisted: lists of networks, names and addresses, and the small one that is shipped.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use super::{Attempt, subject};

/// The list that is shipped; its first lines say of when it is.
pub const SHIPPED: &str = include_str!("whitelist.txt");

/// The longest list that is read, in entries.
pub const MAX_ENTRIES: usize = 100_000;

/// Clients, senders and recipients that are never asked to come again.
#[derive(Debug, Clone, Default)]
pub struct Whitelist {
    networks: Vec<(IpAddr, u8)>,
    names: HashSet<Box<str>>,
    senders: HashSet<Box<str>>,
    recipients: HashSet<Box<str>>,
}

/// Which list names an attempt, and by which entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exempt {
    /// A network of clients.
    Network(String),
    /// A client's verified name or a domain above it.
    Name(String),
    /// A sender or a domain of senders.
    Sender(String),
    /// A recipient or a domain of recipients.
    Recipient(String),
}

/// A line that is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: u32,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.what)
    }
}

impl Whitelist {
    /// Adds the entries of a list, one a line:
    ///
    /// ```text
    /// 192.0.2.0/24           a network or address of clients
    /// mx.example.com         a client's verified name, and all below it
    /// sender:a.example       a domain of senders, and all below it; sender:joe@a.example for one
    /// recipient:b.example    the same for recipients
    /// ```
    ///
    /// `#` begins a comment. Gives the lines that are no entries.
    pub fn add(&mut self, text: &str) -> Vec<BadLine> {
        let mut bad = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            if let Err(what) = self.entry(line) {
                bad.push(BadLine { number, what });
            }
        }
        self.networks.sort_unstable();
        bad
    }

    fn entry(&mut self, line: &str) -> Result<(), &'static str> {
        if self.networks.len() + self.names.len() + self.senders.len() + self.recipients.len() >= MAX_ENTRIES
        {
            return Err("too many entries");
        }
        if line.contains(char::is_whitespace) {
            return Err("an entry has no blanks in it");
        }
        let line = line.to_lowercase();
        if let Some(sender) = line.strip_prefix("sender:") {
            self.senders.insert(sender.trim_start_matches('@').into());
        } else if let Some(recipient) = line.strip_prefix("recipient:") {
            self.recipients.insert(recipient.trim_start_matches('@').into());
        } else if let Some((address, length)) = line.split_once('/') {
            let address = subject::address(address).ok_or("before / stands no address")?;
            let Ok(length) = length.parse::<u8>() else { return Err("after / stands no number of bits") };
            let most = if address.is_ipv4() { 32 } else { 128 };
            if length > most {
                return Err("more bits than an address has");
            }
            self.networks.push((subject::network(address, length, length), length));
        } else if let Some(address) = subject::address(&line) {
            self.networks.push((address, if address.is_ipv4() { 32 } else { 128 }));
        } else if line.contains('@') {
            return Err("an address needs sender: or recipient: before it");
        } else if line.contains(':') {
            return Err("neither an address nor a name");
        } else {
            self.names.insert(line.trim_start_matches('.').into());
        }
        Ok(())
    }

    /// The entry that exempts an attempt from `client`, if there is one.
    pub(super) fn find(&self, attempt: &Attempt<'_>, client: IpAddr) -> Option<Exempt> {
        let within = |(network, length): &&(IpAddr, u8)| {
            network.is_ipv4() == client.is_ipv4() && subject::network(client, *length, *length) == *network
        };
        if let Some((network, length)) = self.networks.iter().find(within) {
            return Some(Exempt::Network(format!("{network}/{length}")));
        }
        if attempt.client_name != "unknown"
            && let Some(name) = below(&self.names, &attempt.client_name.to_ascii_lowercase())
        {
            return Some(Exempt::Name(name));
        }
        if let Some(entry) = mailbox(&self.senders, attempt.sender) {
            return Some(Exempt::Sender(entry));
        }
        mailbox(&self.recipients, attempt.recipient).map(Exempt::Recipient)
    }

    /// How many entries there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.networks.len() + self.names.len() + self.senders.len() + self.recipients.len()
    }
}

/// The entry that is `name` or a domain above it.
fn below(entries: &HashSet<Box<str>>, name: &str) -> Option<String> {
    if entries.is_empty() {
        return None;
    }
    let mut rest = name.trim_end_matches('.');
    loop {
        if entries.contains(rest) {
            return Some(rest.to_owned());
        }
        rest = rest.split_once('.')?.1;
    }
}

/// The entry that is this address, or its domain or one above it.
fn mailbox(entries: &HashSet<Box<str>>, address: &str) -> Option<String> {
    if entries.is_empty() {
        return None;
    }
    let address = address.to_lowercase();
    if entries.contains(address.as_str()) && !address.is_empty() {
        return Some(address);
    }
    let (local, domain) = address.rsplit_once('@')?;
    let plain = local.split_once('+').map(|(user, _)| format!("{user}@{domain}"));
    plain.filter(|plain| entries.contains(plain.as_str())).or_else(|| below(entries, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt<'a>(client_address: &'a str, client_name: &'a str, sender: &'a str) -> Attempt<'a> {
        Attempt { client_address, client_name, sender, recipient: "bob@b.example" }
    }

    #[test]
    fn the_shipped_list_is_in_order_and_small() {
        let mut list = Whitelist::default();
        assert_eq!(list.add(SHIPPED), []);
        assert!((5..=40).contains(&list.entries()), "{}", list.entries());
        assert!(SHIPPED.lines().next().unwrap().contains("2026-11"), "it says of when it is");
    }

    #[test]
    fn entries_match_what_they_name() {
        let mut list = Whitelist::default();
        let text =
            "192.0.2.128/25\n2001:db8::/32 # net\n.Pool.example\nsender:a.example\nsender:joe@c.example\n";
        assert_eq!(list.add(text), []);
        let find = |address: &str, name: &str, sender: &str| {
            list.find(&attempt(address, name, sender), subject::address(address).unwrap())
        };
        assert_eq!(find("192.0.2.129", "unknown", ""), Some(Exempt::Network("192.0.2.128/25".into())));
        assert_eq!(find("::ffff:192.0.2.129", "unknown", ""), Some(Exempt::Network("192.0.2.128/25".into())));
        assert_eq!(find("192.0.2.1", "unknown", ""), None);
        assert_eq!(find("2001:db8:9::1", "unknown", ""), Some(Exempt::Network("2001:db8::/32".into())));
        assert_eq!(find("203.0.113.1", "a.POOL.example", ""), Some(Exempt::Name("pool.example".into())));
        assert_eq!(find("203.0.113.1", "carpool.example", ""), None);
        assert_eq!(find("203.0.113.1", "x", "any@sub.A.example"), Some(Exempt::Sender("a.example".into())));
        assert_eq!(find("203.0.113.1", "x", "joe+1@c.example"), Some(Exempt::Sender("joe@c.example".into())));
        assert_eq!(find("203.0.113.1", "x", "ann@c.example"), None);
    }

    #[test]
    fn bad_lines_are_told_with_their_number() {
        let mut list = Whitelist::default();
        let bad = list.add("# fine\n192.0.2.0/33\nx/24\n192.0.2.0/x\na@b.example\na b\nfe80::x\n");
        let numbers: Vec<u32> = bad.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
        assert_eq!(list.entries(), 0);
    }
}
