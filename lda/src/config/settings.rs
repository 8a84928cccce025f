//! The settings, checked: nothing optional is left undecided that can be decided before a message comes.

use std::path::PathBuf;
use std::time::Duration;

use base::config::toml::Field;
use base::service::listen::Address;

use crate::location::Location;
use crate::quota::{Grace, Rules};
use crate::variables::Template;

/// All settings of postrider-lda and postrider-lmtp.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where mail is.
    pub mail: Mail,
    /// Who may get mail, and what stands in for what the userdb does not say.
    pub users: Users,
    /// Where users are looked up, in this order; never empty.
    pub userdb: Vec<Userdb>,
    /// Characters of which each ends the user's part of an address.
    pub recipient_delimiter: String,
    /// Folders that are missing are created.
    pub autocreate: bool,
    /// Folders that are created are subscribed to.
    pub autosubscribe: bool,
    /// The field with the original recipient; empty for none.
    pub original_recipient_header: String,
    /// Rejections are sent by postrider-lda itself.
    pub bounce: bool,
    /// The sender of rejections; `None`: postmaster at the user's domain or at `hostname`.
    pub postmaster_address: Option<Template>,
    /// This host.
    pub hostname: String,
    /// The program that takes mail.
    pub sendmail_path: PathBuf,
    /// The subject of rejections.
    pub rejection_subject: String,
    /// The text of rejections.
    pub rejection_reason: String,
    /// Over quota is temporary.
    pub quota_full_tempfail: bool,
    /// Lines end in CR LF on disk.
    pub save_crlf: bool,
    /// Whether files and directories are synced.
    pub fsync: bool,
    /// The line of each delivery.
    pub deliver_log_format: String,
    /// Limits of mailboxes.
    pub quota: Quota,
    /// The LMTP server.
    pub lmtp: Lmtp,
    /// Scripts.
    pub sieve: Sieve,
    /// The log.
    pub log: Log,
    /// Where figures are served.
    pub metrics: Option<Address>,
}

/// Where mail is.
#[derive(Debug, Clone)]
pub struct Mail {
    /// For users whose userdb does not say.
    pub location: Location,
    /// Between the parts of a folder's name; `None` for the layout's own.
    pub separator: Option<char>,
    /// What folders' names begin with.
    pub prefix: String,
}

/// Who may get mail.
#[derive(Debug, Clone)]
pub struct Users {
    /// What becomes of a name before it is looked up.
    pub username_format: Template,
    /// Stands in for a home; `None` when not set.
    pub home: Option<Template>,
    /// Stands in for a uid.
    pub uid: Option<u32>,
    /// Stands in for a gid.
    pub gid: Option<u32>,
    /// Further groups of every delivery.
    pub access_groups: Vec<u32>,
    /// Uids that may get mail.
    pub uids: Range,
    /// Gids likewise.
    pub gids: Range,
}

/// Ids from the first to the last; a last of 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first that is valid.
    pub first: u32,
    /// The last that is valid, or 0.
    pub last: u32,
}

impl Range {
    /// Whether it is valid.
    #[must_use]
    pub fn contains(self, id: u32) -> bool {
        id >= self.first && (self.last == 0 || id <= self.last)
    }
}

/// A userdb.
#[derive(Debug, Clone)]
pub struct Userdb {
    /// What kind it is.
    pub driver: Driver,
    /// The name to look up.
    pub username_format: Option<Template>,
}

/// The kinds of userdb.
#[derive(Debug, Clone)]
pub enum Driver {
    /// Dovecot's passwd-file at a path.
    PasswdFile(Template),
    /// A socket that speaks the auth-userdb protocol.
    AuthUserdb {
        /// The socket.
        path: PathBuf,
        /// How long a look-up may take.
        timeout: Duration,
    },
    /// getpwnam(3).
    System {
        /// How long a look-up may take.
        timeout: Duration,
    },
    /// The same fields for all.
    Static(Vec<(String, Option<Template>)>),
}

/// `[quota]`.
#[derive(Debug, Clone)]
pub struct Quota {
    /// Limits for users whose userdb says none.
    pub rules: Rules,
    /// How far the last message may go beyond.
    pub grace: Grace,
    /// The largest message; 0 is no limit.
    pub mail_size: u64,
    /// The reason that the sender is told.
    pub exceeded_message: String,
}

/// `[lmtp]`.
#[derive(Debug, Clone)]
pub struct Lmtp {
    /// Sockets to listen at.
    pub listen: Vec<Address>,
    /// Permissions of UNIX sockets.
    pub mode: u32,
    /// Their owner.
    pub user: Option<String>,
    /// Their group.
    pub group: Option<String>,
    /// Connections at a time.
    pub connections: usize,
    /// The largest message; 0 is no limit.
    pub message_size_limit: u64,
    /// Recipients of one message.
    pub recipient_limit: usize,
    /// How long a client may say nothing.
    pub idle_timeout: Duration,
    /// How long a message may take to arrive.
    pub message_timeout: Duration,
    /// How long deliveries in hand may take at the end.
    pub drain_timeout: Duration,
    /// Deliveries to one user at a time; 0 is no limit.
    pub user_concurrency_limit: usize,
    /// Quota is looked at at RCPT.
    pub rcpt_check_quota: bool,
    /// user+detail goes into the folder detail.
    pub save_to_detail_mailbox: bool,
    /// What Delivered-To holds.
    pub hdr_delivery_address: DeliveryAddress,
    /// Add Received.
    pub add_received_header: bool,
    /// What the greeting says.
    pub login_greeting: String,
}

/// Which address Delivered-To holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryAddress {
    /// The one of RCPT.
    Final,
    /// There is no field.
    None,
}

/// `[sieve]`.
#[derive(Debug, Clone)]
pub struct Sieve {
    /// Scripts are run.
    pub enabled: bool,
    /// The user's script.
    pub sieve: String,
    /// Scripts before it.
    pub before: Vec<String>,
    /// Scripts after it.
    pub after: Vec<String>,
    /// The script of users who have none.
    pub default: String,
    /// The directory of `include :global`.
    pub global: String,
    /// `+name` and `-name`.
    pub extensions: Vec<String>,
    /// The largest script.
    pub max_script_size: u64,
    /// The most actions.
    pub max_actions: usize,
    /// The most redirects.
    pub max_redirects: usize,
    /// The most processor time.
    pub max_cpu_time: Duration,
    /// The user's address.
    pub user_email: String,
    /// The sender of redirected mail.
    pub redirect_envelope_from: String,
    /// The shortest time between two answers.
    pub vacation_min_period: Duration,
    /// The longest; zero is no limit.
    pub vacation_max_period: Duration,
    /// When the script says none.
    pub vacation_default_period: Duration,
    /// Where errors of the user's script go.
    pub user_log: String,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// To the system log.
    pub syslog: bool,
    /// Its facility.
    pub facility: String,
    /// The program's name there.
    pub tag: String,
    /// From which level on.
    pub level: String,
}

/// Fields of the configuration as templates.
pub(super) type Fields = Vec<Field>;
