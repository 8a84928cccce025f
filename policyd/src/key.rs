//! What a counter is for: a request's attributes → a key, in one form for everything that is the same.

use std::net::{IpAddr, Ipv6Addr};

use crate::protocol::{Attribute, Request};
use crate::store::LONGEST_KEY;

/// Something that a request has: an attribute, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// An attribute as it was sent.
    Whole(Attribute),
    /// What follows the last `@` of an attribute.
    Domain(Attribute),
}

impl Field {
    /// The field of this name: an attribute, `sender_domain`, `recipient_domain` or `sasl_domain`.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "sender_domain" => Some(Self::Domain(Attribute::Sender)),
            "recipient_domain" => Some(Self::Domain(Attribute::Recipient)),
            "sasl_domain" => Some(Self::Domain(Attribute::SaslUsername)),
            // The same in every request.
            "request" => None,
            name => Attribute::of(name.as_bytes()).map(Self::Whole),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Domain(Attribute::Sender) => "sender_domain",
            Self::Domain(Attribute::Recipient) => "recipient_domain",
            Self::Domain(_) => "sasl_domain",
            Self::Whole(attribute) => attribute.name(),
        }
    }

    /// All names, for mistakes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let attributes = Attribute::ALL.iter().map(|attribute| attribute.name());
        attributes.filter(|name| *name != "request").chain([
            "sender_domain",
            "recipient_domain",
            "sasl_domain",
        ])
    }

    /// Whether it is about the recipient.
    #[must_use]
    pub fn is_of_recipient(self) -> bool {
        matches!(self, Self::Whole(Attribute::Recipient) | Self::Domain(Attribute::Recipient))
    }

    /// Whether it is the address of a host.
    #[must_use]
    pub fn is_address(self) -> bool {
        matches!(self, Self::Whole(Attribute::ClientAddress | Attribute::ServerAddress))
    }

    /// What a request has there; empty for nothing.
    #[must_use]
    pub fn value<'a>(self, request: &Request<'a>) -> &'a [u8] {
        match self {
            Self::Whole(attribute) => request.value(attribute),
            Self::Domain(attribute) => domain(request.value(attribute)),
        }
    }
}

/// What follows the last `@`; empty where there is none.
fn domain(address: &[u8]) -> &[u8] {
    match memchr::memrchr(b'@', address) {
        Some(at) => address.get(at + 1..).unwrap_or_default(),
        None => &[],
    }
}

/// How many bits of an address count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// Of IPv4, 0 to 32.
    pub ipv4: u8,
    /// Of IPv6, 0 to 128.
    pub ipv6: u8,
}

/// What a limit's counters are for: one part after the other, each the first of some fields that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    parts: Vec<Vec<Field>>,
}

/// Between the parts of a key: no attribute holds it.
pub const BETWEEN: u8 = b'\n';

/// Parts beyond this length are shortened by a hash.
const LONGEST_PART: usize = 200;

impl Key {
    /// Reads the texts of the setting `key`.
    ///
    /// # Errors
    /// The number of the text, and the word in it that is no field.
    pub fn parse(texts: &[String]) -> Result<Self, (usize, String)> {
        let mut parts = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let fields = text
                .split('|')
                .map(str::trim)
                .map(|name| Field::of(name).ok_or_else(|| (index, name.to_owned())));
            parts.push(fields.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(Self { parts })
    }

    /// All fields that it may take.
    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.parts.iter().flatten().copied()
    }

    /// The number of the part that may be this field.
    #[must_use]
    pub fn part_of(&self, field: Field) -> Option<usize> {
        self.parts.iter().position(|fields| fields.contains(&field))
    }

    /// How many parts it has.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Puts the key of a request at the end of `out`; false when a part is empty, so that there is none.
    pub fn write(&self, request: &Request<'_>, form: &Form<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        for (index, fields) in self.parts.iter().enumerate() {
            if index > 0 {
                out.push(BETWEEN);
            }
            let found = fields.iter().map(|field| (*field, field.value(request)));
            let Some((field, value)) = found.clone().find(|(_, value)| !value.is_empty()) else {
                return false;
            };
            form.write(field, value, out);
        }
        out.len() - start <= LONGEST_KEY
    }
}

/// How values become parts of a key.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a> {
    /// Of addresses of hosts.
    pub prefixes: Prefixes,
    /// Characters that begin an extension of a local part.
    pub delimiter: &'a [u8],
}

impl Form<'_> {
    /// Writes a value in the form in which everything that is the same is the same: in small letters,
    /// without the extension of a local part, addresses as networks (`192.0.2.0/24`, without the length
    /// where it is a single address). What is too long keeps its beginning and gets a hash.
    pub fn write(&self, field: Field, value: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        match field {
            field if field.is_address() && network(value, self.prefixes, out) => return,
            Field::Whole(Attribute::Sender | Attribute::Recipient | Attribute::SaslUsername)
                if !self.delimiter.is_empty() =>
            {
                let at = memchr::memrchr(b'@', value).unwrap_or(value.len());
                let (local, domain) = value.split_at_checked(at).unwrap_or((value, &[]));
                let extension = local.iter().position(|byte| self.delimiter.contains(byte));
                // An extension without anything before it is a local part.
                let kept = extension.filter(|at| *at > 0).unwrap_or(local.len());
                out.extend_from_slice(local.get(..kept).unwrap_or(local));
                out.extend_from_slice(domain);
            }
            _ => out.extend_from_slice(value),
        }
        let part = out.get_mut(start..).unwrap_or_default();
        part.make_ascii_lowercase();
        if part.len() > LONGEST_PART {
            let hash = fnv(part);
            out.truncate(start + LONGEST_PART - 33);
            out.push(b'#');
            out.extend_from_slice(format!("{hash:032x}").as_bytes());
        }
    }
}

