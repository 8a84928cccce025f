//! The deep check behind `-n`: reads what starting and serving would read, and reports it.

use std::{collections::HashMap, path::Path};

use base::config::{Report, Span};

use super::{settings::Settings, socket::Socket};
use crate::{
    keys::{self, Accounts, DecodeKey, KeyErrorKind, KeyStore, RunUser, SystemAccounts},
    table::{
        Algorithm, KeyEntry, KeySource, Record, SigningPolicy, dataset::Kind, key_table::Fields,
        policy::SigningTables,
    },
};

/// Looks at what [`super::load`] leaves out: the user and group, the directories of socket and pid
/// file, and every key, with the rules of `RequireSafeKeys`.
///
/// A key that is missing, unsafe or no key is a mistake here, though the service would start: mail
/// that needs it has to wait. What only the caller's lack of privileges hides is a warning.
pub fn check<D: DecodeKey>(settings: &Settings, report: &mut Report) {
    look::<D>(settings, report);
    report.sort_by_place();
}

fn look<D: DecodeKey>(settings: &Settings, report: &mut Report) {
    let user = run_user(settings, report);
    places(settings, report);
    match &settings.signing.policy {
        SigningPolicy::None => {}
        SigningPolicy::Domains(domains) => {
            if let (KeySource::Inline(bytes), Some(span)) = (&domains.key, settings.raw.span("KeyFile")) {
                match D::decode(bytes) {
                    Ok(key) => fits(D::algorithm(&key), settings, None, span, report),
                    Err(why) => {
                        let text = format!("the key in {} cannot be used: {why}", domains.key_name);
                        report.error(span, text).help(MAKE_A_KEY);
                    }
                }
            }
        }
        SigningPolicy::Tables(tables) => {
            let user = user.unwrap_or_else(RunUser::effective);
            key_table::<D>(settings, tables, user, Box::new(SystemAccounts), report);
        }
    }
}

/// The user that the service will be, when there is such a one.
fn run_user(settings: &Settings, report: &mut Report) -> Option<RunUser> {
    let Some(spec) = &settings.process.user else { return Some(RunUser::effective()) };
    let span = settings.raw.span("UserID")?;
    if let Some(Err(why)) = spec.group.as_deref().map(keys::safety::resolve_group) {
        report.error(span, why).help(format!("addgroup --system {}", spec.group.as_deref().unwrap_or("")));
    }
    match RunUser::resolve(&spec.user) {
        Ok(user) => Some(user),
        Err(why) => {
            report.error(span, why).help(format!("adduser --system --group {}", spec.user));
            None
        }
    }
}

/// The directories that starting writes to.
fn places(settings: &Settings, report: &mut Report) {
    let socket = match &settings.process.socket {
        Some(Socket::Unix(path)) => Some(path.as_path()),
        Some(Socket::Inet { .. }) => None,
        None => {
            report
                .warning_anywhere("no Socket is set: the service manager must pass one")
                .help("write, for instance, Socket local:/run/opendkim/opendkim.sock");
            None
        }
    };
    let pid_file = settings.process.pid_file.as_deref();
    for (name, path) in [("Socket", socket), ("PidFile", pid_file)] {
        let directory = path.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
        if let (Some(directory), Some(span)) = (directory, settings.raw.span(name))
            && !directory.is_dir()
        {
            report.warning(span, format!("the directory {} is not there", directory.display())).help(
                "below /run it must be made at each start: RuntimeDirectory= of the systemd unit does that",
            );
        }
    }
}

fn key_table<D: DecodeKey>(
    settings: &Settings,
    tables: &SigningTables,
    user: RunUser,
    accounts: Box<dyn Accounts + Send + Sync>,
    report: &mut Report,
) {
    let store = KeyStore::<D>::with_accounts(settings.signing.require_safe_keys, user, accounts);
    let mut lines: HashMap<&str, u32> = HashMap::new();
    for record in tables.keys.records() {
        let span = record.key_span();
        if tables.keys.kind() != Kind::Patterns {
            let line = lines.entry(record.key()).or_insert(span.line());
            if *line != span.line() {
                report.warning(&span, format!("line {line} has the same name: this key is never used"));
                continue;
            }
        }
        if let Some(fields) = fields(record, report) {
            // The name of the file is known only when a message comes.
            if !fields.depends_on_sender() {
                key::<D>(settings, tables, &store, record, report);
            }
        }
    }
}

/// The fields of a record, after reporting what is wrong with them.
fn fields<'a>(record: Record<'a>, report: &mut Report) -> Option<Fields<'a>> {
    let span = record.key_span();
    let Some(fields) = Fields::parse(record.value()) else {
        report
            .error(&span, format!("KeyTable entry for '{}' corrupt", record.key()))
            .help("write name domain:selector:key, where key is a path or the key itself");
        return None;
    };
    let last = fields.key.rsplit_once(':').map_or("", |(_, last)| last);
    if fields.is_path() && (last.starts_with("rsa-") || last.starts_with("ed25519")) {
        report
            .error(&span, format!("unknown signature algorithm '{last}'"))
            .help("the fourth field is rsa-sha256 or ed25519-sha256, or left out");
        return None;
    }
    Some(fields)
}

fn key<D: DecodeKey>(
    settings: &Settings,
    tables: &SigningTables,
    store: &KeyStore<D>,
    record: Record<'_>,
    report: &mut Report,
) {
    let span = record.key_span();
    let entry = match tables.keys.entry(record.key(), record, "example.com") {
        Ok(entry) => entry,
        Err(error) => {
            report
                .error(&span, error.to_string())
                .help("domain and selector are made of letters, digits, - and _ with single dots between");
            return;
        }
    };
    match store.load(&entry) {
        Ok(held) => {
            if let Some(warning) = held.warning {
                report.warning(&span, warning);
            }
            if let KeySource::File(path) = &entry.key
                && let Err(found) = keys::safety::readable_by(path, store.user())
            {
                let note = report.error(&span, format!("can't load key from {}: {found}", path.display()));
                if let Some(help) = found.help {
                    note.help(help);
                }
            }
            fits(D::algorithm(&held.key), settings, Some(&entry), &span, report);
        }
        Err(error) => {
            let hidden = error.kind == KeyErrorKind::Unreadable && RunUser::effective().uid != 0;
            let note =
                if hidden { report.warning(&span, error.text) } else { report.error(&span, error.text) };
            match (error.help, error.kind) {
                (Some(help), _) => note.help(help),
                (None, KeyErrorKind::Missing | KeyErrorKind::Undecodable) => note.help(MAKE_A_KEY),
                (None, _) => note,
            };
        }
    }
}

/// Warns when a key is of another type than the algorithm that is asked for.
fn fits(found: Algorithm, settings: &Settings, entry: Option<&KeyEntry>, span: &Span, report: &mut Report) {
    let (wanted, place) = match (entry.and_then(|entry| entry.algorithm), settings.signing.algorithm) {
        (Some(wanted), _) => (wanted, Some(span)),
        (None, Some(wanted)) => (wanted, settings.raw.span("SignatureAlgorithm")),
        (None, None) => return,
    };
    if let Some(place) = place.filter(|_| wanted != found) {
        let name = entry.map_or("KeyFile", |entry| entry.name.as_str());
        let text = format!("the key '{name}' does not fit {}: it signs with {}", wanted.name(), found.name());
        report.warning(place, text).help("remove the algorithm: each key signs with its own");
    }
}

pub(super) const MAKE_A_KEY: &str = "opendkim-genkey -D DIRECTORY -d DOMAIN -s SELECTOR makes a key";
