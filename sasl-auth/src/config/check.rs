//! The deep check behind `-n`: looks at the files, users and sockets that serving would use.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base::config::toml::{Document, Table};
use base::config::{Report, Span};
use base::service::listen::Address;
use base::service::privileges::RunAs;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};

use super::settings::{Listen, ListenKind, PassdbDriver, PasswdFile, Settings, UserdbDriver};
use crate::variables::{Piece, Template};

/// Where Debian's Postfix has its queue; its servers are confined to it.
const QUEUE: &str = "/var/spool/postfix";

/// Looks at what [`super::load`] leaves out: the user and group to run as, files and whether that user
/// reads them, folders of sockets and whether Postfix gets through to them, and whether others read
/// the configuration though it holds a password.
pub fn check(settings: &Settings, document: &Document, report: &mut Report) {
    let mut checks = Checks { account: None, report };
    checks.account = checks.account(settings, document.section(""));
    checks.configuration(document);
    let listens = document.tables("listen").filter(|table| table.address("address").is_some());
    for (listen, table) in settings.listen.iter().zip(listens) {
        checks.listener(listen, table);
    }
    for (passdb, table) in settings.passdb.iter().zip(document.tables("passdb")) {
        match &passdb.driver {
            PassdbDriver::PasswdFile(file) => checks.passwd_file(file, table, false),
            PassdbDriver::Pam(pam) => checks.pam(&pam.service, table),
            PassdbDriver::System => checks.shadow(table),
            PassdbDriver::Sql(sql) => checks.optional(sql.tls_ca_file.as_deref(), table, "tls_ca_file"),
            PassdbDriver::Ldap(ldap) => checks.optional(ldap.tls_ca_file.as_deref(), table, "tls_ca_file"),
            PassdbDriver::Static { .. } => {}
            PassdbDriver::Command(command) => checks.program(&command.command, table),
        }
    }
    for (userdb, table) in settings.userdb.iter().zip(document.tables("userdb")) {
        match &userdb.driver {
            UserdbDriver::PasswdFile(file) => checks.passwd_file(file, table, true),
            UserdbDriver::Sql(sql) => checks.optional(sql.tls_ca_file.as_deref(), table, "tls_ca_file"),
            UserdbDriver::Ldap(ldap) => checks.optional(ldap.tls_ca_file.as_deref(), table, "tls_ca_file"),
            UserdbDriver::Command(command) => checks.program(&command.command, table),
            UserdbDriver::System | UserdbDriver::Static { .. } | UserdbDriver::Prefetch => {}
        }
    }
    if let Some(oauth2) = &settings.oauth2 {
        let table = document.section("oauth2");
        for (index, key) in oauth2.keys.iter().enumerate() {
            checks.readable(key, &table.element_place("keys", index));
        }
        checks.optional(oauth2.ca_file.as_deref(), table, "ca_file");
        if let Some(path) = oauth2.jwks.as_deref().filter(|jwks| jwks.starts_with('/')) {
            checks.readable(Path::new(path), &table.place("jwks"));
        }
    }
    checks.optional(
        settings.networks.country_database.as_deref(),
        document.section("networks"),
        "country_database",
    );
    report.sort_by_place();
}

/// Whose rights count.
#[derive(Debug, Clone)]
struct Account {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl Account {
    fn of(name: &str, uid: Uid, gid: Gid) -> Self {
        let groups = std::ffi::CString::new(name).ok().and_then(|name| getgrouplist(&name, gid).ok());
        let groups = groups.unwrap_or_else(|| vec![gid]).iter().map(|gid| gid.as_raw()).collect();
        Self { name: name.to_owned(), uid: uid.as_raw(), groups }
    }

    /// Whether the permission bits (4 read, 2 write, 1 search) let this account in. Access lists are
    /// not looked at.
    fn may(&self, bits: u32, metadata: &Metadata) -> bool {
        let mode = metadata.permissions().mode();
        let granted = if self.uid == 0 {
            return true;
        } else if metadata.uid() == self.uid {
            mode >> 6
        } else if self.groups.contains(&metadata.gid()) {
            mode >> 3
        } else {
            mode
        };
        granted & bits == bits
    }

    /// The first folder on the way to `path` that this account cannot search.
    fn stopped_at(&self, path: &Path) -> Option<PathBuf> {
        let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
        folders.reverse();
        folders
            .into_iter()
            .find(|folder| fs::metadata(folder).is_ok_and(|metadata| !self.may(1, &metadata)))
            .map(Path::to_owned)
    }
}

struct Checks<'a> {
    account: Option<Account>,
    report: &'a mut Report,
}

