//! Where a user's mail is: `mail_location` in Dovecot's notation, expanded for one user.

use std::path::{Path, PathBuf};

use crate::variables::{Template, Values};

/// A mail location before it is expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The root; `~/` is the home.
    pub path: Template,
    /// Where the INBOX is, when not at the root.
    pub inbox: Option<Template>,
    /// Where subscriptions and `dovecot-keywords` are, when not in the mailbox.
    pub control: Option<Template>,
    /// How folders are laid out.
    pub layout: Layout,
    /// The name of the file with the subscriptions.
    pub subscriptions: String,
    /// The directory below each folder that holds its mail, for [`Layout::Fs`].
    pub directory_name: String,
    /// It is also below the directories at [`Self::control`].
    pub directory_everywhere: bool,
    /// Names are in UTF-8 on disk.
    pub utf8: bool,
}

/// How folders are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `.A.B` in the root.
    MaildirPlusPlus,
    /// `A/B` below the root.
    Fs,
}

/// A mail location of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The root, absolute.
    pub root: PathBuf,
    /// The INBOX's directory.
    pub inbox: PathBuf,
    /// Where subscriptions are, and below it `dovecot-keywords` of folders; `None` for the mailbox's own directory.
    pub control: Option<PathBuf>,
    /// How folders are laid out.
    pub layout: Layout,
    /// The name of the file with the subscriptions.
    pub subscriptions: String,
    /// The directory below each folder that holds its mail.
    pub directory_name: String,
    /// It is also below the directories at [`Self::control`].
    pub directory_everywhere: bool,
    /// Names are in UTF-8 on disk.
    pub utf8: bool,
}

impl Location {
    /// `~/Maildir`, which holds when nothing is set.
    #[must_use]
    pub fn home_maildir() -> Self {
        Self::at(Template::literal("~/Maildir"))
    }

    /// A Maildir++ at a path.
    #[must_use]
    pub fn at(path: Template) -> Self {
        Self {
            path,
            inbox: None,
            control: None,
            layout: Layout::MaildirPlusPlus,
            subscriptions: "subscriptions".to_owned(),
            directory_name: String::new(),
            directory_everywhere: false,
            utf8: false,
        }
    }

    /// Reads `maildir:PATH[:OPTION[=VALUE]…]`; a colon in a value is written `::`. A path without a
    /// format in front is a Maildir too, as the old passwd-file's field may have it.
    ///
    /// # Errors
    /// A sentence: another format than maildir, an option that is not known, a variable that cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once(':') {
            Some(("maildir", rest)) => rest,
            Some((format, _)) if !format.contains('/') && !format.starts_with(['~', '%']) => {
                return Err(format!("{format}: only maildir is delivered to; write \"maildir:~/Maildir\""));
            }
            _ => text,
        };
        let parts = split(rest);
        let mut parts = parts.iter();
        let path = parts
            .next()
            .filter(|path| !path.is_empty())
            .ok_or("the path is missing: \"maildir:~/Maildir\"")?;
        let template = |text: &str| Template::parse(text).map_err(|error| error.to_string());
        let mut location = Self::at(template(path)?);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name {
                "LAYOUT" => {
                    location.layout = match value.to_ascii_lowercase().as_str() {
                        "maildir++" => Layout::MaildirPlusPlus,
                        "fs" => Layout::Fs,
                        _ => {
                            return Err(format!(
                                "LAYOUT={value} is not delivered to; it may be maildir++ or fs"
                            ));
                        }
                    }
                }
                "INBOX" => location.inbox = Some(template(value)?),
                "CONTROL" => location.control = Some(template(value)?),
                "SUBSCRIPTIONS" => value.clone_into(&mut location.subscriptions),
                "DIRNAME" | "FULLDIRNAME" => {
                    value.clone_into(&mut location.directory_name);
                    location.directory_everywhere = name == "FULLDIRNAME";
                }
                "UTF-8" => location.utf8 = true,
                // What Dovecot keeps there is no business of a delivery.
                "INDEX" | "INDEXPVT" | "VOLATILEDIR" | "INDEXCACHE" | "LISTINDEX" | "NO-NOSELECT"
                | "NO-FS-VALIDATION" | "NOALT" | "ITERINDEX" | "KEEP-NOSELECT" => {}
                _ => return Err(format!("{name}: this option of mail_location is not known here")),
            }
        }
        location.sound()?;
        Ok(location)
    }

    /// Whether its parts go together.
    ///
    /// # Errors
    /// A sentence.
    pub fn sound(&self) -> Result<(), String> {
        // Dovecot refuses it, too.
        if self.layout == Layout::MaildirPlusPlus && !self.directory_name.is_empty() {
            return Err("a name for the directories of mail (DIRNAME=) goes with LAYOUT=fs only".to_owned());
        }
        Ok(())
    }

    /// The place for one user.
    ///
    /// # Errors
    /// A sentence: `~` without a home, or a path that is not absolute.
    pub fn expand(&self, values: &Values<'_>) -> Result<Place, String> {
        let root = absolute(&self.path, values)?;
        let optional =
            |template: &Option<Template>| template.as_ref().map(|path| absolute(path, values)).transpose();
        // With a directory's name for the mail of each folder, the INBOX is a folder like the others (Dovecot 2.3.19).
        let is_folder = self.layout == Layout::Fs && !self.directory_name.is_empty();
        let inbox = if is_folder { root.join("INBOX").join(&self.directory_name) } else { root.clone() };
        Ok(Place {
            inbox: optional(&self.inbox)?.unwrap_or(inbox),
            control: optional(&self.control)?,
            root,
            layout: self.layout,
            subscriptions: self.subscriptions.clone(),
            directory_name: self.directory_name.clone(),
            directory_everywhere: self.directory_everywhere,
            utf8: self.utf8,
        })
    }
}

