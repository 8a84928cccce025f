//! Users by name, and giving up root for good.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setuid};

/// A user and group to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// The login name, needed to find the supplementary groups.
    pub name: String,
    /// The user's number.
    pub uid: Uid,
    /// The group's number: the one that was named, or the user's primary group.
    pub gid: Gid,
}

/// Why a user cannot be found or taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivilegeError {
    /// No user of that name or number.
    NoSuchUser(String),
    /// No group of that name or number.
    NoSuchGroup(String),
    /// The operating system refused a step.
    Refused(&'static str, nix::errno::Errno),
}

impl std::fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchUser(name) => write!(f, "{name}: no such user"),
            Self::NoSuchGroup(name) => write!(f, "{name}: no such group"),
            Self::Refused(step, errno) => write!(f, "{step}: {}", errno.desc()),
        }
    }
}

impl std::error::Error for PrivilegeError {}

impl RunAs {
    /// Finds `user[:group]`, each by name or number (OpenDKIM's `UserID`).
    ///
    /// # Errors
    /// When the user or the group does not exist, or the user database cannot be read.
    pub fn find(text: &str) -> Result<Self, PrivilegeError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let found = match user.parse::<u32>() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(user),
        }
        .map_err(|errno| PrivilegeError::Refused("reading the user database", errno))?
        .ok_or_else(|| PrivilegeError::NoSuchUser(user.to_owned()))?;
        let gid = match group {
            None => found.gid,
            Some(name) => {
                match name.parse::<u32>() {
                    Ok(number) => Group::from_gid(Gid::from_raw(number)),
                    Err(_) => Group::from_name(name),
                }
                .map_err(|errno| PrivilegeError::Refused("reading the group database", errno))?
                .ok_or_else(|| PrivilegeError::NoSuchGroup(name.to_owned()))?
                .gid
            }
        };
        Ok(Self { name: found.name, uid: found.uid, gid })
    }

    /// Becomes this user for good, with its supplementary groups. Does nothing when the process
    /// already runs as it.
    ///
    /// # Errors
    /// When the process is not root, or the operating system refuses a step; the process must then
    /// not go on, since it may have kept root's rights.
    pub fn take_on(&self) -> Result<(), PrivilegeError> {
        if geteuid() == self.uid && !self.uid.is_root() {
            return Ok(());
        }
        // A name from the user database has no NUL; an empty list of groups is the safe fallback.
        let name = CString::new(self.name.as_str()).unwrap_or_default();
        initgroups(&name, self.gid).map_err(|errno| PrivilegeError::Refused("initgroups", errno))?;
        setgid(self.gid).map_err(|errno| PrivilegeError::Refused("setgid", errno))?;
        setuid(self.uid).map_err(|errno| PrivilegeError::Refused("setuid", errno))?;
        if !self.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err(PrivilegeError::Refused("giving up root", nix::errno::Errno::EPERM));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = RunAs::find("root").unwrap();
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        assert_eq!(RunAs::find("0:0").unwrap(), root);
        assert_eq!(RunAs::find("root:daemon").unwrap().gid.as_raw(), 1);
        assert_eq!(RunAs::find("no-such-user").unwrap_err().to_string(), "no-such-user: no such user");
        assert_eq!(
            RunAs::find("root:no-such-group").unwrap_err().to_string(),
            "no-such-group: no such group"
        );
    }
}
