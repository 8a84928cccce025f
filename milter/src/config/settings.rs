//! The checked settings: nothing optional is left undecided.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{actions::Actions, raw::Raw, signed_headers::SignedHeaders, socket::Socket};
use crate::table::{Algorithm, HostSet, MacroList, SigningPolicy, Table};

/// Everything that the configuration decides.
#[derive(Debug)]
pub struct Settings {
    /// The process: socket, user, files.
    pub process: Process,
    /// What is logged, and where.
    pub log: Log,
    /// Bounds of time and number.
    pub limits: Limits,
    /// `Mode`.
    pub mode: Mode,
    /// Whose mail is signed, and whose is left alone.
    pub clients: Clients,
    /// How messages are signed.
    pub signing: Signing,
    /// How signatures are verified, and what is told about them.
    pub verifying: Verifying,
    /// `RequiredHeaders`: reject messages that break RFC 5322's counts of header fields.
    pub required_headers: bool,
    /// Where keys of signatures come from.
    pub dns: Dns,
    /// What happens in the cases of the On- parameters.
    pub actions: Actions,
    /// Names and values as they were read.
    pub raw: Arc<Raw>,
}

/// The process itself. None of this changes with a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// `Socket`; without it the service manager must pass one.
    pub socket: Option<Socket>,
    /// `UMask`, at most 0777; without it the mask stays as inherited.
    pub umask: Option<u32>,
    /// `UserID`.
    pub user: Option<UserSpec>,
    /// `Background`.
    pub background: bool,
    /// `PidFile`.
    pub pid_file: Option<PathBuf>,
}

/// Who the process becomes: `user[:group]`, each a name or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// The user.
    pub user: String,
    /// The group; without it the user's primary group.
    pub group: Option<String>,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `Syslog`: whether anything is.
    pub syslog: bool,
    /// `SyslogSuccess`.
    pub success: bool,
    /// `SyslogFacility`, in lower case, one of syslog(3)'s.
    pub facility: String,
    /// `SyslogName`; without it the program's name.
    pub name: Option<String>,
    /// `LogWhy`.
    pub why: bool,
    /// `LogResults`.
    pub results: bool,
}

/// Bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `MaximumConnections`.
    pub connections: usize,
    /// `IdleTimeout`: between messages.
    pub idle_timeout: Duration,
    /// `MessageTimeout`: within a message.
    pub message_timeout: Duration,
    /// `DrainTimeout`.
    pub drain_timeout: Duration,
    /// `MaximumHeaders` in bytes; `None` for no limit of the admin's.
    pub header_bytes: Option<u64>,
    /// `MilterReplies auto`: leave out replies that the MTA agreed to do without.
    pub suppress_replies: bool,
}

/// `Mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Sign.
    pub sign: bool,
    /// Verify.
    pub verify: bool,
}

/// Whose mail is signed, and whose is left alone.
#[derive(Debug)]
pub struct Clients {
    /// `InternalHosts`.
    pub internal: HostSet,
    /// `ExternalIgnoreList`.
    pub external_ignore: HostSet,
    /// `PeerList`.
    pub peers: HostSet,
    /// `ExemptDomains`, asked for a whole domain.
    pub exempt_domains: Table,
    /// `MacroList`.
    pub macros: MacroList,
    /// `MTA`; `None` when it is not set.
    pub mta: Option<Table>,
}

/// One of the two canonicalizations of RFC 6376 §3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CanonicalizationKind {
    /// `simple`.
    Simple,
    /// `relaxed`.
    Relaxed,
}

/// `Canonicalization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Canonicalization {
    /// Of the header.
    pub header: CanonicalizationKind,
    /// Of the body.
    pub body: CanonicalizationKind,
}

/// How messages are signed.
#[derive(Debug)]
pub struct Signing {
    /// Which keys sign for whom.
    pub policy: SigningPolicy,
    /// `Canonicalization`.
    pub canonicalization: Canonicalization,
    /// `SignatureAlgorithm`, when it is set. A key whose type does not fit signs with its own.
    pub algorithm: Option<Algorithm>,
    /// `SignHeaders`, `OmitHeaders`, `OversignHeaders`.
    pub headers: SignedHeaders,
    /// `SenderHeaders`, in order, never empty, From last unless it is listed.
    pub sender_headers: Vec<String>,
    /// `SignatureTTL`; `None` for signatures that do not expire.
    pub ttl: Option<Duration>,
    /// `DontSignMailTo`, asked for a whole address.
    pub dont_sign_mail_to: Table,
    /// `RemoveOldSignatures`.
    pub remove_old_signatures: bool,
    /// `FixCRLF`; it holds for verifying as well.
    pub fix_crlf: bool,
    /// `RequireSafeKeys`.
    pub require_safe_keys: bool,
    /// `CheckSigningTable`.
    pub check_signing_table: bool,
    /// `SignMultipleFrom`.
    pub multiple_from: bool,
}

/// How many signatures of a message are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureLimit {
    /// So many, and those of `TrustSignaturesFrom` in any case.
    First(usize),
    /// Those of the author's domain and of `TrustSignaturesFrom`.
    AuthorAndTrusted,
}

/// How signatures are verified.
#[derive(Debug)]
pub struct Verifying {
    /// `AlwaysAddARHeader`.
    pub always_add_result: bool,
    /// `AuthservID`, `HOSTNAME` replaced; `None` for the name that the MTA gives.
    pub authserv_id: Option<String>,
    /// `AuthservIDWithJobID`.
    pub authserv_id_with_job_id: bool,
    /// `KeepAuthResults`.
    pub keep_results: bool,
    /// `RemoveARFrom`; `None` for our own name.
    pub remove_results_from: Option<Table>,
    /// `NoHeaderB`.
    pub no_header_b: bool,
    /// `SoftwareHeader` or `X-Header`; it holds for signing as well.
    pub software_header: bool,
    /// `MinimumKeyBits`, never 0.
    pub minimum_key_bits: u32,
    /// `MaximumSignaturesToVerify`.
    pub signature_limit: SignatureLimit,
    /// `TrustSignaturesFrom`, asked for a whole domain.
    pub trusted: Table,
    /// `MustBeSigned`.
    pub must_be_signed: Vec<String>,
    /// `ClockDrift`.
    pub clock_drift: Duration,
    /// `IgnoreMalformedMail`.
    pub ignore_malformed: bool,
}

/// Where keys of signatures come from.
#[derive(Debug)]
pub struct Dns {
    /// `Nameservers`; empty for those of the system.
    pub nameservers: Vec<SocketAddr>,
    /// `DNSTimeout`, never 0.
    pub timeout: Duration,
    /// `TestDNSData`: names to TXT contents; what is missing is a DNS error.
    pub test_data: Option<Table>,
    /// `TestPublicKeys`: names to TXT contents; what is missing is not found.
    pub test_keys: Option<Table>,
}

impl Settings {
    /// The parameters whose value differs in `new` but which only a restart brings into force.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        self.raw.needs_restart(&new.raw)
    }
}
