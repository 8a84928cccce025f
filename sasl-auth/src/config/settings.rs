//! The settings that the service runs with: nothing optional left undecided, no file touched yet.

use std::path::PathBuf;
use std::time::Duration;

use base::secret::Secret;
use base::service::listen::Address;

use crate::fields::Fields;

/// Everything from one configuration file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Mechanisms to offer, in this order, by their names in capitals.
    pub mechanisms: Vec<String>,
    /// How names are read and written.
    pub names: Names,
    /// `allow_weak_schemes`.
    pub allow_weak_schemes: bool,
    /// `internal_failure`: what a client of an unavailable database gets.
    pub internal_failure: InternalFailure,
    /// Bounds in count and time.
    pub limits: Limits,
    /// `[hashing]`.
    pub hashing: Hashing,
    /// `[cache]`; `None` when off.
    pub cache: Option<Cache>,
    /// `[throttle]`.
    pub throttle: Throttle,
    /// `[oauth2]`; `None` when there is none.
    pub oauth2: Option<Oauth2>,
    /// `[log]`.
    pub log: Log,
    /// `[metrics] listen`, e.g. `127.0.0.1:9154`; `None` when off.
    pub metrics: Option<Address>,
    /// `[networks]`: counting of logins from new networks and countries.
    pub networks: Networks,
    /// `user` and `group` to run as when started as root.
    pub run_as: Option<String>,
    /// `[[listen]]`.
    pub listen: Vec<Listen>,
    /// `[[passdb]]`, in order.
    pub passdb: Vec<Passdb>,
    /// `[[userdb]]`, in order.
    pub userdb: Vec<Userdb>,
}

/// How names are read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// `username_format`, a template (see [`crate::variables`]); default `%{user|lower}`.
    pub username_format: String,
    /// `username_chars`: characters that a name may hold, ranges as in `a-z`; empty allows all.
    /// Default `a-zA-Z0-9.-_@+`; bytes above 127 are always allowed.
    pub username_chars: String,
    /// `username_translation`: pairs of characters, from and to.
    pub username_translation: String,
    /// `default_realm`, added as `@realm` to names without one; empty adds none.
    pub default_realm: String,
    /// `recipient_delimiter`: with `+`, `user+tag@domain` logs in as `user@domain`; empty keeps tags.
    pub recipient_delimiter: String,
    /// `master_user_separator`, e.g. `*` in `user*master`; empty: by authzid only.
    pub master_user_separator: Option<char>,
    /// `anonymous_username`.
    pub anonymous_username: String,
    /// `hostname` for CRAM-MD5 challenges; default the host's own name.
    pub hostname: String,
}

/// What a client of an unavailable database gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalFailure {
    /// `close`: the connection is closed without a reply, which Postfix turns into 454 (try later).
    /// Only for protocol minor 0 clients with one open request; others get `reply`.
    Close,
    /// `reply`: `FAIL … code=temp_fail`, which Postfix turns into 535.
    Reply,
}

/// `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `connections`: open connections on all listeners; default 8192.
    pub connections: usize,
    /// `requests_per_connection`: open requests; default 1000.
    pub requests_per_connection: usize,
    /// `handshake_timeout`; default 30 s.
    pub handshake_timeout: Duration,
    /// `request_timeout`: how long an open request waits for its client; default 150 s.
    pub request_timeout: Duration,
    /// `reply_within`: from a client's line to our answer, delays included; default 8 s, at most 9.
    pub reply_within: Duration,
    /// `drain_timeout`: how long requests in hand may take at the end; default 5 s.
    pub drain_timeout: Duration,
}

/// `[hashing]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashing {
    /// `threads`; default the number of processors.
    pub threads: usize,
    /// `memory`: for all checks in flight together, in bytes; default 512 MiB.
    pub memory_bytes: u64,
    /// `queue`: checks that may wait; default 1024. Beyond: temporary failure.
    pub queue: usize,
}

/// `[cache]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// `size`: the most that entries may take, in bytes; default 16 MiB.
    pub size_bytes: u64,
    /// `ttl`: how long a right password is believed without asking again; default 5 min.
    pub ttl: Duration,
    /// `negative_ttl`: how long a wrong one is; default 1 min, 0 for never.
    pub negative_ttl: Duration,
    /// `stale_ttl`: how long a right one is believed while the back end is away; default 12 h.
    pub stale_ttl: Duration,
}

/// `[throttle]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// `failure_delay`: before any failure is answered; default 2 s.
    pub failure_delay: Duration,
    /// `max_delay`: the most that repeated failures add up to; default 6 s, never beyond `reply_within`.
    pub max_delay: Duration,
    /// `forget_after`: failures older than this do not count; default 10 min.
    pub forget_after: Duration,
    /// `entries`: (address, user) pairs remembered; default 65536.
    pub entries: usize,
    /// `ipv4_prefix`, `ipv6_prefix`: what counts as one address; default 32 and 64.
    pub ipv4_prefix: u8,
    /// See `ipv4_prefix`.
    pub ipv6_prefix: u8,
}

