//! Who else can read or change a key file: the rules behind `RequireSafeKeys`.

use std::{
    ffi::CString,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Group, Uid, User};

/// Who runs the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunUser {
    /// The user's number.
    pub uid: u32,
    /// The user's name, or the number as text when there is no such user.
    pub name: String,
}

impl RunUser {
    /// The user that the process is now.
    #[must_use]
    pub fn effective() -> Self {
        let uid = Uid::effective();
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        Self { uid: uid.as_raw(), name: name.unwrap_or_else(|| uid.to_string()) }
    }

    /// The numbers of all groups that the user is in.
    fn groups(&self) -> Vec<u32> {
        let primary = User::from_uid(Uid::from_raw(self.uid)).ok().flatten().map(|user| user.gid);
        let name = CString::new(self.name.as_str()).ok();
        let (Some(primary), Some(name)) = (primary, name) else { return Vec::new() };
        let groups = nix::unistd::getgrouplist(&name, primary).unwrap_or_else(|_| vec![primary]);
        groups.into_iter().map(Gid::as_raw).collect()
    }

    /// The user of this name or number.
    ///
    /// # Errors
    /// Why there is none, as a sentence.
    pub fn resolve(user: &str) -> Result<Self, String> {
        let found = match user.parse::<u32>() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        match found {
            Ok(Some(user)) => Ok(Self { uid: user.uid.as_raw(), name: user.name }),
            Ok(None) => Err(format!("there is no user '{user}'")),
            Err(error) => Err(format!("user '{user}' cannot be looked up: {error}")),
        }
    }
}

/// Whether a group of this name or number exists.
///
/// # Errors
/// Why not, as a sentence.
pub fn resolve_group(group: &str) -> Result<(), String> {
    let found = match group.parse::<u32>() {
        Ok(gid) => Group::from_gid(Gid::from_raw(gid)),
        Err(_) => Group::from_name(group),
    };
    match found {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(format!("there is no group '{group}'")),
        Err(error) => Err(format!("group '{group}' cannot be looked up: {error}")),
    }
}

/// Who is in a group.
pub trait Accounts {
    /// The names of all users in the group: its members, and those whose primary group it is.
    fn group_users(&self, gid: u32) -> Vec<String>;
}

/// Users and groups of the system. Members come from all sources that the system asks; for
/// primary groups /etc/passwd is read, because other sources cannot be listed in full.
#[derive(Clone, Copy, Debug)]
pub struct SystemAccounts;

impl Accounts for SystemAccounts {
    fn group_users(&self, gid: u32) -> Vec<String> {
        let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
        let mut users = group.map(|group| group.mem).unwrap_or_default();
        let passwd = fs::read("/etc/passwd").unwrap_or_default();
        users.extend(primary_users(&String::from_utf8_lossy(&passwd), gid));
        users
    }
}

fn primary_users(passwd: &str, gid: u32) -> impl Iterator<Item = String> {
    passwd.lines().filter_map(move |line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let group = fields.nth(2)?.parse::<u32>().ok()?;
        (group == gid).then(|| name.to_owned())
    })
}

