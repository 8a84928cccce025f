//! Settings of every delivery: where mail is, whose it is, what becomes of mail that cannot be delivered.

use base::config::toml::{Fallback, Kind, Section};

use super::{count, setting};

const ID: Kind = count(0, 4_294_967_294);

pub(super) const TOP: Section = Section {
    name: "",
    repeated: false,
    selector: None,
    doc: "These stand before the first header.",
    settings: &[
        setting(
            "mail_location",
            Kind::Text,
            Fallback::Value(""),
            "Where mail is, in the notation of Dovecot 2.3: \"maildir:~/Maildir\", with the options LAYOUT=fs, \
             INBOX=, CONTROL=, INDEX=, SUBSCRIPTIONS=, DIRNAME= and UTF-8. May hold variables. The userdb's field \
             mail goes before. Without either, ~/Maildir. Other formats than maildir are refused.",
        ),
        setting(
            "mail_driver",
            Kind::Word(&["maildir"]),
            Fallback::Value("maildir"),
            "With mail_path: the notation of Dovecot 2.4.",
        ),
        setting(
            "mail_path",
            Kind::Text,
            Fallback::Value(""),
            "Where mail is, in the notation of Dovecot 2.4: \"~/Maildir\". Not together with mail_location.",
        ),
        setting(
            "mail_inbox_path",
            Kind::Text,
            Fallback::Value(""),
            "Where the INBOX is, when not at mail_path.",
        ),
        setting(
            "mail_control_path",
            Kind::Text,
            Fallback::Value(""),
            "Where subscriptions and dovecot-keywords are, when not at mail_path.",
        ),
        setting(
            "mailbox_list_layout",
            Kind::Word(&["maildir++", "fs"]),
            Fallback::Value("maildir++"),
            "How folders are laid out: .A.B beside each other, or A/B within each other.",
        ),
        setting(
            "mailbox_list_utf8",
            Kind::Boolean,
            Fallback::Value("false"),
            "Names of folders are on disk in UTF-8, not in modified UTF-7.",
        ),
        setting(
            "mailbox_subscriptions_filename",
            Kind::Text,
            Fallback::Value("subscriptions"),
            "The name of the file with the subscriptions.",
        ),
        setting(
            "mailbox_directory_name",
            Kind::Text,
            Fallback::Value(""),
            "The name of the directory below each folder that holds its mail (DIRNAME=), for the layout fs.",
        ),
        setting(
            "namespace_separator",
            Kind::Text,
            Fallback::Found("\".\", with the layout fs \"/\""),
            "The character between the parts of a folder's name, as in Dovecot's namespace inbox.",
        ),
        setting(
            "namespace_prefix",
            Kind::Text,
            Fallback::Value(""),
            "What the names of folders begin with, as in Dovecot's namespace inbox: \"INBOX.\".",
        ),
        setting(
            "mail_home",
            Kind::Text,
            Fallback::Value(""),
            "The home of users whose userdb gives none. May hold variables.",
        ),
        setting(
            "mail_uid",
            Kind::Text,
            Fallback::Value(""),
            "The user (number or name) of users whose userdb gives none.",
        ),
        setting("mail_gid", Kind::Text, Fallback::Value(""), "The group of users whose userdb gives none."),
        setting(
            "mail_access_groups",
            Kind::Texts,
            Fallback::None,
            "Further groups that every delivery runs with.",
        ),
        setting(
            "first_valid_uid",
            ID,
            Fallback::Value("500"),
            "Users with a lower uid get no mail: it is deferred.",
        ),
        setting("last_valid_uid", ID, Fallback::Value("0"), "Likewise with a higher one; 0 is no limit."),
        setting(
            "first_valid_gid",
            ID,
            Fallback::Value("1"),
            "Users with a lower gid get no mail: it is deferred.",
        ),
        setting("last_valid_gid", ID, Fallback::Value("0"), "Likewise with a higher one; 0 is no limit."),
        setting(
            "username_format",
            Kind::Text,
            Fallback::Value("%{user|lower}"),
            "What becomes of a user's name before it is looked up, as in postrider-sasl-auth. May hold variables.",
        ),
        setting(
            "recipient_delimiter",
            Kind::Text,
            Fallback::Value("+"),
            "Each character ends the user's part of an address: user+detail@domain.",
        ),
        setting(
            "lda_mailbox_autocreate",
            Kind::Boolean,
            Fallback::Value("false"),
            "Create the folder that -m or a Sieve script names when it does not exist. Otherwise INBOX gets the mail.",
        ),
        setting(
            "lda_mailbox_autosubscribe",
            Kind::Boolean,
            Fallback::Value("false"),
            "Subscribe to folders that are created.",
        ),
        setting(
            "lda_original_recipient_header",
            Kind::Text,
            Fallback::Value(""),
            "The field that holds the original recipient when -a does not: X-Original-To.",
        ),
        setting(
            "lda_rejection",
            Kind::Word(&["exit", "bounce"]),
            Fallback::Value("exit"),
            "What postrider-lda does with mail that is over quota or rejected by a script. exit: it says why and exits \
             with 77, so that Postfix returns the mail. bounce: it sends a bounce itself and exits with 0, as \
             dovecot-lda does without -e.",
        ),
        setting(
            "postmaster_address",
            Kind::Text,
            Fallback::Found("postmaster at the user's domain, or else at hostname"),
            "The sender of rejections. May hold variables.",
        ),
        setting(
            "hostname",
            Kind::Text,
            Fallback::Found("the host's own name"),
            "The host's name in file names, Message-ID and Received.",
        ),
        setting(
            "sendmail_path",
            Kind::Path,
            Fallback::Value("/usr/sbin/sendmail"),
            "The program that takes mail that is sent.",
        ),
        setting(
            "rejection_subject",
            Kind::Text,
            Fallback::Value("Rejected: %s"),
            "The subject of rejections. %s is the message's.",
        ),
        setting(
            "rejection_reason",
            Kind::Text,
            Fallback::Value("Your message to <%t> was automatically rejected:%n%r"),
            "The text of rejections: %t is the recipient, %r the reason, %s the subject, %n a new line.",
        ),
        setting(
            "quota_full_tempfail",
            Kind::Boolean,
            Fallback::Value("false"),
            "Over quota is a temporary failure: Postfix keeps the mail and tries again.",
        ),
        setting(
            "mail_save_crlf",
            Kind::Boolean,
            Fallback::Value("false"),
            "Save lines with CR and LF at their ends; otherwise with LF.",
        ),
        setting(
            "mail_fsync",
            Kind::Word(&["optimized", "always", "never"]),
            Fallback::Value("optimized"),
            "never: a power cut may lose mail that was reported as delivered. The others are the same here: the file and \
             its directory are on disk before success is reported.",
        ),
        setting(
            "deliver_log_format",
            Kind::Text,
            Fallback::Value("msgid=%m: %$"),
            "The line that is logged for each delivery: %$ what happened, %m Message-ID, %s subject, %f From, %e \
             envelope sender, %p size, %w size with CRLF, %{to_envelope}, %{from_envelope}, %{delivery_time}, %{session_time}, %{storage_id}.",
        ),
    ],
};