/// `[oauth2]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Oauth2 {
    /// `keys`: PEM files with public keys, or files with an HMAC secret (`.key`).
    pub keys: Vec<PathBuf>,
    /// `jwks`: a path or an https URL of a JWKS document.
    pub jwks: Option<String>,
    /// `introspection_url` (RFC 7662), https, or http to a loopback address.
    pub introspection_url: Option<String>,
    /// `client_id`, `client_secret` (or `client_secret_file`) for the introspection.
    pub client_id: String,
    /// See `client_id`.
    pub client_secret: Secret,
    /// `issuers`: accepted `iss`; empty accepts any.
    pub issuers: Vec<String>,
    /// `audiences`: accepted `aud`; empty accepts any.
    pub audiences: Vec<String>,
    /// `scopes`: all must be in `scope`.
    pub scopes: Vec<String>,
    /// `username_claim`; default `email`.
    pub username_claim: String,
    /// `active_claim` and `active_value`: must match when set (for introspection `active` = `true` always).
    pub active: Option<(String, String)>,
    /// `ca_file`: further CA certificates for https.
    pub ca_file: Option<PathBuf>,
    /// `timeout`; default 4 s.
    pub timeout: Duration,
    /// `require_user`: the user must be found in a userdb or passdb as well; default true when there is a userdb.
    pub require_user: bool,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `syslog`: to the system log; default true when /dev/log exists and standard error is no terminal.
    pub syslog: bool,
    /// `facility`; default `mail`.
    pub facility: String,
    /// `tag`: the program's name in the log; default `auth`, which fail2ban's dovecot filter wants.
    pub tag: String,
    /// `level`: `error`, `warn`, `info` (default), `debug`.
    pub level: String,
}

/// `[networks]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    /// `users`: users remembered; default 10000, 0 turns counting off.
    pub users: usize,
    /// `per_user`: networks remembered per user; default 16.
    pub per_user: usize,
    /// `ipv4_prefix`, `ipv6_prefix`; default 24 and 48.
    pub ipv4_prefix: u8,
    /// See `ipv4_prefix`.
    pub ipv6_prefix: u8,
    /// `country_database`: a MaxMind DB file; without one only networks are counted.
    pub country_database: Option<PathBuf>,
}

/// One `[[listen]]`.
#[derive(Debug, Clone)]
pub struct Listen {
    /// `address`: `unix:/path` or `inet:host:port`.
    pub address: Address,
    /// `kind`.
    pub kind: ListenKind,
    /// `mode` of a UNIX socket; default 0o600.
    pub mode: u32,
    /// `user` that owns it; default who runs the service.
    pub user: Option<String>,
    /// `group` that owns it.
    pub group: Option<String>,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenKind {
    /// `client`: authentication, for Postfix and Exim.
    Client,
    /// `userdb`: look-ups, for delivery agents.
    Userdb,
}

/// One `[[passdb]]`.
#[derive(Debug, Clone)]
pub struct Passdb {
    /// Name in the log; the driver's name, or `name =`.
    pub name: String,
    /// The driver and its own settings.
    pub driver: PassdbDriver,
    /// `default_scheme` of passwords without `{SCHEME}`; default as Dovecot: CRYPT for passwd-file, else PLAIN.
    pub default_scheme: String,
    /// `result_success`, `result_failure`, `result_internalfail`.
    pub result: Results,
    /// `skip`.
    pub skip: Skip,
    /// `deny = true`: users found here are refused.
    pub deny: bool,
    /// `master = true`: users found here may act for others.
    pub master: bool,
    /// `mechanisms`: only for these; empty is all.
    pub mechanisms: Vec<String>,
    /// `services`: only for these; empty is all.
    pub services: Vec<String>,
    /// `username_filter`: patterns with `*` and `?`, `!` before one excludes; empty is all.
    pub username_filter: Vec<String>,
    /// `username_format` of this passdb; empty for the name as it is.
    pub username_format: String,
    /// `default_fields`, `override_fields`: set where absent, or always. Values are templates.
    pub default_fields: Fields,
    /// See `default_fields`.
    pub override_fields: Fields,
    /// `timeout` of one look-up; default 4 s.
    pub timeout: Duration,
}

/// Dovecot's passdb drivers.
#[derive(Debug, Clone)]
pub enum PassdbDriver {
    /// `passwd-file`.
    PasswdFile(PasswdFile),
    /// `pam`.
    Pam(Pam),
    /// `system`: passwd and shadow.
    System,
    /// `sql`.
    Sql(Sql),
    /// `ldap`.
    Ldap(Ldap),
    /// `static`: one password for all, or none with `nopassword`.
    Static {
        /// `password`, in any scheme; empty with `nopassword` among the fields.
        password: Secret,
        /// `fields`.
        fields: Fields,
    },
    /// `command`: a program that reads JSON and answers JSON.
    Command(Command),
}

/// `driver = "passwd-file"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswdFile {
    /// `path`, a template (`/etc/users/%d`).
    pub path: String,
    /// `app_passwords`: path (a template) of the companion file; passdb only.
    pub app_passwords: Option<String>,
}