/// A template's path, with `~` as the home.
///
/// # Errors
/// A sentence, as [`Location::expand`].
pub fn absolute(template: &Template, values: &Values<'_>) -> Result<PathBuf, String> {
    let text = template.expand(values);
    let path = match text.strip_prefix('~') {
        Some(_) if values.home.is_empty() => {
            return Err(format!("{text}: the user has no home; set mail_home, or home in the userdb"));
        }
        Some("") => PathBuf::from(values.home),
        Some(rest) => match rest.strip_prefix('/') {
            Some(below) => Path::new(values.home).join(below),
            None => return Err(format!("{text}: only ~/ is the home")),
        },
        None => PathBuf::from(text),
    };
    if path.is_absolute() { Ok(path) } else { Err(format!("{}: not an absolute path", path.display())) }
}

/// Parts between single colons.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != ':' {
            if let Some(last) = parts.last_mut() {
                last.push(letter);
            }
        } else if letters.next_if_eq(&':').is_some() {
            if let Some(last) = parts.last_mut() {
                last.push(':');
            }
        } else {
            parts.push(String::new());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, String> {
        let values = Values { user: "joe@a.example", home: "/home/joe", ..Values::default() };
        Location::parse(text)?.expand(&values)
    }

    #[test]
    fn dovecots_notation() {
        let plain = place("maildir:~/Maildir").unwrap();
        assert_eq!(plain.root, Path::new("/home/joe/Maildir"));
        assert_eq!(plain.inbox, plain.root);
        let all =
            place("maildir:/v/%d/%n:LAYOUT=fs:INBOX=/i/%u:CONTROL=~/c:INDEX=/x:UTF-8:SUBSCRIPTIONS=subs")
                .unwrap();
        assert_eq!(all.root, Path::new("/v/a.example/joe"));
        assert_eq!(all.inbox, Path::new("/i/joe@a.example"));
        assert_eq!(all.control.as_deref(), Some(Path::new("/home/joe/c")));
        assert_eq!((all.layout, all.utf8, all.subscriptions.as_str()), (Layout::Fs, true, "subs"));
        assert_eq!(place("/var/mail/x").unwrap().root, Path::new("/var/mail/x"));
        assert_eq!(place("maildir:/a::b").unwrap().root, Path::new("/a:b"));
    }

    #[test]
    fn what_cannot_be_delivered_to() {
        for text in [
            "mbox:~/mail",
            "maildir:",
            "maildir:rel",
            "maildir:/x:NOSUCH=1",
            "maildir:/x:LAYOUT=index",
            "maildir:~joe/x",
            "maildir:/%y",
        ] {
            assert!(place(text).is_err(), "{text}");
        }
        assert!(Location::home_maildir().expand(&Values::default()).unwrap_err().contains("no home"));
    }
}
