//! From a request to the keys of greylisting: which attempts are the same one again?

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Attempt, Settings};

/// Of a sender or recipient at most so many bytes go into a key; longer ones differ by their length.
const LONGEST_ADDRESS: usize = 256;

/// What counts as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// `network`: the addresses of a network, by prefix length.
    Network,
    /// `name`: clients with a verified name below the same domain, and others by network. A pool of
    /// senders that retries from other networks is one client then. Names with digits of the address in
    /// them, as dial-up lines have, are not taken.
    Name,
}

/// The keys of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Client, sender and recipient.
    pub triplet: String,
    /// The client.
    pub client: String,
    /// The client with the sender's domain.
    pub domain: String,
}

impl Subject {
    /// The keys of `attempt`, which comes from `client`.
    pub(super) fn new(attempt: &Attempt<'_>, client: IpAddr, settings: &Settings) -> Self {
        let pool = match settings.pooling {
            Pooling::Name => pool(attempt.client_name, client),
            Pooling::Network => None,
        };
        let client =
            pool.unwrap_or_else(|| network(client, settings.ipv4_prefix, settings.ipv6_prefix).to_string());
        let sender = sender(attempt.sender);
        let recipient = bounded(&attempt.recipient.to_lowercase());
        let domain = sender.rsplit_once('@').map_or("", |(_, domain)| domain);
        // What is before the first blank is the same in all three: one shard, one slot of a cluster.
        Self {
            triplet: format!("{client} t {sender} {recipient}"),
            domain: format!("{client} d {domain}"),
            client: format!("{client} c"),
        }
    }

    /// The part that all three keys begin with.
    #[must_use]
    pub fn shared(&self) -> &str {
        self.client.split(' ').next().unwrap_or_default()
    }
}

/// The address of a client; IPv4 in IPv6's clothes is IPv4.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The network that an address is in.
pub(super) fn network(address: IpAddr, ipv4_prefix: u8, ipv6_prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(ipv4_prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(ipv6_prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// The domain that a pool of senders shares: the verified name without its first label.
fn pool(name: &str, address: IpAddr) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name.len() > 253 || name.parse::<IpAddr>().is_ok() || !name.bytes().all(is_name_byte) {
        return None;
    }
    let (_, domain) = name.split_once('.')?;
    // At least a domain and a label of its registry: never all of `.example`.
    if !domain.contains('.') || domain.split('.').any(str::is_empty) || holds_digits_of(&name, address) {
        return None;
    }
    Some(domain.to_owned())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

/// Whether a name is made from the address: it has its last two parts as numbers, in decimal or hex.
fn holds_digits_of(name: &str, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [.., third, fourth] = address.octets();
            let is_number = |wanted: u8| {
                name.split(|c: char| !c.is_ascii_digit()).any(|run| run.parse::<u8>() == Ok(wanted))
            };
            let hex = format!("{third:02x}{fourth:02x}");
            let padded = format!("{third:03}{fourth:03}");
            (is_number(third) && is_number(fourth)) || name.contains(&hex) || name.contains(&padded)
        }
        IpAddr::V6(address) => {
            let [.., seventh, eighth] = address.segments();
            let hex = |value: u16| format!("{value:x}");
            let has = |value: u16| value > 0xff && name.contains(&hex(value));
            has(seventh) && has(eighth)
        }
    }
}

/// A sender as a key: lower case, without `+extension`, and with what mailing lists, SRS and BATV change
/// from one message or day to the next replaced by `#` (numbers as in Postgrey 1.37).
fn sender(address: &str) -> String {
    let address = address.to_lowercase();
    let Some((local, domain)) = address.rsplit_once('@') else { return bounded(&address) };
    // prvs=TAG=user and btv1==TAG==user.
    let local = match local.split_once('=') {
        Some(("prvs", rest)) => rest.split_once('=').map_or(rest, |(_, user)| user),
        Some(("btv1", rest)) => rest.rsplit_once("==").map_or(rest, |(_, user)| user),
        _ => local,
    };
    let mut out = String::with_capacity(address.len());
    let rest = match local.get(..4) {
        // SRS0=hash=day=domain=user: hash and day change.
        Some("srs0" | "srs1") => {
            let mut parts = local.get(5..).unwrap_or_default().splitn(3, '=');
            match (parts.next(), parts.next(), parts.next()) {
                (Some(_hash), Some(_day), Some(rest)) => {
                    out.push_str("srs#=");
                    rest
                }
                _ => local,
            }
        }
        _ => {
            local.split_once('+').map_or(local, |(before, _)| if before.is_empty() { local } else { before })
        }
    };
    numbers_out(rest, &mut out);
    // Writing to a String cannot fail.
    let _ok = write!(out, "@{domain}");
    bounded(&out)
}

/// Copies `text`, with each number that stands for itself as `#`.
fn numbers_out(text: &str, out: &mut String) {
    let mut words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    for word in &mut words {
        let (run, end) = match word.char_indices().next_back() {
            Some((at, last)) if !last.is_alphanumeric() => word.split_at(at),
            _ => (word, ""),
        };
        if !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_digit()) {
            out.push('#');
        } else {
            out.push_str(run);
        }
        out.push_str(end);
    }
}

