//! `--check-user`: walks through all that a delivery to a user would touch, as that user, and says what stands in its way.

mod around;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::config::report::printable;
use base::exit;

use crate::config::settings::{Driver, Settings};
use crate::maildir::Mailboxes;
use crate::maildir::size::Size;
use crate::quota;
use crate::recipient::{self, NoUser, User};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// What is wrong; `None` when it is in order.
    pub wrong: Option<String>,
    /// The command that mends it.
    pub mend: Option<String>,
    /// The exit code that a delivery would end with because of it; 0 when it would get through.
    pub code: u8,
}

/// All that was looked at, in the order in which a delivery would come upon it.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    fn fine(&mut self, subject: impl Into<String>) {
        self.all.push(Finding { subject: subject.into(), wrong: None, mend: None, code: 0 });
    }

    fn wrong(
        &mut self,
        subject: impl Into<String>,
        wrong: impl Into<String>,
        mend: impl Into<String>,
        code: u8,
    ) {
        let (wrong, mend) = (Some(wrong.into()), Some(mend.into()));
        self.all.push(Finding { subject: subject.into(), wrong, mend, code });
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.all
    }

    /// The exit code that a delivery would end with.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.all.iter().map(|finding| finding.code).find(|code| *code != 0).unwrap_or(0)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for finding in &self.all {
            // Writing to a String cannot fail.
            let _ok = match &finding.wrong {
                None => writeln!(out, "ok    {}", printable(&finding.subject)),
                Some(wrong) => writeln!(out, "WRONG {}: {}", printable(&finding.subject), printable(wrong)),
            };
            if let Some(mend) = &finding.mend {
                let _ok = writeln!(out, "      help: {}", printable(mend));
            }
        }
        out
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        let all: Vec<_> = self
            .all
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "subject": finding.subject, "ok": finding.wrong.is_none(), "wrong": finding.wrong,
                    "help": finding.mend, "exit_code": finding.code,
                })
            })
            .collect();
        let whole = serde_json::json!({ "findings": all, "exit_code": self.code() });
        format!("{whole:#}\n")
    }
}

/// Walks through it all. The process runs as the user afterwards: it is to end.
#[must_use]
pub fn walk(settings: &Settings, name: &str, now: Duration) -> Findings {
    let mut findings = Findings::default();
    let normal = recipient::normalised(settings, name);
    let user = match recipient::find(settings, name, "lda") {
        Ok(user) => user,
        Err(NoUser::Unknown) => {
            let asked: Vec<String> = settings.userdb.iter().map(|userdb| named(&userdb.driver)).collect();
            let text = format!("no userdb knows {normal:?} (asked: {})", asked.join(", "));
            findings.wrong(
                format!("user {name}"),
                text,
                "add the user there; names are looked up by username_format",
                exit::NOUSER,
            );
            return findings;
        }
        Err(NoUser::Temporary(text)) => {
            let mend = around::user_mend(settings, &normal, &text);
            findings.wrong(format!("user {name}"), text, mend, exit::TEMPFAIL);
            return findings;
        }
    };
    let identity = &user.identity;
    let groups: Vec<String> = identity.groups.iter().map(u32::to_string).collect();
    findings.fine(format!(
        "user {}: uid {}, gid {}, groups {}, home {}, mail in {}",
        user.name,
        identity.uid,
        identity.gid,
        groups.join(","),
        user.home,
        user.place.root.display()
    ));
    if let Err(text) = identity.take_on() {
        findings.wrong(
            "credentials",
            text,
            "run postrider-lda as root, or by pipe(8) with user= set to the owner of the mail",
            exit::TEMPFAIL,
        );
        return findings;
    }
    if path(&mut findings, &user, &user.place.inbox) {
        directories(&mut findings, &user);
        room(&mut findings, settings, &user, now);
    }
    around::others(&mut findings, settings, &user);
    findings
}

fn named(driver: &Driver) -> String {
    match driver {
        Driver::PasswdFile(_) => "passwd-file".to_owned(),
        Driver::AuthUserdb { path, .. } => format!("auth-userdb {}", path.display()),
        Driver::System { .. } => "system".to_owned(),
        Driver::Static(_) => "static".to_owned(),
    }
}

