//! What the test's DNS server knows: records, faults and delays by name.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::rr::rdata::{A, CNAME, MX, SOA, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};

/// How a name can go wrong, for every type that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// RCODE 2.
    ServFail,
    /// RCODE 3, whatever records the name has.
    NxDomain,
    /// RCODE 5.
    Refused,
    /// No answer at all.
    Silent,
}

/// The records, faults and delays that a [`Dns`](super::Dns) answers from.
///
/// Names are given without the last dot, and their case does not matter. A name that is not here does not exist
/// (NXDOMAIN), unless a name below it is here (an answer without records).
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: HashMap<String, Entry>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) records: Vec<RData>,
    pub(super) ttl_secs: u32,
    pub(super) fault: Option<Fault>,
    pub(super) delay: Duration,
}

impl Zone {
    /// An empty zone: every name is NXDOMAIN.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a TXT record with this text, cut into strings of 255 bytes.
    #[must_use]
    pub fn txt(self, name: &str, text: &str) -> Self {
        let mut strings: Vec<&[u8]> = text.as_bytes().chunks(255).collect();
        if strings.is_empty() {
            strings.push(b"");
        }
        self.txt_strings(name, &strings)
    }

    /// Adds one TXT record with exactly these strings, each of at most 255 bytes.
    #[must_use]
    pub fn txt_strings(self, name: &str, strings: &[&[u8]]) -> Self {
        self.record(name, RData::TXT(TXT::from_bytes(strings.to_vec())))
    }

    /// Adds an A record.
    #[must_use]
    pub fn a(self, name: &str, address: Ipv4Addr) -> Self {
        self.record(name, RData::A(A(address)))
    }

    /// Adds an MX record.
    #[must_use]
    pub fn mx(self, name: &str, preference: u16, exchange: &str) -> Self {
        self.record(name, RData::MX(MX::new(preference, fqdn(exchange))))
    }

    /// Adds a CNAME record.
    #[must_use]
    pub fn cname(self, name: &str, target: &str) -> Self {
        self.record(name, RData::CNAME(CNAME(fqdn(target))))
    }

    /// Adds any record.
    #[must_use]
    pub fn record(mut self, name: &str, data: RData) -> Self {
        self.entry(name).records.push(data);
        self
    }

    /// Sets the TTL of a name's records (0 unless told, so that nothing is kept).
    #[must_use]
    pub fn ttl(mut self, name: &str, secs: u32) -> Self {
        self.entry(name).ttl_secs = secs;
        self
    }

    /// Makes every question for a name go wrong.
    #[must_use]
    pub fn fault(mut self, name: &str, fault: Fault) -> Self {
        self.entry(name).fault = Some(fault);
        self
    }

    /// Answers questions for a name this much later.
    #[must_use]
    pub fn delay(mut self, name: &str, delay: Duration) -> Self {
        self.entry(name).delay = delay;
        self
    }

    /// Takes a name out with everything said of it.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.names.remove(&key(name));
        self
    }

    /// The TXT records as JSON, `{"name": ["text", ...]}`, for judges that take their answers from the test.
    #[must_use]
    pub fn txt_as_json(&self) -> Value {
        let mut names = serde_json::Map::new();
        for (name, entry) in self.names.iter().filter(|(_, entry)| entry.fault.is_none()) {
            let texts: Vec<Value> = entry.records.iter().filter_map(text_of).map(Value::String).collect();
            if !texts.is_empty() {
                names.insert(name.clone(), json!(texts));
            }
        }
        Value::Object(names)
    }

    /// What is said of a name, if it is here.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        self.names.get(&key(name))
    }

    /// Whether names below this one are here.
    pub(super) fn has_below(&self, name: &str) -> bool {
        let end = format!(".{}", key(name));
        self.names.keys().any(|other| other.ends_with(&end))
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.names.entry(key(name)).or_insert_with(|| Entry {
            records: Vec::new(),
            ttl_secs: 0,
            fault: None,
            delay: Duration::ZERO,
        })
    }
}

impl Entry {
    /// The records of one type; for a name with a CNAME, that (RFC 1034 §3.6.2).
    pub(super) fn of_type(&self, record_type: RecordType) -> Vec<&RData> {
        let of =
            |wanted| self.records.iter().filter(|data| data.record_type() == wanted).collect::<Vec<&RData>>();
        let found = of(record_type);
        if found.is_empty() { of(RecordType::CNAME) } else { found }
    }
}

/// A name as hickory has it, with its last dot.
pub(super) fn fqdn(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}

/// The SOA record that goes with negative answers; negative answers last `NEGATIVE_TTL_SECS` (RFC 2308 §5).
pub(super) fn soa() -> RData {
    let secs = NEGATIVE_TTL_SECS.cast_signed();
    RData::SOA(SOA::new(
        fqdn("ns.invalid"),
        fqdn("hostmaster.invalid"),
        1,
        secs,
        secs,
        secs,
        NEGATIVE_TTL_SECS,
    ))
}

fn text_of(data: &RData) -> Option<String> {
    let RData::TXT(txt) = data else { return None };
    let bytes: Vec<u8> = txt.txt_data.iter().flat_map(|string| string.iter().copied()).collect();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// How long "no such name" may be kept.
pub(super) const NEGATIVE_TTL_SECS: u32 = 1;