/// An address cut to what a key may hold, without blanks.
fn bounded(text: &str) -> String {
    let mut out: String =
        text.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
    if out.len() > LONGEST_ADDRESS {
        let length = out.len();
        out.truncate(out.floor_char_boundary(LONGEST_ADDRESS));
        // Writing to a String cannot fail.
        let _ok = write!(out, "~{length}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_that_change_by_number_are_one() {
        for (given, wanted) in [
            ("Joe@Example.COM", "joe@example.com"),
            ("joe+tag@example.com", "joe@example.com"),
            ("bounce-123-45@l.example", "bounce-#-#@l.example"),
            ("b123@l.example", "b123@l.example"),
            ("prvs=1234abcdef=joe@b.example", "joe@b.example"),
            ("btv1==123abc==joe@b.example", "joe@b.example"),
            ("SRS0=HHHH=TT=a.example=joe@b.example", "srs#=a.example=joe@b.example"),
            // Cut short: taken as it is.
            ("SRS0=HHHH@b.example", "srs0=hhhh@b.example"),
            ("", ""),
            ("+@x.example", "+@x.example"),
        ] {
            assert_eq!(sender(given), wanted, "{given}");
        }
        let long = sender(&format!("{}@a.example", "x".repeat(8000)));
        assert!(long.len() < 270 && long != sender(&format!("{}@a.example", "x".repeat(8001))));
    }

    #[test]
    fn networks() {
        let of = |text: &str| network(address(text).unwrap(), 24, 64).to_string();
        assert_eq!(of("192.0.2.77"), "192.0.2.0");
        assert_eq!(of("::ffff:192.0.2.77"), "192.0.2.0");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network(address("192.0.2.77").unwrap(), 0, 64).to_string(), "0.0.0.0");
        assert_eq!(network(address("192.0.2.77").unwrap(), 32, 64).to_string(), "192.0.2.77");
    }

    #[test]
    fn pools_by_name() {
        let v4 = address("192.0.2.77").unwrap();
        for (name, wanted) in [
            ("mail-1.outbound.example.com", Some("outbound.example.com")),
            ("MX.Example.com", Some("example.com")),
            ("example.com", None),
            ("unknown", None),
            ("192-0-2-77.dsl.example.com", None),
            ("host077-2.dsl.example.com", None),
            ("c000024d.dsl.example.com", None),
            ("a..example.com", None),
            ("192.0.2.77", None),
            ("a b.c.example.com", None),
        ] {
            assert_eq!(pool(name, v4).as_deref(), wanted, "{name}");
        }
    }
}