impl Checks<'_> {
    /// The user that the service will be; `None` when there is no such one.
    fn account(&mut self, settings: &Settings, top: &Table) -> Option<Account> {
        match &settings.run_as {
            None => {
                let user = User::from_uid(geteuid()).ok().flatten();
                let name = user.map_or_else(|| geteuid().to_string(), |user| user.name);
                Some(Account::of(&name, geteuid(), getegid()))
            }
            Some(spec) => match RunAs::find(spec) {
                Ok(found) => Some(Account::of(&found.name, found.uid, found.gid)),
                Err(error) => {
                    let user = spec.split(':').next().unwrap_or("");
                    self.report
                        .error(&top.place("user"), error.to_string())
                        .help(format!("adduser --system --group --no-create-home {user}"));
                    None
                }
            },
        }
    }

    /// Whether others read the configuration though a password stands in it.
    fn configuration(&mut self, document: &Document) {
        let path = document.section("").header().source().name().to_owned();
        let Ok(metadata) = fs::metadata(&path) else { return };
        if document.holds_secrets() && metadata.permissions().mode() & 0o004 != 0 {
            self.report
                .warning_anywhere(format!("{path} holds a password, and every local user may read it"))
                .help(format!("chmod o-r {path}, or keep the password in a file of its own"));
        }
    }

    fn listener(&mut self, listen: &Listen, table: &Table) {
        let mut uid = self.account.as_ref().map(|account| account.uid);
        let mut gid = self.account.as_ref().and_then(|account| account.groups.first().copied());
        if let Some(name) = &listen.user {
            uid = number(name).or_else(|| User::from_name(name).ok()?.map(|user| user.uid.as_raw()));
            if uid.is_none() {
                self.report.error(&table.place("user"), format!("{name}: no such user"));
            }
        }
        if let Some(name) = &listen.group {
            gid = number(name).or_else(|| Group::from_name(name).ok()?.map(|group| group.gid.as_raw()));
            if gid.is_none() {
                self.report.error(&table.place("group"), format!("{name}: no such group"));
            }
        }
        let Address::Unix(path) = &listen.address else { return };
        let place = table.place("address");
        let Some(folder) = path.parent() else { return };
        if !folder.is_dir() {
            let text = format!("the folder {} is not there", folder.display());
            if path.starts_with("/run") {
                self.report
                    .warning(&place, text)
                    .help("it must be made at each start: RuntimeDirectory= of the systemd unit does that");
            } else {
                self.report.error(&place, text);
            }
            return;
        }
        if let (Ok(inside), ListenKind::Client, Some(uid), Some(gid)) =
            (path.strip_prefix(QUEUE), listen.kind, uid, gid)
            && let Ok(Some(postfix)) = User::from_name("postfix")
        {
            let postfix = Account::of("postfix", postfix.uid, postfix.gid);
            self.postfix(listen, &postfix, (uid, gid), inside, &place);
        }
    }

    /// Whether Postfix's servers, which run as `postfix`, get through to the socket, and what main.cf
    /// calls it.
    fn postfix(
        &mut self,
        listen: &Listen,
        postfix: &Account,
        owner: (u32, u32),
        inside: &Path,
        place: &Span,
    ) {
        let path = Path::new(QUEUE).join(inside);
        let granted = if owner.0 == postfix.uid {
            listen.mode >> 6
        } else if postfix.groups.contains(&owner.1) {
            listen.mode >> 3
        } else {
            listen.mode
        };
        let main_cf =
            format!("in main.cf: smtpd_sasl_type = dovecot, smtpd_sasl_path = {}", inside.display());
        if granted & 0o2 == 0 {
            self.report
                .error(
                    place,
                    format!("the user postfix may not connect: the socket's mode is 0o{:o}", listen.mode),
                )
                .help(format!("set group = \"postfix\" and mode = 0o660; {main_cf}"));
        } else if let Some(folder) = postfix.stopped_at(&path) {
            self.report
                .error(place, format!("the user postfix may not enter {}", folder.display()))
                .help("put the socket into a folder that it may enter, such as /var/spool/postfix/private");
        } else {
            self.report.info(place, "Postfix gets through to this socket").help(main_cf);
        }
    }

    fn passwd_file(&mut self, file: &PasswdFile, table: &Table, userdb: bool) {
        let companion = file.app_passwords.as_deref().map(|path| ("app_passwords", path));
        for (name, text) in [("path", file.path.as_str())].into_iter().chain(companion) {
            let Ok(template) = Template::parse(text) else { continue };
            if template.has_variables() {
                self.fixed_folder(&template, &table.place(name));
            } else if self.readable(Path::new(text), &table.place(name)) && name == "path" {
                self.entries(Path::new(text), &table.place(name), userdb);
            }
        }
    }

    /// The folder up to the first variable of a path.
    fn fixed_folder(&mut self, template: &Template, place: &Span) {
        let Some(Piece::Literal(text)) = template.pieces().first() else { return };
        let folder = text.rfind('/').and_then(|end| text.get(..end)).filter(|folder| !folder.is_empty());
        if let Some(folder) = folder
            && !Path::new(folder).is_dir()
        {
            self.report.error(place, format!("the folder {folder} is not there"));
        }
    }

    /// Whether there is any user in a passwd-file, and for a userdb any with uid and gid.
    fn entries(&mut self, path: &Path, place: &Span, userdb: bool) {
        let Ok(text) = fs::read(path) else { return };
        let text = String::from_utf8_lossy(&text);
        let mut users = 0_usize;
        let mut located = 0_usize;
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let mut columns = line.split(':');
            users += 1;
            let numbers = columns.nth(2).is_some_and(|uid| !uid.is_empty())
                && columns.next().is_some_and(|gid| !gid.is_empty());
            located += usize::from(numbers || line.contains("userdb_uid="));
        }
        if users == 0 {
            self.report.warning(place, format!("{} has no users", path.display()));
        } else if userdb && located == 0 {
            self.report
                .warning(place, format!("no user in {} has uid and gid", path.display()))
                .help("user:password:uid:gid::home:: or default_fields = { uid = \"...\", gid = \"...\" }");
        }
    }

    fn optional(&mut self, path: Option<&Path>, table: &Table, name: &str) {
        if let Some(path) = path {
            self.readable(path, &table.place(name));
        }
    }

    /// Whether a file is there and the service's user reads it; complains otherwise.
    fn readable(&mut self, path: &Path, place: &Span) -> bool {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root() => {
                let text = format!("{}: cannot be looked at with your rights", path.display());
                self.report.warning(place, text).help("run the check as root");
                return false;
            }
            Err(error) => {
                self.report.error(place, format!("{}: {error}", path.display()));
                return false;
            }
        };
        if !metadata.is_file() {
            self.report.error(place, format!("{} is no file", path.display()));
            return false;
        }
        let Some(account) = &self.account else { return false };
        let name = &account.name;
        if let Some(folder) = account.stopped_at(path) {
            let text = format!("the user {name} may not enter {}", folder.display());
            self.report.error(place, text).help(format!("{} must be read by {name}", path.display()));
            return false;
        }
        if !account.may(4, &metadata) {
            self.report
                .error(place, format!("the user {name} may not read {}", path.display()))
                .help(format!("chgrp {name} {0} && chmod g+r {0}", path.display()));
            return false;
        }
        true
    }

    fn program(&mut self, command: &[String], table: &Table) {
        let Some(program) = command.first() else { return };
        let place = table.element_place("command", 0);
        match fs::metadata(program) {
            Err(error) => {
                self.report.error(&place, format!("{program}: {error}"));
            }
            Ok(metadata) => {
                let may = self.account.as_ref().is_none_or(|account| account.may(1, &metadata));
                if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 || !may {
                    self.report.error(&place, format!("{program} cannot be executed"));
                }
            }
        }
    }

    fn pam(&mut self, service: &str, table: &Table) {
        let fixed = Template::parse(service).is_ok_and(|template| !template.has_variables());
        let folder = Path::new("/etc/pam.d");
        if fixed && service != "*" && !folder.join(service).exists() {
            self.report
                .warning(&table.place("service"), format!("there is no /etc/pam.d/{service}"))
                .help("PAM then uses /etc/pam.d/other, which on Debian asks for the system's own passwords");
        }
    }

    /// Whether the system's hashes can be read.
    fn shadow(&mut self, table: &Table) {
        let shadow = Path::new("/etc/shadow");
        if let (Some(account), Ok(metadata)) = (&self.account, fs::metadata(shadow))
            && !account.may(4, &metadata)
        {
            self.report
                .error(&table.place("driver"), format!("the user {} may not read /etc/shadow", account.name))
                .help("add it to the group shadow, or use the driver pam");
        }
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}
