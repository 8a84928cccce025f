//! Sets of hosts: names, domains, addresses and networks, each of which may be excluded.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use base::config::{Report, Span};

use super::{
    dataset::{Case, DataSet, Kind},
    pattern::{Patterns, has_operator},
};

/// The set behind `InternalHosts`, `PeerList` and `ExternalIgnoreList`.
///
/// A more precise entry beats a less precise one whatever the order of the file, and `!` before
/// an entry excludes what it matches (OpenDKIM 2.11 observed). Otherwise than there, host bits of
/// a network are cleared, IPv6 may be spelled in any way, and an IPv4-mapped address is an IPv4
/// address.
#[derive(Debug, Default)]
pub struct HostSet {
    names: HashMap<Box<str>, Verdict>,
    v4: Networks,
    v6: Networks,
    patterns: Option<Patterns>,
}

impl HostSet {
    /// Reads the entries of a data set. What can never match, or matches otherwise than it seems
    /// to, is warned about; a broken pattern is a mistake.
    #[must_use]
    pub fn new(set: &DataSet, report: &mut Report) -> Self {
        let mut this = Self::default();
        let mut patterns = Vec::new();
        for (number, record) in (0..).zip(set.records()) {
            let key = record.key();
            if set.kind() == Kind::Patterns && (key.contains('*') || has_operator(key)) {
                warn_pattern(key, &record.key_span(), report);
                patterns.push((number, key));
            } else {
                this.insert(key, &record.key_span(), report);
            }
        }
        if !patterns.is_empty() {
            let (patterns, errors) = Patterns::new(Case::Insensitive, patterns);
            for (number, error) in errors {
                if let Some(record) = set.record(number) {
                    report.error(&record.key_span(), error.to_string());
                }
            }
            this.patterns = Some(patterns);
        }
        this.v4.sort();
        this.v6.sort();
        this
    }

    /// Whether the set holds a client with this name and address, as the MTA gives them.
    ///
    /// Name and address are looked up apart, and one of the two is enough: a name that is excluded
    /// does not keep out a client whose address is in the set (OpenDKIM 2.11 observed). For the
    /// name, its parent domains follow it from the longest to the shortest; for the address, the
    /// networks that hold it from the smallest to the largest. The first entry found decides.
    #[must_use]
    pub fn matches(&self, host_name: Option<&str>, address: Option<IpAddr>) -> bool {
        let by_name = host_name.and_then(|name| self.name_verdict(&name.to_ascii_lowercase()));
        by_name == Some(Verdict::Included)
            || address.and_then(|address| self.address_verdict(address)) == Some(Verdict::Included)
    }

    fn name_verdict(&self, name: &str) -> Option<Verdict> {
        let parents = name.char_indices().filter(|(at, c)| *c == '.' && *at > 0).map(|(at, _)| at);
        std::iter::once(0)
            .chain(parents)
            .filter_map(|at| name.get(at..))
            .find_map(|candidate| self.decide(self.names.get(candidate).copied(), || candidate.to_owned()))
    }

    fn address_verdict(&self, address: IpAddr) -> Option<Verdict> {
        let v6 = match address {
            IpAddr::V4(v4) => return self.network_verdict(IpAddr::V4(v4)),
            IpAddr::V6(v6) => v6,
        };
        let mapped = v6.to_ipv4_mapped().and_then(|v4| self.network_verdict(IpAddr::V4(v4)));
        mapped.or_else(|| self.network_verdict(IpAddr::V6(v6)))
    }

    fn network_verdict(&self, address: IpAddr) -> Option<Verdict> {
        let (networks, bits) = match address {
            IpAddr::V4(_) => (&self.v4, 32),
            IpAddr::V6(_) => (&self.v6, 128),
        };
        if self.patterns.is_none() {
            return networks.levels.iter().find_map(|level| networks.find(*level, address));
        }
        // A pattern may match the text of any candidate, so all of them must be looked at.
        let lengths = (0..=bits).rev().map(Some);
        std::iter::once(None)
            .chain(lengths)
            .flat_map(|length| [Level { length, brackets: false }, Level { length, brackets: true }])
            .find_map(|level| self.decide(networks.find(level, address), || level.candidate(address)))
    }

