//! The deep check of `-n`: files, sockets and programs that the configuration names.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use base::config::Report;
use base::config::toml::{Document, Table};
use base::passwd_file::{self, Line};

use super::settings::{Driver, Settings};

/// The largest file of users that is read through.
const LARGEST: u64 = 256 << 20;

/// Looks at what the configuration names. What is missing defers mail, or will be missed: it is a mistake where it
/// cannot be meant, otherwise a warning.
pub(super) fn check(settings: &Settings, document: &Document, report: &mut Report) {
    for (userdb, table) in settings.userdb.iter().zip(document.tables("userdb")) {
        match &userdb.driver {
            Driver::PasswdFile(path) if !path.has_variables() => {
                users(&path.expand(&Default::default()), table, report);
            }
            Driver::AuthUserdb { path, .. } => {
                if let Err(error) = UnixStream::connect(path) {
                    report
                        .warning(&table.place("path"), format!("path: {}: {error}", path.display()))
                        .help("start postrider-sasl-auth or Dovecot; it must be reachable for whoever runs the delivery");
                }
            }
            Driver::PasswdFile(_) | Driver::System { .. } | Driver::Static(_) => {}
        }
    }
    let top = document.section("");
    let sendmail = &settings.sendmail_path;
    if !fs::metadata(sendmail).is_ok_and(|found| found.permissions().mode() & 0o111 != 0) {
        report
            .warning(
                &top.place("sendmail_path"),
                format!("sendmail_path: {} cannot be run", sendmail.display()),
            )
            .help("scripts cannot redirect or answer without it; install Postfix, or set sendmail_path");
    }
    if !settings.fsync {
        let note = report
            .warning(&top.place("mail_fsync"), "mail_fsync: a power cut may lose mail that was delivered");
        note.help("leave it out, unless the mail is of no value");
    }
}

/// Every line of a passwd-file.
fn users(path: &str, table: &Table, report: &mut Report) {
    let place = table.place("path");
    let content = File::open(path)
        .and_then(|file| file.metadata())
        .and_then(|found| if found.len() > LARGEST { Ok(Vec::new()) } else { fs::read(path) });
    let content = match content {
        Ok(content) => content,
        Err(error) => {
            report
                .error(&place, format!("path: {path}: {error}"))
                .help("mail is deferred until the file can be read");
            return;
        }
    };
    let mut bad = 0;
    for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let wrong = match passwd_file::line(line) {
            Line::Nothing => continue,
            Line::Bad(why) => why.to_owned(),
            Line::User(user) => match user.uid.filter(|uid| !uid.is_empty()) {
                Some(b"0") => "mail is not delivered as root: uid 0".to_owned(),
                _ => continue,
            },
        };
        bad += 1;
        if bad <= 20 {
            report.warning(&place, format!("{path}:{}: {wrong}", number + 1));
        }
    }
}
