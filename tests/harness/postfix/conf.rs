//! The main.cf and master.cf of a private Postfix.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::Builder;
use crate::scratch::Scratch;
use crate::wait::output;

/// The main.cf of an instance in `folder`, in which the test's own lines take the places of the harness's.
pub(super) fn main_cf(folder: &Path, builder: &Builder<'_>) -> String {
    let folder = folder.display();
    let mut text = MAIN.replace("@FOLDER@", &folder.to_string()).replace("@HOST@", &builder.hostname);
    writeln!(text, "syslog_name = postfix-{}", builder.name).unwrap();
    if !builder.mailboxes.is_empty() {
        writeln!(text, "virtual_mailbox_domains = texthash:{folder}/domains").unwrap();
        writeln!(text, "virtual_mailbox_maps = texthash:{folder}/mailboxes").unwrap();
    }
    if !builder.milters.is_empty() {
        writeln!(text, "smtpd_milters = {0}\nnon_smtpd_milters = {0}", builder.milters.join(" ")).unwrap();
    }
    builder.main.lines().fold(text, |text, line| with(&text, line))
}

/// A main.cf with a line in place of those that set the same.
///
/// Every Postfix process warns of a setting that stands there twice as soon as it starts. So does postlogd(8), to its
/// own socket: with ten messages waiting there it blocks for ever, and then all the others do.
pub(super) fn with(text: &str, line: &str) -> String {
    let name = |line: &str| line.split_once('=').map(|(name, _)| name.trim().to_owned());
    let others = text.lines().filter(|other| name(other).is_none() || name(other) != name(line));
    others.chain([line]).map(|line| format!("{line}\n")).collect()
}

/// The master.cf: what a Postfix of one machine needs, nothing in a chroot, the test's ports.
pub(super) fn master_cf(builder: &Builder<'_>, smtp: u16, submission: u16) -> String {
    let mut text = String::new();
    writeln!(text, "127.0.0.1:{smtp} inet n - n - - smtpd").unwrap();
    writeln!(text, "127.0.0.1:{submission} inet n - n - - smtpd").unwrap();
    for option in SUBMISSION.iter().copied().chain(builder.submission.iter().map(String::as_str)) {
        writeln!(text, "  -o {{ {option} }}").unwrap();
    }
    text + MASTER + &builder.master
}

/// Makes a key and a certificate that it signs itself, and returns the file with both.
pub(super) fn certificate(scratch: &Scratch) -> String {
    let file = scratch.file("certificate.pem").display().to_string();
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    command.args([
        "-days",
        "2",
        "-subj",
        "/CN=mx.test.example",
        "-keyout",
        &file,
        "-out",
        &format!("{file}.crt"),
    ]);
    let output = output(&mut command, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let both = [&file, &format!("{file}.crt")].map(|part| std::fs::read_to_string(part).unwrap()).concat();
    std::fs::write(&file, both).unwrap();
    file
}

/// The domains that the mailboxes are in, and the mailboxes, as texthash tables.
pub(super) fn tables(builder: &Builder<'_>) -> (String, String) {
    let (mut domains, mut mailboxes) = (String::new(), String::new());
    for address in &builder.mailboxes {
        let (_, domain) = address.split_once('@').unwrap();
        if !domains.contains(&format!("{domain} x\n")) {
            writeln!(domains, "{domain} x").unwrap();
        }
        writeln!(mailboxes, "{address} {address}/").unwrap();
    }
    (domains, mailboxes)
}

const MAIN: &str = "compatibility_level = 3.6
queue_directory = @FOLDER@/spool
data_directory = @FOLDER@/data
maillog_file = @FOLDER@/log
maillog_file_prefixes = /var, @FOLDER@
myhostname = @HOST@
mydestination =
alias_maps =
local_recipient_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
append_dot_mydomain = no
biff = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_tls_security_level = none
smtp_tls_security_level = none
transport_maps = texthash:@FOLDER@/transport
virtual_mailbox_base = @FOLDER@/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_limit = 0
mailbox_size_limit = 0
queue_run_delay = 2s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
in_flow_delay = 0
smtpd_error_sleep_time = 0
smtpd_client_connection_rate_limit = 0
milter_connect_timeout = 10s
milter_command_timeout = 30s
milter_content_timeout = 60s
milter_default_action = tempfail
default_process_limit = 20
";

/// What makes the second port a submission port: mail from it originates here.
const SUBMISSION: [&str; 3] = [
    "syslog_name = postfix-submission",
    "smtpd_client_restrictions = permit_mynetworks, reject",
    "milter_macro_daemon_name = ORIGINATING",
];

const MASTER: &str = "pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
";
