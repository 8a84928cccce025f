//! Makes the signing policy of `Domain`, `Selector` and `KeyFile`, or of the two tables.

use base::config::Span;
use zeroize::Zeroizing;

use super::values::Values;
use crate::{
    keys,
    table::{
        Case, KeySource, KeyTable, SigningPolicy, SigningTable, key_table::is_host_name,
        policy::SigningDomains,
    },
};

/// Which keys sign for whom. `KeyTable` comes before `KeyFile` (OpenDKIM 2.11 observed).
pub(super) fn policy(values: &mut Values<'_>) -> SigningPolicy {
    let multiple = values.boolean("MultipleSignatures");
    let sub_domains = values.boolean("SubDomains");
    let [key_table, signing_table, domain, selector, key_file] =
        ["KeyTable", "SigningTable", "Domain", "Selector", "KeyFile"].map(|name| values.span(name));
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
                    let place = span.part(0, 0).into_private();
                    values
                        .report
                        .warning(&place, format!("{name} has no effect beside KeyTable"))
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
                let place = span.clone().into_private();
                values.report.error(&place, text).help("set Domain, Selector and KeyFile together");
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
    SigningPolicy::Tables {
        signing: SigningTable::new(signing, values.report),
        keys: KeyTable::new(keys, directory.as_deref(), values.report),
        multiple,
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
    let key = match keys::read_file(&path) {
        Ok(bytes) => bytes,
        Err(why) => {
            values.report.error(key_file, format!("can't load key from {}: {why}", path.display()));
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
