//! Who a message is for: from a name to uid, home and mailbox, through the userdb.

use nix::unistd::{Group, User as SystemUser};

use crate::config::settings::Settings;
use crate::location::{Location, Place};
use crate::maildir::{Mailboxes, StoreError};
use crate::quota::Rules;
use crate::userdb::{self, Answer, Fields};
use crate::variables::{Template, Values};

/// A user who gets mail.
#[derive(Debug, Clone)]
pub struct User {
    /// The name, as the userdb has it.
    pub name: String,
    /// Who writes the files.
    pub identity: Identity,
    /// The home; may be empty.
    pub home: String,
    /// The mailbox.
    pub place: Place,
    /// The limits of the mailbox.
    pub quota: Rules,
    /// All fields of the userdb: `sieve`, `sieve_before` and others.
    pub fields: Fields,
}

/// The credentials of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// How long the system may take to name a user's groups.
const GROUPS_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Why there is no user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoUser {
    /// There is none of this name.
    Unknown,
    /// It cannot be said, or the user cannot get mail as things are; the text is for the log.
    Temporary(String),
}

impl User {
    /// Opens the mailbox; call it with the user's credentials.
    ///
    /// # Errors
    /// As [`Mailboxes::open`].
    pub fn mailboxes(&self, settings: &Settings) -> Result<Mailboxes, StoreError> {
        Mailboxes::open(
            self.place.clone(),
            settings.mail.separator,
            &settings.mail.prefix,
            settings.fsync,
            &settings.hostname,
        )
    }

    /// What variables stand for, for this user.
    #[must_use]
    pub fn values<'a>(&'a self, settings: &'a Settings, service: &'a str) -> Values<'a> {
        Values {
            user: &self.name,
            home: &self.home,
            uid: Some(self.identity.uid),
            gid: Some(self.identity.gid),
            service,
            hostname: &settings.hostname,
        }
    }
}

/// The name that is looked up for a name as it was given: `username_format` applied.
#[must_use]
pub fn normalised(settings: &Settings, name: &str) -> String {
    let values = Values { user: name, hostname: &settings.hostname, ..Values::default() };
    settings.users.username_format.expand(&values)
}

/// Finds a user by name. `service` is `lda` or `lmtp`.
///
/// # Errors
/// [`NoUser`].
pub fn find(settings: &Settings, name: &str, service: &str) -> Result<User, NoUser> {
    let name = normalised(settings, name);
    match userdb::look_up(settings, &name, service) {
        Answer::Found(fields) => user(settings, &name, fields, service).map_err(NoUser::Temporary),
        Answer::Unknown => Err(NoUser::Unknown),
        Answer::Temporary(text) => Err(NoUser::Temporary(text)),
    }
}

/// The user of these fields.
///
/// # Errors
/// A sentence: no uid, an id outside the valid ones, no home, a mail location that cannot be used.
pub fn user(settings: &Settings, name: &str, fields: Fields, service: &str) -> Result<User, String> {
    let name = fields.value("user").unwrap_or(name).to_owned();
    let id = |field: &str, default: Option<u32>, find: fn(&str) -> Result<Option<u32>, String>| match fields
        .value(field)
    {
        Some(text) => number(field, text, find).map(Some),
        None => Ok(default),
    };
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // Whoever is not root writes as it is.
    let or_own = |found: Option<u32>, own: u32| found.or((own != 0).then_some(own));
    let uid = or_own(id("uid", settings.users.uid, uid_of)?, own.0)
        .ok_or("the userdb gives no uid; set mail_uid")?;
    let gid = or_own(id("gid", settings.users.gid, gid_of)?, own.1)
        .ok_or("the userdb gives no gid; set mail_gid")?;
    valid(settings, uid, gid)?;
    let mut values = Values {
        user: &name,
        uid: Some(uid),
        gid: Some(gid),
        service,
        hostname: &settings.hostname,
        home: "",
    };
    let home = match (fields.value("home"), &settings.users.home) {
        (Some(home), _) => home.to_owned(),
        (None, Some(template)) => template.expand(&values),
        (None, None) => String::new(),
    };
    // Dovecot's chroot mark: /home/./user.
    let home = home.replace("/./", "/");
    values.home = &home;
    let place = match fields.value("mail").filter(|mail| !mail.is_empty()) {
        Some(mail) => Location::parse(mail)
            .and_then(|location| location.expand(&values))
            .map_err(|error| format!("mail={mail}: {error}"))?,
        None => match fields.value("mail_path").filter(|path| !path.is_empty()) {
            Some(path) => {
                let template = Template::parse(path).map_err(|error| format!("mail_path={path}: {error}"))?;
                Location { path: template, ..settings.mail.location.clone() }.expand(&values)?
            }
            None => settings.mail.location.expand(&values)?,
        },
    };
    let quota = quota(settings, &fields)?;
    let groups = groups(settings, &fields, gid, service)?;
    Ok(User { identity: Identity { uid, gid, groups }, place, quota, home, name, fields })
}