pub(super) const QUOTA: Section = Section {
    name: "quota",
    repeated: false,
    selector: None,
    doc: "Limits of mailboxes, by the file maildirsize (Dovecot's quota = maildir). Without quota_rule, here or in the \
          userdb, the limits that stand in the file itself hold.",
    settings: &[
        setting(
            "quota_rule",
            Kind::Texts,
            Fallback::None,
            "\"*:storage=1G\", \"*:messages=1000\", \"Trash:storage=+10%\", \"Spam:ignore\". The userdb's field quota_rule \
             goes before the first of these, quota_rule2 before the second and so on, as in Dovecot.",
        ),
        setting(
            "quota_grace",
            Kind::Text,
            Fallback::Value("10%"),
            "How far the last message may go beyond the limit: a size or a part of the limit.",
        ),
        setting(
            "quota_mail_size",
            super::bytes(0, 1 << 50),
            Fallback::Value("0"),
            "The largest message that may be saved; 0 is no limit.",
        ),
        setting(
            "quota_exceeded_message",
            Kind::Text,
            Fallback::Value("Quota exceeded (mailbox for user is full)"),
            "The reason that the sender is told.",
        ),
    ],
};

pub(super) const LOG: Section = Section {
    name: "log",
    repeated: false,
    selector: None,
    doc: "What is logged where.",
    settings: &[
        setting(
            "syslog",
            Kind::Boolean,
            Fallback::Found("true when there is /dev/log and standard error is no terminal"),
            "To the system log; otherwise to standard error.",
        ),
        setting(
            "facility",
            Kind::Word(&[
                "mail", "auth", "authpriv", "daemon", "user", "local0", "local1", "local2", "local3",
                "local4", "local5", "local6", "local7",
            ]),
            Fallback::Value("mail"),
            "The facility of the system log.",
        ),
        setting(
            "tag",
            Kind::Text,
            Fallback::Value("dovecot"),
            "The program's name in the log, by which log readers know the lines.",
        ),
        setting(
            "level",
            Kind::Word(&["error", "warn", "info", "debug"]),
            Fallback::Value("info"),
            "From which level on.",
        ),
    ],
};
