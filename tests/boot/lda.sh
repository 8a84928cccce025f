# What the package postrider-lda is tried with: mail of the system's users by process and by LMTP, and a Dovecot that
# reads it. Sourced by run.

LMTP_SOCKET=/var/spool/postfix/private/postrider-lmtp
LDA_CONF=/etc/postrider/lda.toml

lmtp_said() { on journalctl -q --no-pager -u postrider-lmtp.service -o cat | grep -q "$1"; }

# in_maildir NUMBER [USER]: the message has arrived in the user's INBOX.
in_maildir() {
    soon on sh -c "grep -qs '^Subject: number $1\$' /home/${2:-reader}/Maildir/new/* /home/${2:-reader}/Maildir/cur/*"
}

# delivers NUMBER: a message, and its way into the Maildir.
delivers() { send "$1" && in_maildir "$1"; }

lda_before_postfix() {
    begin "lda: installed where Postfix is not there yet"
    dpkg_does -i /root/postrider-lda.deb
    same "the socket of postrider-lmtp" inactive "$(active postrider-lmtp.socket)"
    same "failed units" "" "$(on systemctl --failed --no-legend)"
    check "the shipped configuration is good" on postrider-lda -n 2> /dev/null
    check "the server says so as well" on postrider-lmtp -n 2> /dev/null
    check "Postfix's folder was not made for it" on test ! -e /var/spool/postfix
}

lda_after_postfix() {
    same "the socket of postrider-lmtp" active "$(active postrider-lmtp.socket)"
    same "the service of postrider-lmtp" inactive "$(active postrider-lmtp.service)"
    same "the socket's rights" "600 postfix postfix" "$(rights "$LMTP_SOCKET")"
    check "others do not reach it" on sh -c "! runuser -u nobody -- test -e $LMTP_SOCKET"
}

lda_by_process() {
    begin "lda: mailbox_command, with the path alone"
    on postconf -e mailbox_command=/usr/sbin/postrider-lda
    on systemctl restart postfix
    delivers 40
    local file
    file=$(on sh -c 'ls /home/reader/Maildir/new/*')
    same "the message's rights" "600 reader reader" "$(rights "$file")"
    check "check-user finds nothing in the way" on postrider-lda --check-user reader > /dev/null
    same "the LMTP service" inactive "$(active postrider-lmtp.service)"
    on postconf -X mailbox_command
}

lda_by_lmtp() {
    begin "lmtp: the first message starts the service"
    on sed -i 's/^mail_location.*/&\nusername_format = "%Ln"/' "$LDA_CONF"
    on postconf -e mailbox_transport=lmtp:unix:private/postrider-lmtp
    on systemctl restart postfix
    delivers 41
    same "the service" active "$(active postrider-lmtp.service)"
    check "the line that scripts look for" lmtp_said '^lmtp(reader)<[0-9]*><[^>]*>: msgid=<.*>: saved mail to INBOX$'
    same "owners in the Maildir" "reader reader" "$(on sh -c 'stat -c "%U %G" /home/reader/Maildir/new/* | sort -u')"
    check "what is in front" on sh -c "grep -q '^Delivered-To: reader@mail.example' /home/reader/Maildir/new/*"
    send_to 42 nobody-here
    soon on sh -c "journalctl -q --no-pager -o cat -u 'postfix*' | grep -q '550 5.1.1 <nobody-here@mail.example>\|unknown user'"
    same "warnings" "" "$(on journalctl -q --no-pager -u postrider-lmtp.service -p warning -o cat)"
}

# send_to NUMBER USER
send_to() {
    printf 'From: <writer@sender.example>\nSubject: number %s\n\nText.\n' "$1" |
        on sendmail -i -f writer@sender.example "$2@mail.example"
}

