//! Makes the manual page postrider-policyd.toml(5) from the table of settings.

mod notes;

use base::config::toml::man;

use super::parameters::SECTIONS;

/// The manual page in roff, for man(7).
#[must_use]
pub fn roff() -> String {
    let notes = notes::NOTES.replace('-', "\\-");
    format!("{HEAD}{}{notes}{TAIL}", man::roff(&SECTIONS))
}

const HEAD: &str = r#".\" Made from the table of settings in policyd/src/config; do not edit.
.TH POSTRIDER-POLICYD.TOML 5 "" Postrider "Postrider Manual"
.SH NAME
postrider\-policyd.toml \- configuration of postrider\-policyd
.SH DESCRIPTION
.B postrider\-policyd
reads
.IR /etc/postrider/policyd.toml ,
or the file that
.B \-c
names.
It is written in TOML: settings stand in the section that their header
.RB ( [name] )
begins; a header in double brackets
.RB ( [[name]] )
may come several times, and the order counts.
.P
.B postrider\-policyd \-n
prints every mistake with file, line and column.
.SH "EXAMPLE"
.nf
listen = ["unix:/var/spool/postfix/postrider/policyd"]
socket_group = "postfix"

[store]
driver = "file"
path = "/var/lib/postrider\-policyd/state"

[[limit]]
name = "per\-user"
key = ["sasl_username"]
count = "recipients"
rate = ["100/hour", "500/day"]
action = "DEFER_IF_PERMIT 4.7.1 {used} of {limit} recipients used, try again in {retry_after}"

[[limit]]
name = "stolen"
key = ["sasl_username"]
count = "networks"
rate = ["8/day"]
action = "HOLD used from more than {limit} networks"
.fi
.P
With it, main.cf has
.nf
smtpd_recipient_restrictions =
    check_policy_service unix:postrider/policyd,
    permit_sasl_authenticated, ...
smtpd_data_restrictions =
    check_policy_service unix:postrider/policyd
.fi
.P
The path counts from the queue directory on, where a chrooted smtpd is. The service must come before
.BR permit_sasl_authenticated " and " permit_mynetworks ,
or it is never asked about those who are meant.
.SH "KINDS OF VALUES"
.TP
.B duration
Text with a number and
.BR ms ", " s ", " min ", " h " or " d ,
as in "5min"; a bare number counts seconds.
.TP
.B mode
A number in octal, 0o660.
.TP
.B list of texts
["one", "two"]; a single text will do for a list of one.
.TP
.B list of addresses
"unix:/path" or "inet:host:port", one or a list; an IPv6 address stands in brackets.
"#;

const TAIL: &str = r#".SH "SEE ALSO"
.BR postrider\-policyd (8),
.BR access (5),
.BR postconf (5)
"#;
