//! What postrider-policyd.toml(5) says besides the table: counting, algorithms, conditions, actions.
//!
//! Roff in which each `-` is a minus sign; the page writes it so.

/// Follows the settings.
pub(super) const NOTES: &str = r#".SH COUNTING
All limits that apply to a request are asked in one step: what one of them refuses, none of them counts.
What is refused uses nothing up, unless
.B count_refused
is set.
.P
With
.BR "stage = ""auto""" ,
what a recipient asks for is reserved at RCPT, for the message that Postfix calls by its
.BR instance .
At DATA or END-OF-MESSAGE the message is counted as Postfix then tells it: the number of recipients that were taken,
the size it has. What was reserved too much is given back, what is missing is asked for, and if that is refused the whole message is.
When another message begins on the connection, five seconds after the connection has closed, and after
.BR reservation_timeout ,
what was reserved is given back.
.P
Where the service is asked at RCPT alone, RCPT is final.
The service learns this by itself for each of its sockets and each port of Postfix: until the first request at DATA or
END-OF-MESSAGE, and when twenty messages in a row came without one, what was reserved stays counted.
.P
A request that Postfix repeats gets the same answer and counts once, and so does a service that stands in several restriction lists: a
message is known by its instance, a recipient by its address.
Answers are remembered for a minute.
Requests without an instance (CONNECT, EHLO, MAIL, VRFY, ETRN) are answered DUNNO and not counted.
.P
For bytes, RCPT and DATA know the size that the client declares, and only END-OF-MESSAGE the real one.
A limit whose key has the recipient counts at RCPT; Postfix does not say which recipients were refused later.
.SH ALGORITHMS
.TP
.B window
Never more than the number in any period of that length, wherever it begins.
What was used is given back when its period has passed, late by a twenty-fourth of the period at most.
.TP
.B gcra
A steady rate, of which
.B burst
may come at once. In a period of that length at most
.BR burst " and the number"
together can pass: 200 for "100/hour" without a burst of its own.
.TP
.B calendar
From local midnight (the full hour, Monday, the first of the month) to the next, in
.BR timezone .
Just before and just after midnight the number can pass once each. Days of 23 and 25 hours are one day.
.P
Setting the clock changes nothing for
.BR window " and " gcra .
A calendar follows the clock; setting it to and fro over midnight gives nothing twice.
.SH CONDITIONS
A condition is an attribute, a comparison and a value.
.TP
.BR = ", " !=
Equal, small and capital letters being the same. An empty value is written as ''.
.TP
.BR in ", " "not in"
One of several with commas between them: values; for client_address and server_address networks; .domain and @domain
for all that ends so. Or
.BI list: NAME\fR,\fP
one of a [[list]].
.TP
.BR under ", " "not under"
The domain itself or one below it; what stands before an @ does not count.
.TP
.BR ~ ", " !~
A regular expression, as docs.rs/regex describes it; small and capital letters are the same.
.P
Attributes are those of Postfix's SMTPD_POLICY_README, and sender_domain, recipient_domain, sasl_domain. One that was not sent is empty.
.P
In keys, letters are small, extensions (see
.BR recipient_delimiter )
are left out, addresses are networks of
.BR ipv4_prefix " and " ipv6_prefix ,
and IPv4 in IPv6 is IPv4. Parts of more than 200 bytes keep their beginning and get a hash.
.SH "LISTS IN DATABASES"
A list of driver
.BR sql " or " redis
is asked about one value after the other, when a request depends on it: in a condition about the value of the attribute, in overrides
about the key. All that a request needs is asked at once.
.P
.nf
[[list]]
name = "vip"
driver = "sql"
url = "postgres://policyd:secret@db.a.example/mail"
query = "SELECT 1 FROM vip WHERE login = '%u'"

[[list]]
name = "rates"
driver = "redis"
servers = ["127.0.0.1:6379"]
query = "HGET rates %u"

