# What the package postrider-policyd is tried with. Sourced by run.

POLICYD_SOCKET=/var/spool/postfix/postrider/policyd
POLICYD_CONF=/etc/postrider/policyd.toml

# policyd_mail USER RECIPIENT: mail of a user with a login, by swaks over submission; prints the answers' codes.
policyd_mail() {
    nsenter -t "$(leader)" -n swaks --server 127.0.0.1:587 --tls --auth PLAIN --auth-user "$1" --auth-password right \
        --from "$1" --to "$2" --header 'Subject: number 40' > "$RUN/swaks" 2>&1 || true
    awk '/^<~[ *] *[245]../ { code = $2 } END { print code }' "$RUN/swaks"
}
policyd_passes() { same "the answer to $1" 221 "$(policyd_mail "$1" "$2")"; }

policyd_attached() {
    begin "policyd: attached as README.Debian says, the first recipient starts the service"
    local ask='check_policy_service { unix:postrider/policyd, timeout=5s, default_action=DUNNO }'
    on postconf -e "smtpd_recipient_restrictions=$ask, permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination" \
        "smtpd_data_restrictions=$ask" "smtpd_end_of_data_restrictions=$ask"
    on postrider-policyd -n --postfix 2> "$RUN/checked" || { cat "$RUN/checked" >&2; return 1; }
    check "the check names the service that asks: $(cat "$RUN/checked")" grep -q 'smtp/inet asks this service' "$RUN/checked"
    on systemctl restart postfix
    on sed -i 's/"200\/hour", /"3\/hour", /' "$POLICYD_CONF"
    soon on bash -c 'exec 3<> /dev/tcp/127.0.0.1/587'
    policyd_passes joe@example.com reader@mail.example
    same "the service" active "$(active postrider-policyd.service)"
    same "its user" postrider-policyd "$(on stat -c %U "/proc/$(main_pid postrider-policyd)")"
    same "its state" "700 postrider-policyd" "$(on stat -c '%a %U' /var/lib/postrider-policyd)"
}

policyd_limits() {
    begin "policyd: the limit holds over a restart and kill -9, and is raised by hand"
    policyd_passes joe@example.com reader@mail.example
    sleep 1
    on sh -c "kill -9 $(main_pid postrider-policyd)"
    policyd_passes joe@example.com reader@mail.example
    policyd_mail joe@example.com reader@mail.example > /dev/null
    check "the fourth is told why" grep -q '4.7.1.*3 of 3 recipients used' "$RUN/swaks"
    check "explain knows it" on sh -c 'postrider-policyd explain joe@example.com | grep -q "3 of 3 recipients"'
    check "status is for root" on postrider-policyd status > /dev/null
    check "and for nobody else" on sh -c '! runuser -u nobody -- postrider-policyd status 2> /dev/null'
    on postrider-policyd raise joe@example.com --limit per-user --times 2 --for 1h > /dev/null
    policyd_passes joe@example.com reader@mail.example
    on systemctl restart postrider-policyd
    policyd_passes joe@example.com reader@mail.example
    policyd_passes joe@example.com reader@mail.example
    policyd_mail joe@example.com reader@mail.example > /dev/null
    check "six and no more" grep -q '6 of 6 recipients used' "$RUN/swaks"
    on postrider-policyd reset joe@example.com > /dev/null
    policyd_passes joe@example.com reader@mail.example
}

policyd_tells() {
    begin "policyd: a notice by mail, with the example's drop-in"
    on mkdir -p /etc/systemd/system/postrider-policyd.service.d
    on cp /usr/share/doc/postrider-policyd/examples/notices-by-mail.conf /etc/systemd/system/postrider-policyd.service.d/
    on systemctl daemon-reload
    on cp "$POLICYD_CONF" /root/good-policyd.toml
    on sh -c "printf '[[notice]]\nmail_to = [\"reader@mail.example\"]\n' >> $POLICYD_CONF"
    on systemctl restart postrider-policyd
    local _
    for _ in 1 2 3 4 5 6 7; do policyd_mail joe@example.com reader@mail.example > /dev/null; done
    check "refused again" grep -q '6 of 6 recipients used' "$RUN/swaks"
    soon on grep -q '^Subject: policyd: joe@example.com has reached limit per-user' /var/mail/reader
    on rm -r /etc/systemd/system/postrider-policyd.service.d
    on systemctl daemon-reload
    on cp /root/good-policyd.toml "$POLICYD_CONF"
    on systemctl restart postrider-policyd
}

policyd_reload() {
    begin "policyd: reload takes a new configuration, refuses a broken one, and keeps the counters"
    local pid
    pid=$(main_pid postrider-policyd)
    on sh -c "echo 'nonsense = 1' >> $POLICYD_CONF"
    on systemctl reload postrider-policyd
    soon on sh -c "journalctl -q -u postrider-policyd -o cat | grep -q 'old configuration stays in force'"
    policyd_mail joe@example.com reader@mail.example > /dev/null
    check "still refused" grep -q 'recipients used' "$RUN/swaks"
    on cp /root/good-policyd.toml "$POLICYD_CONF"
    on systemctl reload postrider-policyd
    same "the process, after two reloads" "$pid" "$(main_pid postrider-policyd)"
}

policyd_after_upgrade() {
    policyd_mail joe@example.com reader@mail.example > /dev/null
    check "counters outlive an upgrade" grep -q 'recipients used' "$RUN/swaks"
}

policyd_leaves() {
    on postconf -X smtpd_recipient_restrictions smtpd_data_restrictions smtpd_end_of_data_restrictions
    on systemctl reload postfix
}
