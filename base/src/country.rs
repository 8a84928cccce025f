//! Countries and autonomous systems of addresses, from MaxMind DB files of the admin's. The only file that
//! knows maxminddb.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{PathElement, Reader};

/// An open database of countries.
pub struct Countries(Reader<Vec<u8>>);

impl fmt::Debug for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Countries")
    }
}

impl Countries {
    /// Reads the whole file into memory.
    ///
    /// # Errors
    /// A sentence with the path when the file cannot be read or is no such database.
    pub fn open(path: &Path) -> Result<Self, String> {
        open(path).map(Self)
    }

    /// The ISO 3166 code of the country of `address`; `None` where the database has none.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<[u8; 2]> {
        let found = self.0.lookup(address.to_canonical()).ok()?;
        let path = [PathElement::Key("country"), PathElement::Key("iso_code")];
        let code: &str = found.decode_path(&path).ok()??;
        code.as_bytes().try_into().ok()
    }
}

/// An open database of autonomous systems.
pub struct Asns(Reader<Vec<u8>>);

impl fmt::Debug for Asns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asns")
    }
}

impl Asns {
    /// Reads the whole file into memory.
    ///
    /// # Errors
    /// A sentence with the path when the file cannot be read or is no such database.
    pub fn open(path: &Path) -> Result<Self, String> {
        open(path).map(Self)
    }

    /// The number of the autonomous system that `address` belongs to; `None` where the database has none.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<u32> {
        let found = self.0.lookup(address.to_canonical()).ok()?;
        found.decode_path(&[PathElement::Key("autonomous_system_number")]).ok()?
    }
}

fn open(path: &Path) -> Result<Reader<Vec<u8>>, String> {
    Reader::open_readfile(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of one IPv4 network, 192.0.2.0/24, in which every address is told `data`.
    fn database(data: &[u8]) -> Vec<u8> {
        const DEPTH: u32 = 24;
        let network = u32::from_be_bytes([192, 0, 2, 0]);
        let mut bytes = Vec::new();
        for bit in 0..DEPTH {
            // A record that is the number of nodes means nothing; above it, data 16 bytes on.
            let next = if bit + 1 == DEPTH { DEPTH + 16 } else { bit + 1 };
            let (left, right) = if network >> (31 - bit) & 1 == 0 { (next, DEPTH) } else { (DEPTH, next) };
            bytes.extend_from_slice(&left.to_be_bytes()[1..]);
            bytes.extend_from_slice(&right.to_be_bytes()[1..]);
        }
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let text = |text: &str| [&[0x40 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let short = |number: u16| [&[0xa2][..], &number.to_be_bytes()].concat();
        let metadata = [
            vec![0xe9],
            text("node_count"),
            vec![0xc1, 24],
            text("record_size"),
            short(24),
            text("ip_version"),
            short(4),
            text("database_type"),
            text("Test"),
            text("languages"),
            vec![0x00, 0x04],
            text("binary_format_major_version"),
            short(2),
            text("binary_format_minor_version"),
            short(0),
            text("build_epoch"),
            vec![0x01, 0x02, 1],
            text("description"),
            vec![0xe0],
        ];
        bytes.extend(metadata.concat());
        bytes
    }

    #[test]
    fn countries_and_systems_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.mmdb");
        std::fs::write(&path, database(b"\xe1\x47country\xe1\x48iso_code\x42SE")).unwrap();
        let countries = Countries::open(&path).unwrap();
        assert_eq!(countries.of("192.0.2.7".parse().unwrap()), Some(*b"SE"));
        assert_eq!(countries.of("::ffff:192.0.2.7".parse().unwrap()), Some(*b"SE"));
        assert_eq!(countries.of("192.0.3.7".parse().unwrap()), None);
        assert_eq!(countries.of("2001:db8::1".parse().unwrap()), None);
        std::fs::write(&path, database(b"\xe1\x58autonomous_system_number\xc2\xfb\xff")).unwrap();
        let asns = Asns::open(&path).unwrap();
        assert_eq!(asns.of("192.0.2.7".parse().unwrap()), Some(64511));
        assert_eq!(asns.of("192.0.3.7".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_database_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.mmdb");
        assert!(Countries::open(&path).unwrap_err().contains("db.mmdb"));
        std::fs::write(&path, b"nothing").unwrap();
        assert!(Asns::open(&path).unwrap_err().contains("db.mmdb"));
    }
}
