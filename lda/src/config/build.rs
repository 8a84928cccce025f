//! From values to settings: templates, rules and addresses are read, ids found, what does not go together reported.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use base::config::Report;
use base::config::toml::{Document, Table};
use base::service::listen::Address;

use super::settings::{
    DeliveryAddress, Driver, Fields, Lmtp, Log, Mail, Quota, Range, Settings, Sieve, Userdb, Users,
};
use crate::location::{Layout, Location};
use crate::quota::{Grace, Rules};
use crate::recipient::{gid_of, uid_of};
use crate::sieve::extensions::Extensions;
use crate::sieve::library::Places;
use crate::sieve::options;
use crate::variables::Template;

/// Makes settings of values. What had a mistake gets its default, so that the rest can be checked.
pub(super) fn settings(document: &Document, report: &mut Report) -> Settings {
    let top = document.section("");
    let text = |name| top.text(name).unwrap_or_default();
    Settings {
        mail: mail(top, report),
        users: users(top, report),
        userdb: userdbs(document, report),
        recipient_delimiter: text("recipient_delimiter"),
        autocreate: top.boolean("lda_mailbox_autocreate"),
        autosubscribe: top.boolean("lda_mailbox_autosubscribe"),
        original_recipient_header: text("lda_original_recipient_header"),
        bounce: text("lda_rejection") == "bounce",
        postmaster_address: top
            .text("postmaster_address")
            .and_then(|_| template(top, "postmaster_address", report)),
        hostname: top.text("hostname").unwrap_or_else(own_hostname),
        sendmail_path: top.path("sendmail_path").unwrap_or_default(),
        rejection_subject: text("rejection_subject"),
        rejection_reason: text("rejection_reason"),
        quota_full_tempfail: top.boolean("quota_full_tempfail"),
        save_crlf: top.boolean("mail_save_crlf"),
        fsync: text("mail_fsync") != "never",
        deliver_log_format: text("deliver_log_format"),
        quota: quota(document.section("quota"), report),
        lmtp: lmtp(document.section("lmtp"), report),
        sieve: sieve(document.section("sieve"), report),
        log: log(document.section("log")),
        metrics: document.section("metrics").address("listen"),
    }
}

fn own_hostname() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

/// A text as a template; `None` when it is empty or wrong.
fn template(table: &Table, name: &str, report: &mut Report) -> Option<Template> {
    let text = table.text(name).filter(|text| !text.is_empty())?;
    match Template::parse(&text) {
        Ok(template) => Some(template),
        Err(error) => {
            let at = table.part_place(name, error.offset, 1);
            report.error(&at, format!("{name}: {}", error.message));
            None
        }
    }
}

fn mail(top: &Table, report: &mut Report) -> Mail {
    let mut location = Location::home_maildir();
    let written = top.text("mail_location").filter(|text| !text.is_empty());
    if let Some(text) = written {
        if top.is_set("mail_path") {
            report
                .error(&top.key_place("mail_path"), "mail_path and mail_location are both set")
                .help("mail_location is Dovecot 2.3's notation, mail_path is 2.4's: keep one");
        }
        match Location::parse(&text) {
            Ok(found) => location = found,
            Err(error) => {
                report.error(&top.place("mail_location"), format!("mail_location: {error}"));
            }
        }
        for name in [
            "mail_inbox_path",
            "mail_control_path",
            "mailbox_list_layout",
            "mailbox_list_utf8",
            "mailbox_subscriptions_filename",
            "mailbox_directory_name",
        ] {
            if top.is_set(name) {
                report
                    .error(&top.key_place(name), format!("{name} goes with mail_path, and mail_location is set"))
                    .help("write it as an option of mail_location: LAYOUT=, INBOX=, CONTROL=, SUBSCRIPTIONS=, DIRNAME=, UTF-8");
            }
        }
    } else {
        if let Some(path) = template(top, "mail_path", report) {
            location.path = path;
        }
        location.inbox = template(top, "mail_inbox_path", report);
        location.control = template(top, "mail_control_path", report);
        if top.text("mailbox_list_layout").as_deref() == Some("fs") {
            location.layout = Layout::Fs;
        }
        location.utf8 = top.boolean("mailbox_list_utf8");
        location.subscriptions = top.text("mailbox_subscriptions_filename").unwrap_or_default();
        location.directory_name = top.text("mailbox_directory_name").unwrap_or_default();
        // Dovecot 2.4 without mailbox_directory_name_legacy.
        location.directory_everywhere = true;
        if let Err(error) = location.sound() {
            report
                .error(&top.place("mailbox_directory_name"), format!("mailbox_directory_name: {error}"))
                .help("write mailbox_list_layout = \"fs\" as well");
        }
    }
    let separator = top.text("namespace_separator");
    let mut letters = separator.as_deref().unwrap_or_default().chars();
    let one = letters.next();
    if separator.is_some() && (one.is_none() || letters.next().is_some()) {
        report
            .error(&top.place("namespace_separator"), "namespace_separator: one character is expected")
            .help("write \".\" or \"/\"");
    }
    Mail { location, separator: one, prefix: top.text("namespace_prefix").unwrap_or_default() }
}

