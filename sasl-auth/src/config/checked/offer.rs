//! Which mechanisms the passdbs can serve.

use base::config::Report;
use base::config::toml::{Document, or};

use super::super::settings::{Passdb, PassdbDriver, Settings};
use crate::mechanism::{self, Abilities, Need};

/// The error of a configuration that lets nobody log in.
pub const NOTHING_TO_OFFER: &str = "no mechanism is left to offer";

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
        if mechanism::offered(name).is_none() {
            report.error(&place(name), format!("unknown mechanism {name}")).help(instead(name));
            continue;
        }
        known += 1;
        match mechanism::offerable(name, &abilities(name, settings)) {
            Ok(()) => offered += 1,
            // The defaults stand nowhere; that nothing is left of them is said below.
            Err(_) if !top.is_set("mechanisms") => {}
            // Having no passdb at all is complained about elsewhere.
            Err(_) if settings.passdb.is_empty() && !offers_any(settings) && !needs_tokens(name) => {}
            Err(why) => {
                report.warning(&place(name), format!("{name} is not offered: {why}"));
            }
        }
    }
    let complete = document.is_whole() && known == settings.mechanisms.len();
    if offered == 0 && complete && !settings.passdb.is_empty() && !top.is_wrong("mechanisms") {
        let note = if top.is_set("mechanisms") {
            report.error(&top.place("mechanisms"), NOTHING_TO_OFFER)
        } else {
            report.error_anywhere(format!("{NOTHING_TO_OFFER}: no passdb lets users in by PLAIN or LOGIN"))
        };
        note.help("Postfix does not start its SMTP server without one");
    }
}

fn needs_tokens(name: &str) -> bool {
    mechanism::offered(name).is_some_and(|description| description.needs == Need::Tokens)
}

/// Whether any mechanism can be offered; without a passdb those with tokens can, and ANONYMOUS.
pub(super) fn offers_any(settings: &Settings) -> bool {
    settings.mechanisms.iter().any(|name| mechanism::offerable(name, &abilities(name, settings)).is_ok())
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
        _ => {
            let names: Vec<&str> = mechanism::descriptions().iter().map(|one| one.name).collect();
            format!("it may be {}", or(&names))
        }
    }
}

/// What the passdbs that take part in a mechanism can do for it (not those that deny or that are for
/// master users), for
/// [`offerable`](mechanism::offerable).
#[must_use]
pub fn abilities(mechanism: &str, settings: &Settings) -> Abilities {
    let takes_part = |passdb: &&Passdb| {
        let named = &passdb.mechanisms;
        !passdb.deny
            && !passdb.master
            && (named.is_empty() || named.iter().any(|name| name.eq_ignore_ascii_case(mechanism)))
    };
    let any = |can: fn(&Passdb) -> bool| settings.passdb.iter().filter(takes_part).any(can);
    Abilities {
        verification: any(|_| true),
        credentials: any(hands_out_passwords),
        lookup: any(knows_users),
        tokens: settings.oauth2.is_some(),
    }
}

/// Whether the passdb can tell of a user without a password. A command may; its answers say so.
pub(super) fn knows_users(passdb: &Passdb) -> bool {
    match &passdb.driver {
        PassdbDriver::PasswdFile(_)
        | PassdbDriver::System
        | PassdbDriver::Sql(_)
        | PassdbDriver::Static { .. }
        | PassdbDriver::Command(_) => true,
        // By that name nobody is searched for.
        PassdbDriver::Ldap(ldap) => ldap.auth_bind_dn.is_none(),
        PassdbDriver::Pam(_) => false,
    }
}

/// Whether stored passwords come out that CRAM-MD5 or SCRAM might work with; what is in /etc/shadow
/// never does.
fn hands_out_passwords(passdb: &Passdb) -> bool {
    match &passdb.driver {
        PassdbDriver::PasswdFile(_)
        | PassdbDriver::Sql(_)
        | PassdbDriver::Static { .. }
        | PassdbDriver::Command(_) => true,
        PassdbDriver::Ldap(ldap) => !ldap.auth_bind,
        PassdbDriver::Pam(_) | PassdbDriver::System => false,
    }
}