    /// What the set says about one candidate: `!` first, then the entry itself.
    fn decide(&self, entry: Option<Verdict>, candidate: impl Fn() -> String) -> Option<Verdict> {
        let Some(patterns) = &self.patterns else { return entry };
        if entry == Some(Verdict::Excluded) {
            return entry;
        }
        let candidate = candidate();
        if patterns.first(&format!("!{candidate}")).is_some() {
            return Some(Verdict::Excluded);
        }
        entry.or_else(|| patterns.first(&candidate).map(|_| Verdict::Included))
    }

    fn insert(&mut self, key: &str, span: &Span, report: &mut Report) {
        let (verdict, body) = match key.strip_prefix('!') {
            Some(body) => (Verdict::Excluded, body.trim_start()),
            None => (Verdict::Included, key),
        };
        if let Some((level, address)) = parse_network(body, span, report) {
            let networks = if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
            networks.insert(level, address, verdict);
        } else if let Some(why) = never_a_name(body) {
            let (text, help) = why;
            report.warning(span, format!("this entry never matches: {text}")).help(help);
        } else {
            strengthen(self.names.entry(body.to_ascii_lowercase().into()).or_insert(verdict), verdict);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Included,
    Excluded,
}

/// On the same entry `!` wins.
fn strengthen(old: &mut Verdict, new: Verdict) {
    if new == Verdict::Excluded {
        *old = new;
    }
}

/// How precise an entry is: the address itself, or a prefix length; written plainly or with
/// brackets around the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Level {
    length: Option<u8>,
    brackets: bool,
}

impl Level {
    /// Sorts from the most precise to the least: address, `[address]`, longest prefix, ….
    fn rank(self) -> (u16, bool) {
        (self.length.map_or(0, |length| 129 - u16::from(length)), self.brackets)
    }

    /// The text that OpenDKIM would look up.
    fn candidate(self, address: IpAddr) -> String {
        let network = self.length.map_or(address, |length| masked(address, length));
        let text = if self.brackets { format!("[{network}]") } else { network.to_string() };
        match self.length {
            Some(length) => format!("{text}/{length}"),
            None => text,
        }
    }
}

#[derive(Debug, Default)]
struct Networks {
    /// The levels that occur, the most precise first.
    levels: Vec<Level>,
    entries: HashMap<(Level, IpAddr), Verdict>,
}

impl Networks {
    fn insert(&mut self, level: Level, address: IpAddr, verdict: Verdict) {
        if !self.levels.contains(&level) {
            self.levels.push(level);
        }
        strengthen(self.entries.entry((level, address)).or_insert(verdict), verdict);
    }

    fn sort(&mut self) {
        self.levels.sort_by_key(|level| level.rank());
    }

    fn find(&self, level: Level, address: IpAddr) -> Option<Verdict> {
        let network = level.length.map_or(address, |length| masked(address, length));
        self.entries.get(&(level, network)).copied()
    }
}

/// The address with all but the first `length` bits cleared.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// Reads `address`, `[address]`, `address/length` and `[address]/length`. IPv4 inside IPv6
/// becomes IPv4. Set host bits are cleared and warned about.
fn parse_network(body: &str, span: &Span, report: &mut Report) -> Option<(Level, IpAddr)> {
    let (text, length) = match body.split_once('/') {
        Some((text, length)) => (text, Some(length)),
        None => (body, None),
    };
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let brackets = inner.is_some();
    let mut address: IpAddr = inner.unwrap_or(text).parse().ok()?;
    let mut length = match length {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse::<u8>().ok()?),
        Some(_) => return None,
        None => None,
    };
    if let Some(v4) = as_v6(address).and_then(|v6| v6.to_ipv4_mapped()) {
        match length {
            None => address = IpAddr::V4(v4),
            Some(bits) if bits >= 96 => {
                address = IpAddr::V4(v4);
                length = Some(bits - 96);
            }
            Some(_) => {}
        }
    }
    if length.is_some_and(|length| length > if address.is_ipv4() { 32 } else { 128 }) {
        return None;
    }
    if let Some(length) = length {
        let network = masked(address, length);
        if network != address {
            report
                .warning(
                    span,
                    format!("bits of the host are set in this network; it is taken as {network}/{length}"),
                )
                .help(format!("write {network}/{length} (OpenDKIM never matches the line as it is)"));
            address = network;
        }
    }
    Some((Level { length, brackets }, address))
}