fn users(top: &Table, report: &mut Report) -> Users {
    let range = |first, last| Range {
        first: top.integer(first).unwrap_or_default(),
        last: top.integer(last).unwrap_or_default(),
    };
    let lower = || Template::parse("%{user|lower}").unwrap_or_default();
    let mut access_groups = Vec::new();
    for (index, name) in top.texts("mail_access_groups").iter().enumerate() {
        match id(name, gid_of) {
            Ok(gid) => access_groups.push(gid),
            Err(error) => {
                report.error(
                    &top.element_place("mail_access_groups", index),
                    format!("mail_access_groups: {error}"),
                );
            }
        }
    }
    Users {
        username_format: if top.text("username_format").is_some_and(|text| text.is_empty()) {
            Template::parse("%u").unwrap_or_default()
        } else {
            template(top, "username_format", report).unwrap_or_else(lower)
        },
        home: template(top, "mail_home", report),
        uid: named(top, "mail_uid", uid_of, report),
        gid: named(top, "mail_gid", gid_of, report),
        access_groups,
        uids: range("first_valid_uid", "last_valid_uid"),
        gids: range("first_valid_gid", "last_valid_gid"),
    }
}

fn named(
    top: &Table,
    name: &str,
    find: fn(&str) -> Result<Option<u32>, String>,
    report: &mut Report,
) -> Option<u32> {
    let text = top.text(name).filter(|text| !text.is_empty())?;
    match id(&text, find) {
        Ok(id) => Some(id),
        Err(error) => {
            report.error(&top.place(name), format!("{name}: {error}"));
            None
        }
    }
}

fn id(text: &str, find: fn(&str) -> Result<Option<u32>, String>) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    find(text)?.ok_or_else(|| format!("there is no {text:?} in this system"))
}

fn userdbs(document: &Document, report: &mut Report) -> Vec<Userdb> {
    let mut found: Vec<Userdb> =
        document.tables("userdb").filter_map(|table| userdb(table, report)).collect();
    if found.is_empty() {
        found.push(Userdb {
            driver: Driver::System { timeout: Duration::from_secs(30) },
            username_format: None,
        });
    }
    found
}

fn userdb(table: &Table, report: &mut Report) -> Option<Userdb> {
    let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(30));
    let driver = match table.text("driver")?.as_str() {
        "passwd-file" => Driver::PasswdFile(template(table, "path", report)?),
        "auth-userdb" => {
            let path = table.text("path")?;
            Driver::AuthUserdb { path: PathBuf::from(path.strip_prefix("unix:").unwrap_or(&path)), timeout }
        }
        "static" => Driver::Static(templates(table, &table.fields("fields"), report)),
        _ => Driver::System { timeout },
    };
    Some(Userdb { driver, username_format: template(table, "username_format", report) })
}

fn templates(table: &Table, fields: &Fields, report: &mut Report) -> Vec<(String, Option<Template>)> {
    let mut templates = Vec::new();
    for field in fields {
        let template = match field.value.as_deref().map(Template::parse).transpose() {
            Ok(template) => template,
            Err(error) => {
                report.error(&table.place("fields"), format!("fields: {}: {error}", field.name));
                None
            }
        };
        templates.push((field.name.clone(), template));
    }
    templates
}

fn quota(table: &Table, report: &mut Report) -> Quota {
    let mut texts = table.texts("quota_rule");
    for (index, text) in table.texts("quota_rule").iter().enumerate() {
        if let Err(error) = Rules::parse([text.as_str()]) {
            report.error(&table.element_place("quota_rule", index), format!("quota_rule: {error}"));
            texts.clear();
        }
    }
    let grace = Grace::parse(&table.text("quota_grace").unwrap_or_default()).unwrap_or_else(|error| {
        report
            .error(&table.place("quota_grace"), format!("quota_grace: {error}"))
            .help("write \"10%\" or \"10M\"");
        Grace::Percent(10)
    });
    Quota {
        rules: Rules::parse(texts.iter().map(String::as_str)).unwrap_or_default(),
        grace,
        mail_size: table.size("quota_mail_size").unwrap_or_default(),
        exceeded_message: table.text("quota_exceeded_message").unwrap_or_default(),
    }
}

