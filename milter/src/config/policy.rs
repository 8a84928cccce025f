//! Makes the signing policy of `Domain`, `Selector` and `KeyFile`, or of the two tables.

use base::config::{Report, Span};
use zeroize::Zeroizing;

use super::{check::MAKE_A_KEY, values::Values};
use crate::{
    keys::{self, RunUser, SystemAccounts},
    table::{
        Case, KeySource, KeyTable, SigningPolicy, SigningTable,
        key_table::{Fields, is_host_name},
        policy::{SigningDomains, SigningTables},
        signing_table::{fields, key_name_span},
    },
};

/// Which keys sign for whom. `KeyTable` comes before `KeyFile` (OpenDKIM 2.11 observed).
pub(super) fn policy(values: &mut Values<'_>) -> SigningPolicy {
    let multiple = values.boolean("MultipleSignatures");
    let sub_domains = values.boolean("SubDomains");
    let [key_table, signing_table] = ["KeyTable", "SigningTable"].map(|name| values.name_span(name));
    let [domain, selector, key_file] = ["Domain", "Selector", "KeyFile"].map(|name| values.span(name));
    match (key_table, signing_table) {
        (Some(span), None) => {
            let help = "add SigningTable, which says whose mail a key signs";
            values.report.error(span, "KeyTable requires SigningTable").help(help);
            return SigningPolicy::None;
        }
        (None, Some(span)) => {
            let help = "add KeyTable, which says where the keys are";
            values.report.error(span, "SigningTable requires KeyTable").help(help);
            return SigningPolicy::None;
        }
        (Some(_), Some(_)) => {
            for (name, span) in [("Domain", domain), ("Selector", selector), ("KeyFile", key_file)] {
                if let Some(span) = span {
                    values
                        .report
                        .warning(span, format!("{name} has no effect beside KeyTable"))
                        .help("remove the line");
                }
            }
            return tables(values, multiple);
        }
        (None, None) => {}
    }
    match (domain, selector, key_file) {
        (None, None, None) => SigningPolicy::None,
        (Some(_), Some(selector), Some(key_file)) => domains(values, selector, key_file, sub_domains),
        (None, Some(_), Some(key_file)) => {
            // OpenDKIM starts so and signs nothing.
            let help = "add Domain with the domains to sign for, or KeyTable and SigningTable";
            values.report.warning(key_file, "KeyFile without Domain signs nothing").help(help);
            SigningPolicy::None
        }
        (domain, selector, key_file) => {
            let (span, text) = match (domain, selector, key_file) {
                (Some(span), ..) => (Some(span), "Domain requires KeyFile and Selector"),
                (None, Some(span), _) => (Some(span), "Selector requires KeyFile"),
                (None, None, span) => (span, "KeyFile requires Selector"),
            };
            if let Some(span) = span {
                values.report.error(span, text).help("set Domain, Selector and KeyFile together");
            }
            SigningPolicy::None
        }
    }
}

fn tables(values: &mut Values<'_>, multiple: bool) -> SigningPolicy {
    let directory = values.directory().map(std::path::Path::to_path_buf);
    let keys = values.set("KeyTable");
    let signing = values.set("SigningTable");
    let (Some(keys), Some(signing)) = (keys, signing) else { return SigningPolicy::None };
    let tables = SigningTables {
        signing: SigningTable::new(signing, values.report),
        keys: KeyTable::new(keys, directory.as_deref(), values.report),
        multiple,
    };
    if values.boolean("CheckSigningTable") {
        named_keys(&tables, values.report);
    }
    SigningPolicy::Tables(tables)
}

/// Looks up every key that the signing table names, in tables of all kinds. OpenDKIM leaves out
/// those of patterns and fails at the first message.
fn named_keys(tables: &SigningTables, report: &mut Report) {
    for record in tables.signing.records() {
        let (field, _) = fields(record.value());
        if field == "%" {
            continue;
        }
        for name in tables.key_names(field).into_iter().filter(|name| !name.is_empty()) {
            let complete = tables.keys.first(name).is_some_and(|key| Fields::parse(key.value()).is_some());
            if !complete {
                report
                    .error(
                        &key_name_span(record),
                        format!("could not find valid key record \"{name}\" in KeyTable"),
                    )
                    .help("names of keys are case-sensitive; a record is: name domain:selector:key");
            }
        }
    }
}

/// Looks at who else may read or change `KeyFile`, as the user that the service will be.
fn safe_key(values: &mut Values<'_>, path: &std::path::Path, key_file: &Span) {
    let require = values.boolean("RequireSafeKeys");
    let user = match values.span("UserID") {
        Some(span) => match RunUser::resolve(span.text().split(':').next().unwrap_or("").trim()) {
            Ok(user) => user,
            Err(why) => {
                values.report.error(span, why);
                return;
            }
        },
        None => RunUser::effective(),
    };
    if path.exists()
        && let Err(found) = keys::safety::check(path, &user, &SystemAccounts)
    {
        let text = format!("key data is not secure: {}", found.why);
        let note =
            if require { values.report.error(key_file, text) } else { values.report.warning(key_file, text) };
        if let Some(help) = found.help {
            note.help(help);
        }
    }
}

fn domains(values: &mut Values<'_>, selector: &Span, key_file: &Span, sub_domains: bool) -> SigningPolicy {
    if !is_host_name(selector.text()) {
        values
            .report
            .error(selector, "Selector is not a label of a domain name")
            .help("write letters, digits, - and _ only");
    }
    let Some(path) = values.path("KeyFile") else { return SigningPolicy::None };
    safe_key(values, &path, key_file);
    let key = match keys::read_file(&path) {
        Ok(bytes) => bytes,
        Err(why) => {
            let text = format!("can't load key from {}: {why}", path.display());
            values.report.error(key_file, text).help(MAKE_A_KEY);
            Zeroizing::new(Vec::new())
        }
    };
    SigningPolicy::Domains(SigningDomains {
        domains: values.table("Domain", Case::Insensitive),
        sub_domains,
        selector: selector.text().to_owned(),
        key_name: key_file.text().to_owned(),
        key: KeySource::Inline(key),
    })
}
