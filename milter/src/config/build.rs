//! Makes settings of names and values, and reports whatever is wrong with them.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use base::config::Report;

use super::{
    actions::{Action, Actions},
    raw::Raw,
    settings::{
        Canonicalization, CanonicalizationKind, Clients, Dns, Limits, Log, Mode, Process, Settings,
        SignatureLimit, Signing, UserSpec, Verifying,
    },
    signed_headers::SignedHeaders,
    socket::Socket,
    values::Values,
};
use crate::table::{Algorithm, Case, DataSet, HostSet, MacroList, Table, dataset::Kind as SetKind};

/// Makes settings; they are of use only when `report` has no errors afterwards.
pub(super) fn settings(raw: &Arc<Raw>, report: &mut Report) -> Settings {
    let mut values = Values::new(raw, report);
    build(&mut values, raw)
}

pub(super) fn build(values: &mut Values<'_>, raw: &Arc<Raw>) -> Settings {
    let base_directory = base_directory(values);
    values.start_paths_at(base_directory);
    unknown_parameters(values);
    Settings {
        process: process(values),
        log: log(values),
        limits: limits(values),
        mode: mode(values),
        clients: clients(values),
        signing: signing(values),
        verifying: verifying(values),
        required_headers: values.boolean("RequiredHeaders"),
        dns: dns(values),
        actions: actions(values),
        raw: Arc::clone(raw),
    }
}

fn base_directory(values: &mut Values<'_>) -> Option<PathBuf> {
    let path = values.path("BaseDirectory")?;
    if !path.is_dir()
        && let Some(span) = values.span("BaseDirectory")
    {
        values.report.error(span, format!("{} is not a directory", path.display()));
    }
    Some(path)
}

fn process(values: &mut Values<'_>) -> Process {
    restarts(values);
    Process {
        socket: socket(values),
        umask: umask(values),
        user: user(values),
        background: values.boolean("Background"),
        pid_file: values.path("PidFile"),
    }
}

fn socket(values: &mut Values<'_>) -> Option<Socket> {
    let span = values.span("Socket")?;
    match Socket::parse(span.text()) {
        Ok(Socket::Unix(path)) => {
            Some(Socket::Unix(crate::table::dataset::resolve(&path, values.directory())))
        }
        Ok(socket) => Some(socket),
        Err((text, help)) => {
            values.report.error(span, text).help(help);
            None
        }
    }
}

fn umask(values: &mut Values<'_>) -> Option<u32> {
    let span = values.span("UMask")?;
    let mask = values.integer("UMask", 0..=0o777);
    let text = span.text();
    let looks_octal =
        text.len() > 1 && !text.starts_with('0') && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if looks_octal {
        values
            .report
            .warning(span, format!("{text} is decimal here, which is 0{mask:o} in octal"))
            .help(format!("write 0{text} if octal is meant"));
    }
    u32::try_from(mask).ok()
}

fn user(values: &mut Values<'_>) -> Option<UserSpec> {
    let span = values.span("UserID")?;
    let (user, group) = match span.text().split_once(':') {
        Some((user, group)) => (user.trim(), Some(group.trim())),
        None => (span.text(), None),
    };
    let bad = |name: &str| name.is_empty() || name.contains(|c: char| c.is_whitespace() || ":/".contains(c));
    if bad(user) || group.is_some_and(bad) {
        values.report.error(span, "UserID is not user or user:group").help("write user or user:group");
        return None;
    }
    Some(UserSpec { user: user.to_owned(), group: group.map(str::to_owned) })
}

/// The three parameters of automatic restarts, which systemd does here.
fn restarts(values: &mut Values<'_>) {
    values.integer("AutoRestartCount", 0..=i64::MAX);
    if let Some(span) = values.span("AutoRestartRate")
        && !is_rate(span.text())
    {
        values.report.error(span, "AutoRestartRate invalid").help(
            "write n/t[u], as in 10/1h: n restarts in t seconds, or minutes, hours, days with u = m, h, d",
        );
    }
    if values.boolean("AutoRestart")
        && let Some(span) = values.span("AutoRestart")
    {
        values.report.info(span, "restarts are left to systemd (Restart=on-failure)");
    }
}