/// FNV-1a of 128 bits: the same on every machine. Whoever finds two that are the same shares a counter.
fn fnv(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// The address of a host, with IPv4 in IPv6 as IPv4.
#[must_use]
pub fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

/// The address with the bits after the prefix cleared.
#[must_use]
pub fn masked(address: IpAddr, prefixes: Prefixes) -> (IpAddr, u8) {
    match address {
        IpAddr::V4(address) => {
            let length = prefixes.ipv4.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            (IpAddr::V4((u32::from(address) & mask).into()), length)
        }
        IpAddr::V6(address) => {
            let length = prefixes.ipv6.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            (IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask)), length)
        }
    }
}

/// Writes an address as the network it is in; false when it is none.
fn network(value: &[u8], prefixes: Prefixes, out: &mut Vec<u8>) -> bool {
    use std::io::Write as _;
    let Some(address) = address(value) else { return false };
    if address.is_ipv4() && prefixes.ipv4 == 32 && !value.contains(&b':') {
        // There is one way only to write it.
        out.extend_from_slice(value);
        return true;
    }
    let (network, length) = masked(address, prefixes);
    let whole = if network.is_ipv4() { 32 } else { 128 };
    // Writing to a Vec cannot fail.
    let _ok = if length == whole { write!(out, "{network}") } else { write!(out, "{network}/{length}") };
    true
}

/// A key for people: the parts with commas between them.
#[must_use]
pub fn shown(key: &[u8]) -> String {
    let parts: Vec<_> = key.split(|byte| *byte == BETWEEN).map(String::from_utf8_lossy).collect();
    parts.join(", ")
}

/// The key that [`shown`] shows so.
#[must_use]
pub fn unshown(text: &str) -> Vec<u8> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    parts.join("\n").to_ascii_lowercase().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(texts: &[&str], request: &Request<'_>) -> Option<String> {
        let key = Key::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap();
        let form = Form { prefixes: Prefixes { ipv4: 24, ipv6: 64 }, delimiter: b"+" };
        let mut out = Vec::new();
        key.write(request, &form, &mut out).then(|| shown(&out))
    }

    #[test]
    fn what_is_the_same_has_one_key() {
        let mut request = Request::default();
        request.set(Attribute::SaslUsername, b"Alice+News@A.example");
        request.set(Attribute::ClientAddress, b"::ffff:192.0.2.7");
        request.set(Attribute::Recipient, b"Bob@[IPv6:::1]");
        for (texts, want) in [
            (&["sasl_username"][..], Some("alice@a.example")),
            (&["sasl_domain"], Some("a.example")),
            (&["client_address"], Some("192.0.2.0/24")),
            (&["sasl_username", "client_address"], Some("alice@a.example, 192.0.2.0/24")),
            (&["sender"], None),
            (&["sender|sasl_username"], Some("alice@a.example")),
            (&["sasl_username", "sender"], None),
            (&["recipient_domain"], Some("[ipv6:::1]")),
        ] {
            assert_eq!(key(texts, &request).as_deref(), want, "{texts:?}");
        }
        request.set(Attribute::ClientAddress, b"2001:db8:1:2:3::4");
        assert_eq!(key(&["client_address"], &request).as_deref(), Some("2001:db8:1:2::/64"));
        request.set(Attribute::ClientAddress, b"unknown");
        assert_eq!(key(&["client_address"], &request).as_deref(), Some("unknown"));
        request.set(Attribute::SaslUsername, b"+x@a.example");
        assert_eq!(key(&["sasl_username"], &request).as_deref(), Some("+x@a.example"));
    }

    #[test]
    fn long_values_stay_different_and_short() {
        let mut request = Request::default();
        let long = vec![b'h'; 8192];
        request.set(Attribute::HeloName, &long);
        let one = key(&["helo_name"], &request).unwrap();
        assert_eq!(one.len(), LONGEST_PART);
        let other = vec![b'h'; 8191];
        request.set(Attribute::HeloName, &other);
        assert_ne!(key(&["helo_name"], &request).unwrap(), one);
    }

    #[test]
    fn every_prefix_is_taken() {
        let v4: IpAddr = "255.255.255.255".parse().unwrap();
        let v6: IpAddr = "ffff::ffff".parse().unwrap();
        let of = |ipv4, ipv6| Prefixes { ipv4, ipv6 };
        assert_eq!(masked(v4, of(0, 0)).0.to_string(), "0.0.0.0");
        assert_eq!(masked(v4, of(32, 0)).0, v4);
        assert_eq!(masked(v6, of(0, 0)).0.to_string(), "::");
        assert_eq!(masked(v6, of(0, 128)).0, v6);
        assert_eq!(masked(v6, of(0, 16)).0.to_string(), "ffff::");
    }

    #[test]
    fn shown_keys_are_found_again() {
        assert_eq!(unshown(&shown(b"a@b\n192.0.2.0/24")), b"a@b\n192.0.2.0/24");
        assert_eq!(unshown("Alice@A.example"), b"alice@a.example");
    }
}
