# shellcheck shell=bash
# A Debian that is booted by systemd-nspawn, on this machine's network; sourced after common.sh.

nspawn=
lead=

# Why this machine cannot boot one; nothing when it can.
why_no_machine() {
    if [[ -n $(why_no_root) ]]; then
        why_no_root
    elif ! command -v systemd-nspawn >/dev/null; then
        echo "systemd-nspawn is not installed (systemd-container)"
    fi
}

has_lead() {
    lead=$(pgrep -P "$nspawn" | head -n 1)
    [[ -n $lead ]]
}

# The root needs systemd, systemd-sysv and dbus.
boot() { # root console
    systemd-nspawn -q -D "$1" --register=no --keep-unit -b </dev/null >"$2" 2>&1 &
    nspawn=$!
    wait_until 10 has_lead && wait_until 90 inside systemctl is-active multi-user.target
}

inside() { # command...
    nsenter -t "$lead" -m -u -i -n -p -C env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root SYSTEMD_PAGER= \
        DEBIAN_FRONTEND=noninteractive "$@"
}

property() { # unit name
    inside systemctl show -P "$2" "$1"
}

end_machine() {
    [[ -z $lead ]] || kill -RTMIN+4 "$lead" 2>/dev/null || true
    [[ -z $nspawn ]] || wait_until 60 is_gone "$nspawn" || kill -KILL "$lead" "$nspawn" 2>/dev/null || true
}
