//! What a delivery needs besides the mailbox: an answer of the userdb, scripts, sendmail, the log; and what mends them.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use base::exit;
use base::log::Syslog;

use super::{Findings, owner};
use crate::config::settings::{Driver, Settings};
use crate::recipient::User;
use crate::sieve::library::{Library, Unusable, scripts_of};
use crate::sieve::options;
use crate::sieve::rewrite::Circumstances;
use crate::userdb::{self, Answer};
use crate::variables::Values;

/// What helps when the user cannot get mail as things are; `text` says how they are.
pub(super) fn user_mend(settings: &Settings, name: &str, text: &str) -> String {
    if text.contains("as root") {
        return "echo 'root: SOMEBODY' >> /etc/aliases && newaliases    (mail for root goes to a person)"
            .to_owned();
    }
    if matches!(userdb::look_up(settings, name, "lda"), Answer::Found(_)) {
        return "correct this user's fields in the userdb, or the setting that is named".to_owned();
    }
    let own = rustix::process::geteuid().as_raw();
    for userdb in &settings.userdb {
        match &userdb.driver {
            Driver::PasswdFile(path) => {
                let path = path.expand(&Values { user: name, service: "lda", ..Values::default() });
                match File::open(&path) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                        return format!("setfacl -m u:{own}:r {path}    (or run postrider-lda as root)");
                    }
                    Err(_) => {
                        return format!(
                            "restore {path}, or set path under [[userdb]]; until then mail waits in the queue"
                        );
                    }
                }
            }
            Driver::AuthUserdb { path, .. } => return socket_mend(path, own),
            Driver::System { .. } => return format!("getent passwd {name}    (shows what the system says)"),
            Driver::Static(_) => {}
        }
    }
    "mail waits in the queue until the userdb answers".to_owned()
}

fn socket_mend(path: &Path, own: u32) -> String {
    let shown = path.display();
    match UnixStream::connect(path).map_err(|error| error.kind()) {
        Ok(_) => {
            "journalctl -u dovecot -u postrider-sasl-auth    (it listens, but gives no answer for this user)"
                .to_owned()
        }
        Err(ErrorKind::PermissionDenied) => {
            format!(
                "setfacl -m u:{own}:rw {shown}    (or set user, group or mode of the socket where it is made)"
            )
        }
        Err(_) => format!(
            "systemctl restart dovecot    (or postrider-sasl-auth.socket: nobody listens at {shown}; or set path under \
             [[userdb]])"
        ),
    }
}

/// What a delivery does not depend on, but somebody will miss.
pub(super) fn others(findings: &mut Findings, settings: &Settings, user: &User) {
    let sendmail = &settings.sendmail_path;
    match fs::metadata(sendmail) {
        Ok(found) if found.permissions().mode() & 0o111 != 0 => {
            findings.fine(format!("sendmail_path {}", sendmail.display()));
        }
        _ => findings.wrong(
            sendmail.display().to_string(),
            "cannot be run: scripts cannot redirect or answer",
            "set sendmail_path to Postfix's sendmail: command -v sendmail",
            0,
        ),
    }
    if settings.sieve.enabled {
        scripts(findings, settings, user);
    }
    if settings.log.syslog {
        let log = UnixDatagram::unbound().and_then(|socket| socket.connect(Syslog::SOCKET));
        match log {
            Ok(()) => findings.fine(Syslog::SOCKET),
            Err(error) => findings.wrong(
                Syslog::SOCKET,
                format!("{error}: deliveries are not logged"),
                "systemctl restart systemd-journald",
                0,
            ),
        }
    }
}

/// Every script that a message would run through, compiled.
fn scripts(findings: &mut Findings, settings: &Settings, user: &User) {
    let options = match options::of(settings, user, "lda") {
        Ok(options) => options,
        Err(text) => {
            let mend = "correct the field in the userdb, or the section [sieve]";
            findings.wrong("sieve", text, mend, exit::TEMPFAIL);
            return;
        }
    };
    let places = &options.places;
    let circumstances = Circumstances { zone_minutes: 0, size: None };
    let (extensions, limits) = (options.extensions.clone(), options.limits);
    let library = Library::new(places, extensions, limits, options.max_script_size, circumstances);
    let own = places.active.as_ref().filter(|path| path.exists()).or(places.default.as_ref());
    let of_site = |paths: &[std::path::PathBuf]| -> Vec<std::path::PathBuf> {
        // A directory that cannot be read is named by its own path.
        paths.iter().flat_map(|path| scripts_of(path).unwrap_or_else(|_| vec![path.clone()])).collect()
    };
    let all = of_site(&places.before).into_iter().chain(own.cloned()).chain(of_site(&places.after));
    for path in all {
        let shown = path.display().to_string();
        match library.load(&path) {
            Ok(None) => {}
            Ok(Some(_)) => findings.fine(format!("script {shown}")),
            Err(Unusable::Mistakes(mistakes)) => {
                let first = mistakes
                    .first()
                    .map_or_else(String::new, |one| format!("line {}: {}", one.line, one.text));
                let wrong = format!("does not compile, so mail is kept in INBOX: {first}");
                findings.wrong(&shown, wrong, format!("postrider-lda sieve-check {shown}"), 0);
            }
            Err(Unusable::Unreadable(why)) => {
                let mend = if places.active.as_deref() == Some(path.as_path()) {
                    format!("chown {} {shown}; chmod u+r {shown}", user.identity.uid)
                } else {
                    format!("chmod o+r {shown}")
                };
                findings.wrong(
                    &shown,
                    format!("cannot be read: {why} ({})", owner(&path)),
                    mend,
                    exit::TEMPFAIL,
                );
            }
        }
    }
}
