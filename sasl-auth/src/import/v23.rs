//! passdb and userdb of Dovecot 2.3: a driver and its `args`, often the name of another file.

use std::path::Path;

use super::draft::{Draft, Section, Value};
use super::fields::{field, fields, flag, only_mechanisms, rules, texts, words};
use super::ldap::{Attributes, Server, unique};
use super::parser::{self, Block};
use super::service::time;
use super::sql::Connection;

/// Reads the text of a file.
type Read<'a> = &'a mut dyn FnMut(&Path) -> Option<String>;

/// Carries over all passdbs and userdbs.
pub(super) fn databases(root: &Block, read: Read<'_>, draft: &mut Draft) {
    for block in root.blocks() {
        match block.kind() {
            "passdb" if block.value("driver") == Some("oauth2") => oauth2(block, read, draft),
            "passdb" => {
                let section = passdb(block, read);
                draft.add(section);
            }
            "userdb" => {
                let section = userdb(block, read);
                draft.add(section);
            }
            _ => {}
        }
    }
}

fn passdb(block: &Block, read: Read<'_>) -> Section {
    let mut section = Section::new("[[passdb]]");
    let args = block.value("args").unwrap_or("");
    match block.value("driver").unwrap_or("") {
        "passwd-file" => passwd_file(&mut section, args, true),
        "sql" => {
            section.text("driver", "sql");
            if let Some(file) = open(&mut section, args, read) {
                connection(&mut section, &file);
                section.text("query", file.value("password_query").unwrap_or(SQL_PASSWORD_QUERY));
                // Dovecot's own default (2.3 source).
                section.text("default_scheme", file.value("default_pass_scheme").unwrap_or("MD5"));
            }
        }
        "ldap" => {
            section.text("driver", "ldap");
            if let Some(file) = open(&mut section, args, read) {
                server(&file).write(&mut section);
                section.text("filter", file.value("pass_filter").unwrap_or(LDAP_FILTER));
                flag(&mut section, "auth_bind", file.value("auth_bind"));
                section.text("auth_bind_dn", file.value("auth_bind_userdn").unwrap_or(""));
                section.text("default_scheme", file.value("default_pass_scheme").unwrap_or("CRYPT"));
                let attributes = file.value("pass_attrs").unwrap_or("uid=user,userPassword=password");
                let others = fields(block.value("override_fields").unwrap_or(""));
                Attributes::of_list(attributes).write(&mut section, others);
            }
        }
        "pam" => pam(&mut section, args),
        "passwd" | "shadow" => section.text("driver", "system"),
        "static" => static_passdb(&mut section, args),
        other => {
            section.text("driver", other);
            section.set("args", &Value::Text(args.to_owned()));
            let help = match other {
                "checkpassword" | "lua" => " The driver command asks a program of yours instead.",
                _ => "",
            };
            section.turn_off(format!("There is no driver {other}.{help}"));
        }
    }
    rules(&mut section, &|name| block.value(name));
    only_mechanisms(&mut section, &words(block.value("mechanisms").unwrap_or("")));
    extra_fields(&mut section, block);
    section
}

fn userdb(block: &Block, read: Read<'_>) -> Section {
    let mut section = Section::new("[[userdb]]");
    let args = block.value("args").unwrap_or("");
    match block.value("driver").unwrap_or("") {
        "passwd-file" => passwd_file(&mut section, args, false),
        "sql" => {
            section.text("driver", "sql");
            if let Some(file) = open(&mut section, args, read) {
                connection(&mut section, &file);
                section.text("query", file.value("user_query").unwrap_or(SQL_USER_QUERY));
                section.text("iterate_query", file.value("iterate_query").unwrap_or(""));
            }
        }
        "ldap" => {
            section.text("driver", "ldap");
            if let Some(file) = open(&mut section, args, read) {
                server(&file).write(&mut section);
                section.text("filter", file.value("user_filter").unwrap_or(LDAP_FILTER));
                section.text("iterate_filter", file.value("iterate_filter").unwrap_or(""));
                let attribute = file.value("iterate_attrs").and_then(|attrs| attrs.strip_suffix("=user"));
                section.text("iterate_attribute", attribute.unwrap_or(""));
                let attributes =
                    file.value("user_attrs").unwrap_or("homeDirectory=home,uidNumber=uid,gidNumber=gid");
                let others = fields(block.value("override_fields").unwrap_or(""));
                Attributes::of_list(attributes).write(&mut section, others);
            }
        }
        "passwd" => section.text("driver", "system"),
        "prefetch" => section.text("driver", "prefetch"),
        "static" => {
            section.text("driver", "static");
            let (own, found): (Vec<_>, Vec<_>) =
                fields(args).into_iter().partition(|(name, _)| name == "allow_all_users");
            section.fields("fields", unique(found));
            let all = own.last().and_then(|(_, value)| value.as_deref());
            flag(&mut section, "allow_all_users", all);
        }
        other => {
            section.text("driver", other);
            section.set("args", &Value::Text(args.to_owned()));
            section.turn_off(format!("There is no driver {other}."));
        }
    }
    rules(&mut section, &|name| block.value(name));
    extra_fields(&mut section, block);
    section
}