fn is_rate(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('/').is_some_and(|(count, time)| {
        let time = time.strip_suffix(['s', 'm', 'h', 'd', 'S', 'M', 'H', 'D']).unwrap_or(time);
        number(count) && number(time)
    })
}

fn log(values: &mut Values<'_>) -> Log {
    let mut facility = values.text("SyslogFacility").unwrap_or_default().to_ascii_lowercase();
    if !FACILITIES.contains(&facility.as_str()) {
        if let Some(span) = values.span("SyslogFacility") {
            values
                .report
                .warning(span, format!("'{facility}' is not a syslog facility; mail is used"))
                .help(format!("write one of {}", FACILITIES.join(", ")));
        }
        "mail".clone_into(&mut facility);
    }
    Log {
        syslog: values.boolean("Syslog"),
        success: values.boolean("SyslogSuccess"),
        facility,
        name: values.text("SyslogName"),
        why: values.boolean("LogWhy"),
        results: values.boolean("LogResults"),
    }
}

fn limits(values: &mut Values<'_>) -> Limits {
    let header_bytes = values.integer("MaximumHeaders", 0..=i64::from(u32::MAX));
    let seconds =
        |values: &mut Values<'_>, name, least| Duration::from_secs(values.integer(name, least..=86_400));
    Limits {
        connections: usize::try_from(values.integer("MaximumConnections", 1..=100_000)).unwrap_or(1),
        idle_timeout: seconds(values, "IdleTimeout", 1),
        message_timeout: seconds(values, "MessageTimeout", 1),
        drain_timeout: seconds(values, "DrainTimeout", 0),
        header_bytes: (header_bytes > 0).then_some(header_bytes),
        suppress_replies: !word(values, "MilterReplies", &["auto", "always"]).eq_ignore_ascii_case("always"),
    }
}

fn unknown_parameters(values: &mut Values<'_>) {
    word(values, "UnknownParameters", &["refuse", "warn"]);
}

/// One of a few words, in any case; any other is a mistake.
fn word(values: &mut Values<'_>, name: &str, words: &[&str]) -> String {
    let text = values.text(name).unwrap_or_default();
    if !words.iter().any(|word| text.eq_ignore_ascii_case(word))
        && let Some(span) = values.span(name)
    {
        values
            .report
            .error(span, format!("illegal value for {name}"))
            .help(format!("write {}", words.join(" or ")));
    }
    text
}

fn mode(values: &mut Values<'_>) -> Mode {
    let text = values.text("Mode").unwrap_or_default();
    if let Some(bad) = text.chars().find(|c| !matches!(c, 's' | 'v'))
        && let Some(span) = values.span("Mode")
    {
        values.report.error(span, format!("unknown mode '{bad}'")).help("write s, v or sv");
    }
    Mode { sign: text.contains('s'), verify: text.contains('v') }
}

fn clients(values: &mut Values<'_>) -> Clients {
    let macros = values.set("MacroList");
    if macros.as_ref().is_some_and(|set| set.kind() == SetKind::Patterns)
        && let Some(span) = values.span("MacroList")
    {
        values
            .report
            .error(span, "MacroList cannot be a refile: set, because its names are listed")
            .help("use file:, or write name=value items with commas between them");
    }
    Clients {
        internal: hosts(values, "InternalHosts"),
        external_ignore: hosts(values, "ExternalIgnoreList"),
        peers: hosts(values, "PeerList"),
        exempt_domains: values.table("ExemptDomains", Case::Insensitive),
        macros: macros.as_ref().map(MacroList::new).unwrap_or_default(),
        mta: values.names("MTA").map(|_| values.table("MTA", Case::Sensitive)),
    }
}

fn hosts(values: &mut Values<'_>, name: &str) -> HostSet {
    match values.set(name) {
        Some(set) => HostSet::new(&set, values.report),
        None => HostSet::default(),
    }
}

