//! Settings of passdbs and userdbs: what all have, and what goes with each driver.

use base::config::toml::{Fallback, Kind, Section, Setting};

use super::{count, driver, setting, time};

const RULES: Kind =
    Kind::Word(&["return-ok", "return-fail", "return", "continue-ok", "continue-fail", "continue"]);

const PASSDB_DRIVERS: Kind =
    Kind::Word(&["passwd-file", "pam", "system", "sql", "ldap", "static", "command"]);
const USERDB_DRIVERS: Kind =
    Kind::Word(&["passwd-file", "system", "sql", "ldap", "static", "prefetch", "command"]);

const NAME: Setting =
    setting("name", Kind::Text, Fallback::Found("the driver's name"), "What the log calls it.");
const SUCCESS: Setting = setting(
    "result_success",
    RULES,
    Fallback::Value("return-ok"),
    "What follows when it says yes. return-ok, return-fail: the answer is yes or no. continue-ok, continue-fail: ask the \
     next one, and until then it is yes or no. return, continue: likewise with the answer so far.",
);
const FAILURE: Setting =
    setting("result_failure", RULES, Fallback::Value("continue"), "What follows when it says no.");
const INTERNALFAIL: Setting = setting(
    "result_internalfail",
    RULES,
    Fallback::Value("continue"),
    "What follows when it cannot answer. If nothing after it says yes, clients get a temporary failure.",
);
const FORMAT: Setting = setting(
    "username_format",
    Kind::Text,
    Fallback::Value(""),
    "The name to look up here, for instance \"%{user|username}\" for the part before the @; empty for the name as it is.",
);
const DEFAULT_FIELDS: Setting = setting(
    "default_fields",
    Kind::Fields,
    Fallback::None,
    "Fields to add where the entry has none of that name. Values may hold variables.",
);
const OVERRIDE_FIELDS: Setting = setting(
    "override_fields",
    Kind::Fields,
    Fallback::None,
    "Fields to set whatever the entry says. Values may hold variables.",
);
const TIMEOUT: Setting = setting(
    "timeout",
    time(100, 30_000),
    Fallback::Value("4s"),
    "How long one look-up may take. For pam more than 3.5s, see THE DRIVER PAM.",
);

const FILE_PATH: Setting = driver(
    &["passwd-file"],
    "path",
    Kind::Text,
    Fallback::Required,
    "The file: user:password:uid:gid:gecos:home:shell:fields, one user a line. May hold variables \
     (/etc/mail/%{user|domain}/users). Read again when it has changed.",
);

const URL: Setting = driver(
    &["sql"],
    "url",
    Kind::Secrets,
    Fallback::None,
    "The database: \"postgres://user:password@host/name\", \"mysql://user:password@host/name\" or \"sqlite:///path\"; \
     several are tried in order.",
);
const URL_FILE: Setting = driver(
    &["sql"],
    "url_file",
    Kind::Path,
    Fallback::None,
    "A file that holds the URL, or one a line, instead of url.",
);
const CONNECTIONS: Setting = driver(
    &["sql", "ldap"],
    "connections",
    count(1, 1000),
    Fallback::Found("5 for sql, 4 for ldap"),
    "Connections to the server, at most.",
);
const TLS_CA_FILE: Setting = driver(
    &["sql", "ldap"],
    "tls_ca_file",
    Kind::Path,
    Fallback::Found("the system's"),
    "Certification authorities of the server, in PEM. Whether sql uses TLS is up to the URL.",
);
const URIS: Setting = driver(
    &["ldap"],
    "uris",
    Kind::Texts,
    Fallback::Required,
    "The servers, tried in order: \"ldap://host\", \"ldaps://host\", \"ldapi://%2Fpath\".",
);
const STARTTLS: Setting = driver(
    &["ldap"],
    "starttls",
    Kind::Boolean,
    Fallback::Value("false"),
    "Begin TLS on an ldap:// connection.",
);
const BIND_DN: Setting =
    driver(&["ldap"], "bind_dn", Kind::Text, Fallback::Value(""), "Who searches; empty is anonymous.");