/// Ids outside the valid ones: mail that waits is better than a mailbox of somebody else.
fn valid(settings: &Settings, uid: u32, gid: u32) -> Result<(), String> {
    let users = &settings.users;
    if uid == 0 {
        return Err("mail is not delivered as root: uid 0".to_owned());
    }
    if !users.uids.contains(uid) {
        return Err(format!(
            "uid {uid} is not valid: see first_valid_uid = {} and last_valid_uid = {}",
            users.uids.first, users.uids.last
        ));
    }
    if !users.gids.contains(gid) {
        return Err(format!(
            "gid {gid} is not valid: see first_valid_gid = {} and last_valid_gid = {}",
            users.gids.first, users.gids.last
        ));
    }
    Ok(())
}

/// The configuration's rules, with the fields `quota_rule`, `quota_rule2` … in the places of the first, the second …, or
/// with `quota_storage_size` of Dovecot 2.4.
fn quota(settings: &Settings, fields: &Fields) -> Result<Rules, String> {
    let number = |name: &str| match name.strip_prefix("quota_rule")? {
        "" => Some(1),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<usize>().ok(),
        _ => None,
    };
    let mut own: Vec<(usize, String)> =
        fields.iter().filter_map(|(name, value)| Some((number(name)?, value.to_owned()))).collect();
    own.sort_by_key(|(number, _)| *number);
    for (field, limit) in [("quota_storage_size", "bytes"), ("quota_message_count", "messages")] {
        own.extend(fields.value(field).map(|value| (usize::MAX, format!("*:{limit}={value}"))));
    }
    let own = own.iter().map(|(number, text)| (*number, text.as_str()));
    settings.quota.rules.overridden(own).map_err(|error| format!("quota_rule: {error}"))
}

fn groups(settings: &Settings, fields: &Fields, gid: u32, service: &str) -> Result<Vec<u32>, String> {
    let mut groups = settings.users.access_groups.clone();
    if rustix::process::geteuid().is_root()
        && let Some(name) = fields.value("system_groups_user").filter(|name| !name.is_empty())
    {
        groups.extend(userdb::system::groups(name, gid, GROUPS_TIMEOUT, service)?);
    }
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

fn number(field: &str, text: &str, find: fn(&str) -> Result<Option<u32>, String>) -> Result<u32, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| format!("{field} {text:?} is no number up to 4294967294"));
    }
    find(text)?.ok_or_else(|| format!("{field}: there is no {text:?} in this system"))
}

/// The uid of a system's user by name.
///
/// # Errors
/// It cannot be looked up.
pub fn uid_of(name: &str) -> Result<Option<u32>, String> {
    let found = SystemUser::from_name(name).map_err(|error| format!("user {name}: {error}"))?;
    Ok(found.map(|user| user.uid.as_raw()))
}

/// The gid of a system's group by name.
///
/// # Errors
/// It cannot be looked up.
pub fn gid_of(name: &str) -> Result<Option<u32>, String> {
    let found = Group::from_name(name).map_err(|error| format!("group {name}: {error}"))?;
    Ok(found.map(|group| group.gid.as_raw()))
}

