//! The system's own users, by getpwnam(3) and so with users of directories (NSS) too.

use std::sync::Arc;
use std::time::Duration;

use nix::unistd::User;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Entry, passwd_file};
use crate::fields::Fields;
use crate::passdb::Unavailable;
use crate::request::Request;
use crate::user_file::{Kind, UserFiles};

/// Look-ups at a time: a directory that hangs keeps that many threads and no more.
const AT_A_TIME: usize = 8;

/// The system's users.
pub(super) struct System {
    running: Arc<Semaphore>,
    timeout: Duration,
    passwd: Arc<UserFiles>,
}

impl System {
    pub(super) fn new(timeout: Duration) -> Result<Self, String> {
        let kind = Kind { name: "passwd", public: true, ..Kind::USERS };
        Ok(Self {
            running: Arc::new(Semaphore::new(AT_A_TIME)),
            timeout,
            passwd: UserFiles::open("/etc/passwd", kind)?,
        })
    }

    /// `uid`, `gid` and `home` of the request's user.
    pub(super) async fn lookup(&self, request: &Request) -> Result<Option<Entry>, Unavailable> {
        let name = request.user.clone();
        if name.contains('\0') {
            return Ok(None);
        }
        let running = Arc::clone(&self.running);
        let find = async move {
            let permit = running.acquire_owned().await.map_err(|error| error.to_string())?;
            let find = move || {
                // Kept until the answer is there, even if nobody waits for it any more.
                let _permit = permit;
                User::from_name(&name)
            };
            tokio::task::spawn_blocking(find)
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error| error.to_string())
        };
        let found = match timeout(self.timeout, find).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(Unavailable::new(format!("getpwnam: {error}"))),
            Err(_) => return Err(Unavailable::new(format!("getpwnam: no answer within {:?}", self.timeout))),
        };
        Ok(found.map(|user| {
            let mut fields = Fields::new();
            fields.set("uid", Some(user.uid.to_string()));
            fields.set("gid", Some(user.gid.to_string()));
            fields.set("home", Some(user.dir.to_string_lossy().into_owned()));
            Entry { user: None, fields }
        }))
    }

    /// The users of `/etc/passwd`; those of directories are not listed.
    pub(super) async fn list(&self) -> Result<Vec<String>, Unavailable> {
        let content = self.passwd.content(&Request::default()).await?;
        Ok(content.iter().flat_map(|content| content.all()).filter_map(passwd_file::name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn users_of_this_machine() {
        let system = System::new(Duration::from_secs(5)).unwrap();
        let request = |user: &str| Request { user: user.into(), ..Request::default() };
        let nobody = system.lookup(&request("nobody")).await.unwrap().unwrap();
        assert_eq!(nobody.fields.value("uid"), Some("65534"));
        assert!(nobody.fields.value("home").is_some_and(|home| home.starts_with('/')));
        assert_eq!(system.lookup(&request("no such user")).await, Ok(None));
        assert_eq!(system.lookup(&request("a\0b")).await, Ok(None));
        assert!(system.list().await.unwrap().contains(&"nobody".to_owned()));
    }
}