fn signing(values: &mut Values<'_>) -> Signing {
    let sign = values.names("SignHeaders");
    let omit = values.names("OmitHeaders");
    let oversign = values.names("OversignHeaders");
    let headers = SignedHeaders::new(sign.as_ref(), omit.as_ref(), oversign.as_ref(), values.report);
    let ttl = values.integer("SignatureTTL", 0..=i64::from(u32::MAX));
    Signing {
        policy: super::policy::policy(values),
        canonicalization: canonicalization(values),
        algorithm: algorithm(values),
        headers,
        sender_headers: sender_headers(values),
        ttl: (ttl > 0).then(|| Duration::from_secs(ttl)),
        dont_sign_mail_to: values.table("DontSignMailTo", Case::Insensitive),
        remove_old_signatures: values.boolean("RemoveOldSignatures"),
        fix_crlf: values.boolean("FixCRLF"),
        require_safe_keys: values.boolean("RequireSafeKeys"),
        check_signing_table: values.boolean("CheckSigningTable"),
        multiple_from: values.boolean("SignMultipleFrom"),
    }
}

fn canonicalization(values: &mut Values<'_>) -> Canonicalization {
    let text = values.text("Canonicalization").unwrap_or_default();
    let (header, body) = text.split_once('/').unwrap_or((&text, "simple"));
    let mut kind = |part: &str| match part.trim().to_ascii_lowercase().as_str() {
        "simple" => CanonicalizationKind::Simple,
        "relaxed" => CanonicalizationKind::Relaxed,
        other => {
            if let Some(span) = values.span("Canonicalization") {
                values
                    .report
                    .error(span, format!("unknown canonicalization '{other}'"))
                    .help("write simple or relaxed for the header, a slash, and the same for the body");
            }
            CanonicalizationKind::Simple
        }
    };
    Canonicalization { header: kind(header), body: kind(body) }
}

fn algorithm(values: &mut Values<'_>) -> Option<Algorithm> {
    let span = values.span("SignatureAlgorithm")?;
    let algorithm = Algorithm::parse(span.text());
    if span.text().eq_ignore_ascii_case("rsa-sha1") {
        values
            .report
            .error(
                span,
                "rsa-sha1 is refused: RFC 8301 forbids signing with it, and verifiers do not accept it",
            )
            .help("write rsa-sha256, or remove the line");
    } else if algorithm.is_none() {
        values
            .report
            .error(span, format!("unknown signature algorithm '{}'", span.text()))
            .help("write rsa-sha256 or ed25519-sha256, or remove the line");
    }
    algorithm
}

fn sender_headers(values: &mut Values<'_>) -> Vec<String> {
    let names = values.names("SenderHeaders").unwrap_or_default();
    let mut headers: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    if !headers.iter().any(|name| name.eq_ignore_ascii_case("From")) {
        headers.push("From".to_owned());
    }
    headers
}

fn verifying(values: &mut Values<'_>) -> Verifying {
    let key_bits = values.integer("MinimumKeyBits", 0..=16_384);
    let signatures = values.integer("MaximumSignaturesToVerify", 0..=1000);
    let old_name = values.boolean("X-Header");
    if let Some(span) = values.span("X-Header") {
        values
            .report
            .warning(span, "X-Header is the old name of SoftwareHeader")
            .help("write SoftwareHeader");
    }
    let must_be_signed = values.names("MustBeSigned").unwrap_or_default();
    let remove_from_is_set = values.span("RemoveARFrom").is_some();
    Verifying {
        always_add_result: values.boolean("AlwaysAddARHeader"),
        authserv_id: authserv_id(values),
        authserv_id_with_job_id: values.boolean("AuthservIDWithJobID"),
        keep_results: values.boolean("KeepAuthResults"),
        remove_results_from: remove_from_is_set.then(|| values.table("RemoveARFrom", Case::Insensitive)),
        no_header_b: values.boolean("NoHeaderB"),
        software_header: values.boolean("SoftwareHeader") || old_name,
        minimum_key_bits: if key_bits == 0 { 1024 } else { u32::try_from(key_bits).unwrap_or(1024) },
        signature_limit: match usize::try_from(signatures) {
            Ok(0) | Err(_) => SignatureLimit::AuthorAndTrusted,
            Ok(count) => SignatureLimit::First(count),
        },
        trusted: values.table("TrustSignaturesFrom", Case::Insensitive),
        must_be_signed: must_be_signed.into_iter().map(|(name, _)| name).collect(),
        clock_drift: Duration::from_secs(values.integer("ClockDrift", 0..=i64::from(u32::MAX))),
        ignore_malformed: values.boolean("IgnoreMalformedMail"),
    }
}

