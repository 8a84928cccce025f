//! What postrider-sasl-auth.toml(5) says besides the table: variables, fields, files, programs, servers.
//!
//! Roff in which each `-` is a minus sign; the page writes it so.

/// Follows the kinds of values.
pub(super) const VARIABLES: &str = r#".SH VARIABLES
Texts that may hold variables take the notations of Dovecot 2.3 and 2.4.
An unknown variable is a mistake;
.B %%
stands for one %.
.TP
.BR %{user} ", " %u
The whole name.
.TP
.BR %{user|username} ", " %{username} ", " %n
The part before the first @.
.TP
.BR %{user|domain} ", " %{domain} ", " %d
The part after it;
.BR %{domain_first} " and " %{domain_last}
where there are several.
.TP
.BR %{original_user} ", " %{orig_user}
The name as the client sent it. Like those that follow, also with _username and _domain for _user.
.TP
.BR %{auth_user} ", " %{login_user} ", " %{master_user}
Who gave the password, whom a master user acts for, and the master user (without its parts).
.TP
.BR %{password} ", " %w
The password, where there is a clear-text one. Queries and files that hold it come close to logging it; try without.
.TP
.BR %{protocol} ", " %{service} ", " %s
The service, smtp with Postfix.
.TP
.BR %{mechanism} ", " %{mech} ", " %m
The mechanism.
.TP
.BR %{remote_ip} ", " %{rip} ", " %r "; " %{remote_port} ", " %{rport} ", " %b
The client's address and port, as Postfix tells them;
.B %{real_remote_ip}
behind a proxy.
.TP
.BR %{local_ip} ", " %{lip} ", " %l "; " %{local_port} ", " %{lport} ", " %a
The same of the server, and
.BR %{real_local_ip} .
.TP
.BR %{secured} ", " %c "; " %{cert} ", " %k
"secured" with TLS; "valid" with a valid client certificate; otherwise empty.
.TP
.BR %{local_name} ", " %{session} ", " %{client_id} ", " %{pid} ", " %p
What the client's server has told, where it tells it, and the number of our process.
.TP
.BR %{home} ", " %h
The user's home, in userdbs that give one.
.TP
.BI %{ldap: attribute }
In attributes of ldap: one of the entry.
.BI %{ldap: attribute : text }
has a text for when there is none.
.PP
Filters stand after a bar and work from left to right:
.BR lower ,
.BR upper ,
.BR username ,
.BR domain ,
.BR reverse ,
.BR ldap_dn ,
.BR base64 ,
.BR hexlify ,
.BR hexlify(8) ,
.BR substr(0,2) ,
.BR truncate(8) ,
.BR truncate(bits=13) ,
.BR "index('@',1)" ,
.BR default('text') ,
and the digests
.BR md5 ,
.BR sha1 ,
.BR sha256 ,
.BR sha384 " and " sha512 ,
as in
.BR "%{user|sha256(rounds=2,salt='x')|hexlify(4)}" .
In the older notation a letter before that of the variable does the same:
.B L
lower,
.B U
upper,
.B R
reverse,
.B T
trim,
.B E
escape quotes,
.B X
hexadecimal,
.B D
ldap_dn,
.B M
MD5,
.B H
and
.B N
a short hash; and
.B %2.4u
cuts out four characters after the second.
"#;

/// Follows the sections.
pub(super) const NOTES: &str = r#".SH "EXTRA FIELDS"
A passdb gives fields with the password: in the last column of a passwd-file (after the shell, with blanks between them), as columns of a query, as attributes, in a program's answer, or by
.BR default_fields " and " override_fields .
These change what comes of a login with the right password:
.TP
.BR user ", " username ", " domain
The name that Postfix is told, and under which the user is looked up in userdbs.
.TP
.BI allow_nets= networks
The login is refused from any other address. Networks stand between commas: 192.0.2.0/24,2001:db8::/32;
.B local
is a client whose address is not known.
.TP
.BI allow_real_nets= networks
The same for the address of the connection itself, behind a proxy.
.TP
.BI fail= text
The login is refused; the log shows the text.
.TP
.B nologin
The login is refused. Dovecot leaves that to its login processes, which Postfix does not have.
.TP
.BI reason= text
With one of these two, a text for the client.
.TP
.BI delay_until= second
A login that succeeds is answered at that second of UNIX time, and within
.B reply_within
at the latest.
.TP
.B nodelay
A failure is answered at once.
.TP
.B nopassword
Any password opens. It must stand alone: a password beside it counts, and the log complains.
.TP
.B noauthenticate
This entry is not for logins; the next passdb is asked.
.TP
.BI userdb_ name = value
The field
.I name
of the userdb with
.BR "driver = ""prefetch""" .
.PP
All of these stay here. Other fields are sent to the client, which ignores what it does not know; Postfix ignores all.
.PP
A userdb gives
.BR uid ", " gid ", " home
and whatever delivery agents ask for.
.SH "APP PASSWORDS"
With
.B app_passwords
a passwd-file has a companion, in which a user may have many lines, one for each device:
.PP
.nf
# user:password:label:services:expires
joe@example.com:{SHA512-CRYPT}$6$...:laptop:smtp,imap:2027-01-31
joe@example.com:{SHA512-CRYPT}$6$...:phone::
.fi
.PP
The label is for the log.
Services stand between commas; none means all.
.I expires
is a day (from whose beginning in UTC the password no longer opens), a time as in 2027-01-31T12:00Z, or a second of UNIX time; empty means never.
The user must have a line in the passwd-file as well; its password opens too, unless it is empty.
The file may be missing.
.PP
With sql,
.B app_password_query
gives rows with the same four values.
.PP
App passwords are for PLAIN and LOGIN.
A SCRAM or CRAM-MD5 exchange begins before it is known which password the client has, so these open with the first stored password only that serves the mechanism: as a rule the user's own.
Let users with app passwords come by PLAIN, over TLS.
.SH "THE DRIVER COMMAND"
The program is started once for each question, in the folder /, with an environment of PATH only.
The question is one JSON object on its standard input, which then ends:
.PP
.nf
{"v":1,"op":"verify","user":"joe@example.com","password":"...",
 "service":"smtp","mechanism":"PLAIN","original_user":"Joe@example.com",
 "login_user":null,"master_user":null,"remote_ip":"192.0.2.1",
 "remote_port":40000,"local_ip":null,"local_port":0,"session":"",
 "client_id":"","secured":true}