const BIND_PASSWORD: Setting =
    driver(&["ldap"], "bind_password", Kind::Secret, Fallback::None, "The password of bind_dn.");
const BIND_PASSWORD_FILE: Setting = driver(
    &["ldap"],
    "bind_password_file",
    Kind::Path,
    Fallback::None,
    "The file that holds it, instead of bind_password.",
);
const BASE: Setting =
    driver(&["ldap"], "base", Kind::Text, Fallback::Value(""), "Where to search. May hold variables.");
const SCOPE: Setting = driver(
    &["ldap"],
    "scope",
    Kind::Word(&["base", "onelevel", "subtree"]),
    Fallback::Value("subtree"),
    "How deep to search.",
);
const FILTER: Setting = driver(
    &["ldap"],
    "filter",
    Kind::Text,
    Fallback::None,
    "What to search for, with variables: \"(&(objectClass=posixAccount)(uid=%{user}))\". Values are escaped. \
     Must be set unless auth_bind_dn is.",
);
const ATTRIBUTES: Setting = driver(
    &["ldap"],
    "attributes",
    Kind::Fields,
    Fallback::None,
    "Fields and where they come from: an attribute's name, or a text in which %{ldap:name} stands for one: \
     { password = \"userPassword\", userdb_home = \"/var/mail/%{ldap:uid}\" }.",
);
const COMMAND: Setting = driver(
    &["command"],
    "command",
    Kind::Texts,
    Fallback::Required,
    "The program, by its whole path, and its arguments. It reads one JSON object and answers with one; no shell is involved. See THE DRIVER COMMAND.",
);

pub(super) const PASSDB: Section = Section {
    name: "passdb",
    repeated: true,
    selector: Some("driver"),
    doc: "Where passwords are. Several are asked in order until one says yes.",
    settings: &[
        setting("driver", PASSDB_DRIVERS, Fallback::Required, "What kind of database it is."),
        NAME,
        setting(
            "default_scheme",
            Kind::Text,
            Fallback::Found("CRYPT for passwd-file, else PLAIN"),
            "The scheme of passwords without {SCHEME} before them.",
        ),
        SUCCESS,
        FAILURE,
        INTERNALFAIL,
        setting(
            "skip",
            Kind::Word(&["never", "authenticated", "unauthenticated"]),
            Fallback::Value("never"),
            "Pass it over when an earlier one has said yes, or when none has.",
        ),
        setting(
            "deny",
            Kind::Boolean,
            Fallback::Value("false"),
            "Whoever is found here may not log in, whatever the password.",
        ),
        setting(
            "master",
            Kind::Boolean,
            Fallback::Value("false"),
            "Who logs in by this passdb may act for others. See master_user_separator.",
        ),
        setting("mechanisms", Kind::Texts, Fallback::None, "Only for these mechanisms; all when empty."),
        setting("services", Kind::Texts, Fallback::None, "Only for these services (smtp); all when empty."),
        setting(
            "username_filter",
            Kind::Texts,
            Fallback::None,
            "Only for names that match one of these patterns, with * and ?; one that begins with ! excludes. All when empty.",
        ),
        FORMAT,
        DEFAULT_FIELDS,
        OVERRIDE_FIELDS,
        TIMEOUT,
        FILE_PATH,
        driver(
            &["passwd-file"],
            "app_passwords",
            Kind::Text,
            Fallback::None,
            "A file with further passwords of the same users, each with a name, services and an end. May hold variables. \
             See APP PASSWORDS.",
        ),
        driver(
            &["pam"],
            "service",
            Kind::Text,
            Fallback::Value("smtp"),
            "The file in /etc/pam.d; * stands for the request's service. May hold variables.",
        ),
        driver(&["pam"], "session", Kind::Boolean, Fallback::Value("false"), "Open and close a PAM session."),
        driver(&["pam"], "setcred", Kind::Boolean, Fallback::Value("false"), "Establish PAM credentials."),
        driver(&["pam", "command"], "processes", count(1, 1024), Fallback::Value("8"), "Checks at a time."),
        URL,
        URL_FILE,
        driver(
            &["sql"],
            "query",
            Kind::Text,
            Fallback::Required,
            "SELECT that gives the columns password, user (or username and domain) and any further fields; no row is no user. \
             Variables become bound values, so that quotes around them do no harm.",
        ),
        driver(
            &["sql"],
            "app_password_query",
            Kind::Text,
            Fallback::None,
            "SELECT that gives rows with password, and label, services and expires if there are such. See APP PASSWORDS.",
        ),
        CONNECTIONS,
        TLS_CA_FILE,
        URIS,
        STARTTLS,
        BIND_DN,
        BIND_PASSWORD,
        BIND_PASSWORD_FILE,
        BASE,
        SCOPE,
        FILTER,
        driver(
            &["ldap"],
            "auth_bind",
            Kind::Boolean,
            Fallback::Value("false"),
            "Check the password by binding as the user that was found, instead of reading a stored one.",
        ),
        driver(
            &["ldap"],
            "auth_bind_dn",
            Kind::Text,
            Fallback::None,
            "The name to bind as, with variables, so that nothing need be searched. Includes auth_bind.",
        ),
        ATTRIBUTES,
        driver(
            &["static"],
            "password",
            Kind::Secret,
            Fallback::None,
            "The password of all users, in any scheme. Without it, fields must hold nopassword.",
        ),
        driver(
            &["static"],
            "fields",
            Kind::Fields,
            Fallback::None,
            "Fields of all users. Values may hold variables.",
        ),
        COMMAND,
    ],
};

