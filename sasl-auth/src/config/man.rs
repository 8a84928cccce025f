//! Makes the manual page postrider-sasl-auth.toml(5) from the table of settings.

mod notes;

use base::config::toml::man;

use super::parameters::SECTIONS;

/// The manual page in roff, for man(7).
#[must_use]
pub fn roff() -> String {
    let minus = |text: &str| text.replace('-', "\\-");
    let (variables, notes) = (minus(notes::VARIABLES), minus(notes::NOTES));
    format!("{HEAD}{variables}{}{notes}{TAIL}", man::roff(&SECTIONS))
}

const HEAD: &str = r#".\" Made from the table of settings in sasl-auth/src/config; do not edit.
.TH POSTRIDER-SASL-AUTH.TOML 5 "" Postrider "Postrider Manual"
.SH NAME
postrider\-sasl\-auth.toml \- configuration of postrider\-sasl\-auth
.SH DESCRIPTION
.B postrider\-sasl\-auth
reads
.IR /etc/postrider/sasl\-auth.toml ,
or the file that
.B \-c
names.
It is written in TOML: settings stand in the section that their header
.RB ( [name] )
begins; a header in double brackets
.RB ( [[name]] )
may come several times, and the order counts.
.P
.B postrider\-sasl\-auth \-n
prints every mistake with file, line and column. A password is never printed.
.SH "EXAMPLE"
.nf
mechanisms = ["PLAIN", "LOGIN", "SCRAM\-SHA\-256"]
user = "vmail"

[[listen]]
address = "unix:/var/spool/postfix/private/postrider\-auth"
kind = "client"
mode = 0o660
user = "postfix"
group = "postfix"

[[passdb]]
driver = "passwd\-file"
path = "/etc/postrider/users"

[[userdb]]
driver = "passwd\-file"
path = "/etc/postrider/users"
.fi
.P
With it, main.cf has
.BR "smtpd_sasl_type = dovecot" ,
.BR "smtpd_sasl_path = private/postrider\-auth"
(from the queue directory on) and
.BR "smtpd_sasl_auth_enable = yes" .
.SH "KINDS OF VALUES"
.TP
.B duration
Text with a number and
.BR ms ", " s ", " min ", " h " or " d ,
as in "5min"; a bare number counts seconds.
.TP
.B size
Text with a number and
.BR k ", " M " or " G ,
in units of 1024, as in "16M"; a bare number counts bytes.
.TP
.B mode
A number in octal, 0o660.
.TP
.B list of texts
["one", "two"]; a single text will do for a list of one.
.TP
.B fields
A table, { home = "/var/mail/%{user}", nologin = true }, where
.B true
makes a field without a value.
.TP
.B address
"unix:/path" or "inet:host:port"; an IPv6 address stands in brackets.
"#;

const TAIL: &str = r#".SH "SEE ALSO"
.BR postrider\-sasl\-auth (8),
.BR postconf (5)
"#;
