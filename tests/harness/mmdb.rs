//! Small MaxMind DB files: networks, each with a country or the number of an autonomous system (MaxMind DB file format
//! specification 2.0).

use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// A record of a node.
#[derive(Debug, Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    /// Bytes from the beginning of the data.
    Data(usize),
}

/// A database in the making, of IPv6 with IPv4 below ::/96.
#[derive(Debug)]
pub struct Mmdb {
    nodes: Vec<[Record; 2]>,
    data: Vec<u8>,
}

impl Default for Mmdb {
    fn default() -> Self {
        Self { nodes: vec![[Record::Nothing; 2]], data: Vec::new() }
    }
}

impl Mmdb {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a network (`192.0.2.0/24`, `2001:db8::/32`) of a country.
    #[must_use]
    pub fn country(self, network: &str, code: &str) -> Self {
        let data = [map(1), text("country"), map(1), text("iso_code"), text(code)].concat();
        self.network(network, &data)
    }

    /// Adds a network of an autonomous system.
    #[must_use]
    pub fn asn(self, network: &str, number: u32) -> Self {
        let data = [map(1), text("autonomous_system_number"), uint32(number)].concat();
        self.network(network, &data)
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) {
        let count = self.nodes.len();
        let mut bytes = Vec::new();
        for record in self.nodes.iter().flatten() {
            let number = match record {
                Record::Nothing => count,
                Record::Node(node) => *node,
                Record::Data(at) => count + 16 + at,
            };
            bytes.extend_from_slice(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
        }
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&self.data);
        bytes.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let metadata = [
            map(9),
            text("node_count"),
            uint32(u32::try_from(count).unwrap()),
            text("record_size"),
            uint16(24),
            text("ip_version"),
            uint16(6),
            text("database_type"),
            text("Test"),
            text("languages"),
            // An array of nothing, and below a 64-bit number: extended types 11 and 9.
            vec![0x00, 0x04],
            text("binary_format_major_version"),
            uint16(2),
            text("binary_format_minor_version"),
            uint16(0),
            text("build_epoch"),
            vec![0x01, 0x02, 1],
            text("description"),
            map(0),
        ];
        bytes.extend(metadata.concat());
        fs::write(path, bytes).unwrap();
    }

    fn network(mut self, network: &str, data: &[u8]) -> Self {
        let (address, length) = network.split_once('/').expect("a network");
        let length: usize = length.parse().unwrap();
        let (bits, length) = match address.parse().unwrap() {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 96 + length),
            IpAddr::V6(address) => (u128::from(address), length),
        };
        let at = self.data.len();
        self.data.extend_from_slice(data);
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                self.nodes[node][side] = Record::Data(at);
                break;
            }
            node = match self.nodes[node][side] {
                Record::Node(next) => next,
                Record::Nothing => {
                    self.nodes.push([Record::Nothing; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side] = Record::Node(next);
                    next
                }
                Record::Data(_) => panic!("{network} is within another network"),
            };
        }
        self
    }
}

fn map(pairs: u8) -> Vec<u8> {
    vec![0xe0 | pairs]
}

fn text(text: &str) -> Vec<u8> {
    assert!(text.len() < 29, "longer texts need another length");
    [&[0x40 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn uint16(number: u16) -> Vec<u8> {
    [&[0xa2][..], &number.to_be_bytes()].concat()
}

fn uint32(number: u32) -> Vec<u8> {
    [&[0xc4][..], &number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use base::country::{Asns, Countries};

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_is_written_is_read() {
        let scratch = Scratch::new("mmdb");
        let path = scratch.file("db.mmdb");
        let nets = Mmdb::new().country("192.0.2.0/24", "SE").country("192.0.3.0/25", "DE");
        nets.country("2001:db8::/32", "NO").write(&path);
        let countries = Countries::open(&path).unwrap();
        for (address, code) in [
            ("192.0.2.255", Some(*b"SE")),
            ("192.0.3.1", Some(*b"DE")),
            ("192.0.3.128", None),
            ("::ffff:192.0.2.1", Some(*b"SE")),
            ("2001:db8:ffff::1", Some(*b"NO")),
            ("2001:db9::1", None),
        ] {
            assert_eq!(countries.of(address.parse().unwrap()), code, "{address}");
        }
        Mmdb::new().asn("198.51.100.0/24", 4_200_000_000).write(&path);
        let asns = Asns::open(&path).unwrap();
        assert_eq!(asns.of("198.51.100.7".parse().unwrap()), Some(4_200_000_000));
        assert_eq!(asns.of("198.51.101.7".parse().unwrap()), None);
    }
}
