//! passdb and userdb of Dovecot 2.4: named blocks that hold everything, with long and short names.

use super::draft::{Draft, Section, Value};
use super::fields::{flag, list, of_block, only_mechanisms, rules};
use super::ldap::{Attributes, Server, unique};
use super::parser::Block;
use super::sql::Connection;
use super::v23::oauth2_settings;

/// Carries over all passdbs and userdbs.
pub(super) fn databases(root: &Block, draft: &mut Draft) {
    for block in root.blocks() {
        let kind = match block.kind() {
            "passdb" => "passdb",
            "userdb" => "userdb",
            _ => continue,
        };
        let driver = block.value("driver").or_else(|| block.value(&format!("{kind}_driver")));
        let driver = driver.unwrap_or(block.name());
        if kind == "passdb" && driver == "oauth2" {
            oauth2(root, Some(block), draft);
            continue;
        }
        let found = Found { root, block, kind, driver: driver.replace('-', "_") };
        draft.add(found.section(driver));
    }
    if !draft.has("[oauth2]") {
        oauth2(root, None, draft);
    }
}

/// `[oauth2]` from the settings of a passdb and, where it has none, those outside of it.
fn oauth2(root: &Block, passdb: Option<&Block>, draft: &mut Draft) {
    let mut section = Section::new("[oauth2]");
    if let Some(passdb) = passdb {
        if draft.has("[oauth2]") {
            draft.note(format!("Not carried over: a second oauth2 passdb, {}.", passdb.name()));
            return;
        }
        if list(passdb, "mechanisms_filter").is_empty() && list(passdb, "passdb_mechanisms_filter").is_empty()
        {
            section.note("Tokens are taken by OAUTHBEARER and XOAUTH2 only, not as passwords of PLAIN.");
        }
    }
    let blocks: Vec<&Block> = [passdb.and_then(|block| block.block("oauth2")), passdb, root.block("oauth2")]
        .into_iter()
        .flatten()
        .collect();
    let long = |name: &str| match name {
        "tls_ca_cert_file" => "ssl_client_ca_file".to_owned(),
        name => format!("oauth2_{name}"),
    };
    let value = |name: &str| {
        let long = long(name);
        blocks.iter().find_map(|block| of_tokens(block, name, &long)).or_else(|| {
            // The CA of everything else is not that of the tokens' issuer.
            root.value(&long).filter(|_| name != "tls_ca_cert_file")
        })
    };
    oauth2_settings(&mut section, &value);
    draft.add(section);
}

/// A setting of `[oauth2]` in a block; short names are those of one that is called oauth2.
fn of_tokens<'a>(block: &'a Block, name: &str, long: &str) -> Option<&'a str> {
    let short = if block.kind() == "oauth2" { block.value(name) } else { None };
    short.or_else(|| block.value(long))
}

/// A passdb or userdb block, with the settings around it that it inherits.
struct Found<'a> {
    root: &'a Block,
    block: &'a Block,
    kind: &'static str,
    /// With underscores, as in names of settings.
    driver: String,
}

