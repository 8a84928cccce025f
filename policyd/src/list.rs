//! Lists of values that conditions and overrides look into: exact ones, domains with all below them,
//! networks.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::key::{Prefixes, address, masked};

/// A list, with a text for each entry (of an override: its rates).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    exact: HashMap<Box<[u8]>, Box<str>>,
    /// Entries that begin with a dot or `@`: ends of values.
    ends: HashSet<Box<[u8]>>,
    networks: HashSet<(IpAddr, u8)>,
    /// Lengths of the networks' prefixes that occur, for IPv4 and IPv6.
    lengths: HashSet<(bool, u8)>,
}

impl List {
    /// Adds an entry: a value; `.domain` or `@domain` for all that ends so; a network.
    pub fn insert(&mut self, entry: &str, text: &str) {
        let entry = entry.trim().to_ascii_lowercase();
        if let Some((network, length)) = parse_network(&entry) {
            self.networks.insert((network, length));
            self.lengths.insert((network.is_ipv4(), length));
        } else if entry.starts_with(['.', '@']) {
            self.ends.insert(Box::from(entry.as_bytes()));
        }
        self.exact.insert(Box::from(entry.as_bytes()), Box::from(text.trim()));
    }

    /// Reads a file's text: an entry on each line, after white space its text, `#` before a comment.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut list = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let entry = line.split_whitespace().next().unwrap_or_default();
            if !entry.is_empty() {
                list.insert(entry, line.get(entry.len()..).unwrap_or_default());
            }
        }
        list
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    /// All entries with their texts.
    pub fn entries(&self) -> impl Iterator<Item = (String, &str)> {
        self.exact.iter().map(|(entry, text)| (String::from_utf8_lossy(entry).into_owned(), &**text))
    }

    /// The text of exactly this entry.
    #[must_use]
    pub fn text(&self, entry: &[u8]) -> Option<&str> {
        self.exact.get(entry).map(|text| &**text)
    }

    /// Whether a value is in it.
    #[must_use]
    pub fn has(&self, value: &[u8], is_address: bool) -> bool {
        if is_address && !self.networks.is_empty() {
            return address(value).is_some_and(|address| self.has_address(address));
        }
        let value = value.to_ascii_lowercase();
        if self.exact.contains_key(value.as_slice()) {
            return true;
        }
        !self.ends.is_empty()
            && value.iter().enumerate().any(|(at, byte)| {
                matches!(byte, b'.' | b'@') && self.ends.contains(value.get(at..).unwrap_or_default())
            })
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.lengths.iter().filter(|(v4, _)| *v4 == address.is_ipv4()).any(|(_, length)| {
            let prefixes = Prefixes { ipv4: *length, ipv6: *length };
            self.networks.contains(&masked(address, prefixes))
        })
    }
}

/// `192.0.2.0/24`, `2001:db8::/32` or a single address; bits after the prefix do not count.
#[must_use]
pub fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (text, length) = match text.split_once('/') {
        Some((text, length)) => (text, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let found: IpAddr = text.parse().ok()?;
    let most = if found.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(most);
    (length <= most).then(|| masked(found, Prefixes { ipv4: length, ipv6: length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_domains_and_networks_are_found() {
        let list = List::parse(
            "# people\nalice@a.example 5/hour, 10/day\n.b.example\n@c.example # all of them\n192.0.2.0/24\n2001:db8::/32\n",
        );
        assert_eq!(list.len(), 5);
        assert_eq!(list.text(b"alice@a.example"), Some("5/hour, 10/day"));
        for (value, is_address, want) in [
            ("Alice@A.example", false, true),
            ("mail.b.example", false, true),
            ("b.example", false, false),
            ("x@c.example", false, true),
            ("c.example", false, false),
            ("192.0.2.77", true, true),
            ("::ffff:192.0.2.77", true, true),
            ("192.0.3.1", true, false),
            ("2001:db8::1", true, true),
            ("unknown", true, false),
        ] {
            assert_eq!(list.has(value.as_bytes(), is_address), want, "{value}");
        }
    }
}
