//! What -n finds in passdbs, userdbs and the checks of tokens: files that are not there, and all that the
//! start would refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base::config::Span;
use base::config::toml::Table;

use super::super::settings::{Passdb, PassdbDriver, PasswdFile, Settings, Sql, Userdb, UserdbDriver};
use super::Checks;
use crate::oauth::Tokens;
use crate::sql::Database;
use crate::variables::{Piece, Template};
use crate::{passdb, userdb};
use base::country::Countries;

impl Checks<'_> {
    pub(super) fn passdb(&mut self, passdb: &Passdb, settings: &Settings, table: &Table) {
        let before = self.report.errors();
        match &passdb.driver {
            PassdbDriver::PasswdFile(file) => {
                if let Some(path) = self.fixed_file(&file.path, &table.place("path")) {
                    self.users(path, &table.place("path"), passdb, settings.allow_weak_schemes);
                }
                self.companion(file, settings.allow_weak_schemes, passdb, table);
            }
            PassdbDriver::Pam(pam) => self.pam(&pam.service, settings, table),
            PassdbDriver::System => self.shadow(table),
            PassdbDriver::Sql(sql) => self.sql(sql, table),
            PassdbDriver::Ldap(ldap) => self.optional(ldap.tls_ca_file.as_deref(), table, "tls_ca_file"),
            PassdbDriver::Static { .. } => {}
            PassdbDriver::Command(command) => self.program(&command.command, table),
        }
        self.built(before, table.header(), passdb::Driver::new(passdb));
    }

    pub(super) fn userdb(&mut self, userdb: &Userdb, settings: &Settings, table: &Table) {
        let before = self.report.errors();
        match &userdb.driver {
            UserdbDriver::PasswdFile(file) => {
                if let Some(path) = self.fixed_file(&file.path, &table.place("path")) {
                    let is_ours = |passdb: &Passdb| matches!(&passdb.driver, PassdbDriver::PasswdFile(other) if other.path == file.path);
                    let known = settings.passdb.iter().any(is_ours);
                    self.homes(path, &table.place("path"), known);
                }
            }
            UserdbDriver::Sql(sql) => self.sql(sql, table),
            UserdbDriver::Ldap(ldap) => self.optional(ldap.tls_ca_file.as_deref(), table, "tls_ca_file"),
            UserdbDriver::Command(command) => self.program(&command.command, table),
            UserdbDriver::System | UserdbDriver::Static { .. } | UserdbDriver::Prefetch => {}
        }
        self.built(before, table.header(), userdb::Driver::new(userdb));
    }

    /// Complains about names that the start would refuse.
    pub(super) fn names(&mut self, settings: &Settings) {
        if let Err(error) = settings.names.compile() {
            self.report.error_anywhere(error);
        }
    }

    pub(super) fn tokens(&mut self, settings: &Settings, table: &Table) {
        let Some(oauth2) = &settings.oauth2 else { return };
        let before = self.report.errors();
        for (index, key) in oauth2.keys.iter().enumerate() {
            self.readable(key, &table.element_place("keys", index));
        }
        self.optional(oauth2.ca_file.as_deref(), table, "ca_file");
        if let Some(path) = oauth2.jwks.as_deref().filter(|jwks| jwks.starts_with('/')) {
            self.readable(Path::new(path), &table.place("jwks"));
        }
        self.built(before, table.header(), Tokens::new(oauth2));
    }

    pub(super) fn countries(&mut self, settings: &Settings, table: &Table) {
        let Some(path) = settings.networks.country_database.as_deref() else { return };
        let place = table.place("country_database");
        if self.readable(path, &place)
            && let Err(error) = Countries::open(path)
        {
            self.report.error(&place, error);
        }
    }

    /// Complains about what could not be built. Of a section that has an error already, it would say the
    /// same once more.
    fn built<T>(&mut self, errors_before: usize, header: &Span, built: Result<T, String>) {
        if let Err(error) = built
            && self.report.errors() == errors_before
        {
            self.report.error(header, error);
        }
    }

    fn sql(&mut self, sql: &Sql, table: &Table) {
        self.optional(sql.tls_ca_file.as_deref(), table, "tls_ca_file");
        let name = if table.is_set("url") { "url" } else { "url_file" };
        for path in Database::files(&sql.urls) {
            self.readable(&path, &table.place(name));
        }
    }

    /// The path when it has no variables and can be read; otherwise the folder is looked at.
    fn fixed_file<'a>(&mut self, text: &'a str, place: &Span) -> Option<&'a Path> {
        let template = Template::parse(text).ok()?;
        if template.has_variables() {
            self.fixed_folder(&template, place);
            return None;
        }
        let path = Path::new(text);
        self.readable(path, place).then_some(path)
    }

    /// The app passwords, a file that need not be there yet.
    fn companion(&mut self, file: &PasswdFile, allow_weak: bool, passdb: &Passdb, table: &Table) {
        let Some(text) = &file.app_passwords else { return };
        let place = table.place("app_passwords");
        let missing = Template::parse(text).is_ok_and(|template| !template.has_variables())
            && fs::metadata(text).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if missing {
            self.report.warning(&place, format!("{text} is not there; nobody has app passwords until it is"));
        } else if let Some(path) = self.fixed_file(text, &place) {
            self.app_passwords(path, &place, passdb, allow_weak);
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

    fn pam(&mut self, service: &str, settings: &Settings, table: &Table) {
        if let Some(account) = self.account.as_ref().filter(|account| account.uid != 0)
            && settings.run_as.is_some()
        {
            let name = &account.name;
            self.report
                .warning(
                    &table.place("driver"),
                    format!("without root's rights pam_unix checks the password of {name} only"),
                )
                .help(
                    "leave out user, unless all modules of the PAM service ask a server (pam_sss, pam_ldap)",
                );
        }
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
                .help("leave out user, or add it to the group shadow");
        }
    }
}
