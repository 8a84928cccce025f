//! Passwords in Dovecot's passwd-file, with app passwords in a companion file.

use std::borrow::Cow;
use std::sync::Arc;

use base::passwd_file::{self, Entry as Line};
use base::secret::Secret;

use super::{Entry, Lookup, StoredPassword, Unavailable, app_passwords};
use crate::config::settings;
use crate::fields::Fields;
use crate::request::Request;
use crate::user_file::{Kind, Loaded, UserFiles};
use crate::variables::{Template, Values};

/// A passwd-file, or one a domain.
pub struct PasswdFile {
    files: Arc<UserFiles>,
    app_passwords: Option<Arc<UserFiles>>,
}

impl PasswdFile {
    /// Opens nothing yet: files are read when a user is looked up, and again when they have changed.
    ///
    /// # Errors
    /// A path that is no template.
    pub fn new(settings: &settings::PasswdFile) -> Result<Self, String> {
        Ok(Self {
            files: UserFiles::open(&settings.path, Kind::USERS)?,
            app_passwords: match &settings.app_passwords {
                None => None,
                Some(path) => Some(
                    UserFiles::open(path, app_passwords::KIND)
                        .map_err(|error| format!("app_passwords: {error}"))?,
                ),
            },
        })
    }

    /// Looks the request's user up. Waits for nothing when the files have not changed.
    ///
    /// An empty password field gives no password: Dovecot would let an empty password in.
    ///
    /// # Errors
    /// A file cannot be read, or a field's value is no template.
    pub async fn lookup(&self, request: &Request, password: Option<&Secret>) -> Result<Lookup, Unavailable> {
        let Some(content) = self.files.content(request).await? else { return Ok(Lookup::Unknown) };
        let Some(mut entry) = own_entry(&content, request, password)? else { return Ok(Lookup::Unknown) };
        if let Some(files) = &self.app_passwords
            && let Some(content) = files.content(request).await?
        {
            entry.passwords.extend(
                content.lines(request.key()).filter_map(|line| app_passwords::read(line).ok().flatten()),
            );
        }
        Ok(Lookup::Found(entry))
    }
}

/// What the user's own line says.
fn own_entry(
    content: &Loaded,
    request: &Request,
    password: Option<&Secret>,
) -> Result<Option<Entry>, Unavailable> {
    let Some(line) = content.lines(request.key()).next() else { return Ok(None) };
    let passwd_file::Line::User(user) = passwd_file::line(line) else { return Ok(None) };
    let mut entry = Entry::default();
    if !user.password.is_empty() {
        let text = Secret::new(user.password.as_ref());
        entry.passwords = vec![StoredPassword { text, ..StoredPassword::default() }];
    }
    let values = Values { password, ..Values::of(request) };
    entry.fields = extra_fields(&user, &values, || content.place(line))?;
    Ok(Some(entry))
}

/// The extra fields of a line, with variables in their values filled in, and the mail location of the
/// old form as `userdb_mail`. `place` is asked for the line's place in case of an error.
pub(crate) fn extra_fields(
    line: &Line<'_>,
    values: &Values<'_>,
    place: impl Fn() -> String,
) -> Result<Fields, Unavailable> {
    let mut fields = Fields::new();
    let expand = |value: &[u8]| -> Result<String, Unavailable> {
        let text = String::from_utf8_lossy(value);
        if !text.contains('%') {
            return Ok(text.into_owned());
        }
        Template::parse(&text)
            .map(|template| template.expand(values))
            .map_err(|error| Unavailable::new(format!("{}: {error}", place())))
    };
    for (name, value) in line.fields() {
        let name: Cow<'_, str> = String::from_utf8_lossy(name);
        if !name.is_empty() {
            fields.set(name.as_ref(), value.map(expand).transpose()?);
        }
    }
    if let Some(mail) = line.mail {
        fields.set("userdb_mail", Some(expand(mail)?));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn request(user: &str) -> Request {
        Request { user: user.into(), service: "smtp".into(), ..Request::default() }
    }

    async fn found(file: &PasswdFile, user: &str) -> Entry {
        match file.lookup(&request(user), Some(&Secret::from("pw"))).await.unwrap() {
            Lookup::Found(entry) => entry,
            other => panic!("{user}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_user_with_fields_and_app_passwords() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        let apps = folder.path().join("apps");
        fs::write(
            &users,
            "joe:{PLAIN}x y:1:1::/h:/bin/sh:allow_nets=10.0.0.0/8 nologin host=%s-%n%% userdb_mail=a:b pass=%w\n\
             bare\nbad:{PLAIN}x::::::f=%q\nold:x:1:1::/h:/s::/var/mail/%u\n",
        )
        .unwrap();
        let file = PasswdFile::new(&settings::PasswdFile {
            path: users.display().to_string(),
            app_passwords: Some(apps.display().to_string()),
        })
        .unwrap();
        let joe = found(&file, "joe").await;
        assert_eq!(joe.passwords.len(), 1);
        assert_eq!(joe.passwords[0].text, Secret::from("{PLAIN}x y"));
        let fields: Vec<_> = joe.fields.iter().collect();
        assert_eq!(
            fields,
            [
                ("allow_nets", Some("10.0.0.0/8")),
                ("nologin", None),
                ("host", Some("smtp-joe%")),
                ("userdb_mail", Some("a:b")),
                ("pass", Some("pw"))
            ]
        );
        assert!(found(&file, "bare").await.passwords.is_empty());
        assert_eq!(found(&file, "old").await.fields.value("userdb_mail"), Some("/var/mail/old"));
        assert_eq!(file.lookup(&request("jo"), None).await, Ok(Lookup::Unknown));
        let error = file.lookup(&request("bad"), None).await.unwrap_err();
        assert!(error.detail.contains("users:3: unknown variable `%q`"), "{error}");

        fs::write(
            &apps,
            "joe:{PLAIN}a1:phone:smtp:\nann:{PLAIN}no::\njoe:{PLAIN}a2:tablet::9\njoe:{PLAIN}a3:x::never\n",
        )
        .unwrap();
        let joe = found(&file, "joe").await;
        let labels: Vec<_> = joe.passwords.iter().map(|password| password.label.as_deref()).collect();
        assert_eq!(labels, [None, Some("phone"), Some("tablet")]);
        assert_eq!(
            file.lookup(&request("ann"), None).await,
            Ok(Lookup::Unknown),
            "app passwords make no user"
        );
    }

    #[tokio::test]
    async fn a_file_per_domain() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.org"), "joe@x.org:p\n").unwrap();
        fs::write(folder.path().join(".hidden"), "joe@.hidden:p\n").unwrap();
        let path = format!("{}/%d", folder.path().display());
        let file = PasswdFile::new(&settings::PasswdFile { path, app_passwords: None }).unwrap();
        assert_eq!(found(&file, "joe@x.org").await.passwords.len(), 1);
        for user in ["joe@y.org", "joe@.hidden", "joe@x.org/../x.org", "joe", "joe@x.org/x"] {
            assert_eq!(file.lookup(&request(user), None).await, Ok(Lookup::Unknown), "{user}");
        }
    }
}
