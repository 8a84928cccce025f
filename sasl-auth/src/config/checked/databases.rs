//! What makes no sense, or opens more than it should, in a passdb or userdb.

use base::config::nearest::nearest;
use base::config::toml::Table;
use base::config::{Report, Span};
use base::secret::Secret;

use super::super::settings::{
    Command, Ldap, Passdb, PassdbDriver, PasswdFile, Settings, Sql, Userdb, UserdbDriver,
};
use super::{is_loopback, offer, templates, url_host};
use crate::fields::Fields;
use crate::mechanism;
use crate::password::{Scheme, Stored, schemes};

/// Reports what is wrong with one passdb.
pub(super) fn passdb(passdb: &Passdb, settings: &Settings, table: &Table, report: &mut Report) {
    every(table, report);
    for (index, name) in passdb.mechanisms.iter().enumerate() {
        if mechanism::offered(name).is_none() {
            report.error(&table.element_place("mechanisms", index), format!("unknown mechanism {name}"));
        }
    }
    scheme(&passdb.default_scheme, settings, table, "default_scheme", report);
    kinds_of_passdb(passdb, settings, table, report);
    match &passdb.driver {
        PassdbDriver::PasswdFile(file) => passwd_file(file, table, report),
        PassdbDriver::Pam(_) => templates::check(table, &["service"], report),
        PassdbDriver::System => {}
        PassdbDriver::Sql(sql) => {
            databases(sql, table, report);
            templates::check(table, &["query", "app_password_query"], report);
        }
        PassdbDriver::Ldap(ldap) => {
            directory(ldap, table, report);
            templates::check(table, &["auth_bind_dn"], report);
            if table.is_set("auth_bind") && !table.boolean("auth_bind") && table.is_set("auth_bind_dn") {
                report.error(&table.key_place("auth_bind_dn"), "auth_bind_dn is set and auth_bind is false");
            }
            let reads = ldap.auth_bind || ldap.attributes.iter().any(|(field, _)| field == "password");
            if !reads && table.is_set("filter") {
                report
                    .warning(table.header(), "no attribute is read as password, so nobody can log in")
                    .help("add password = \"userPassword\" to attributes, or set auth_bind = true");
            }
        }
        PassdbDriver::Static { password, fields } => {
            templates::check_fields(table, "fields", report);
            let given = table.is_wrong("password") || table.is_wrong("fields") || !password.is_empty();
            if table.is_whole() && !given && !fields.has("nopassword") && !fields.has("password") {
                report
                    .error(table.header(), "static needs password, or nopassword in fields")
                    .help("fields = { nopassword = true } lets anybody in, with any password");
            }
            if !password.is_empty() {
                stored(password, passdb, settings, table, report);
            }
        }
        PassdbDriver::Command(command) => program(command, table, report),
    }
}

/// Reports what is wrong with one userdb.
pub(super) fn userdb(userdb: &Userdb, table: &Table, report: &mut Report) {
    every(table, report);
    match &userdb.driver {
        UserdbDriver::PasswdFile(file) => passwd_file(file, table, report),
        UserdbDriver::System | UserdbDriver::Prefetch => {}
        UserdbDriver::Sql(sql) => {
            databases(sql, table, report);
            templates::check(table, &["query", "iterate_query"], report);
        }
        UserdbDriver::Ldap(ldap) => {
            directory(ldap, table, report);
            templates::check(table, &["iterate_filter"], report);
        }
        UserdbDriver::Static { fields, .. } => {
            templates::check_fields(table, "fields", report);
            static_fields(fields, table, report);
        }
        UserdbDriver::Command(command) => program(command, table, report),
    }
}

/// What every passdb and userdb has.
fn every(table: &Table, report: &mut Report) {
    templates::check(table, &["username_format"], report);
    templates::check_fields(table, "default_fields", report);
    templates::check_fields(table, "override_fields", report);
    if table.is_set("name") && table.text("name").is_some_and(|name| !is_log_name(&name)) {
        report
            .error(&table.place("name"), "name is for the log: letters, digits, - and _")
            .help("filters of the log look for one word before a parenthesis");
    }
}

fn is_log_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn kinds_of_passdb(passdb: &Passdb, settings: &Settings, table: &Table, report: &mut Report) {
    if passdb.deny && passdb.master {
        report
            .error(&table.key_place("master"), "deny and master are both set")
            .help("who is found in a deny passdb is refused; write two [[passdb]]");
        return;
    }
    if passdb.deny && !offer::knows_users(passdb) {
        report
            .error(&table.key_place("deny"), "this driver cannot tell who is in it without a password")
            .help("deny goes with all drivers but pam and ldap with auth_bind_dn");
    }
    if passdb.master && settings.names.master_user_separator.is_none() {
        report
            .info(
                &table.key_place("master"),
                "master_user_separator is empty: only mechanisms with an authorization identity can \
                 name the user to act for",
            )
            .help("set master_user_separator = \"*\" for user*master with LOGIN and CRAM-MD5");
    }
}

