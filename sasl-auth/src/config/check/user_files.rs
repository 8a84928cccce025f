//! What -n finds in a file of users: lines that nobody can log in by, never showing a password.

use std::path::Path;

use base::config::Span;
use base::passwd_file::{self, Line};

use super::super::settings::Passdb;
use super::Checks;
use crate::passdb::app_passwords;
use crate::passdb::passwd_file::extra_fields;
use crate::password::Stored;
use crate::request::Request;
use crate::user_file::{Kind, Loaded};
use crate::variables::Values;

/// Complaints about one file; the others are counted.
const MOST: usize = 10;

impl Checks<'_> {
    /// The lines of a passdb's file.
    pub(super) fn users(&mut self, path: &Path, place: &Span, passdb: &Passdb, allow_weak: bool) {
        let Some(file) = self.examined(path, &Kind::USERS, place) else { return };
        if file.all().next().is_none() {
            self.report.warning(place, format!("{} has no users", path.display()));
        }
        let request = Request::default();
        let complaints = file.all().filter_map(|line| {
            let Line::User(user) = passwd_file::line(line) else { return None };
            if let Err(error) = extra_fields(&user, &Values::of(&request), String::new) {
                // The place, empty here, stands before a colon.
                return Some((line, error.detail.trim_start_matches(": ").to_owned()));
            }
            // Who is denied needs no password, and an empty one lets nobody in.
            if passdb.deny || user.password.is_empty() {
                return None;
            }
            Some((line, wrong(&user.password, &passdb.default_scheme, allow_weak)?))
        });
        self.complain(place, path, &file, complaints);
    }

    /// The lines of a companion file with app passwords.
    pub(super) fn app_passwords(&mut self, path: &Path, place: &Span, passdb: &Passdb, allow_weak: bool) {
        let Some(file) = self.examined(path, &app_passwords::KIND, place) else { return };
        let complaints = file.all().filter_map(|line| {
            // Lines that cannot be read have been complained about.
            let password = app_passwords::read(line).ok().flatten()?;
            Some((line, wrong(password.text.expose(), &passdb.default_scheme, allow_weak)?))
        });
        self.complain(place, path, &file, complaints);
    }

    /// Whether any user in a userdb's file has uid and gid. Of a file that is a passdb's as well, the lines
    /// have been looked at already.
    pub(super) fn homes(&mut self, path: &Path, place: &Span, known: bool) {
        let kind = Kind { public: true, ..Kind::USERS };
        let file = if known {
            Loaded::examined(path, &kind).ok().map(|(file, _)| file)
        } else {
            self.examined(path, &kind, place)
        };
        let Some(file) = file else { return };
        let mut users = 0_usize;
        let located = |line: &[u8]| match passwd_file::line(line) {
            Line::User(user) => {
                let is_given = |field: Option<&[u8]>| field.is_some_and(|text| !text.is_empty());
                (is_given(user.uid) && is_given(user.gid))
                    || user.fields().any(|(name, _)| name == b"userdb_uid")
            }
            _ => false,
        };
        let any = file.all().inspect(|_| users += 1).any(located);
        if users == 0 {
            self.report.warning(place, format!("{} has no users", path.display()));
        } else if !any {
            self.report
                .warning(place, format!("no user in {} has uid and gid", path.display()))
                .help("user:password:uid:gid::home:: or default_fields = { uid = \"...\", gid = \"...\" }");
        }
    }

    /// A file as the daemon reads it, with its warnings.
    fn examined(&mut self, path: &Path, kind: &Kind, place: &Span) -> Option<Loaded> {
        match Loaded::examined(path, kind) {
            Ok((file, warnings)) => {
                for warning in warnings {
                    self.report.warning(place, warning);
                }
                Some(file)
            }
            Err(error) => {
                self.report.error(place, format!("{}: {error}", path.display()));
                None
            }
        }
    }

    /// Names the first lines by their numbers, which take counting from the file's beginning each time.
    fn complain<'a>(
        &mut self,
        place: &Span,
        path: &Path,
        file: &Loaded,
        mut complaints: impl Iterator<Item = (&'a [u8], String)>,
    ) {
        for (line, what) in complaints.by_ref().take(MOST) {
            self.report.warning(place, format!("{}: {what}", file.place(line)));
        }
        let more = complaints.count();
        if more > 0 {
            self.report.warning(place, format!("{}: {more} more lines like these", path.display()));
        }
    }
}

/// Why a stored password lets nobody in; without any of its text.
fn wrong(password: &[u8], default_scheme: &str, allow_weak: bool) -> Option<String> {
    match Stored::parse(password, default_scheme) {
        Err(error) => Some(error.to_string()),
        Ok(stored) if stored.is_weak() && !allow_weak => Some(format!(
            "{} is quickly broken, and without allow_weak_schemes it lets nobody in",
            stored.scheme_name()
        )),
        Ok(_) => None,
    }
}