pub(super) const USERDB: Section = Section {
    name: "userdb",
    repeated: true,
    selector: Some("driver"),
    doc: "Where mailboxes are, for delivery agents. Several are asked in order until one knows the user.",
    settings: &[
        setting("driver", USERDB_DRIVERS, Fallback::Required, "What kind of database it is."),
        NAME,
        SUCCESS,
        FAILURE,
        INTERNALFAIL,
        setting(
            "skip",
            Kind::Word(&["never", "found", "notfound"]),
            Fallback::Value("never"),
            "Pass it over when an earlier one has found the user, or when none has.",
        ),
        FORMAT,
        DEFAULT_FIELDS,
        OVERRIDE_FIELDS,
        TIMEOUT,
        FILE_PATH,
        URL,
        URL_FILE,
        driver(
            &["sql"],
            "query",
            Kind::Text,
            Fallback::Required,
            "SELECT that gives the columns uid, gid, home and any further fields; no row is no user.",
        ),
        driver(
            &["sql"],
            "iterate_query",
            Kind::Text,
            Fallback::None,
            "SELECT that gives all users as user, or as username and domain.",
        ),
        CONNECTIONS,
        TLS_CA_FILE,
        URIS,
        STARTTLS,
        BIND_DN,
        BIND_PASSWORD,
        BIND_PASSWORD_FILE,
        BASE,
        SCOPE,
        FILTER,
        ATTRIBUTES,
        driver(
            &["ldap"],
            "iterate_filter",
            Kind::Text,
            Fallback::None,
            "What to search for when all users are asked for.",
        ),
        driver(
            &["ldap"],
            "iterate_attribute",
            Kind::Text,
            Fallback::Value("uid"),
            "The attribute that holds the user's name then.",
        ),
        driver(
            &["static"],
            "fields",
            Kind::Fields,
            Fallback::Required,
            "uid, gid, home and further fields of all users. Values may hold variables.",
        ),
        driver(
            &["static"],
            "allow_all_users",
            Kind::Boolean,
            Fallback::Value("false"),
            "Any name is a user; otherwise a passdb must know it.",
        ),
        COMMAND,
        driver(&["command"], "processes", count(1, 1024), Fallback::Value("8"), "Look-ups at a time."),
    ],
};
