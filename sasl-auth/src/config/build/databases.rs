//! From values to passdbs and userdbs.

use base::config::Report;
use base::config::toml::{Field, Table};
use base::secret::Secret;

use super::super::settings::{
    Command, Ldap, Pam, Passdb, PassdbDriver, PasswdFile, Results, Rule, Skip, Sql, Userdb, UserdbDriver,
};
use super::{one_of, secret, secret_file};
use crate::fields::Fields;

/// A passdb; `None` when its driver has been complained about.
pub(super) fn passdb(table: &Table, report: &mut Report) -> Option<Passdb> {
    let word = table.text("driver")?;
    let driver = match word.as_str() {
        "passwd-file" => PassdbDriver::PasswdFile(PasswdFile {
            path: text(table, "path"),
            app_passwords: table.text("app_passwords"),
        }),
        "pam" => PassdbDriver::Pam(Pam {
            service: text(table, "service"),
            session: table.boolean("session"),
            setcred: table.boolean("setcred"),
            processes: table.integer("processes").unwrap_or_default(),
        }),
        "system" => PassdbDriver::System,
        "sql" => PassdbDriver::Sql(Sql {
            app_password_query: table.text("app_password_query"),
            ..sql(table, report)
        }),
        "ldap" => PassdbDriver::Ldap(Ldap {
            auth_bind: table.boolean("auth_bind") || table.is_set("auth_bind_dn"),
            auth_bind_dn: table.text("auth_bind_dn"),
            ..ldap(table, report)
        }),
        "static" => PassdbDriver::Static {
            password: table.secret("password").unwrap_or_default(),
            fields: fields(table, "fields"),
        },
        "command" => PassdbDriver::Command(command(table)),
        _ => return None,
    };
    Some(Passdb {
        name: table.text("name").unwrap_or_else(|| word.clone()),
        default_scheme: table
            .text("default_scheme")
            .unwrap_or_else(|| if word == "passwd-file" { "CRYPT" } else { "PLAIN" }.to_owned()),
        driver,
        result: results(table),
        skip: skip(table),
        deny: table.boolean("deny"),
        master: table.boolean("master"),
        mechanisms: table.texts("mechanisms").iter().map(|name| name.to_ascii_uppercase()).collect(),
        services: table.texts("services"),
        username_filter: table.texts("username_filter"),
        username_format: text(table, "username_format"),
        default_fields: fields(table, "default_fields"),
        override_fields: fields(table, "override_fields"),
        timeout: table.duration("timeout").unwrap_or_default(),
    })
}

/// A userdb; `None` when its driver has been complained about.
pub(super) fn userdb(table: &Table, report: &mut Report) -> Option<Userdb> {
    let word = table.text("driver")?;
    let driver = match word.as_str() {
        "passwd-file" => {
            UserdbDriver::PasswdFile(PasswdFile { path: text(table, "path"), app_passwords: None })
        }
        "system" => UserdbDriver::System,
        "sql" => UserdbDriver::Sql(Sql { iterate_query: table.text("iterate_query"), ..sql(table, report) }),
        "ldap" => UserdbDriver::Ldap(Ldap {
            iterate_filter: table.text("iterate_filter"),
            iterate_attribute: text(table, "iterate_attribute"),
            ..ldap(table, report)
        }),
        "static" => UserdbDriver::Static {
            fields: fields(table, "fields"),
            allow_all_users: table.boolean("allow_all_users"),
        },
        "prefetch" => UserdbDriver::Prefetch,
        "command" => UserdbDriver::Command(command(table)),
        _ => return None,
    };
    Some(Userdb {
        name: table.text("name").unwrap_or(word),
        driver,
        result: results(table),
        skip: skip(table),
        username_format: text(table, "username_format"),
        default_fields: fields(table, "default_fields"),
        override_fields: fields(table, "override_fields"),
        timeout: table.duration("timeout").unwrap_or_default(),
    })
}

/// What passdb and userdb have in common.
fn sql(table: &Table, report: &mut Report) -> Sql {
    Sql {
        urls: urls(table, report),
        query: text(table, "query"),
        app_password_query: None,
        iterate_query: None,
        connections: table.integer("connections").unwrap_or(5),
        tls_ca_file: table.path("tls_ca_file"),
    }
}

fn urls(table: &Table, report: &mut Report) -> Vec<Secret> {
    if !table.is_set("url") && !table.is_set("url_file") {
        if !table.is_whole() {
            return Vec::new();
        }
        report
            .error(&table.place("driver"), "sql needs url or url_file")
            .help("write url = \"postgres://user:password@host/database\", or mysql://... or sqlite:///path");
        return Vec::new();
    }
    if one_of(table, "url", "url_file", report)
        && let Some(path) = table.path("url_file")
    {
        let text = secret_file(table, "url_file", &path, report).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return lines.map(Secret::from).collect();
    }
    table.secrets("url")
}

/// What passdb and userdb have in common.
fn ldap(table: &Table, report: &mut Report) -> Ldap {
    Ldap {
        uris: table.texts("uris"),
        starttls: table.boolean("starttls"),
        tls_ca_file: table.path("tls_ca_file"),
        bind_dn: text(table, "bind_dn"),
        bind_password: secret(table, "bind_password", "bind_password_file", report),
        base: text(table, "base"),
        scope: text(table, "scope"),
        filter: text(table, "filter"),
        auth_bind: false,
        auth_bind_dn: None,
        attributes: table
            .fields("attributes")
            .into_iter()
            .map(|field| (field.name.clone(), field.value.unwrap_or(field.name)))
            .collect(),
        iterate_filter: None,
        iterate_attribute: String::new(),
        connections: table.integer("connections").unwrap_or(4),
    }
}

fn command(table: &Table) -> Command {
    Command { command: table.texts("command"), processes: table.integer("processes").unwrap_or_default() }
}

fn results(table: &Table) -> Results {
    let rule = |name| match table.text(name).as_deref() {
        Some("return-ok") => Rule::ReturnOk,
        Some("return-fail") => Rule::ReturnFail,
        Some("return") => Rule::Return,
        Some("continue-ok") => Rule::ContinueOk,
        Some("continue-fail") => Rule::ContinueFail,
        _ => Rule::Continue,
    };
    Results {
        success: rule("result_success"),
        failure: rule("result_failure"),
        internalfail: rule("result_internalfail"),
    }
}

fn skip(table: &Table) -> Skip {
    match table.text("skip").as_deref() {
        Some("authenticated" | "found") => Skip::Authenticated,
        Some("unauthenticated" | "notfound") => Skip::Unauthenticated,
        _ => Skip::Never,
    }
}

fn fields(table: &Table, name: &str) -> Fields {
    let mut fields = Fields::new();
    for Field { name, value } in table.fields(name) {
        fields.set(name, value);
    }
    fields
}

fn text(table: &Table, name: &str) -> String {
    table.text(name).unwrap_or_default()
}