fn lmtp(table: &Table, report: &mut Report) -> Lmtp {
    let mut listen = Vec::new();
    for (index, text) in table.texts("listen").iter().enumerate() {
        match address(text) {
            Some(address) => listen.push(address),
            None => {
                report.error(&table.element_place("listen", index), "listen: this is no address").help(
                    "write \"unix:/var/spool/postfix/private/postrider-lmtp\" or \"inet:127.0.0.1:24\"",
                );
            }
        }
    }
    Lmtp {
        listen,
        mode: table.mode("mode").unwrap_or(0o600),
        user: table.text("user"),
        group: table.text("group"),
        connections: table.integer("connections").unwrap_or(100),
        message_size_limit: table.size("message_size_limit").unwrap_or_default(),
        recipient_limit: table.integer("recipient_limit").unwrap_or(1000),
        idle_timeout: table.duration("idle_timeout").unwrap_or_default(),
        message_timeout: table.duration("message_timeout").unwrap_or_default(),
        drain_timeout: table.duration("drain_timeout").unwrap_or_default(),
        user_concurrency_limit: table.integer("user_concurrency_limit").unwrap_or_default(),
        rcpt_check_quota: table.boolean("rcpt_check_quota"),
        save_to_detail_mailbox: table.boolean("save_to_detail_mailbox"),
        hdr_delivery_address: match table.text("hdr_delivery_address").as_deref() {
            Some("none") => DeliveryAddress::None,
            _ => DeliveryAddress::Final,
        },
        add_received_header: table.boolean("add_received_header"),
        login_greeting: table.text("login_greeting").unwrap_or_default(),
    }
}

/// `unix:/path` or `inet:host:port`.
fn address(text: &str) -> Option<Address> {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| Address::Unix(PathBuf::from(path)));
    }
    let (host, port) = text.strip_prefix("inet:")?.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(Address::Inet {
        host: (!host.is_empty()).then(|| host.to_owned()),
        port: port.parse().ok()?,
        only_v6: false,
    })
}

fn sieve(table: &Table, report: &mut Report) -> Sieve {
    check_sieve(table, report);
    let text = |name| table.text(name).unwrap_or_default();
    let time = |name| table.duration(name).unwrap_or_default();
    Sieve {
        enabled: table.boolean("enabled"),
        sieve: text("sieve"),
        before: table.texts("before"),
        after: table.texts("after"),
        default: text("default"),
        global: text("global"),
        extensions: table.texts("extensions"),
        max_script_size: table.size("max_script_size").unwrap_or_default(),
        max_actions: table.integer("max_actions").unwrap_or_default(),
        max_redirects: table.integer("max_redirects").unwrap_or_default(),
        max_cpu_time: time("max_cpu_time"),
        user_email: text("user_email"),
        redirect_envelope_from: text("redirect_envelope_from"),
        vacation_min_period: time("vacation_min_period"),
        vacation_max_period: time("vacation_max_period"),
        vacation_default_period: time("vacation_default_period"),
        user_log: text("user_log"),
    }
}

/// What would otherwise be found only when a message comes, for every user.
fn check_sieve(table: &Table, report: &mut Report) {
    for (at, word) in table.texts("extensions").iter().enumerate() {
        if let Err(why) = Extensions::parse(word) {
            report
                .error(&table.element_place("extensions", at), format!("extensions: {why}"))
                .help("write \"+NAME\" to add one, \"-NAME\" to take one away, or only plain names for exactly these");
        }
    }
    if table.is_set("extensions")
        && let Err(why) = Extensions::parse(&table.texts("extensions").join(" "))
        && table.texts("extensions").iter().all(|word| Extensions::parse(word).is_ok())
    {
        report.error(&table.place("extensions"), format!("extensions: {why}"));
    }
    if let Some(text) = table.text("redirect_envelope_from")
        && let Err(why) = options::redirect_from(&text)
    {
        report.error(&table.place("redirect_envelope_from"), why);
    }
    if let Some(text) = table.text("sieve") {
        let mut places = Places::default();
        if let Err(why) = places.set_user(&text, &|path| PathBuf::from(path)) {
            report.error(&table.place("sieve"), why);
        }
    }
    for name in ["sieve", "default", "global", "user_log"] {
        drop(template(table, name, report));
    }
}

fn log(table: &Table) -> Log {
    let text = |name| table.text(name).unwrap_or_default();
    let syslog =
        if table.is_set("syslog") { table.boolean("syslog") } else { !std::io::stderr().is_terminal() };
    Log { syslog, facility: text("facility"), tag: text("tag"), level: text("level") }
}
