//! Which mechanisms the passdbs can serve.

use base::config::Report;
use base::config::toml::{Document, or};

use super::super::settings::{Passdb, PassdbDriver, Settings};

/// Every mechanism that is built in, in the order of the manual page.
pub(super) const MECHANISMS: [&str; 9] = [
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
    "XOAUTH2",
    "OAUTHBEARER",
    "EXTERNAL",
    "ANONYMOUS",
];

/// Complains about unknown mechanisms and warns of those that will not be offered.
pub(super) fn mechanisms(settings: &Settings, document: &Document, report: &mut Report) {
    let top = document.section("");
    let place = |name: &str| {
        let index = top.texts("mechanisms").iter().position(|text| text.eq_ignore_ascii_case(name));
        top.element_place("mechanisms", index.unwrap_or(0))
    };
    let mut offered = 0;
    let mut known = 0;
    for name in &settings.mechanisms {
        if !MECHANISMS.contains(&name.as_str()) {
            report.error(&place(name), format!("unknown mechanism {name}")).help(instead(name));
            continue;
        }
        known += 1;
        match unservable(name, settings) {
            None => offered += 1,
            // Having no passdb at all is complained about elsewhere.
            Some(_) if settings.passdb.is_empty() && settings.oauth2.is_none() => {}
            Some(why) => {
                report.warning(&place(name), format!("{name} is not offered: {why}"));
            }
        }
    }
    let complete = document.is_whole() && known == settings.mechanisms.len();
    if offered == 0 && complete && !settings.passdb.is_empty() && !top.is_wrong("mechanisms") {
        report
            .error(&top.place("mechanisms"), "no mechanism is left to offer")
            .help("Postfix does not start its SMTP server without one");
    }
}

/// What to write instead of a mechanism that is not built in.
fn instead(name: &str) -> String {
    match name {
        "DIGEST-MD5" | "NTLM" | "OTP" | "RPA" | "APOP" | "SKEY" => {
            format!("{name} is not built in; use SCRAM-SHA-256, or PLAIN over TLS")
        }
        "GSSAPI" | "GSS-SPNEGO" => format!("{name} is not built in"),
        _ if name.ends_with("-PLUS") => "channel binding is not offered: the greeting goes out before \
             the client has said which version of the protocol it speaks"
            .to_owned(),
        _ => format!("it may be {}", or(&MECHANISMS)),
    }
}

/// Why a mechanism cannot be offered with these settings; `None` when it can.
pub(super) fn unservable(name: &str, settings: &Settings) -> Option<&'static str> {
    let mut usable = settings.passdb.iter().filter(|passdb| {
        !passdb.deny && (passdb.mechanisms.is_empty() || passdb.mechanisms.iter().any(|one| one == name))
    });
    match name {
        "XOAUTH2" | "OAUTHBEARER" if settings.oauth2.is_none() => Some("there is no [oauth2]"),
        "XOAUTH2" | "OAUTHBEARER" | "ANONYMOUS" => None,
        "PLAIN" | "LOGIN" if usable.next().is_some() => None,
        "EXTERNAL" if usable.any(knows_users) => None,
        "EXTERNAL" => Some("no passdb for it knows users without their passwords"),
        "PLAIN" | "LOGIN" => Some("no passdb is for it"),
        _ if usable.any(hands_out_passwords) => None,
        _ => Some("no passdb for it hands out stored passwords"),
    }
}

/// Whether the passdb can tell of a user without a password.
pub(super) fn knows_users(passdb: &Passdb) -> bool {
    match &passdb.driver {
        PassdbDriver::PasswdFile(_)
        | PassdbDriver::System
        | PassdbDriver::Sql(_)
        | PassdbDriver::Static { .. } => true,
        PassdbDriver::Ldap(ldap) => !ldap.filter.is_empty(),
        PassdbDriver::Pam(_) | PassdbDriver::Command(_) => false,
    }
}

/// Whether stored passwords come out that CRAM-MD5 or SCRAM might work with; what is in /etc/shadow
/// never does.
fn hands_out_passwords(passdb: &Passdb) -> bool {
    match &passdb.driver {
        PassdbDriver::PasswdFile(_) | PassdbDriver::Sql(_) | PassdbDriver::Static { .. } => true,
        PassdbDriver::Ldap(ldap) => !ldap.auth_bind,
        PassdbDriver::Pam(_) | PassdbDriver::System | PassdbDriver::Command(_) => false,
    }
}