/// Who a directory belongs to and who may use it, as `ls` says it.
fn owner(path: &Path) -> String {
    fs::metadata(path).map_or_else(
        |error| error.to_string(),
        |found| format!("owner {}, group {}, mode {:o}", found.uid(), found.gid(), found.mode() & 0o7777),
    )
}

/// Every directory on the way; false when the mailbox cannot be reached.
fn path(findings: &mut Findings, user: &User, mailbox: &Path) -> bool {
    let mut above: Vec<&Path> = mailbox.ancestors().collect();
    above.reverse();
    for directory in above {
        match fs::symlink_metadata(directory.join(".")) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return missing(findings, user, directory);
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                findings.wrong(
                    directory.display().to_string(),
                    "is no directory",
                    format!("mv {0} {0}.old", directory.display()),
                    exit::TEMPFAIL,
                );
                return false;
            }
            Err(error) => {
                let wrong = format!(
                    "user {} may not pass through ({error}; {})",
                    user.identity.uid,
                    owner(directory)
                );
                let mend = pass(user, directory);
                findings.wrong(directory.display().to_string(), wrong, mend, exit::TEMPFAIL);
                return false;
            }
        }
    }
    findings.fine(format!("path to {}", mailbox.display()));
    true
}

/// What lets the user pass through a directory.
fn pass(user: &User, directory: &Path) -> String {
    let (directory_name, identity) = (directory.display(), &user.identity);
    // All of the mailbox is the user's.
    if directory.starts_with(&user.place.root)
        && fs::metadata(directory).is_ok_and(|it| it.uid() != identity.uid)
    {
        return format!("chown -R {}:{} {directory_name}", identity.uid, identity.gid);
    }
    match fs::metadata(directory) {
        Ok(found) if found.uid() == identity.uid => format!("chmod u+x {directory_name}"),
        Ok(found) if found.gid() == identity.gid || identity.groups.contains(&found.gid()) => {
            format!("chmod g+x {directory_name}")
        }
        _ => format!("chmod o+x {directory_name}    (or: setfacl -m u:{}:x {directory_name})", identity.uid),
    }
}