fn as_v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    }
}

/// Why a text that is no address can be no host name or domain either, and what to write.
fn never_a_name(body: &str) -> Option<(&'static str, &'static str)> {
    if body.contains(char::is_whitespace) {
        Some(("there are blanks in it", "put commas between the items of a list"))
    } else if body.contains('*') {
        Some((
            "* is a wildcard only in refile: sets",
            "write .example.com for all hosts below example.com, or 10.0.0.0/8 for a network",
        ))
    } else if body.contains('/') {
        Some((
            "it is not a network",
            "write the address in full and a prefix length, as in 192.0.2.0/24 or 2001:db8::/32",
        ))
    } else if body.ends_with('.') {
        Some(("a host name does not end in a dot", "remove the last dot"))
    } else if body.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        Some(("it is not an address", "write all four numbers, or a network as in 192.0.2.0/24"))
    } else if body.is_empty() || !body.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        Some(("it is neither a host name nor an address", "write one host, domain or network an item"))
    } else {
        None
    }
}

fn warn_pattern(key: &str, span: &Span, report: &mut Report) {
    if key.starts_with('*') {
        report
            .warning(
                span,
                "a pattern that begins with * includes no host, because it matches the form with ! of each as well",
            )
            .help("write .example.com for all hosts below example.com");
    } else if key.trim_start_matches('!').starts_with('[') {
        report
            .warning(
                span,
                "in a refile: set brackets are those of a regular expression: this never matches an address",
            )
            .help("write the address without brackets");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::config::Source;

    fn hosts(text: &str, patterns: bool) -> (HostSet, Report) {
        let mut report = Report::new();
        let set = DataSet::from_lines(&Source::new("hosts", text), patterns, &mut report);
        (HostSet::new(&set, &mut report), report)
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn entries_match_as_in_opendkim() {
        for (entries, name, ip, want) in [
            ("192.168.0.0/16", "x", "192.168.7.8", true),
            ("192.168.0.0/16\n!192.168.7.7", "x", "192.168.7.7", false),
            ("!192.168.7.7\n192.168.0.0/16", "x", "192.168.7.6", true),
            ("!10.0.0.0/8\n10.1.0.0/16", "x", "10.1.2.3", true),
            ("!10.0.0.0/8\n10.1.0.0/16", "x", "10.2.2.3", false),
            ("10.1.1.1\n!10.1.1.1", "x", "10.1.1.1", false),
            (".int.test", "a.int.test", "9.9.9.9", true),
            (".int.test", "A.B.INT.test", "9.9.9.9", true),
            (".int.test", "int.test", "9.9.9.9", false),
            ("int.test", "a.int.test", "9.9.9.9", false),
            ("int.test", "INT.test", "9.9.9.9", true),
            (".test\n!.int.test", "a.int.test", "9.9.9.9", false),
            (".int.test\n!.test", "a.int.test", "9.9.9.9", true),
            ("!a.int.test\n9.9.9.9", "a.int.test", "9.9.9.9", true),
            ("!a.int.test\n9.9.9.9", "a.int.test", "9.9.9.8", false),
            ("a.int.test\n!9.9.9.9", "a.int.test", "9.9.9.9", true),
            ("!.int.test\n9.0.0.0/8\n!9.9.0.0/16", "a.int.test", "9.9.9.9", false),
            ("2001:db8::/32", "x", "2001:db8:0:0:1::5", true),
            ("2001:DB8:0::0/32", "x", "2001:db8::5", true),
            ("2001:0db8::0:1", "x", "2001:db8::1", true),
            ("192.168.0.0/16", "x", "::ffff:192.168.5.5", true),
            ("::/0\n!192.168.5.5", "x", "::ffff:192.168.5.5", false),
            ("::ffff:192.168.5.5", "x", "192.168.5.5", true),
            ("[192.0.2.1]", "x", "192.0.2.1", true),
            ("192.0.2.1\n![192.0.2.1]", "x", "192.0.2.1", true),
            ("[192.0.2.0]/24", "x", "192.0.2.7", true),
            ("0.0.0.0/0", "x", "203.0.113.9", true),
            ("0.0.0.0/0", "x", "2001:db8::1", false),
            ("::/0", "x", "2001:db8::1", true),
            ("::/0", "x", "203.0.113.9", false),
            ("10.0.0.1/8", "x", "10.200.0.1", true),
            ("10.0.0.0/8", "10.x", "11.0.0.1", false),
            ("127.0.0.1", "localhost", "::1", false),
        ] {
            for patterns in [false, true] {
                if patterns && entries.contains('[') {
                    continue;
                }
                let (set, report) = hosts(entries, patterns);
                assert!(!report.has_errors());
                assert_eq!(set.matches(Some(name), address(ip)), want, "{entries:?} {name} {ip} {patterns}");
            }
        }
    }

    #[test]
    fn wildcards_work_in_pattern_files_only() {
        for (entries, name, ip, patterns, want) in [
            ("10.9.*", "x", "10.9.1.1", true, true),
            ("10.9.*", "x", "10.9.1.1", false, false),
            ("10.9.*\n!10.9.7.*", "x", "10.9.7.1", true, false),
            ("10.9.*\n!10.9.7.1", "x", "10.9.7.1", true, false),
            ("mx*.int.test", "mx7.int.test", "9.9.9.9", true, true),
            ("2001:db8:*", "x", "2001:db8::1", true, true),
            ("*.int.test", "a.int.test", "9.9.9.9", true, false),
            ("*", "a.int.test", "9.9.9.9", true, false),
            ("10.9.*\n192.0.2.0/24", "x", "192.0.2.9", true, true),
        ] {
            let (set, _) = hosts(entries, patterns);
            assert_eq!(set.matches(Some(name), address(ip)), want, "{entries:?} {name} {ip} {patterns}");
        }
    }

    #[test]
    fn what_never_matches_is_warned_about() {
        for (entry, patterns) in [
            ("10.0.0.1/8", false),
            ("192.0.2/24", false),
            ("192.0.2.0/33", false),
            ("192.0.2", false),
            ("192.0.2.0/255.255.255.0", false),
            ("mail.example.com.", false),
            ("*.example.com", false),
            ("*.example.com", true),
            ("[10.0.0.1]", true),
            ("a;b", false),
        ] {
            let (_, report) = hosts(entry, patterns);
            assert_eq!(report.warnings(), 1, "{entry}");
        }
        for entry in ["10.0.0.0/8", "::1", "host", ".example.com", "a_b.example", "!10.0.0.1", "[::1]"] {
            assert_eq!(hosts(entry, false).1.warnings(), 0, "{entry}");
        }
        let list = "127.0.0.1 10.0.0.1,::1";
        let span = Span::new(&Source::new("t", list), 1, 0, list.len());
        let mut report = Report::new();
        let set = HostSet::new(&DataSet::from_list(&span), &mut report);
        assert_eq!(report.warnings(), 1);
        assert!(set.matches(None, address("::1")) && !set.matches(None, address("127.0.0.1")));
    }

    #[test]
    fn nothing_known_of_the_client_is_no_match() {
        assert!(!hosts("0.0.0.0/0\n::/0", false).0.matches(None, None));
    }
}