fn authserv_id(values: &mut Values<'_>) -> Option<String> {
    let text = values.text("AuthservID")?;
    if text == "HOSTNAME" {
        return base::service::host_name();
    }
    // What cannot stand in a result field would break every one of them (RFC 8601 §2.2).
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || ";()\"\\".contains(c))
        && let Some(span) = values.span("AuthservID")
    {
        values
            .report
            .error(span, "AuthservID holds a character that cannot stand in a result field")
            .help("write a host name, or HOSTNAME for this host's");
    }
    Some(text)
}

fn dns(values: &mut Values<'_>) -> Dns {
    let timeout = values.integer("DNSTimeout", 0..=3600);
    trust_anchor_file(values);
    let test_data_is_set = values.span("TestDNSData").is_some();
    Dns {
        nameservers: nameservers(values),
        timeout: Duration::from_secs(if timeout == 0 { 60 } else { timeout }),
        test_data: test_data_is_set.then(|| values.table("TestDNSData", Case::Insensitive)),
        test_keys: test_keys(values),
    }
}

/// `ADDRESS`, `ADDRESS@PORT` (libunbound's form, as OpenDKIM takes it), `IPV4:PORT` or
/// `[IPV6]:PORT`.
fn nameserver(text: &str) -> Option<SocketAddr> {
    let address = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let server = match text.split_once('@') {
        Some((host, port)) => SocketAddr::new(address(host)?, port.parse().ok()?),
        None => match address(text) {
            Some(address) => SocketAddr::new(address, 53),
            None => text.parse().ok()?,
        },
    };
    (server.port() > 0).then_some(server)
}

fn nameservers(values: &mut Values<'_>) -> Vec<SocketAddr> {
    let Some(span) = values.span("Nameservers") else { return Vec::new() };
    let mut servers = Vec::new();
    for item in DataSet::from_list(span).records() {
        match nameserver(item.key()) {
            Some(server) => servers.push(server),
            None => {
                values
                    .report
                    .error(&item.key_span(), "this is not the address of a name server")
                    .help("write IP addresses with commas between them, each with :PORT if it is not 53");
            }
        }
    }
    servers
}

/// Tells what becomes of `TrustAnchorFile`; nothing else does.
fn trust_anchor_file(values: &mut Values<'_>) {
    let Some(path) = values.path("TrustAnchorFile") else { return };
    let Some(span) = values.span("TrustAnchorFile") else { return };
    match std::fs::File::open(&path) {
        Ok(_) => {
            let text = "DNSSEC is left to the resolver: keys are never reported as secure";
            values.report.info(span, text);
        }
        Err(error) => {
            // Nothing is read from it: a package that was removed must not stop the mail.
            let text = format!("cannot read {}: {error}; DNSSEC is left to the resolver", path.display());
            values.report.warning(span, text).help("remove the line");
        }
    }
}

fn test_keys(values: &mut Values<'_>) -> Option<Table> {
    let path = values.path("TestPublicKeys")?;
    let span = values.span("TestPublicKeys")?;
    match base::config::Source::read(&path, span.text(), crate::table::dataset::MAX_BYTES) {
        Ok(source) => {
            let set = DataSet::from_lines(&source, false, values.report);
            Some(Table::new(set, Case::Insensitive, values.report))
        }
        Err(error) => {
            values.report.error(span, format!("cannot read {}: {error}", path.display()));
            None
        }
    }
}

fn actions(values: &mut Values<'_>) -> Actions {
    let of_default = values.action("On-Default");
    let mut action = |name: &str| -> Action {
        values.action(name).or(of_default).unwrap_or_else(|| values.default_action(name))
    };
    Actions {
        bad_signature: action("On-BadSignature"),
        key_not_found: action("On-KeyNotFound"),
        no_signature: action("On-NoSignature"),
        internal_error: action("On-InternalError"),
        security: action("On-Security"),
        signature_error: action("On-SignatureError"),
        // A rejection for good because DNS is away must be asked for by name.
        dns_error: values.action("On-DNSError"),
    }
}

const FACILITIES: [&str; 19] = [
    "auth", "cron", "daemon", "kern", "lpr", "mail", "news", "security", "syslog", "user", "uucp", "local0",
    "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
