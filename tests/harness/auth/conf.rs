//! One description of an auth server, written as dovecot.conf for the reference and as TOML for ours.

use std::fmt::Write as _;
use std::path::Path;

use crate::scratch::Scratch;

/// What an auth server is to be: users in a passwd-file, mechanisms, and settings in both languages.
///
/// `{dir}` in a setting or file stands for the server's own folder in the scratch folder.
#[derive(Clone, Debug, Default)]
pub struct AuthConf {
    users: String,
    mechanisms: Vec<String>,
    files: Vec<(String, String)>,
    dovecot: String,
    ours: String,
    ours_tables: String,
    /// Passdbs before the one of the users, and whether that one is left out.
    without_users: bool,
    failure_delay_secs: u32,
    with_penalty: bool,
    syslog: bool,
    /// The userdb socket is open to everybody.
    open_userdb: bool,
}

impl AuthConf {
    /// PLAIN and LOGIN, no user yet, failures answered at once.
    #[must_use]
    pub fn new() -> Self {
        Self { mechanisms: vec!["PLAIN".into(), "LOGIN".into()], ..Self::default() }
    }

    /// Offers these mechanisms, their names in capitals and separated by blanks, and no others.
    #[must_use]
    pub fn mechanisms(mut self, names: &str) -> Self {
        self.mechanisms = names.split_whitespace().map(str::to_owned).collect();
        self
    }

    /// Adds a user with its password as a passwd-file has it, and uid, gid and home.
    #[must_use]
    pub fn user(self, name: &str, password: &str) -> Self {
        self.line(&format!("{name}:{password}:1000:1000::/var/mail/{name}::"))
    }

    /// Adds a line to the passwd-file.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.users.push_str(line);
        self.users.push('\n');
        self
    }

    /// Writes another file into the server's folder.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A setting in both languages; either may be empty.
    #[must_use]
    pub fn setting(mut self, dovecot: &str, ours: &str) -> Self {
        writeln!(self.dovecot, "{dovecot}").unwrap();
        writeln!(self.ours, "{ours}").unwrap();
        self
    }

    /// A block: for the reference whole, for ours a table, before the passdb of the users.
    #[must_use]
    pub fn block(mut self, dovecot: &str, ours: &str) -> Self {
        writeln!(self.dovecot, "{dovecot}").unwrap();
        writeln!(self.ours_tables, "{ours}").unwrap();
        self
    }

    /// Another passwd-file as a passdb before that of the users, with settings such as `deny` and `master`, which
    /// have the same name in both languages.
    #[must_use]
    pub fn passdb_file(self, name: &str, lines: &str, switch: &str) -> Self {
        self.file(name, lines).block(
            &format!("passdb {{\n  driver = passwd-file\n  args = {{dir}}/{name}\n  {switch} = yes\n}}"),
            &format!(
                "[[passdb]]\nname = \"{name}\"\ndriver = \"passwd-file\"\npath = \"{{dir}}/{name}\"\n{switch} = true"
            ),
        )
    }

    /// Leaves out the passdb of the users.
    #[must_use]
    pub fn without_users(mut self) -> Self {
        self.without_users = true;
        self
    }

    /// How long failures are held back.
    #[must_use]
    pub fn failure_delay_secs(mut self, seconds: u32) -> Self {
        self.failure_delay_secs = seconds;
        self
    }

    /// With Dovecot's penalties per address, which are off otherwise: they would delay all that comes after a failure.
    #[must_use]
    pub fn with_penalty(mut self) -> Self {
        self.with_penalty = true;
        self
    }

    /// Gives the userdb socket the mode 0666 instead of 0600.
    #[must_use]
    pub fn open_userdb(mut self) -> Self {
        self.open_userdb = true;
        self
    }

    fn userdb_mode(&self) -> &'static str {
        if self.open_userdb { "666" } else { "600" }
    }

    /// Logs to syslog, as a packaged service does; the lines appear in the server's log all the same.
    #[must_use]
    pub fn syslog(mut self) -> Self {
        self.syslog = true;
        self
    }

    pub(super) fn logs_to_syslog(&self) -> bool {
        self.syslog
    }

    /// Writes the files that both programs read into `folder`.
    pub(super) fn write_files(&self, folder: &Path) {
        let files = [("users".to_owned(), self.users.clone())];
        for (name, text) in files.iter().chain(&self.files) {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, fill(text, folder)).unwrap();
        }
    }

    /// dovecot.conf: the auth service alone, as root, with the sockets `client` and `userdb`.
    pub(super) fn to_dovecot(&self, folder: &Path) -> String {
        let mechanisms = self.mechanisms.join(" ").to_lowercase();
        let mut text = DOVECOT.replace("{mode}", self.userdb_mode());
        writeln!(text, "auth_mechanisms = {mechanisms}").unwrap();
        writeln!(text, "auth_failure_delay = {} secs", self.failure_delay_secs).unwrap();
        writeln!(text, "log_path = {}", if self.syslog { "syslog" } else { "{dir}/log" }).unwrap();
        text.push_str(&self.dovecot);
        if !self.with_penalty {
            text.push_str(NO_PENALTY);
        }
        if !self.without_users {
            text.push_str("passdb {\n  driver = passwd-file\n  args = {dir}/users\n}\n");
        }
        text.push_str("userdb {\n  driver = passwd-file\n  args = {dir}/users\n}\n");
        fill(&text, folder)
    }

    /// Our TOML with the same sockets.
    pub(super) fn to_toml(&self, folder: &Path) -> String {
        let mut text = String::new();
        writeln!(text, "mechanisms = {:?}", self.mechanisms).unwrap();
        writeln!(text, "allow_weak_schemes = true").unwrap();
        text.push_str(&self.ours);
        writeln!(text, "\n[log]\nlevel = \"debug\"\nsyslog = {}", self.syslog).unwrap();
        let delay = self.failure_delay_secs;
        writeln!(text, "\n[throttle]\nfailure_delay = {delay}\nmax_delay = {delay}").unwrap();
        text.push_str(&LISTEN.replace("{mode}", self.userdb_mode()));
        text.push_str(&self.ours_tables);
        for kind in ["passdb", "userdb"] {
            if kind == "userdb" || !self.without_users {
                writeln!(text, "\n[[{kind}]]\ndriver = \"passwd-file\"\npath = \"{{dir}}/users\"").unwrap();
            }
        }
        fill(&text, folder)
    }
}

fn fill(text: &str, folder: &Path) -> String {
    text.replace("{dir}", &folder.display().to_string())
}

/// Lists a server's folder in `scratch`, made with mode 0755.
pub(super) fn folder(scratch: &Scratch, name: &str) -> std::path::PathBuf {
    let folder = scratch.file(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The auth process is started at once and stays.
const DOVECOT: &str = "base_dir = {dir}/run
state_dir = {dir}/state
protocols =
ssl = no
default_internal_user = root
default_internal_group = root
default_login_user = root
auth_verbose = yes
service auth {
  process_min_avail = 1
  client_limit = 8000
  unix_listener {dir}/client {
    mode = 0666
  }
  unix_listener {dir}/userdb {
    mode = 0{mode}
  }
}
";

const NO_PENALTY: &str = "service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
";

const LISTEN: &str = "
[[listen]]
address = \"unix:{dir}/client\"
kind = \"client\"
mode = 0o666

[[listen]]
address = \"unix:{dir}/userdb\"
kind = \"userdb\"
mode = 0o{mode}
";
