# A small Debian 12 that systemd boots in a container: made once, started from an overlay. Sourced by run.

# What the image consists of; another recipe makes another image.
SUITE=bookworm
RECIPE="$SUITE minbase systemd systemd-sysv dbus, postfix and dovecot downloaded, 4"

say() { printf 'boot: %s\n' "$*"; }

# why_not: prints the reason why nothing can be booted here, if there is one.
why_not() {
    local tool
    if [ "$(id -u)" != 0 ]; then echo "needs root"; return; fi
    for tool in debootstrap systemd-nspawn nsenter pgrep; do
        if ! command -v "$tool" > /dev/null; then echo "$tool is missing"; return; fi
    done
}

# mirror: the archive that this machine itself installs from.
mirror() {
    local found
    found=$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2> /dev/null |
        grep -v '^ *#' | grep -oE 'https?://[^ ]+' | sed -n 1p) || true
    echo "${found:-http://deb.debian.org/debian}"
}

# make_image: the system in $IMAGE. Postfix and what it needs lie in its package cache, not installed, and Dovecot in
# /var/cache/dovecot.
make_image() {
    if [ "$(cat "$IMAGE.recipe" 2> /dev/null)" = "$RECIPE" ]; then return; fi
    local log=$STATE/image.log archive
    archive=$(mirror)
    rm -rf --one-file-system "$IMAGE"
    say "making a Debian $SUITE system; this takes two minutes, once"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus "$SUITE" "$IMAGE" "$archive" > "$log" 2>&1 ||
        { tail -n 20 "$log" >&2; return 1; }
    # debootstrap leaves all it installed in the package cache, and this machine's name.
    chroot "$IMAGE" apt-get clean
    echo mail > "$IMAGE/etc/hostname"
    # For the download only: this machine's way to its mirror.
    cp /etc/resolv.conf /etc/hosts "$IMAGE/etc/"
    cp /etc/apt/apt.conf.d/99* "$IMAGE/etc/apt/apt.conf.d/" 2> /dev/null || true
    chroot "$IMAGE" sh -c 'apt-get update && apt-get install -y --download-only --no-install-recommends postfix' \
        >> "$log" 2>&1 < /dev/null || { tail -n 20 "$log" >&2; return 1; }
    mkdir -p "$IMAGE/var/cache/dovecot/partial"
    chroot "$IMAGE" apt-get install -y --download-only --no-install-recommends -o Dir::Cache::archives=/var/cache/dovecot \
        dovecot-imapd >> "$log" 2>&1 < /dev/null || { tail -n 20 "$log" >&2; return 1; }
    rm -f "$IMAGE"/etc/apt/apt.conf.d/99*
    echo '127.0.0.1 localhost' > "$IMAGE/etc/hosts"
    echo 'nameserver 127.0.0.1' > "$IMAGE/etc/resolv.conf"
    mkdir -p "$IMAGE/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=volatile\n' > "$IMAGE/etc/systemd/journald.conf.d/volatile.conf"
    systemctl --root="$IMAGE" disable apt-daily.timer apt-daily-upgrade.timer > /dev/null 2>&1 || true
    echo "$RECIPE" > "$IMAGE.recipe"
}

# On a machine without systemd nobody makes a cgroup for the container: it gets one of ours, in each
# hierarchy that nspawn manages.
cgroups() {
    local hierarchy
    for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        if [ -d "$hierarchy" ]; then echo "$hierarchy/$NAME"; fi
    done
    if [ ! -d /sys/fs/cgroup/unified ]; then echo "/sys/fs/cgroup/$NAME"; fi
}

# start_machine: boots a copy of the image that leaves the image as it is, without a network.
start_machine() {
    local root=$RUN/root keep=()
    mkdir -p "$root" "$RUN/upper" "$RUN/work"
    if ! mount -t overlay "$NAME" -o "lowerdir=$IMAGE,upperdir=$RUN/upper,workdir=$RUN/work" "$root" 2> /dev/null; then
        cp -a "$IMAGE/." "$root/"
    fi
    if [ ! -d /run/systemd/system ]; then keep=(--keep-unit); fi
    (
        if [ ${#keep[@]} -gt 0 ]; then
            for cgroup in $(cgroups); do
                mkdir -p "$cgroup" && echo "$BASHPID" > "$cgroup/cgroup.procs"
            done
        fi
        # systemd-nspawn shall see cgroup v2 inside, whatever the machine has.
        export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
        exec setsid systemd-nspawn --quiet --directory="$root" --machine="$NAME" --hostname=mail --boot \
            --register=no "${keep[@]}" --console=pipe --private-network --resolv-conf=off --timezone=off --link-journal=no
    ) < /dev/null > "$RUN/console" 2>&1 &
    NSPAWN=$!
    local state='' _
    for _ in $(seq 600); do
        if [ -n "$(leader)" ]; then
            state=$(on systemctl is-system-running 2> /dev/null || true)
            case $state in running | degraded) return 0 ;; esac
        fi
        kill -0 "$NSPAWN" 2> /dev/null || break
        sleep 0.1
    done
    return 1
}

# leader: the container's first process, seen from here.
leader() { pgrep -P "$NSPAWN" | head -n 1 || true; }

# on COMMAND...: runs it inside.
on() {
    nsenter -t "$(leader)" -a -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
}

stop_machine() {
    local first cgroup _
    if [ -n "${NSPAWN:-}" ] && kill -0 "$NSPAWN" 2> /dev/null; then
        first=$(leader)
        if [ -n "$first" ]; then kill -s RTMIN+4 "$first" 2> /dev/null || true; fi
        for _ in $(seq 150); do
            kill -0 "$NSPAWN" 2> /dev/null || break
            sleep 0.1
        done
        if kill -0 "$NSPAWN" 2> /dev/null; then
            if [ -n "$first" ]; then kill -9 "$first" 2> /dev/null || true; fi
            kill -9 "$NSPAWN" 2> /dev/null || true
        fi
        wait "$NSPAWN" 2> /dev/null || true
    fi
    NSPAWN=
    for cgroup in $(cgroups); do
        if [ -d "$cgroup" ]; then
            # A supervisor that was killed leaves its payload behind.
            if [ -e "$cgroup/cgroup.kill" ]; then echo 1 > "$cgroup/cgroup.kill" || true; fi
            find "$cgroup" -depth -type d -exec rmdir {} \; 2> /dev/null || true
        fi
    done
    if [ -d "$RUN" ]; then
        if mountpoint -q "$RUN/root"; then umount "$RUN/root" || umount -l "$RUN/root"; fi
        rm -rf --one-file-system "$RUN"
    fi
}
