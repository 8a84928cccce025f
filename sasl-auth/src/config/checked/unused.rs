//! Settings that can be set and change nothing where they stand: each is named, with what it would need.

use base::config::Report;
use base::config::toml::{Document, Table, duration_text};

use super::super::settings::{Ldap, Passdb, PassdbDriver, Settings, Sql, Userdb, UserdbDriver};
use super::offer;

/// Warns of what means nothing in the settings of the service.
pub(super) fn service(settings: &Settings, document: &Document, report: &mut Report) {
    let top = document.section("");
    let separator = top.text("master_user_separator").unwrap_or_default();
    if separator.chars().count() == 1
        && document.is_whole()
        && !settings.passdb.iter().any(|passdb| passdb.master)
    {
        report
            .warning(
                &top.place("master_user_separator"),
                "no passdb has master = true: whoever names a master user is refused",
            )
            .help("write a [[passdb]] with master = true, or leave master_user_separator out");
    }
    let offers = |name: &str| settings.mechanisms.iter().any(|one| one == name);
    if settings.oauth2.is_some() && !offers("XOAUTH2") && !offers("OAUTHBEARER") {
        report
            .warning(document.section("oauth2").header(), "no token is ever checked: mechanisms names none")
            .help("add \"XOAUTH2\" and \"OAUTHBEARER\" to mechanisms");
    }
    if let Some(at) = top.texts("mechanisms").iter().position(|name| name.eq_ignore_ascii_case("EXTERNAL")) {
        report
            .warning(
                &top.element_place("mechanisms", at),
                "neither Postfix (3.7) nor Exim (4.96) tells the name in a certificate: with them EXTERNAL \
                 opens to nobody",
            )
            .help("it is for clients of the auth protocol that send cert_username");
    }
    cache(settings, document.section("cache"), report);
    let (throttle, table) = (&settings.throttle, document.section("throttle"));
    if throttle.failure_delay > throttle.max_delay {
        let name = if table.is_set("failure_delay") { "failure_delay" } else { "max_delay" };
        let text = format!(
            "failure_delay is longer than max_delay, which cuts it to {}",
            duration_text(throttle.max_delay)
        );
        report.warning(&table.place(name), text);
    }
}

fn cache(settings: &Settings, table: &Table, report: &mut Report) {
    let Some(cache) = settings.cache else { return };
    if !cache.stale_ttl.is_zero() && cache.stale_ttl <= cache.ttl {
        let name = if table.is_set("stale_ttl") { "stale_ttl" } else { "ttl" };
        report
            .warning(&table.place(name), "stale_ttl is not longer than ttl, so that it bridges no outage")
            .help("both count from the last answer of the database");
    }
}

/// Warns of what means nothing in a passdb.
pub(super) fn passdb(passdb: &Passdb, table: &Table, report: &mut Report) {
    if passdb.deny {
        let names = [
            "result_success",
            "result_failure",
            "result_internalfail",
            "skip",
            "default_scheme",
            "default_fields",
            "override_fields",
            "app_passwords",
            "app_password_query",
        ];
        nothing(&names, "with deny: whoever is found is refused, all others are not", table, report);
    }
    match &passdb.driver {
        PassdbDriver::Pam(_) => nothing(&["default_scheme"], "for pam, which shows no hash", table, report),
        PassdbDriver::System => {
            nothing(&["default_scheme"], "for system, whose hashes are those of crypt(3)", table, report);
        }
        PassdbDriver::Sql(sql) => sqlite(sql, table, report),
        PassdbDriver::Ldap(ldap) => directory(ldap, table, report),
        PassdbDriver::PasswdFile(_) | PassdbDriver::Static { .. } | PassdbDriver::Command(_) => {}
    }
}

/// Warns of what means nothing in a userdb.
pub(super) fn userdb(userdb: &Userdb, settings: &Settings, table: &Table, report: &mut Report) {
    match &userdb.driver {
        UserdbDriver::Sql(sql) => sqlite(sql, table, report),
        UserdbDriver::Prefetch => nothing(&["timeout"], "for prefetch, which asks nobody", table, report),
        UserdbDriver::Static { allow_all_users: false, .. } => {
            let silent = |passdb: &&Passdb| !passdb.deny && !passdb.master && !offer::knows_users(passdb);
            if let Some(passdb) = settings.passdb.iter().find(silent) {
                report
                    .warning(
                        table.header(),
                        format!(
                            "the passdb {} cannot tell who exists: look-ups of users that no other one knows \
                             fail, and their mail waits",
                            passdb.name
                        ),
                    )
                    .help("set allow_all_users = true, if whoever asks has made sure that the user exists");
            }
        }
        _ => {}
    }
}

fn sqlite(sql: &Sql, table: &Table, report: &mut Report) {
    let is_file =
        |url: &base::secret::Secret| url.expose_text().is_some_and(|url| url.starts_with("sqlite:"));
    if !sql.urls.is_empty() && sql.urls.iter().all(is_file) {
        nothing(&["tls_ca_file"], "for SQLite, which is a file", table, report);
    }
}

fn directory(ldap: &Ldap, table: &Table, report: &mut Report) {
    // Beside auth_bind = false it is a mistake, and which of the two is meant is not known.
    let by_name = ldap.auth_bind_dn.is_some() && (table.boolean("auth_bind") || !table.is_set("auth_bind"));
    if by_name {
        let names =
            ["filter", "base", "scope", "bind_dn", "bind_password", "bind_password_file", "attributes"];
        nothing(&names, "beside auth_bind_dn: nothing is searched", table, report);
    }
    if ldap.auth_bind || by_name {
        nothing(&["default_scheme"], "where the directory compares the password", table, report);
    }
}

fn nothing(names: &[&str], why: &str, table: &Table, report: &mut Report) {
    for name in names.iter().filter(|name| table.is_set(name)) {
        report.warning(&table.key_place(name), format!("{name} means nothing {why}"));
    }
}