/// `default_fields` and `override_fields`; ldap has written the latter already.
fn extra_fields(section: &mut Section, block: &Block) {
    section.fields("default_fields", unique(fields(block.value("default_fields").unwrap_or(""))));
    if block.value("driver") != Some("ldap") {
        section.fields("override_fields", unique(fields(block.value("override_fields").unwrap_or(""))));
    }
}

/// `scheme=X username_format=Y /path`. A userdb has no use for the scheme.
fn passwd_file(section: &mut Section, args: &str, passdb: bool) {
    section.text("driver", "passwd-file");
    let mut rest = args.trim();
    while let Some((option, after)) = rest.split_once(' ')
        && !option.starts_with('/')
    {
        match field(option) {
            (name, Some(value)) if name == "scheme" => {
                if passdb {
                    section.text("default_scheme", &value);
                }
            }
            (name, Some(value)) if name == "username_format" => section.text("username_format", &value),
            (name, _) => section.note(format!("Not carried over: {name}")),
        }
        rest = after.trim_start();
    }
    section.text("path", rest);
}

/// `[session=yes] [setcred=yes] ... [service]`.
fn pam(section: &mut Section, args: &str) {
    section.text("driver", "pam");
    let mut service = "dovecot";
    for word in args.split_whitespace() {
        match word.split_once('=') {
            Some((name @ ("session" | "setcred"), value)) => flag(section, name, Some(value)),
            None if word == "session" || word == "setcred" => flag(section, word, Some("yes")),
            Some((name, _)) => section.note(format!("Not carried over: {name}")),
            None => service = if word == "%s" { "*" } else { word },
        }
    }
    section.text("service", service);
}

fn static_passdb(section: &mut Section, args: &str) {
    section.text("driver", "static");
    let mut others = Vec::new();
    for (name, value) in fields(args) {
        match (name.as_str(), value) {
            ("password", Some(password)) => section.text("password", &password),
            ("nopassword", _) => others.push((name, None)),
            (_, value) => others.push((name, value)),
        }
    }
    section.fields("fields", unique(others));
}

/// The settings in the file that `args` names; without it the section is turned off.
fn open(section: &mut Section, args: &str, read: Read<'_>) -> Option<Block> {
    let path = args.trim();
    if let Some(text) = read(Path::new(path)) {
        return Some(parser::parse(&text));
    }
    section.turn_off(format!("{path} could not be read: import again as a user who reads it."));
    None
}

fn connection(section: &mut Section, file: &Block) {
    let driver = file.value("driver").unwrap_or("");
    Connection::parse(driver, file.value("connect").unwrap_or("")).write(section);
}

fn server(file: &Block) -> Server<'_> {
    Server {
        uris: file.value("uris"),
        hosts: file.value("hosts"),
        starttls: file.value("tls"),
        ca_file: file.value("tls_ca_cert_file"),
        dn: file.value("dn"),
        password: file.value("dnpass"),
        base: file.value("base"),
        scope: file.value("scope"),
    }
}

/// The file of an oauth2 passdb becomes `[oauth2]`.
fn oauth2(block: &Block, read: Read<'_>, draft: &mut Draft) {
    let mut section = Section::new("[oauth2]");
    if let Some(file) = open(&mut section, block.value("args").unwrap_or(""), read) {
        oauth2_settings(&mut section, &|name| file.value(name));
    }
    if draft.has("[oauth2]") {
        draft.note("Not carried over: a second oauth2 passdb.");
    } else {
        draft.add(section);
    }
}

/// What 2.3's file and 2.4's block have in common. `value` finds a setting by its name in 2.3.
pub(super) fn oauth2_settings<'a>(section: &mut Section, value: &dyn Fn(&str) -> Option<&'a str>) {
    let text = |name: &str| value(name).unwrap_or("");
    section.text("introspection_url", text("introspection_url"));
    for (theirs, ours) in [
        ("client_id", "client_id"),
        ("client_secret", "client_secret"),
        ("username_attribute", "username_claim"),
        ("active_attribute", "active_claim"),
    ] {
        section.text(ours, text(theirs));
    }
    if value("active_attribute").is_some() {
        section.text("active_value", text("active_value"));
    }
    texts(section, "issuers", words(text("issuers")));
    texts(section, "scopes", words(text("scope")));
    section.text("ca_file", text("tls_ca_cert_file"));
    if let Some(timeout) = value("timeout_msecs").and_then(|text| text.parse::<u64>().ok()) {
        section.text("timeout", &format!("{timeout}ms"));
    } else if let Some(timeout) = value("timeout").and_then(time) {
        section.text("timeout", &base::config::toml::duration_text(timeout));
    }
    for name in ["tokeninfo_url", "grant_url", "local_validation_key_dict", "openid_configuration_url"] {
        if let Some(value) = value(name) {
            section.note(format!("Not carried over: {name} = {value}"));
        }
    }
    if value("local_validation_key_dict").is_some() {
        section.note("Keys for checking tokens locally go into keys (PEM files) or jwks.");
    }
    if matches!(text("introspection_mode"), "auth" | "get") {
        section.note("The introspection is asked by RFC 7662 (POST), not with the token in a header or URL.");
    }
}

/// Dovecot's defaults (2.3 source).
const SQL_PASSWORD_QUERY: &str =
    "SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'";
const SQL_USER_QUERY: &str = "SELECT home, uid, gid FROM users WHERE username = '%n' AND domain = '%d'";
const LDAP_FILTER: &str = "(&(objectClass=posixAccount)(uid=%u))";