impl<'a> Found<'a> {
    /// A setting by its short name: `query` may be written `sql_query` and `passdb_sql_query`, and
    /// stand outside of the block under its longer names.
    fn value(&self, name: &str) -> Option<&'a str> {
        let by_driver = format!("{}_{name}", self.driver);
        let by_kind = format!("{}_{name}", self.kind);
        let by_both = format!("{}_{by_driver}", self.kind);
        let names = [by_both.as_str(), by_driver.as_str(), by_kind.as_str()];
        self.block
            .value(name)
            .or_else(|| names.iter().find_map(|name| self.block.value(name)))
            .or_else(|| names.iter().find_map(|name| self.root.value(name)))
    }

    fn block(&self, name: &str) -> Option<&'a Block> {
        self.block.block(name).or_else(|| self.block.block(&format!("{}_{name}", self.kind)))
    }

    fn fields(&self, name: &str) -> Vec<(String, Option<String>)> {
        self.block(name).map(of_block).unwrap_or_default()
    }

    fn text(&self, section: &mut Section, ours: &str, theirs: &str) {
        section.text(ours, self.value(theirs).unwrap_or(""));
    }

    fn section(&self, driver: &str) -> Section {
        let mut section = Section::new(if self.kind == "passdb" { "[[passdb]]" } else { "[[userdb]]" });
        let passdb = self.kind == "passdb";
        // Fields that are set whatever the database says.
        let mut fixed = self.fields("override_fields");
        match driver {
            "passwd-file" => {
                section.text("driver", driver);
                let path = self.block.value("passwd_file_path").or_else(|| self.value("path"));
                let path = path.or_else(|| self.root.value("passwd_file_path"));
                section.text("path", path.unwrap_or(""));
                fixed.extend(self.fields("fields"));
            }
            "sql" => {
                section.text("driver", driver);
                self.connection().write(&mut section);
                self.text(&mut section, "query", "query");
                if !passdb {
                    self.text(&mut section, "iterate_query", "iterate_query");
                }
                fixed.extend(self.fields("fields"));
            }
            "ldap" => {
                section.text("driver", driver);
                self.server().write(&mut section);
                self.text(&mut section, "filter", "filter");
                if passdb {
                    flag(&mut section, "auth_bind", self.value("bind"));
                    self.text(&mut section, "auth_bind_dn", "bind_userdn");
                } else {
                    self.text(&mut section, "iterate_filter", "iterate_filter");
                    let user = self.block("iterate_fields").and_then(|fields| fields.value("user"));
                    let user = user.and_then(|text| text.strip_prefix("%{ldap:")?.strip_suffix('}'));
                    section.text("iterate_attribute", user.unwrap_or(""));
                }
                let attributes = Attributes::of_fields(&self.fields("fields"));
                attributes.write(&mut section, std::mem::take(&mut fixed));
            }
            "pam" if passdb => {
                section.text("driver", driver);
                let service = self.value("service_name").unwrap_or("dovecot");
                section.text("service", if service == "%{protocol}" { "*" } else { service });
                flag(&mut section, "session", self.value("session"));
                flag(&mut section, "setcred", self.value("setcred"));
                fixed.extend(self.fields("fields"));
            }
            "passwd" => {
                section.text("driver", "system");
                fixed.extend(self.fields("fields"));
            }
            "static" if passdb => {
                section.text("driver", driver);
                self.text(&mut section, "password", "password");
                let fields = self.fields("fields").into_iter().map(|(name, value)| match name.as_str() {
                    "nopassword" => (name, None),
                    _ => (name, value),
                });
                section.fields("fields", unique(fields.collect()));
            }
            "static" => {
                section.text("driver", driver);
                section.fields("fields", unique(self.fields("fields")));
                flag(&mut section, "allow_all_users", self.value("allow_all_users"));
            }
            "prefetch" if !passdb => section.text("driver", driver),
            other => {
                section.set("driver", &Value::Text(other.to_owned()));
                section.turn_off(format!("There is no driver {other}."));
            }
        }
        self.shared(&mut section, passdb);
        section.fields("override_fields", unique(fixed));
        section
    }

    /// What does not depend on the driver.
    fn shared(&self, section: &mut Section, passdb: bool) {
        if passdb {
            // Dovecot's own default for ldap (2.4 source); for the others it is ours.
            let default = if self.driver == "ldap" { "CRYPT" } else { "" };
            section.text("default_scheme", self.value("default_password_scheme").unwrap_or(default));
            let mut names = list(self.block, "mechanisms_filter");
            names.extend(list(self.block, "passdb_mechanisms_filter"));
            names.extend(list(self.block, "mechanisms"));
            only_mechanisms(section, &names);
        }
        section.text("username_format", self.block.value("auth_username_format").unwrap_or(""));
        let long = |name: &str| self.block.value(&format!("{}_{name}", self.kind));
        rules(section, &|name| self.block.value(name).or_else(|| long(name)));
        section.fields("default_fields", unique(self.fields("default_fields")));
    }

    fn connection(&self) -> Connection {
        let driver = self.block.value("sql_driver").or_else(|| self.root.value("sql_driver")).unwrap_or("");
        let mut connection = Connection { driver: driver.to_owned(), ..Connection::default() };
        if driver == "sqlite" {
            let path = |block: &'a Block| block.value("sqlite_path");
            let inner = |block: &'a Block| block.block("sqlite").and_then(|one| one.value("path"));
            let path = path(self.block)
                .or_else(|| inner(self.block))
                .or_else(|| path(self.root))
                .or_else(|| inner(self.root));
            path.unwrap_or("").clone_into(&mut connection.name);
            return connection;
        }
        let own: Vec<&Block> = self.block.blocks().filter(|block| block.kind() == driver).collect();
        let around = self.root.blocks().filter(|block| block.kind() == driver);
        let servers = if own.is_empty() { around.collect() } else { own };
        for (number, server) in servers.iter().enumerate() {
            let host = server.value("host").or_else(|| server.value(&format!("{driver}_host")));
            connection.hosts.push(host.unwrap_or(server.name()).to_owned());
            // Hosts of one database have all but their names in common.
            if number == 0 {
                self.parts(server, driver, &mut connection);
            }
        }
        connection
    }

    fn parts(&self, server: &Block, driver: &str, connection: &mut Connection) {
        let parameters = server.block("parameters").or_else(|| server.block("pgsql_parameters"));
        let all = server.settings().chain(parameters.into_iter().flat_map(Block::settings));
        for (name, value) in all {
            let name = name.strip_prefix(driver).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name);
            match name {
                "host" => {}
                "connection_limit" => connection.set("maxconns", value),
                "ssl_ca_file" | "ssl_client_ca_file" => connection.set("ssl_ca", value),
                name => connection.set(name, value),
            }
        }
    }

    fn server(&self) -> Server<'a> {
        let value = |name: &str| self.block.value(name).or_else(|| self.root.value(name));
        Server {
            uris: value("ldap_uris"),
            hosts: None,
            starttls: value("ldap_starttls"),
            ca_file: self.block.value("ssl_client_ca_file"),
            dn: value("ldap_auth_dn"),
            password: value("ldap_auth_dn_password"),
            base: value("ldap_base"),
            scope: value("ldap_scope"),
        }
    }
}
