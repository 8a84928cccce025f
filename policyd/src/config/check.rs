//! The deep check behind `-n`: looks at the files, users and sockets that serving would use.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use base::config::Report;
use base::config::toml::{Document, Table};
use base::country::{Asns, Countries};
use base::secret::Secret;
use base::service::listen::Address;
use base::service::privileges::RunAs;
use nix::unistd::{AccessFlags, Group, User, access};

use super::settings::{Geo, ListDriver, Settings, StoreDriver};
use crate::condition::Listing;
use crate::lookup::Lookup;
use crate::lookup::source::Origin;

/// Where Debian's Postfix has its queue; its smtpd is confined to it.
const QUEUE: &str = "/var/spool/postfix";

/// Looks at what [`super::load`] leaves out: users and groups, folders of sockets and whether Postfix gets
/// through to them, the folder of the store, lists.
pub fn check(settings: &Settings, document: &Document, report: &mut Report) {
    let top = document.section("");
    if let Some(spec) = &settings.run_as
        && let Err(error) = RunAs::find(spec)
    {
        let user = spec.split(':').next().unwrap_or("");
        report
            .error(&top.place("user"), error.to_string())
            .help(format!("adduser --system --group --no-create-home {user}"));
    }
    let socket = &settings.socket;
    if let Some(name) = &socket.user
        && !matches!(User::from_name(name), Ok(Some(_)))
    {
        report.error(&top.place("socket_user"), format!("{name}: no such user"));
    }
    if let Some(name) = &socket.group
        && !matches!(Group::from_name(name), Ok(Some(_)))
    {
        report.error(&top.place("socket_group"), format!("{name}: no such group"));
    }
    for (index, address) in settings.listen.iter().enumerate() {
        if let Address::Unix(path) = address {
            let place = top.element_place("listen", index);
            listen(path, &place, report);
        }
    }
    store(settings, document, report);
    geo(settings, document, report);
    lists(settings, document, report);
    configuration(document, report);
    report.sort_by_place();
}

fn listen(path: &Path, place: &base::config::Span, report: &mut Report) {
    let Some(folder) = path.parent() else { return };
    if !folder.is_dir() {
        report
            .error(place, format!("the folder {} is not there", folder.display()))
            .help(format!("mkdir -p {}", folder.display()));
        return;
    }
    if let Ok(found) = std::fs::symlink_metadata(path)
        && !found.file_type().is_socket()
    {
        report.error(place, format!("{} is there and is no socket", path.display()));
    }
    if Path::new(QUEUE).is_dir() && !path.starts_with(QUEUE) {
        report.warning(place, "an smtpd that runs chrooted does not get there").help(format!(
            "put it below {QUEUE}, or see to it that column chroot of smtpd in master.cf is n"
        ));
    }
}

fn store(settings: &Settings, document: &Document, report: &mut Report) {
    let StoreDriver::File { path } = &settings.store.driver else { return };
    let place = document.section("store").place("path");
    let Some(folder) = path.parent() else { return };
    if !folder.is_dir() {
        report
            .error(&place, format!("the folder {} is not there", folder.display()))
            .help(format!("mkdir -p {}, and give it to the user of the service", folder.display()));
    } else if settings.run_as.is_none() && access(folder, AccessFlags::W_OK).is_err() {
        report.error(&place, format!("{} is not writable", folder.display()));
    }
}

/// Whether the databases of places can be read.
fn geo(settings: &Settings, document: &Document, report: &mut Report) {
    let table = document.section("geo");
    let Geo { country_file, asn_file } = &settings.geo;
    if let Some(path) = country_file
        && let Err(error) = Countries::open(path)
    {
        report.error(&table.place("country_file"), error);
    }
    if let Some(path) = asn_file
        && let Err(error) = Asns::open(path)
    {
        report.error(&table.place("asn_file"), error);
    }
}

/// Whether files can be read and databases be asked as they are configured. Nothing is connected to.
fn lists(settings: &Settings, document: &Document, report: &mut Report) {
    let before = report.errors();
    for source in &settings.lists {
        let mut tables = document.tables("list");
        let Some(table) = tables.find(|table| table.text("name").as_deref() == Some(source.name.as_str()))
        else {
            continue;
        };
        match (&source.driver, &source.content) {
            (ListDriver::File { path }, _) => {
                if let Err(error) = std::fs::read(path) {
                    report.error(&table.place("path"), format!("{}: {error}", path.display()));
                }
            }
            (ListDriver::Asked, Listing::Asked(list)) => asked(list, table, report),
            (ListDriver::Asked, Listing::Read(_)) => {}
        }
    }
    // What cannot be read has been said with its place.
    if report.errors() == before && crate::lists::read_all(settings, None).is_ok() {
        let mut none = |_: &str| crate::store::LimitId(0);
        let limits = crate::limits::Limits::new(settings, 0, &mut none);
        for wrong in limits.wrong_overrides() {
            report.error_anywhere(wrong);
        }
    }
}

fn asked(list: &Lookup, table: &Table, report: &mut Report) {
    if let Err(wrong) = crate::lists::open(list, None) {
        let setting = wrong.setting;
        report.error(&table.place(setting), format!("{setting}: {}", wrong.text));
    }
    if let Origin::Sql { urls, url_file, .. } = &list.settings().origin {
        for path in base::sql::Database::files(urls) {
            if let Err(error) = std::fs::File::open(&path) {
                report.error(&table.place("url"), format!("{}: {error}", path.display()));
            }
        }
        if let Some(path) = url_file
            && is_for_all(path)
        {
            report
                .warning(&table.place("url_file"), format!("every local user may read {}", path.display()))
                .help(format!("chmod o-r {}", path.display()));
        }
    }
}

fn is_for_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Whether others read the configuration though a password stands in it.
fn configuration(document: &Document, report: &mut Report) {
    let path = document.section("").header().source().name().to_owned();
    let is_password = |(name, secret): (&str, Secret)| name != "url" || base::sql::holds_password(&secret);
    if document.secrets().any(is_password) && is_for_all(Path::new(&path)) {
        report
            .warning_anywhere(format!("{path} holds a password, and every local user may read it"))
            .help(format!("chmod o-r {path}, or keep the URL in a file of its own (url_file)"));
    }
}