/// The first directory that is not there: it is created by the first delivery, if its parent allows that.
fn missing(findings: &mut Findings, user: &User, directory: &Path) -> bool {
    let parent = directory.parent().unwrap_or(Path::new("/"));
    if rustix::fs::access(parent, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok() {
        findings.fine(format!("{} is not there yet; the first delivery creates it", directory.display()));
    } else {
        let wrong = format!(
            "does not exist, and user {} may not create it in {} ({})",
            user.identity.uid,
            parent.display(),
            owner(parent)
        );
        let mend = format!(
            "install -d -o {} -g {} -m 700 {}",
            user.identity.uid,
            user.identity.gid,
            directory.display()
        );
        findings.wrong(directory.display().to_string(), wrong, mend, exit::TEMPFAIL);
    }
    false
}

/// `tmp`, `new` and `cur`: writing, syncing and linking are tried in `tmp`, where no reader looks.
fn directories(findings: &mut Findings, user: &User) {
    for name in ["tmp", "new", "cur"] {
        let directory = user.place.inbox.join(name);
        if !directory.exists() {
            missing(findings, user, &directory);
            continue;
        }
        if !directory.is_dir() {
            let mend = format!("mv {0} {0}.old", directory.display());
            findings.wrong(directory.display().to_string(), "is no directory", mend, exit::TEMPFAIL);
            continue;
        }
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK | rustix::fs::Access::READ_OK;
        if let Err(error) = rustix::fs::access(&directory, access) {
            let wrong =
                format!("user {} may not write there ({error}; {})", user.identity.uid, owner(&directory));
            let mend = format!(
                "chown -R {}:{} {2}; chmod u+rwx {2}",
                user.identity.uid,
                user.identity.gid,
                directory.display()
            );
            let mend = if error == rustix::io::Errno::ROFS {
                "mount the file system writable".to_owned()
            } else {
                mend
            };
            findings.wrong(directory.display().to_string(), wrong, mend, exit::TEMPFAIL);
        } else if name == "tmp" {
            trial(findings, &directory);
        } else {
            findings.fine(directory.display().to_string());
        }
    }
}

fn trial(findings: &mut Findings, tmp: &Path) {
    let name = |what: &str| -> PathBuf { tmp.join(format!("postrider-check.{}.{what}", std::process::id())) };
    let (file, link) = (name("file"), name("link"));
    let attempt = || -> Result<(), (&'static str, io::Error)> {
        let mut made = File::create_new(&file).map_err(|error| ("creating a file", error))?;
        io::Write::write_all(&mut made, b"trial\n").map_err(|error| ("writing", error))?;
        made.sync_all().map_err(|error| ("fsync", error))?;
        fs::hard_link(&file, &link).map_err(|error| ("a hard link", error))
    };
    let tried = attempt();
    drop(fs::remove_file(&file));
    drop(fs::remove_file(&link));
    match tried {
        Ok(()) => findings.fine(format!("{}: writing, fsync and linking work", tmp.display())),
        Err((step, error)) => {
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let mend = if full {
                format!(
                    "df -h {0}; df -i {0}    (make room; or repquota -a, when disk quotas are on)",
                    tmp.display()
                )
            } else {
                "dmesg    (the kernel's log says what the disk has)".to_owned()
            };
            findings.wrong(tmp.display().to_string(), format!("{step} fails: {error}"), mend, exit::TEMPFAIL);
        }
    }
}

/// The quota, as a delivery of one byte would see it.
fn room(findings: &mut Findings, settings: &Settings, user: &User, now: Duration) {
    let boxes = match user.mailboxes(settings) {
        Ok(boxes) => boxes,
        Err(error) => {
            findings.wrong(
                "mailbox",
                error.to_string(),
                "dmesg    (the kernel's log says what the disk has)",
                exit::TEMPFAIL,
            );
            return;
        }
    };
    match Size::read(&boxes, &user.quota, now) {
        Ok(None) => findings.fine("quota: none"),
        Ok(Some(size)) => {
            let told = format!(
                "quota: {} of {} bytes, {} of {} messages (0 is no limit)",
                size.usage.bytes, size.limits.bytes, size.usage.count, size.limits.count
            );
            if quota::allows(size.limits, settings.quota.grace, size.usage, 1) {
                findings.fine(told);
            } else {
                let code = if settings.quota_full_tempfail { exit::TEMPFAIL } else { exit::NOPERM };
                let file = boxes.place().root.join("maildirsize");
                let mend = if user.quota.is_empty() {
                    format!(
                        "raise the limit in the first line of {}, or let the user delete mail",
                        file.display()
                    )
                } else {
                    format!(
                        "raise quota_rule, or let the user delete mail; rm {} has it counted again",
                        file.display()
                    )
                };
                findings.wrong("quota", format!("the mailbox is full; {told}"), mend, code);
            }
            kept(findings, user, &boxes);
            let root = &boxes.place().root;
            if let Err(error) = rustix::fs::access(root, rustix::fs::Access::WRITE_OK) {
                let wrong = format!("maildirsize cannot be made anew there ({error}; {})", owner(root));
                let (uid, gid) = (user.identity.uid, user.identity.gid);
                let mend = format!("chown {uid}:{gid} {0}; chmod u+rwx {0}", root.display());
                findings.wrong(root.display().to_string(), wrong, mend, exit::TEMPFAIL);
            }
        }
        Err(error) => findings.wrong(
            "quota",
            error.to_string(),
            format!("chown -R {}:{} {}", user.identity.uid, user.identity.gid, user.place.root.display()),
            exit::TEMPFAIL,
        ),
    }
}

fn kept(findings: &mut Findings, user: &User, boxes: &Mailboxes) {
    let file = boxes.place().root.join("maildirsize");
    if file.exists()
        && rustix::fs::access(&file, rustix::fs::Access::WRITE_OK | rustix::fs::Access::READ_OK).is_err()
    {
        let wrong = format!("may not be written ({}): the quota would drift", owner(&file));
        let (uid, gid) = (user.identity.uid, user.identity.gid);
        let mend = format!("chown {uid}:{gid} {0}; chmod u+rw {0}", file.display());
        findings.wrong(file.display().to_string(), wrong, mend, 0);
    }
}