/// `driver = "pam"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pam {
    /// `service`: the file in /etc/pam.d, a template; default `smtp`; `*` is the request's service.
    pub service: String,
    /// `session = true` opens and closes a session, `setcred = true` establishes credentials.
    pub session: bool,
    /// See `session`.
    pub setcred: bool,
    /// `processes`: checks at a time; default 8.
    pub processes: usize,
}

/// `driver = "sql"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql {
    /// `url`s, tried in order: `postgres://`, `mysql://`, `sqlite:///path`. A secret: holds a password.
    pub urls: Vec<Secret>,
    /// `query` (Dovecot's `password_query` or `user_query`), a template.
    pub query: String,
    /// `app_password_query`: rows `password`, `label`, `services`, `expires`; passdb only.
    pub app_password_query: Option<String>,
    /// `iterate_query`: rows `user`, or `username` and `domain`; userdb only.
    pub iterate_query: Option<String>,
    /// `connections`: at most; default 5.
    pub connections: u32,
    /// `tls_ca_file`: CA certificates of the server; default the system's. Whether TLS is used is up to the URL.
    pub tls_ca_file: Option<PathBuf>,
}

/// `driver = "ldap"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ldap {
    /// `uris`, tried in order: `ldap://`, `ldaps://`, `ldapi://`.
    pub uris: Vec<String>,
    /// `starttls`.
    pub starttls: bool,
    /// `tls_ca_file`; default the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// `bind_dn` and `bind_password` (or `bind_password_file`) for searching; empty is anonymous.
    pub bind_dn: String,
    /// See `bind_dn`.
    pub bind_password: Secret,
    /// `base`, a template.
    pub base: String,
    /// `scope`: `base`, `onelevel`, `subtree` (default).
    pub scope: String,
    /// `filter`, a template; values are escaped by RFC 4515.
    pub filter: String,
    /// `auth_bind = true`: the password is checked by binding as the user; passdb only.
    pub auth_bind: bool,
    /// `auth_bind_dn`, a template: bind to this name without a search; passdb only.
    pub auth_bind_dn: Option<String>,
    /// `attributes`: (field, where from). `mailQuota` names an attribute, a text with `%` is a template
    /// in which `%{ldap:mailQuota}` stands for an attribute.
    pub attributes: Vec<(String, String)>,
    /// `iterate_filter`, with `iterate_attribute` as the user's name; userdb only.
    pub iterate_filter: Option<String>,
    /// See `iterate_filter`.
    pub iterate_attribute: String,
    /// `connections`: at most; default 4.
    pub connections: usize,
}

/// `driver = "command"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// `command`: the program's path and its arguments; no shell.
    pub command: Vec<String>,
    /// `processes`: at a time; default 8.
    pub processes: usize,
}

/// What a passdb's outcome means for the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Results {
    /// `result_success`; default `return-ok`.
    pub success: Rule,
    /// `result_failure`; default `continue`.
    pub failure: Rule,
    /// `result_internalfail`; default `continue`.
    pub internalfail: Rule,
}

/// Dovecot's chain rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `return-ok`.
    ReturnOk,
    /// `return-fail`.
    ReturnFail,
    /// `return`: with the result so far.
    Return,
    /// `continue-ok`: go on, counting as success.
    ContinueOk,
    /// `continue-fail`: go on, forgetting a success.
    ContinueFail,
    /// `continue`: go on with the result so far.
    Continue,
}

/// When a passdb or userdb is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// `never`.
    Never,
    /// `authenticated` (userdb: `found`): when an earlier one has said yes.
    Authenticated,
    /// `unauthenticated` (userdb: `notfound`): when none has.
    Unauthenticated,
}

/// One `[[userdb]]`.
#[derive(Debug, Clone)]
pub struct Userdb {
    /// Name in the log; the driver's name, or `name =`.
    pub name: String,
    /// The driver and its own settings.
    pub driver: UserdbDriver,
    /// `result_success` (default `return-ok`), `result_failure` and `result_internalfail` (`continue`).
    pub result: Results,
    /// `skip`.
    pub skip: Skip,
    /// `username_format` of this userdb; empty for the name as it is.
    pub username_format: String,
    /// `default_fields`, `override_fields`, templates.
    pub default_fields: Fields,
    /// See `default_fields`.
    pub override_fields: Fields,
    /// `timeout` of one look-up; default 4 s.
    pub timeout: Duration,
}

/// Dovecot's userdb drivers.
#[derive(Debug, Clone)]
pub enum UserdbDriver {
    /// `passwd-file`.
    PasswdFile(PasswdFile),
    /// `system`.
    System,
    /// `sql`.
    Sql(Sql),
    /// `ldap`.
    Ldap(Ldap),
    /// `static`.
    Static {
        /// `fields` with `uid`, `gid`, `home`, templates.
        fields: Fields,
        /// `allow_all_users`: any name exists; otherwise the passdbs must know it.
        allow_all_users: bool,
    },
    /// `prefetch`: the `userdb_` fields of the passdb.
    Prefetch,
    /// `command`.
    Command(Command),
}
