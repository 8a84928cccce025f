//! Settings of the userdbs: who has a mailbox, and where.

use base::config::toml::{Fallback, Kind, Section};

use super::{driver, setting, time};

pub(super) const USERDB: Section = Section {
    name: "userdb",
    repeated: true,
    selector: Some("driver"),
    doc: "Where users are found. Several are asked in order until one knows the user. Without any, the system's users are \
          asked.",
    settings: &[
        setting(
            "driver",
            Kind::Word(&["passwd-file", "auth-userdb", "system", "static"]),
            Fallback::Required,
            "passwd-file: a file. auth-userdb: a socket of postrider-sasl-auth or of Dovecot. system: getpwnam(3). static: the \
             same for all names.",
        ),
        driver(
            &["passwd-file", "auth-userdb"],
            "path",
            Kind::Text,
            Fallback::Required,
            "The file (user:password:uid:gid:gecos:home:shell:fields, one user a line; may hold variables), or the socket \
             (/run/dovecot/auth-userdb).",
        ),
        driver(
            &["static"],
            "fields",
            Kind::Fields,
            Fallback::None,
            "The fields of everybody: { uid = \"vmail\", gid = \"vmail\", home = \"/var/vmail/%d/%n\" }. Values may hold variables.",
        ),
        driver(
            &["auth-userdb", "system"],
            "timeout",
            time(100, 600_000),
            Fallback::Value("30s"),
            "How long one look-up may take; beyond, the mail is deferred.",
        ),
        setting(
            "username_format",
            Kind::Text,
            Fallback::Value(""),
            "The name to look up here, for instance \"%n\" for the part before the @; empty for the name as it is.",
        ),
    ],
};
