# What the package postrider-milter is tried with. Sourced by run.

set_parameter() { # NAME VALUE
    on sed -i "/^#*$1[[:space:]]/d" /etc/postrider/milter.conf
    on sh -c "echo '$1 $2' >> /etc/postrider/milter.conf"
}

signed_with() { # NUMBER SELECTOR
    local signature
    signature=$(field "$1" DKIM-Signature)
    check "message $1 is signed with $2: $signature" grep -q " d=sender.example; *s=$2;.* b=[A-Za-z0-9+/]" <<< "$signature"
}

milter_first_message() {
    begin "milter: the first message starts the service and is signed"
    on sh -c 'cd /etc/postrider/keys && openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out first.private 2> /dev/null ||
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out first.private 2> /dev/null
        chown postrider-milter: first.private && chmod 0600 first.private'
    set_parameter Domain sender.example
    set_parameter Selector first
    set_parameter KeyFile /etc/postrider/keys/first.private
    check "the configuration is good" on postrider-milter -n -x /etc/postrider/milter.conf
    submit 1
    signed_with 1 first
    same "the service" active "$(active postrider-milter.service)"
    same "its user" postrider-milter "$(on stat -c %U "/proc/$(main_pid postrider-milter)")"
    same "its state" "700 postrider-milter" "$(on stat -c '%a %U' /var/lib/postrider/milter)"
}

milter_reload() {
    begin "milter: reload takes a new configuration, and refuses a broken one"
    local pid
    pid=$(main_pid postrider-milter)
    set_parameter Selector second
    on systemctl reload postrider-milter
    sleep 1
    submit 2
    signed_with 2 second
    on cp /etc/postrider/milter.conf /root/good.conf
    set_parameter KeyFile /nowhere
    on systemctl reload postrider-milter
    sleep 1
    submit 3
    signed_with 3 second
    on cp /root/good.conf /etc/postrider/milter.conf
    same "the process, after two reloads" "$pid" "$(main_pid postrider-milter)"
}

milter_death() {
    begin "milter: killed, stopped, or hanging: the next message is signed"
    local pid
    pid=$(main_pid postrider-milter)
    on sh -c "kill -9 $pid"
    submit 4
    signed_with 4 second
    check "it is another process" test "$pid" != "$(main_pid postrider-milter)"
    on systemctl stop postrider-milter.service 2> /dev/null
    same "the socket while the service is stopped" active "$(active postrider-milter.socket)"
    submit 5
    signed_with 5 second
    on mkdir -p /run/systemd/system/postrider-milter.service.d
    on sh -c 'printf "[Service]\nWatchdogSec=2\n" > /run/systemd/system/postrider-milter.service.d/watchdog.conf'
    on systemctl daemon-reload
    on systemctl restart postrider-milter
    sleep 3
    pid=$(main_pid postrider-milter)
    check "it feeds the watchdog" test "$pid" != 0
    on sh -c "kill -STOP $pid"
    soon on sh -c "test \$(systemctl show -P MainPID postrider-milter) != $pid && systemctl is-active postrider-milter"
    on rm -r /run/systemd/system/postrider-milter.service.d
    on systemctl daemon-reload
    submit 6
    signed_with 6 second
}

# The service cannot start, so mail waits; when the file is good again, one command is enough.
milter_cannot_start() {
    begin "milter: a service that cannot start loses no mail"
    on systemctl stop postrider-milter.service 2> /dev/null
    set_parameter KeyFile /nowhere
    send 20
    soon on sh -c 'test "$(systemctl show -P Result postrider-milter.service)" != success'
    sleep 4
    check "message 20 is not delivered" on sh -c '! grep -q "^Subject: number 20\$" /var/mail/reader'
    on cp /root/good.conf /etc/postrider/milter.conf
    on systemctl restart postrider-milter.service
    # A submission makes Postfix look at what waits.
    submit 21
    arrived 20
    signed_with 20 second
    signed_with 21 second
    same "the socket" active "$(active postrider-milter.socket)"
}

# Without a name server the result is temperror: that the verifier runs inside its unit's limits is what
# counts here.
milter_verifies() {
    begin "milter: mail from elsewhere is verified"
    on cat /var/mail/reader | sed -n '/^DKIM-Signature:/,$p' | sed '/^From /,$d; s/number 1$/number 7/' > "$RUN/signed"
    on bash -c 'exec 3<> /dev/tcp/127.0.0.1/25
        line() { while read -r -t 30 l <&3; do case $l in [0-9][0-9][0-9]-*) ;; "$1"*) return 0;; *) echo "$l" >&2; return 1;; esac; done; return 1; }
        ask() { printf "%s\r\n" "$2" >&3; line "$1"; }
        line 220 && ask 250 "EHLO client.example" && ask 220 "XCLIENT ADDR=192.0.2.5 NAME=client.example" &&
        ask 250 "EHLO client.example" && ask 250 "MAIL FROM:<writer@sender.example>" &&
        ask 250 "RCPT TO:<reader@mail.example>" && ask 354 DATA && sed "s/\$/\r/" >&3 && ask 250 . && ask 221 QUIT' < "$RUN/signed"
    soon on grep -q '^Subject: number 7$' /var/mail/reader
    local results
    results=$(field 7 Authentication-Results)
    check "message 7 has a result: $results" grep -q 'mail\.example; *dkim=' <<< "$results"
}

milter_with_opendkims_configuration() {
    begin "milter: opendkim's configuration, keys and user, used as they are"
    on useradd --system --home-dir /run/opendkim opendkim
    # From dns-root-data, which opendkim depends on.
    on sh -c 'mkdir -p /usr/share/dns && echo ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D" > /usr/share/dns/root.key'
    on sh -c 'mkdir -m 700 /etc/dkimkeys && cp /etc/postrider/keys/first.private /etc/dkimkeys/old.private &&
        chown -R opendkim: /etc/dkimkeys && chmod 600 /etc/dkimkeys/old.private
        printf "%s\n" "Syslog yes" "SyslogSuccess yes" "Canonicalization relaxed/simple" "OversignHeaders From" \
            "Domain sender.example" "Selector old" "KeyFile /etc/dkimkeys/old.private" "UserID opendkim" "UMask 007" \
            "Socket local:/run/opendkim/opendkim.sock" "PidFile /run/opendkim/opendkim.pid" \
            "TrustAnchorFile /usr/share/dns/root.key" > /etc/opendkim.conf
        mkdir -p /etc/systemd/system/postrider-milter.service.d
        cp /usr/share/doc/postrider-milter/examples/opendkim-drop-in.conf \
            /etc/systemd/system/postrider-milter.service.d/opendkim.conf'
    on systemctl daemon-reload
    on systemctl restart postrider-milter
    submit 8
    signed_with 8 old
    same "its user" opendkim "$(on stat -c %U "/proc/$(main_pid postrider-milter)")"
    on rm -r /etc/systemd/system/postrider-milter.service.d /etc/opendkim.conf /etc/dkimkeys
    on systemctl daemon-reload
    on systemctl restart postrider-milter
    on userdel opendkim
    submit 9
    signed_with 9 second
}

milter_after_upgrade() {
    submit 10
    signed_with 10 second
}