fn passwd_file(file: &PasswdFile, table: &Table, report: &mut Report) {
    let companion = file.app_passwords.as_deref().map(|path| ("app_passwords", path));
    for (name, path) in [("path", file.path.as_str())].into_iter().chain(companion) {
        if table.is_set(name) && !path.starts_with('/') {
            report
                .error(&table.place(name), format!("{name} is not an absolute path"))
                .help("write it from the root: \"/etc/...\"");
        }
        templates::check(table, &[name], report);
    }
}

fn databases(sql: &Sql, table: &Table, report: &mut Report) {
    for (index, url) in sql.urls.iter().enumerate() {
        let known = ["postgres://", "postgresql://", "mysql://", "mariadb://", "sqlite:"];
        let text = url.expose_text().unwrap_or("");
        let key = if table.is_set("url") { "url" } else { "url_file" };
        let which = if sql.urls.len() > 1 { format!(" (number {})", index + 1) } else { String::new() };
        if !known.iter().any(|scheme| text.starts_with(scheme)) {
            report
                .error(&table.place(key), format!("{key}{which} is of no known kind of database"))
                .help("it begins with postgres://, mysql:// or sqlite://");
        }
    }
}

fn directory(ldap: &Ldap, table: &Table, report: &mut Report) {
    templates::check(table, &["base", "filter"], report);
    templates::check_fields(table, "attributes", report);
    if table.is_whole() && ldap.filter.is_empty() && ldap.auth_bind_dn.is_none() {
        report
            .error(table.header(), "ldap needs a filter")
            .help("for instance filter = \"(&(objectClass=posixAccount)(uid=%{user}))\"");
    }
    for (index, uri) in ldap.uris.iter().enumerate() {
        let place = table.element_place("uris", index);
        let (plain, tls) = (uri.strip_prefix("ldap://"), uri.strip_prefix("ldaps://"));
        if let Some(rest) = plain {
            if !ldap.starttls && !is_loopback(url_host(rest)) {
                report
                    .warning(&place, "passwords cross the network in clear text")
                    .help("set starttls = true, or write ldaps://");
            }
        } else if tls.is_some() {
            if ldap.starttls {
                report
                    .error(&place, "ldaps:// has TLS already; starttls does not go with it")
                    .help("remove starttls, or write ldap://");
            }
        } else if !uri.starts_with("ldapi://") {
            report
                .error(&place, "is no LDAP server")
                .help("write ldap://host, ldaps://host or ldapi://%2Fpath");
        }
    }
    if table.is_whole() && !ldap.bind_dn.is_empty() && ldap.bind_password.is_empty() {
        report
            .error(&table.key_place("bind_dn"), "bind_dn has no password")
            .help("set bind_password or bind_password_file; servers take an empty one for anonymous");
    }
}

fn program(command: &Command, table: &Table, report: &mut Report) {
    match command.command.first() {
        Some(program) if !program.starts_with('/') => {
            report
                .error(&table.element_place("command", 0), "the program is not named by its whole path")
                .help(
                    "no shell is involved and PATH is not searched: [\"/usr/local/bin/checkuser\", \"-x\"]",
                );
        }
        None if table.is_set("command") => {
            report.error(&table.place("command"), "command is empty");
        }
        _ => {}
    }
}

fn static_fields(fields: &Fields, table: &Table, report: &mut Report) {
    let missing: Vec<&str> = ["uid", "gid"].into_iter().filter(|name| !fields.has(name)).collect();
    if !missing.is_empty() && table.is_set("fields") {
        report
            .warning(
                &table.key_place("fields").into_private(),
                format!("no {} among the fields", missing.join(" and no ")),
            )
            .help("delivery agents that change to the user's rights need both");
    }
}

/// Complains about the password of a static passdb when it cannot be read, or is weak.
fn stored(password: &Secret, passdb: &Passdb, settings: &Settings, table: &Table, report: &mut Report) {
    let place = table.place("password");
    match Stored::parse(password.expose(), &passdb.default_scheme) {
        // A default scheme that is unknown has been complained about.
        Err(_) if Scheme::with_suffix(&passdb.default_scheme).is_none() => {}
        Err(error) => {
            report.error(&place, format!("password: {error}"));
        }
        Ok(stored) if stored.is_weak() && !settings.allow_weak_schemes => {
            weak(&place, &format!("password: {}", stored.scheme_name()), report);
        }
        Ok(_) => {}
    }
}

fn weak(place: &Span, what: &str, report: &mut Report) {
    report
        .error(place, format!("{what} is quickly broken"))
        .help("allow_weak_schemes = true (before the first section) accepts it all the same");
}

/// Complains about a scheme that nobody knows, and about a weak one that is not allowed.
fn scheme(name: &str, settings: &Settings, table: &Table, setting: &str, report: &mut Report) {
    let place = table.place(setting);
    match Scheme::with_suffix(name) {
        None => {
            let note = report.error(&place, format!("{setting}: unknown scheme {name}"));
            if let Some(near) = nearest(name, schemes()) {
                note.help(format!("did you mean {near}?"));
            }
        }
        Some((scheme, _)) if scheme.is_weak() && !settings.allow_weak_schemes && table.is_set(setting) => {
            weak(&place, &format!("{setting}: {name}"), report);
        }
        Some(_) => {}
    }
}
