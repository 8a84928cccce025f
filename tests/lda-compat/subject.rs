//! One of the two programs with a user of its own, and what can be seen after a delivery.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::auth::{AuthConf, AuthServer};
use harness::milter::{Subject, target_folder};
use harness::scratch::Scratch;

/// Who owns mail here; nobody has to be called so.
const USER: u32 = 5000;

/// A program under test. The userdb is the same for both.
pub struct Agent {
    subject: Subject,
    home: PathBuf,
    conf: PathBuf,
    log: PathBuf,
    _auth: AuthServer,
    _scratch: Scratch,
}

/// What one delivery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub code: Option<i32>,
    /// By folder, the messages' contents.
    pub mail: BTreeMap<String, Vec<String>>,
}

/// The settings of a case, in the form that both can be given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conf {
    pub autocreate: bool,
    pub quota: bool,
    pub tempfail: bool,
    pub crlf: bool,
}

impl Agent {
    pub fn new(subject: Subject, conf: Conf) -> Self {
        let scratch = Scratch::new("ldacompat");
        let home = scratch.file("home");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(USER), Some(USER)).unwrap();
        let line = |name: &str| format!("{name}:{{PLAIN}}x:{USER}:{USER}::{}::", home.display());
        let users = AuthConf::new().line(&line("joe")).line(&line("anna.doe@example.com"));
        let auth = AuthServer::start(&scratch, "auth", Subject::Reference, &users);
        let socket = auth.userdb_socket().display().to_string();
        let log = home.join("log");
        let text = match subject {
            Subject::Reference => dovecot(&scratch, &socket, &log, conf),
            Subject::Ours => ours(&socket, conf),
        };
        let conf = scratch.write("conf", text);
        Self { subject, home, conf, log, _auth: auth, _scratch: scratch }
    }

    /// Both, with the same settings.
    pub fn both(conf: Conf) -> [Self; 2] {
        [Self::new(Subject::Reference, conf), Self::new(Subject::Ours, conf)]
    }

    pub fn is_ours(&self) -> bool {
        self.subject == Subject::Ours
    }

    pub fn root(&self) -> PathBuf {
        self.home.join("Maildir")
    }

    /// Writes another mail_location into the configuration.
    pub fn set_mail_location(&self, location: &str) {
        let text = fs::read_to_string(&self.conf).unwrap();
        let others = text.lines().filter(|line| !line.starts_with("mail_location"));
        let line = match self.subject {
            Subject::Reference => format!("mail_location = {location}"),
            Subject::Ours => format!("mail_location = \"{location}\""),
        };
        let lines: Vec<&str> = std::iter::once(line.as_str()).chain(others).collect();
        fs::write(&self.conf, lines.join("\n") + "\n").unwrap();
    }

    /// What lies below one of the user's directories, but for Dovecot's own files: each message as its directory, each
    /// other file as its path.
    pub fn tree(&self, name: &str) -> Vec<String> {
        let top = self.home.join(name);
        let mut found = Vec::new();
        let mut open = vec![top.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let file = entry.file_name().to_string_lossy().into_owned();
                let shown = path.strip_prefix(&top).unwrap().display().to_string();
                if path.is_dir() {
                    open.push(path);
                } else if ["new", "cur"].iter().any(|name| directory.ends_with(name)) {
                    found.push(directory.strip_prefix(&top).unwrap().display().to_string());
                } else if !file.starts_with("dovecot")
                    && !["box/maildirfolder", "in/maildirfolder"].contains(&shown.as_str())
                {
                    found.push(shown);
                }
            }
        }
        found.sort();
        found
    }

    /// The directories below one of the user's, down to the Maildir, whose mail lies there.
    pub fn below(&self, name: &str) -> Vec<String> {
        let top = self.home.join(name);
        let mut found = Vec::new();
        let mut open = vec![top.clone()];
        while let Some(directory) = open.pop() {
            if directory.join("cur").is_dir() {
                found.push(directory.strip_prefix(&top).unwrap().display().to_string());
                continue;
            }
            open.extend(fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        found
    }

    /// The file that `-p` can name.
    pub fn file(&self, content: &[u8]) -> String {
        let path = self.home.join("message");
        fs::write(&path, content).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
        path.display().to_string()
    }

    /// Runs it with these arguments behind the configuration.
    pub fn run(&self, arguments: &[&str], message: &[u8]) -> Observed {
        let program = match self.subject {
            Subject::Reference => PathBuf::from("/usr/lib/dovecot/dovecot-lda"),
            Subject::Ours => target_folder().join("postrider-lda"),
        };
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.conf).args(arguments).env_clear().env("POSTRIDER_LOG", "stderr");
        let stderr = fs::File::options().create(true).append(true).open(&self.log).unwrap();
        fs::set_permissions(&self.log, fs::Permissions::from_mode(0o666)).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
        let mut child = command.spawn().unwrap();
        // A program that ends early does not read all.
        let _ = child.stdin.take().unwrap().write_all(message);
        let code = child.wait().unwrap().code();
        Observed { code, mail: self.mail() }
    }

    /// The log, and what was said on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn mail(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        let mut add = |name: String, folder: &Path| {
            let texts: Vec<String> = files(folder)
                .iter()
                .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
                .collect();
            all.insert(name, texts);
        };
        let Ok(entries) = fs::read_dir(self.root()) else { return all };
        add("INBOX".to_owned(), &self.root());
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') && entry.path().is_dir() {
                add(name, &entry.path());
            }
        }
        all
    }

    /// The names of all messages, with each run of digits as 9.
    pub fn patterns(&self) -> Vec<String> {
        let of = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let (base, sizes) = name.split_once(',').unwrap();
            let mut out = String::new();
            for letter in base.chars() {
                match letter {
                    '0'..='9' if out.ends_with('9') => {}
                    '0'..='9' => out.push('9'),
                    letter => out.push(letter),
                }
            }
            format!("{out},{sizes}")
        };
        files(&self.root()).iter().map(of).collect()
    }

    /// A sendmail that keeps what it gets.
    pub fn sendmail(&self) -> String {
        let path = self.home.join("sendmail");
        let home = self.home.display();
        fs::write(&path, format!("#!/bin/sh\necho \"$@\" > {home}/arguments\ncat > {home}/sent\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    /// Its arguments and its input.
    pub fn sent(&self) -> (String, String) {
        let read =
            |name: &str| fs::read_to_string(self.home.join(name)).unwrap_or_default().replace('\r', "");
        (read("arguments"), read("sent"))
    }

    /// Owner and mode of what lies at a path below the Maildir.
    pub fn mode(&self, below: &str) -> String {
        let found = fs::metadata(self.root().join(below)).unwrap_or_else(|error| panic!("{below}: {error}"));
        format!("{below} {}:{} {:o}", found.uid(), found.gid(), found.mode())
    }

    /// Modes of all messages of the INBOX.
    pub fn message_modes(&self) -> Vec<String> {
        files(&self.root()).iter().map(|path| format!("{:o}", fs::metadata(path).unwrap().mode())).collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = ["new", "cur"]
        .iter()
        .flat_map(|name| fs::read_dir(folder.join(name)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect();
    all.sort();
    all
}

fn dovecot(scratch: &Scratch, socket: &str, log: &Path, conf: Conf) -> String {
    let folder = scratch.path().display();
    let yes = |flag| if flag { "yes" } else { "no" };
    let mut text = format!(
        "base_dir = {folder}/dovecot\nlog_path = {}\nprotocols =\nssl = no\nmail_location = maildir:~/Maildir\n\
         auth_socket_path = {socket}\npostmaster_address = p@a.example\ndefault_internal_user = root\n\
         default_internal_group = root\nstats_writer_socket_path =\nsendmail_path = /bin/true\nhostname = host\n\
         lda_mailbox_autocreate = {1}\nlda_mailbox_autosubscribe = {1}\nquota_full_tempfail = {2}\nmail_save_crlf = {3}\n",
        log.display(),
        yes(conf.autocreate),
        yes(conf.tempfail),
        yes(conf.crlf),
    );
    if conf.quota {
        text.push_str(
            "mail_plugins = quota\nplugin {\n quota = maildir:User quota\n quota_rule = *:bytes=20480\n}\n",
        );
    }
    text
}

fn ours(socket: &str, conf: Conf) -> String {
    let mut text = format!(
        "hostname = \"host\"\nlda_mailbox_autocreate = {0}\nlda_mailbox_autosubscribe = {0}\nquota_full_tempfail = {1}\n\
         mail_save_crlf = {2}\n[[userdb]]\ndriver = \"auth-userdb\"\npath = \"{socket}\"\n",
        conf.autocreate, conf.tempfail, conf.crlf
    );
    if conf.quota {
        text.push_str("[quota]\nquota_rule = \"*:bytes=20480\"\n");
    }
    text
}