impl Identity {
    /// Becomes this user for good: groups, gid, uid, in this order. Does nothing for who is it already.
    ///
    /// # Errors
    /// A sentence; the process must not go on then.
    pub fn take_on(&self) -> Result<(), String> {
        use nix::unistd::{Gid, Uid, getegid, geteuid, setgid, setgroups, setuid};
        if !geteuid().is_root() {
            if geteuid().as_raw() == self.uid
                && (getegid().as_raw() == self.gid || setgid(Gid::from_raw(self.gid)).is_ok())
            {
                return Ok(());
            }
            return Err(format!(
                "the user has uid {} and gid {}, but the program runs as {} and {}: start it as root, or as that user",
                self.uid,
                self.gid,
                geteuid(),
                getegid()
            ));
        }
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(|error| format!("setgroups: {error}"))?;
        setgid(Gid::from_raw(self.gid)).map_err(|error| format!("setgid({}): {error}", self.gid))?;
        setuid(Uid::from_raw(self.uid)).map_err(|error| format!("setuid({}): {error}", self.uid))?;
        if setuid(Uid::from_raw(0)).is_ok() {
            return Err("root could not be given up".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use base::config::Source;

    fn made(conf: &str, fields: &[(&str, &str)]) -> Result<User, String> {
        let loaded = config::load(&Source::new("lda.toml", conf));
        let settings = loaded.settings.unwrap_or_else(|| panic!("{}", loaded.report));
        let mut given = Fields::default();
        for (name, value) in fields {
            given.set(name, *value);
        }
        user(&settings, "joe@a.example", given, "lda")
    }

    /// As Dovecot's: first_valid_uid is 500 and first_valid_gid 1 unless set; 0 is no upper limit.
    #[test]
    fn ids_have_to_be_valid() {
        let with = |conf: &str, uid: &str, gid: &str| {
            made(conf, &[("uid", uid), ("gid", gid), ("home", "/h")]).err().unwrap_or_default()
        };
        assert_eq!(with("", "500", "1"), "");
        assert_eq!(with("", "4294967294", "4294967294"), "");
        for (conf, uid, gid, why) in [
            ("", "499", "1", "first_valid_uid = 500"),
            ("", "500", "0", "first_valid_gid = 1"),
            ("first_valid_uid = 0", "0", "1", "mail is not delivered as root"),
            ("last_valid_uid = 600", "601", "1", "last_valid_uid = 600"),
            ("first_valid_gid = 100", "500", "99", "first_valid_gid = 100"),
            ("last_valid_gid = 600", "500", "601", "last_valid_gid = 600"),
            ("", "4294967295", "1", "uid \"4294967295\" is no number"),
            ("", "nosuchuser", "1", "there is no \"nosuchuser\""),
            ("", "500", "nosuchgroup", "there is no \"nosuchgroup\""),
        ] {
            let said = with(conf, uid, gid);
            assert!(said.contains(why), "{conf} {uid} {gid}: {said}");
        }
    }

    #[test]
    fn the_userdb_goes_before_the_configuration() {
        let conf = "mail_location = \"maildir:/v/%d/%n\"\nmail_uid = \"5000\"\nmail_gid = \"5001\"\nmail_home = \"/h/%n\"\n\
                    [quota]\nquota_rule = [\"*:bytes=10\", \"Trash:bytes=+5\"]";
        let of = |fields: &[(&str, &str)]| made(conf, fields).unwrap();
        let plain = of(&[]);
        assert_eq!((plain.identity.uid, plain.identity.gid, plain.home.as_str()), (5000, 5001, "/h/joe"));
        assert_eq!(plain.place.root, std::path::Path::new("/v/a.example/joe"));
        assert_eq!((plain.quota.root().bytes, plain.quota.of("Trash").unwrap().bytes), (10, 15));
        let own = of(&[
            ("uid", "6000"),
            ("home", "/home/./joe"),
            ("mail", "maildir:~/M"),
            ("user", "jo"),
            ("quota_rule", "*:bytes=20"),
        ]);
        assert_eq!((own.identity.uid, own.home.as_str(), own.name.as_str()), (6000, "/home/joe", "jo"));
        assert_eq!(own.place.root, std::path::Path::new("/home/joe/M"));
        assert_eq!((own.quota.root().bytes, own.quota.of("Trash").unwrap().bytes), (20, 25));
        assert_eq!(of(&[("quota_storage_size", "30")]).quota.root().bytes, 30);
        assert_eq!(of(&[("mail_path", "~/N")]).place.root, std::path::Path::new("/h/joe/N"));
        for wrong in [("quota_rule", "nonsense"), ("mail", "mbox:~/mail")] {
            assert!(made(conf, &[wrong]).unwrap_err().contains(wrong.0), "{wrong:?}");
        }
    }
}