/// What is wrong with the permissions of a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsafe {
    /// The path and the rule that it breaks, in OpenDKIM's words.
    pub why: String,
    /// A command that mends it.
    pub help: Option<String>,
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Whether only `user` and root can read or change a key file (OpenDKIM 2.11 observed).
///
/// Links are followed first; then every directory from `/` down to the file is looked at. A
/// directory that only its owner may enter ends the walk, since nobody else gets below it. Access
/// control lists and capabilities are not looked at.
///
/// # Errors
/// The first path that breaks a rule, and how to mend it.
pub fn check(path: &Path, user: &RunUser, accounts: &dyn Accounts) -> Result<(), Unsafe> {
    let failed = |at: &Path, error: &io::Error| Unsafe {
        why: format!("{} cannot be looked at: {error}", at.display()),
        help: None,
    };
    let resolved = fs::canonicalize(path).map_err(|error| failed(path, &error))?;
    let mut parts: Vec<PathBuf> = resolved.ancestors().map(Path::to_path_buf).collect();
    parts.reverse();
    for part in parts {
        let metadata = fs::symlink_metadata(&part).map_err(|error| failed(&part, &error))?;
        let ownership = Ownership {
            directory: metadata.is_dir(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode(),
        };
        match ownership.judge(&part, user, accounts)? {
            Walk::On => {}
            Walk::NobodyElseGetsBelow => break,
        }
    }
    Ok(())
}

/// Whether `user` can read a key file, judged by the permission bits of the file and of every
/// directory above it. So root can tell, before the service has become that user.
///
/// # Errors
/// The path that is in the way, and how to mend it.
pub fn readable_by(path: &Path, user: &RunUser) -> Result<(), Unsafe> {
    if user.uid == 0 {
        return Ok(());
    }
    let groups = user.groups();
    // What cannot be looked at has been reported when the key was read.
    let Ok(resolved) = fs::canonicalize(path) else { return Ok(()) };
    let mut parts: Vec<&Path> = resolved.ancestors().collect();
    parts.reverse();
    for part in parts {
        let Ok(metadata) = fs::symlink_metadata(part) else { return Ok(()) };
        let needed = if metadata.is_dir() { 0o1 } else { 0o4 };
        if !permits(metadata.uid(), metadata.gid(), metadata.mode(), user.uid, &groups, needed) {
            let (what, shown) = (if metadata.is_dir() { "entered" } else { "read" }, part.display());
            return Err(Unsafe {
                why: format!("{shown} cannot be {what} by user {}", user.name),
                help: Some(format!("chown {} {shown}", user.name)),
            });
        }
    }
    Ok(())
}

/// Whether the bits of the class that a user is in grant what is needed (4 read, 1 enter).
fn permits(owner: u32, group: u32, mode: u32, uid: u32, groups: &[u32], needed: u32) -> bool {
    let class = if owner == uid {
        mode >> 6
    } else if groups.contains(&group) {
        mode >> 3
    } else {
        mode
    };
    class & needed == needed
}

/// What of a file's metadata the rules look at.
#[derive(Clone, Copy, Debug)]
struct Ownership {
    directory: bool,
    uid: u32,
    gid: u32,
    mode: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    On,
    NobodyElseGetsBelow,
}

impl Ownership {
    fn judge(self, path: &Path, user: &RunUser, accounts: &dyn Accounts) -> Result<Walk, Unsafe> {
        let shown = path.display();
        let own = self.uid == user.uid || self.uid == 0;
        let (others, group) = if self.directory { (0o002, 0o020) } else { (0o006, 0o060) };
        if !self.directory && !own {
            return Err(Unsafe {
                why: format!("{shown} is not owned by the executing uid ({}) or the superuser", user.uid),
                help: Some(format!("chown {} {shown}", user.name)),
            });
        }
        if self.directory && !own && self.mode & 0o200 != 0 {
            return Err(Unsafe {
                why: format!(
                    "{shown} is writeable and owned by uid {} which is not the executing uid ({}) or the superuser",
                    self.uid, user.uid
                ),
                help: Some(format!("move the key to a directory that {} or root owns", user.name)),
            });
        }
        if self.mode & others != 0 {
            let bits = if self.directory { "o-w" } else { "go-rwx" };
            let help = if self.directory && self.mode & 0o1000 != 0 {
                format!("move the key out of {shown}: anybody may make files there")
            } else {
                format!("chmod {bits} {shown}")
            };
            return Err(Unsafe {
                why: format!("{shown} can be read or written by other users"),
                help: Some(help),
            });
        }
        if self.mode & group != 0 {
            let users = accounts.group_users(self.gid);
            if let Some(other) = users.iter().find(|name| **name != user.name && *name != "root") {
                let bits = if self.directory { "g-w" } else { "g-rwx" };
                // Root's file that the user reads by its group alone must become the user's.
                let command = if self.directory || self.uid == user.uid {
                    format!("chmod {bits} {shown}")
                } else {
                    format!("chown {} {shown} && chmod {bits} {shown}", user.name)
                };
                return Err(Unsafe {
                    why: format!(
                        "{shown} is in group {} which has multiple users (e.g., \"{other}\")",
                        self.gid
                    ),
                    help: Some(command),
                });
            }
        }
        let closed = self.directory && self.mode & 0o011 == 0;
        Ok(if closed { Walk::NobodyElseGetsBelow } else { Walk::On })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Accounts for Fixed {
        fn group_users(&self, gid: u32) -> Vec<String> {
            let users: &[&str] = match gid {
                100 => &["opendkim"],
                101 => &["opendkim", "root"],
                102 => &["opendkim", "postfix"],
                _ => &[],
            };
            users.iter().map(|name| (*name).to_owned()).collect()
        }
    }

    fn judge(directory: bool, uid: u32, gid: u32, mode: u32) -> Result<Walk, Unsafe> {
        let user = RunUser { uid: 110, name: "opendkim".to_owned() };
        Ownership { directory, uid, gid, mode }.judge(Path::new("/k"), &user, &Fixed)
    }

    #[test]
    fn files_are_judged_by_opendkims_rules() {
        for (uid, gid, mode, want) in [
            (110, 100, 0o600, None),
            (0, 0, 0o600, None),
            (0, 100, 0o640, None),
            (0, 101, 0o640, None),
            (110, 999, 0o660, None),
            (0, 102, 0o640, Some("/k is in group 102 which has multiple users (e.g., \"postfix\")")),
            (110, 102, 0o620, Some("/k is in group 102 which has multiple users (e.g., \"postfix\")")),
            (110, 102, 0o610, None),
            (110, 100, 0o644, Some("/k can be read or written by other users")),
            (110, 100, 0o602, Some("/k can be read or written by other users")),
            (111, 100, 0o600, Some("/k is not owned by the executing uid (110) or the superuser")),
        ] {
            let found = judge(false, uid, gid, mode);
            assert_eq!(found.as_ref().err().map(|found| found.why.as_str()), want, "{uid} {gid} {mode:o}");
            assert_eq!(found.is_err(), found.err().and_then(|found| found.help).is_some());
        }
    }

    #[test]
    fn directories_are_judged_by_opendkims_rules() {
        for (uid, gid, mode, want) in [
            (0, 0, 0o755, Ok(Walk::On)),
            (110, 100, 0o700, Ok(Walk::NobodyElseGetsBelow)),
            (110, 102, 0o750, Ok(Walk::On)),
            (0, 100, 0o770, Ok(Walk::On)),
            (0, 102, 0o770, Err("/k is in group 102 which has multiple users (e.g., \"postfix\")")),
            (0, 0, 0o1777, Err("/k can be read or written by other users")),
            (111, 100, 0o500, Ok(Walk::NobodyElseGetsBelow)),
            (
                111,
                100,
                0o700,
                Err(
                    "/k is writeable and owned by uid 111 which is not the executing uid (110) or the superuser",
                ),
            ),
        ] {
            let found = judge(true, uid, gid, mode);
            assert_eq!(found.as_ref().map_err(|found| found.why.as_str()), want.as_ref().map_err(|why| *why));
        }
    }

    #[test]
    fn the_bits_of_ones_own_class_decide() {
        for (owner, group, mode, needed, want) in [
            (110, 0, 0o600, 4, true),
            (0, 0, 0o600, 4, false),
            (0, 118, 0o640, 4, true),
            (0, 118, 0o604, 4, false),
            (0, 0, 0o644, 4, true),
            (110, 118, 0o077, 4, false),
            (0, 0, 0o711, 1, true),
            (0, 0, 0o700, 1, false),
        ] {
            assert_eq!(permits(owner, group, mode, 110, &[118], needed), want, "{owner} {group} {mode:o}");
        }
    }

    #[test]
    fn what_the_user_cannot_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(directory.path(), closed).unwrap();
        let key = directory.path().join("key");
        fs::write(&key, "x").unwrap();
        assert_eq!(readable_by(&key, &RunUser::effective()), Ok(()));
        // The folder is open to its owner only, so nobody gets to the file.
        let other = RunUser { uid: RunUser::effective().uid + 4_000_000, name: "other".to_owned() };
        let found = readable_by(&key, &other).unwrap_err();
        assert!(found.why.ends_with("cannot be entered by user other"), "{found}");
    }

    #[test]
    fn primary_groups_are_read_from_passwd() {
        let passwd = "root:x:0:0::/:\nopendkim:x:110:118::/:\nbroken\nother:x:111:118::/:\n";
        assert_eq!(primary_users(passwd, 118).collect::<Vec<_>>(), ["opendkim", "other"]);
        assert_eq!(primary_users(passwd, 0).collect::<Vec<_>>(), ["root"]);
    }

    #[test]
    fn root_is_found_by_name_and_number() {
        let root = RunUser { uid: 0, name: "root".to_owned() };
        assert_eq!(RunUser::resolve("root"), Ok(root.clone()));
        assert_eq!(RunUser::resolve("0"), Ok(root));
        assert_eq!(RunUser::resolve("no-such-user").unwrap_err(), "there is no user 'no-such-user'");
        assert!(resolve_group("root").is_ok() && resolve_group("no-such-group").is_err());
    }

    #[test]
    fn a_world_writable_directory_above_is_found() {
        let user = RunUser::effective();
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let key = open.join("key");
        fs::write(&key, "x").unwrap();
        let found = check(&key, &user, &Fixed);
        assert!(found.unwrap_err().why.ends_with("can be read or written by other users"));
    }
}
