//! Homes, uids and gids from Dovecot's passwd-file.

use std::sync::Arc;

use base::passwd_file;

use super::Entry;
use crate::config::settings;
use crate::fields::Fields;
use crate::passdb::Unavailable;
use crate::passdb::passwd_file::extra_fields;
use crate::request::Request;
use crate::user_file::{Kind, UserFiles};
use crate::variables::Values;

/// A passwd-file, or one a domain; read once together with the passdb of the same path.
pub(super) struct PasswdFile {
    files: Arc<UserFiles>,
}

impl PasswdFile {
    pub(super) fn new(settings: &settings::PasswdFile) -> Result<Self, String> {
        UserFiles::open(&settings.path, Kind::USERS).map(|files| Self { files })
    }

    /// Looks the request's user up. Without a uid field in its line, or with a uid or gid that is 0 or
    /// unknown, the user has no entry, and the log says why; an empty uid or gid is left out of the
    /// fields. Then come `home` and the extra fields that begin with `userdb_`, without that prefix.
    pub(super) async fn lookup(&self, request: &Request) -> Result<Option<Entry>, Unavailable> {
        let Some(content) = self.files.content(request).await? else { return Ok(None) };
        let Some(line) = content.lines(request.key()).next() else { return Ok(None) };
        let passwd_file::Line::User(user) = passwd_file::line(line) else { return Ok(None) };
        let Some(uid) = user.uid else {
            log::warn!("{}: user {:?} has no uid field", content.place(line), request.user);
            return Ok(None);
        };
        let mut fields = Fields::new();
        for (name, value) in
            [("uid", uid), ("gid", user.gid.unwrap_or_default()), ("home", user.home.unwrap_or_default())]
        {
            if !value.is_empty() {
                fields.set(name, Some(String::from_utf8_lossy(value).into_owned()));
            }
        }
        let extra =
            extra_fields(&user, &Values { home: fields.value("home"), ..Values::of(request) }, || {
                content.place(line)
            })?;
        for (name, value) in extra.iter() {
            if let Some(name) = name.strip_prefix("userdb_").filter(|name| !name.is_empty()) {
                fields.set(name, value.map(str::to_owned));
            }
        }
        match Entry::from_fields(fields) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) => {
                log::warn!("{}: user {:?}: {error}", content.place(line), request.user);
                Ok(None)
            }
        }
    }

    /// All users of the file, in its order.
    pub(super) async fn list(&self) -> Result<Vec<String>, Unavailable> {
        if self.files.has_variables() {
            return Err(Unavailable::new(
                "users of a passwd-file with variables in its path cannot be listed",
            ));
        }
        let content = self.files.content(&Request::default()).await?;
        Ok(content.iter().flat_map(|content| content.all()).filter_map(name).collect())
    }
}

/// The user's name of a line; names that are no UTF-8 can never be asked for.
pub(super) fn name(line: &[u8]) -> Option<String> {
    std::str::from_utf8(passwd_file::user(line)).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_are_dovecot_2_3_19s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::fs::write(
            &path,
            "sp:{PLAIN}x:::: /home/x :/bin/sh:a=b\n\
             crlf:{PLAIN}x::::/home/c:/bin/sh:userdb_mail=m userdb_x q=1 userdb_q=%u:%h\r\n\
             named:{PLAIN}x:nobody:nogroup::/nowhere\nnogid:{PLAIN}x:1000:::/home/n\n\
             old:{PLAIN}x:1000:1000::/home/o:/bin/sh::/var/mail/old:x\n\
             bare\nzero:{PLAIN}x:0:0::/root\nbadid:{PLAIN}x:xyz no:100::/h\nren:x:1:1::/h::userdb_user=other\n",
        )
        .unwrap();
        let file =
            PasswdFile::new(&settings::PasswdFile { path: path.display().to_string(), app_passwords: None })
                .unwrap();
        let text = async |user: &str| {
            let request = Request { user: user.into(), ..Request::default() };
            let entry = file.lookup(&request).await.unwrap()?;
            let fields: Vec<_> =
                entry.fields.iter().map(|(name, value)| format!("{name}={}", value.unwrap_or("-"))).collect();
            Some(fields.join(" "))
        };
        assert_eq!(text("sp").await.as_deref(), Some("home= /home/x "));
        assert_eq!(text("crlf").await.as_deref(), Some("home=/home/c mail=m x=- q=crlf:/home/c"));
        assert_eq!(text("named").await.as_deref(), Some("uid=65534 gid=65534 home=/nowhere"));
        assert_eq!(text("nogid").await.as_deref(), Some("uid=1000 home=/home/n"));
        assert_eq!(text("old").await.as_deref(), Some("uid=1000 gid=1000 home=/home/o mail=/var/mail/old:x"));
        for user in ["bare", "zero", "badid", "nobody"] {
            assert_eq!(text(user).await, None, "{user}");
        }
        let request = Request { user: "ren".into(), ..Request::default() };
        assert_eq!(file.lookup(&request).await.unwrap().unwrap().user.as_deref(), Some("other"));
        assert_eq!(
            file.list().await.unwrap(),
            ["sp", "crlf", "named", "nogid", "old", "bare", "zero", "badid", "ren"]
        );
    }
}
