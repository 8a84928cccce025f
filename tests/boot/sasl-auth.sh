# What the package postrider-sasl-auth is tried with: logins at Postfix's submission service, which runs in
# its chroot. Sourced by run.

SASL_SOCKET=/var/spool/postfix/private/postrider-auth
SASL_CONF=/etc/postrider/sasl-auth.toml

# login USER PASSWORD [MECHANISM [SWAKS OPTION...]]: the code of Postfix's answer.
login() {
    local user=$1 password=$2 mechanism=${3:-PLAIN}
    shift $(($# > 3 ? 3 : $#))
    nsenter -t "$(leader)" -n swaks --server 127.0.0.1:587 --tls --quit-after AUTH --timeout 30 "$@" --auth "$mechanism" \
        --auth-user "$user" --auth-password "$password" > "$RUN/swaks" 2>&1 || true
    awk '/^<~[ *] *(235|4..|5..) / { code = $2 } END { print code }' "$RUN/swaks"
}

# logs_in USER PASSWORD WANTED [MORE...]
logs_in() {
    local code
    code=$(login "$1" "$2" "${@:4}")
    if [ "$code" != "$3" ]; then cat "$RUN/swaks" >&2; fi
    same "the answer to $1" "$3" "$code"
}

add_user() { # USER PASSWORD SCHEME
    local hash
    hash=$(echo "$2" | on postrider-sasl-auth password -s "$3")
    on sh -c "cat >> /etc/postrider/sasl-users" <<< "$1:$hash"
}

# sasl_journal OPTION...: what the service has logged, and systemd about it.
sasl_journal() { on journalctl -q --no-pager -u postrider-sasl-auth.service "$@"; }
sasl_said() { sasl_journal -o cat | grep -q "$1"; }
# no_complaints: no warning in the log since from_now_on.
no_complaints() {
    same "warnings in the log" "" "$(sasl_journal -p warning -o cat --since "$since")"
    from_now_on
}
from_now_on() { since=@$(date +%s.%6N); }

sasl_without_users() {
    begin "sasl-auth: the first login starts the service, which knows nobody"
    from_now_on
    on postconf -M 'submission/inet=submission inet n - y - - smtpd'
    on postconf -P submission/inet/smtpd_tls_security_level=encrypt submission/inet/smtpd_sasl_auth_enable=yes \
        submission/inet/milter_macro_daemon_name=ORIGINATING
    on postconf -e smtpd_sasl_type=dovecot smtpd_sasl_path=private/postrider-auth smtpd_tls_auth_only=yes \
        smtpd_sasl_authenticated_header=yes
    on systemctl restart postfix
    check "the configuration is good" on postrider-sasl-auth -n 2> "$RUN/checked"
    check "it tells main.cf's line" grep -q 'smtpd_sasl_path = private/postrider-auth' "$RUN/checked"
    soon on bash -c 'exec 3<> /dev/tcp/127.0.0.1/587'
    logs_in joe@example.com right 535
    same "the service" active "$(active postrider-sasl-auth.service)"
    same "its user" postrider-sasl "$(on stat -c %U "/proc/$(main_pid postrider-sasl-auth)")"
    check "its threads may step back" on sh -c "cut -d' ' -f19 /proc/$(main_pid postrider-sasl-auth)/task/*/stat | grep -q '^[1-9]'"
    no_complaints
}

sasl_users() {
    begin "sasl-auth: users, right and wrong"
    add_user joe@example.com right BLF-CRYPT
    add_user anna@example.com right SCRAM-SHA-256
    logs_in joe@example.com right 235
    logs_in joe@example.com right 235 LOGIN
    logs_in anna@example.com right 235
    logs_in joe@example.com wrong 535
    logs_in nobody@example.com right 535 LOGIN
    nsenter -t "$(leader)" -n swaks --server 127.0.0.1:587 --tls --auth PLAIN --auth-user joe@example.com \
        --auth-password right --from writer@sender.example --to reader@mail.example --header 'Subject: number 30' \
        > "$RUN/swaks" 2>&1 || { cat "$RUN/swaks" >&2; return 1; }
    arrived 30
    local received
    received=$(field 30 Received)
    check "Postfix knows who sent it: $received" grep -q 'Authenticated sender: joe@example.com' <<< "$received"
    signed_with 30 second
    no_complaints
}

# Postfix connects when an smtpd begins, and again for the login if the connection was lost.
sasl_restart() {
    begin "sasl-auth: stopped, restarted or killed, the socket stays and logins wait"
    local before pid
    before=$(on stat -c %i "$SASL_SOCKET")
    on mkdir -p /run/systemd/system/postrider-sasl-auth.service.d
    on sh -c 'printf "[Service]\nExecStartPre=/bin/sleep 3\n" > /run/systemd/system/postrider-sasl-auth.service.d/slow.conf'
    on systemctl daemon-reload
    on systemctl stop postrider-sasl-auth.service 2> /dev/null
    SECONDS=0
    logs_in joe@example.com right 235
    check "it has waited for the service" test "$SECONDS" -ge 2
    on systemctl restart --no-block postrider-sasl-auth.service
    logs_in anna@example.com right 235
    on rm -r /run/systemd/system/postrider-sasl-auth.service.d
    on systemctl daemon-reload
    soon on systemctl is-active postrider-sasl-auth.service
    no_complaints
    pid=$(main_pid postrider-sasl-auth)
    on sh -c "kill -9 $pid"
    logs_in joe@example.com right 235
    check "it is another process" test "$pid" != "$(main_pid postrider-sasl-auth)"
    same "the socket" "$before 660 postfix postfix" "$(on stat -c '%i %a %U %G' "$SASL_SOCKET")"
    from_now_on
}

sasl_reload() {
    begin "sasl-auth: reload takes a new configuration, and refuses a broken one"
    local pid
    pid=$(main_pid postrider-sasl-auth)
    on sh -c "printf '\n[throttle]\nfailure_delay = \"0s\"\nmax_delay = \"0s\"\n' >> $SASL_CONF"
    on systemctl reload postrider-sasl-auth
    soon sasl_said '^configuration reloaded from'
    no_complaints
    SECONDS=0
    logs_in nobody@example.com wrong 535
    check "failures are not delayed any more" test "$SECONDS" -le 1
    on cp "$SASL_CONF" /root/good.toml
    on sh -c "echo 'nonsense = 1' >> $SASL_CONF"
    on systemctl reload postrider-sasl-auth
    soon sasl_said 'the old configuration stays in force'
    logs_in joe@example.com right 235
    on cp /root/good.toml "$SASL_CONF"
    same "the process, after two reloads" "$pid" "$(main_pid postrider-sasl-auth)"
    from_now_on
}

sasl_away() {
    begin "sasl-auth: when the users cannot be read, the answer is 454"
    on mv /etc/postrider/sasl-users /etc/postrider/elsewhere
    logs_in new@example.com right 454
    logs_in joe@example.com right 454
    on mv /etc/postrider/elsewhere /etc/postrider/sasl-users
    logs_in new@example.com right 535
    logs_in joe@example.com right 235
    from_now_on
}

# What fail2ban finds in the journal; it looks where the filter's journalmatch says.
sasl_log() {
    begin "sasl-auth: fail2ban finds who failed"
    local filter=/etc/fail2ban/filter.d/postrider-sasl-auth.conf address
    logs_in joe@example.com wrong 535 PLAIN --xclient-addr 192.0.2.66
    logs_in root 'Password mismatch' 535 LOGIN --xclient-addr IPV6:2001:db8::66
    logs_in 'x: auth(joe,192.0.2.99): unknown user' wrong 535 PLAIN --xclient-addr 192.0.2.67
    logs_in joe@example.com right 235 PLAIN --xclient-addr 192.0.2.68
    cp "$RUN/root$filter" "$RUN/filter.conf"
    on journalctl -q --no-pager -o short-iso --since "$since" \
        "$(on sed -n 's/^journalmatch = //p' "$filter")" > "$RUN/journal"
    same "addresses that our filter finds" "192.0.2.66 2001:db8::66 192.0.2.67" \
        "$(fail2ban-regex -o ip "$RUN/journal" "$RUN/filter.conf" | tr '\n' ' ' | sed 's/ *$//')"
    same "addresses that Dovecot's filter finds" "192.0.2.66 2001:db8::66" \
        "$(fail2ban-regex -o ip "$RUN/journal" /etc/fail2ban/filter.d/dovecot.conf | tr '\n' ' ' | sed 's/ *$//')"
    for address in right wrong; do
        check "no password in the log" on sh -c "! journalctl -q --no-pager -u postrider-sasl-auth -o cat | grep -qw $address"
    done
    no_complaints
}

sasl_look_ups() {
    begin "sasl-auth: the socket for look-ups, as README.Debian has it"
    on useradd --system vmail
    on sed -i '/^#\[\[listen\]\]$/,/^#fields/ s/^#\([^ ]\)/\1/' "$SASL_CONF"
    on systemctl stop postrider-sasl-auth.service 2> /dev/null
    on systemctl enable --now postrider-sasl-auth-userdb.socket 2> /dev/null
    same "the socket" "600 root root" "$(rights /run/postrider-sasl-auth/auth-userdb)"
    local answer
    answer=$(on perl -MIO::Socket::UNIX -e '
        my $socket = IO::Socket::UNIX->new(Peer => "/run/postrider-sasl-auth/auth-userdb") or die "$!";
        print $socket "VERSION\t1\t1\nUSER\t7\tjoe\@example.com\tservice=lda\n";
        while (<$socket>) { if (/^(USER|NOTFOUND|FAIL)\t/) { print; exit } }')
    check "where joe's mail is: $answer" grep -q "^USER.7.joe@example.com.*home=/var/mail/example.com/joe" <<< "$answer"
    logs_in joe@example.com right 235
    no_complaints
    on systemctl disable --now postrider-sasl-auth-userdb.socket 2> /dev/null
    on cp /root/good.toml "$SASL_CONF"
    on systemctl restart postrider-sasl-auth
    logs_in joe@example.com right 235
    on userdel vmail
}

sasl_system_passwords() {
    begin "sasl-auth: passwords of the system's users"
    local examples=/usr/share/doc/postrider-sasl-auth/examples
    on chpasswd <<< reader:secret
    on cp "$examples/pam.toml" "$SASL_CONF"
    on usermod -aG shadow postrider-sasl
    on systemctl restart postrider-sasl-auth
    logs_in reader@example.com secret 235
    logs_in reader@example.com wrong 535
    on sed -i -e 's/^driver = "pam"/driver = "system"/' -e '/^service/d' "$SASL_CONF"
    on systemctl restart postrider-sasl-auth
    logs_in reader secret 235
    logs_in reader wrong 535
    on gpasswd -d postrider-sasl shadow > /dev/null
    sleep 3
    on cp "$examples/pam.toml" "$SASL_CONF"
    on sed -i '/^user = "postrider-sasl"/d' "$SASL_CONF"
    on mkdir -p /etc/systemd/system/postrider-sasl-auth.service.d
    on cp "$examples/pam-as-root.conf" /etc/systemd/system/postrider-sasl-auth.service.d/
    on systemctl daemon-reload
    on systemctl restart postrider-sasl-auth
    same "its user" root "$(on stat -c %U "/proc/$(main_pid postrider-sasl-auth)")"
    logs_in reader secret 235
    logs_in reader wrong 535
    on rm -r /etc/systemd/system/postrider-sasl-auth.service.d
    on systemctl daemon-reload
    on cp /root/good.toml "$SASL_CONF"
    on systemctl restart postrider-sasl-auth
    logs_in joe@example.com right 235
    from_now_on
}

sasl_after_upgrade() {
    logs_in joe@example.com right 235
    same "its user" postrider-sasl "$(on stat -c %U "/proc/$(main_pid postrider-sasl-auth)")"
    no_complaints
}
