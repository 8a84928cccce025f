//! Countries of addresses, from a MaxMind DB file of the admin's. The only file that knows maxminddb.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{PathElement, Reader};

/// An open database.
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
        Reader::open_readfile(path).map(Self).map_err(|error| format!("{}: {error}", path.display()))
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
