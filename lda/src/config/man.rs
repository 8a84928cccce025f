//! Makes the manual page postrider-lda.toml(5) from the table of settings.

use base::config::toml::man;

use super::parameters::SECTIONS;

/// The manual page in roff, for man(7).
#[must_use]
pub fn roff() -> String {
    format!("{HEAD}{}{NOTES}", man::roff(&SECTIONS))
}

const HEAD: &str = r#".\" Made from the table of settings in lda/src/config; do not edit.
.TH POSTRIDER-LDA.TOML 5 "" Postrider "Postrider Manual"
.SH NAME
postrider\-lda.toml \- configuration of postrider\-lda and postrider\-lmtp
.SH DESCRIPTION
.B postrider\-lda
and
.B postrider\-lmtp
read
.IR /etc/postrider/lda.toml ,
or the file that
.B \-c
names.
It is written in TOML: settings stand in the section that their header
.RB ( [name] )
begins; a header in double brackets
.RB ( [[name]] )
may come several times, and the order counts.
.P
.B postrider\-lda
works without the file: system users get their mail in ~/Maildir.
.P
.B postrider\-lda \-n
prints every mistake with file, line and column. While there is one, mail is deferred and none is lost.
.SH "EXAMPLE"
.nf
mail_location = "maildir:~/Maildir"
lda_mailbox_autocreate = true

[[userdb]]
driver = "passwd\-file"
path = "/etc/postrider/users"

[quota]
quota_rule = ["*:storage=1G", "Trash:storage=+10%"]

[lmtp]
listen = ["unix:/var/spool/postfix/postrider/lmtp"]
.fi
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
A table, { home = "/var/mail/%u", quota_rule = "*:storage=1G" }.
.SH VARIABLES
Paths and fields may hold variables in both of Dovecot's notations:
.B %u
or
.B %{user}
is the whole name,
.B %n
or
.B %{username}
what stands before the @,
.B %d
or
.B %{domain}
what stands behind it,
.B %h
or
.B %{home}
the home,
.B %i
or
.B %{uid}
the uid,
.B %{gid}
the gid,
.B %s
or
.B %{service}
lda or lmtp;
.B %{hostname}
and
.B %{pid}
need no explanation, and
.B %%
is a %.
Modifiers of 2.3 stand before the letter: L (lower case), U (upper case), R (reversed), T (trimmed), M (MD5), H and N (a short hash, as in %2.256Nu), and a width, as in %1n or %1.1n.
Filters of 2.4 stand behind a bar: lower, upper, reverse, username, domain, md5, default("x"), substr(0, 2).
"#;

const NOTES: &str = r#".SH "FIELDS OF THE USERDB"
.BR uid ", " gid " and " home
are the user's.
.B mail
goes before mail_location, and
.B mail_path
before that of the notation of Dovecot 2.4.
.BR quota_rule ", " quota_rule2
and so on replace those of [quota];
.BR quota_storage_size " and " quota_message_count
are the same in the notation of 2.4.
.BR sieve ", " sieve_before
and others go before the settings of [sieve].
In a passwd\-file they begin with
.BR userdb_ .
Other fields are passed over.
.SH FILES
.TP
.I maildirsize
What a mailbox holds. It is kept when it is there, and made when there is a quota_rule.
Removing it has everything counted again.
.TP
.I tmp
Messages that are arriving. Files that nobody has touched for 36 hours are removed; each mailbox is looked through every 8 hours at most.
.SH "SEE ALSO"
.BR postrider\-lda (8),
.BR postrider\-lmtp (8)
"#;
