//! The deep check behind `-n`: looks at the files, users and sockets that serving would use.

mod databases;
mod user_files;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base::config::toml::{Document, Table};
use base::config::{Report, Span};
use base::service::listen::Address;
use base::service::privileges::RunAs;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};

use base::secret::Secret;

use super::settings::{Listen, ListenKind, Settings};

/// Where Debian's Postfix has its queue; its servers are confined to it.
const QUEUE: &str = "/var/spool/postfix";

/// Looks at what [`super::load`] leaves out: the user and group to run as, files and whether that user
/// reads them, what is in users' files, folders of sockets and whether Postfix gets through to them, and
/// whether others read the configuration though it holds a password. Whatever the start would build is
/// built, so that nothing which is taken here is refused there.
pub fn check(settings: &Settings, document: &Document, report: &mut Report) {
    let mut checks = Checks { account: None, report };
    checks.account = checks.account(settings, document.section(""));
    checks.configuration(document);
    let listens = document.tables("listen").filter(|table| table.address("address").is_some());
    for (listen, table) in settings.listen.iter().zip(listens) {
        checks.listener(listen, table);
    }
    for (passdb, table) in settings.passdb.iter().zip(document.tables("passdb")) {
        checks.passdb(passdb, settings, table);
    }
    for (userdb, table) in settings.userdb.iter().zip(document.tables("userdb")) {
        checks.userdb(userdb, settings, table);
    }
    checks.names(settings);
    checks.tokens(settings, document.section("oauth2"));
    checks.countries(settings, document.section("networks"));
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
        let is_secret = |(name, secret): (&str, Secret)| name != "url" || base::sql::holds_password(&secret);
        if document.secrets().any(is_secret) && metadata.permissions().mode() & 0o004 != 0 {
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
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}