lda_restart() {
    begin "lmtp: stopped, restarted or killed, the socket stays and mail waits"
    local before pid
    before=$(on stat -c %i "$LMTP_SOCKET")
    on systemctl stop postrider-lmtp.service 2> /dev/null
    delivers 43
    on systemctl restart --no-block postrider-lmtp.service
    delivers 44
    soon on systemctl is-active postrider-lmtp.service
    pid=$(main_pid postrider-lmtp)
    on sh -c "kill -9 $pid"
    delivers 45
    check "it is another process" test "$pid" != "$(main_pid postrider-lmtp)"
    same "the socket" "$before 600 postfix postfix" "$(on stat -c '%i %a %U %G' "$LMTP_SOCKET")"
}

lda_reload() {
    begin "lmtp: reload takes a new configuration, and refuses a broken one"
    local pid
    pid=$(main_pid postrider-lmtp)
    on cp "$LDA_CONF" /root/good-lda.toml
    on sh -c "echo 'nonsense = 1' >> $LDA_CONF"
    on systemctl reload postrider-lmtp
    soon lmtp_said 'the old configuration stays in force'
    delivers 46
    on cp /root/good-lda.toml "$LDA_CONF"
    on sh -c "printf 'add_received_header = false\n' >> $LDA_CONF"
    on systemctl reload postrider-lmtp
    soon lmtp_said '^configuration reloaded from'
    delivers 47
    same "the process, after two reloads" "$pid" "$(main_pid postrider-lmtp)"
    on cp /root/good-lda.toml "$LDA_CONF"
    on systemctl reload postrider-lmtp
}

# A script that sends mail on: sendmail's postdrop changes its group, which the unit's rights must allow.
lda_sieve() {
    begin "lmtp: a Sieve script files one message and sends another on"
    on useradd -m other
    on runuser -u reader -- sh -c 'cat > /home/reader/.dovecot.sieve' <<'SIEVE'
require ["fileinto", "mailbox"];
if header :is "subject" "number 48" { fileinto :create "Work"; }
if header :is "subject" "number 49" { redirect "other@mail.example"; }
SIEVE
    send 48
    soon on sh -c "grep -qs '^Subject: number 48\$' /home/reader/Maildir/.Work/new/*"
    send 49
    in_maildir 49 other
    on rm /home/reader/.dovecot.sieve
}

lda_dovecot() {
    begin "lda: Dovecot reads what was delivered, and deletes it"
    on sh -c 'dpkg -i /var/cache/dovecot/*.deb' > "$RUN/dpkg.log" 2>&1 || { cat "$RUN/dpkg.log" >&2; return 1; }
    on sed -i 's#^mail_location.*#mail_location = maildir:~/Maildir#' /etc/dovecot/conf.d/10-mail.conf
    on systemctl restart dovecot
    local subjects
    subjects=$(on doveadm -f flow fetch -u reader hdr.subject mailbox INBOX | sort | tr '\n' ' ')
    local number
    for number in 40 41 43 44 45 46 47; do
        check "number $number is in $subjects" grep -q "number $number" <<< "$subjects"
    done
    on doveadm expunge -u reader mailbox INBOX header Subject "number 40"
    delivers 50
    subjects=$(on doveadm -f flow fetch -u reader hdr.subject mailbox INBOX)
    check "the new one is there" grep -q "number 50" <<< "$subjects"
    check "the deleted one is not" test "${subjects/number 40/}" = "$subjects"
    same "errors of Dovecot" "" "$(on journalctl -q --no-pager -u dovecot.service -p err -o cat)"
}

# A mail host without LMTP again, for what comes after.
lda_back() {
    on postconf -X mailbox_transport
    on systemctl restart postfix
}

lda_upgrade() {
    local before socket pid
    before=$(on cat "$LDA_CONF")
    socket=$(on stat -c %i "$LMTP_SOCKET")
    pid=$(main_pid postrider-lmtp)
    dpkg_does -i /root/postrider-lda.deb
    same "$LDA_CONF" "$before" "$(on cat "$LDA_CONF")"
    same "the socket" "$socket active" "$(on stat -c %i "$LMTP_SOCKET") $(active postrider-lmtp.socket)"
    same "the service" active "$(active postrider-lmtp.service)"
    check "the new postrider-lmtp runs" test "$pid" != "$(main_pid postrider-lmtp)"
}