.fi
.TP
.B op
.B verify
of a passdb: is this password right?
.B lookup
of a passdb: is there such a user, and which password is stored? Asked when the client has sent no clear-text password.
.B user
of a userdb: where is the mailbox?
.B list
of a userdb: which users are there? Then no user is named.
.TP
.B password
With
.B verify
only. One that is not UTF-8 comes as
.B password_base64
instead.
.PP
The answer is one JSON object on standard output, of at most 64 KiB, or 4 MiB for
.BR list :
.PP
.nf
{"result":"ok","fields":{"nologin":true,"userdb_home":"/home/joe"}}
{"result":"ok","password":"{SHA512-CRYPT}$6$...","fields":{}}
{"result":"ok","fields":{"uid":1000,"gid":1000,"home":"/home/joe"}}
{"result":"ok","users":["ann@example.com","joe@example.com"]}
{"result":"mismatch","reason":"wrong password"}
.fi
.TP
.B result
.BR ok ,
.B unknown
(no such user),
.B mismatch
(wrong password),
.B refused
(may not log in, though the password may be right) or
.B error
(cannot tell now: a temporary failure).
.TP
.B password
The stored password, with or without {SCHEME}, in the answer to
.BR lookup .
It stands beside
.BR fields ,
not in it.
Without it CRAM-MD5 and SCRAM cannot serve the user.
.TP
.B fields
See EXTRA FIELDS. Values are texts, numbers, or true for a field without a value; one that is false or null is absent.
.TP
.B users
All users, in the answer to
.BR list .
.TP
.B reason
For the log.
.PP
All but
.B result
may be left out.
The answer counts when the program ends with status 0; any other status, a signal, or no answer within
.B timeout
is a temporary failure.
The first line that it writes to standard error goes to the log.
.SH "THE DRIVER PAM"
pam_unix delays a failure by up to 3 seconds, unless its line in /etc/pam.d says
.BR nodelay .
Keep
.B timeout
above 3.5s, or wrong passwords become temporary failures; with
.B nodelay
the delays of [throttle] are all that is left, and a right password never waits.
.PP
pam_unix, like the driver system, reads /etc/shadow, which takes root's rights: leave out
.B user
then.
Modules that ask a server do not need them.
PAM tells of no user without a password, so it serves neither CRAM-MD5 and SCRAM nor EXTERNAL, and goes with no
.BR deny .
.SH "THE DRIVER SQL"
Variables become bound values, whatever quotes stand around them.
A pattern has its % doubled:
.BR "LIKE '%%@example.com'" .
.PP
Statements are prepared once for each connection.
PgBouncer, where it pools by transaction, does not know them in the next one: add
.B statement-cache-capacity=0
to the URL
.RB ( postgres://user:password@host:6432/mail?statement-cache-capacity=0 ).
.PP
.I expires
of an app password is a second of UNIX time, or a time as SQL writes it, in UTC unless it says its zone.
MySQL gives times in the zone of the session: select
.BR "UNIX_TIMESTAMP(expires) AS expires" .
.PP
An SQLite file is opened for reading only, and opened again when another file has taken its name.
.SH "WHAT THE CACHE REMEMBERS"
The cache is for sql, ldap, pam and command.
An answer is kept under a keyed hash of passdb, user, service and password, and of the client's address too where the driver or its query looks at it.
A passwd-file is read anew when it has changed, whatever the cache says; of it, and of static and system, only is remembered whether a password matches a slow hash, which spares the hashing.
.PP
So a new password works at once, unless it was tried before it was set: then after
.BR negative_ttl .
An old one works, and a user who was removed or locked in the database stays, for
.B ttl
at most; while the database is away, for
.BR stale_ttl .
A wrong password never becomes right by the cache.
SIGHUP, and CACHE-FLUSH on a socket of the kind userdb, empty it.
"#;
