//! The deep check behind `-n`: looks at the files, users and sockets that serving would use.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use base::config::Report;
use base::config::toml::Document;
use base::service::listen::Address;
use base::service::privileges::RunAs;
use nix::unistd::{AccessFlags, Group, User, access};

use super::settings::{ListDriver, Settings, StoreDriver};

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
    for (source, table) in settings.lists.iter().zip(document.tables("list")) {
        match &source.driver {
            ListDriver::File { path } => {
                if let Err(error) = std::fs::read(path) {
                    report.error(&table.place("path"), format!("{}: {error}", path.display()));
                }
            }
        }
    }
    if let Err(wrong) = crate::lists::read_all(settings) {
        // What cannot be read has been said with its place.
        drop(wrong);
    } else {
        let mut none = |_: &str| crate::store::LimitId(0);
        let limits = crate::limits::Limits::new(settings, 0, &mut none);
        for wrong in limits.wrong_overrides() {
            report.error_anywhere(wrong);
        }
    }
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