[[limit]]
name = "per-user"
key = ["sasl_username"]
rate = ["100/hour"]
overrides = "rates"
except = ["sasl_username in list:vip"]
.fi
.P
Values are bound to the statement, or are one word of the command, whatever is in them; a placeholder may stand with or without quotes.
They are in small letters, and IPv4 in IPv6 is IPv4. In overrides the parts of a key have commas between them, as in a file, and
.BI %{ attribute }
is a part of the key. A value that is empty, no UTF-8 or longer than 1024 bytes is in no list, and is not asked about.
.P
A row, or an answer other than 0, means that the value is listed. For overrides the first column that is not NULL is a rate, or several with
commas between them, or "unlimited"; several rows are several rates. A row of NULLs is no row. Redis has such a text for GET and HGET.
A text that is no rate is logged with its key, and the limit's own rate holds.
.P
An answer holds for
.B ttl
(or
.BR negative_ttl ,
where the value is not listed): a change in the database is seen after that time at the latest. Several requests that need the same answer
wait for one question.
.P
While the database does not answer within
.BR deadline ,
the last answer holds on, for
.B stale_ttl
from when it was given. Of a value without one,
.B unavailable
says what it counts as in a condition, not listed unless set otherwise; an override does not hold, so that the limit's own rate does.
This is logged once when it begins and once when it ends, shown by
.BR "postrider-policyd status" ,
and counted in the metrics. After three failures in a row requests do not wait any more: every five seconds one of them has the database
tried again. A service that starts while the database is away starts all the same.
.P
A reload asks anew for all answers, and lets them hold until it has others; connections stay. Where anything in the section has changed,
both begin anew.
.SH ACTIONS
An action is one of access(5): DUNNO, REJECT, DEFER, DEFER_IF_PERMIT, 4NN and 5NN with a text, HOLD, DISCARD, REDIRECT, BCC, FILTER,
PREPEND, WARN, INFO, OK, or "sleep" with seconds. What Postfix would not understand is refused by
.BR -n .
In its text,
.BR {used} ", " {limit} ", " {cost} ", " {retry_after} ", " {period} ", " {count} ", " {key} ", " {name}
stand for what they say, and the name of an attribute in braces for its value.
.P
Mail that passes all the same (HOLD, WARN and such) is counted; so a step of
.B escalate
after HOLD is reached by itself.
.P
DEFER_IF_PERMIT keeps a permanent refusal by a later restriction permanent. Mail programs show a deferral as an error and keep the
draft; servers try again.
.SH "STOLEN ACCOUNTS"
The kinds
.BR networks ", " countries " and " asns
of
.B count
count how many different ones a key was used from within the period. A place that was seen stays seen whatever became of the message:
above the limit, every message of the key is refused (or held) until the oldest places are forgotten.
.P
.B new-recipients
counts recipients that the key has not written to within
.BR memory ;
of each key the last 256 are remembered.
.P
.B unknown-recipients
counts recipients that we let pass at RCPT and Postfix then refused: those that are missing at DATA or END-OF-MESSAGE, and all of a message that
came to nothing; only of messages in which at least
.B share
of a hundred were unknown. They are known afterwards only: a key is refused when more than the limit were counted, and one message may go
beyond it.
.SH GREYLISTING
With a section
.B [greylist]
a client that has not logged in is asked at RCPT to come again, unless its network with this sender and this recipient is known.
Who comes again after
.B delay
and within
.B retry_window
passes, and is known from then on.
Numbers that stand alone in a sender, extensions, SRS and BATV do not make a sender another one.
A client that has passed often enough, counted once an hour, is not asked any more, nor a client for a domain.
Nothing is counted of what is delayed.
.P
What is remembered is in a file beside the store's, or in Redis; written every second.
While Redis is away, or when there are
.B max_entries
of them, new clients pass.
.SH "SEVERAL MACHINES"
With
.B driver = "redis"
each decision is one script in Redis, by its clock, all or nothing for all limits together.
Its answer is waited for until
.BR deadline .
After three failures in a row Redis is left alone for five seconds, then it is tried once, and so on.
Each machine remembers what Redis told it, and meanwhile uses up its share of what was left: one part of
.BR hosts .
Machines that knew all of what was used let through together what was left and no more; a machine that knew less, its share of the
difference on top; never more than twice the limit, and that only where no machine knew anything.
When Redis is back, it is told what has been counted meanwhile, before the machine that counted it asks again.
While one machine asks Redis and another still decides by its share (a tenth of a second at a return, else for as long as only one of
them reaches Redis), that share comes on top.
.P
If it has lost what it held (it was restarted without a disk or with an old one, emptied, or a replica has taken over), every machine
gives back what it knew of all its counters. Redis holds the greatest of what it is given, and on top of that what each machine has
counted since. The machines notice a loss with their next question, else within a second (within six when Redis was away), and
decide by their share until all of
.B hosts
have given back, for ten seconds at most; so they do with a Redis that is used for the first time. Nothing passes twice then, for what let a message pass was told to a machine
or counted by one. What can pass once more is only what no machine remembers or can tell: what a machine knew alone that was restarted
meanwhile, or that comes later than those ten seconds, until it comes; what was given back by nobody yet when Redis is emptied a
second time; and counters beyond the 200,000 levels (and, counted while Redis was away, 100,000 keys) that each machine remembers.
It is always on the safe side: a request that Redis has counted and not answered in time counts twice, and what was taken back or
.B reset
shortly before the loss may count again.
.P
Distinct networks, countries and recipients are put together from all machines; raises are given back. What is remembered for greylisting
is not: who was known waits once more. With
.BR "fallback = ""none""" ,
a machine does not wait for the others: it gives back what it knows about a key with its question about that key, and the rest meanwhile.
.P
Tested with Redis 7.0 and Valkey 8.0. Before Redis 7, a replica that takes over and has missed something is not noticed.
.P
The machines' clocks should agree to a second: where a calendar's day begins, the machine says.
In a cluster all counters of a
.B prefix
are in one slot, so the load of one prefix is one server's.
.SH NOTICES
A notice is sent when a key reaches a limit, again when it reaches a further step of
.BR escalate ,
and anew after
.BR quiet .
At most 256 wait to be sent, four are sent at a time; what is too much is counted and logged.
The JSON has
.BR limit ", " key ", " login ", " client ", " sender ", " recipient ", " count ", " used ", " allowed ", " action ", " retry_after ", "
.BR step ", " dry_run ", " host " and " time .
Programs of
.B RUN
steps run once in six hours for each key; each word of theirs stays one argument, whatever stands for its placeholders.
"#;
