#!/bin/bash
# README.md's installation, its commands exactly as they stand there, in a fresh Debian: from git clone to two running units.
# shellcheck disable=SC2317 # functions that check calls
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"
# shellcheck source-path=SCRIPTDIR source=machine.sh
. tests/ops/machine.sh

# The machine is on our network, and the newcomer's servers are on their usual ports.
list_used_ports() {
    local port
    for port in 4369 5432 5672 9464 9465 25672; do
        ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || echo "$port"
    done
}
why=$(why_no_machine)
[[ -n $why ]] || { used=$(list_used_ports | tr '\n' ' ') && [[ -z $used ]]; } || why="these ports are in use: $used"
if [[ -n $why ]]; then
    skip "the installation as README.md has it" "$why"
    finish
    exit
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/agwb-newcomer.XXXXXX")
root=$dir/root
trap 'end_machine; rm -rf "$dir"' EXIT

# The sources as they are now, as a repository that "git clone" finds under README.md's address.
make_repository() {
    mkdir -p "$root/srv/agwb" && cp -R Makefile README.md .gitignore common publisher consumer schemas tests etc "$root/srv/agwb/" || return
    rm -rf "$root/srv/agwb/etc/docker/secrets" "$root/srv/agwb/tests/schemas/node_modules"
    git -C "$root/srv/agwb" init -q && git -C "$root/srv/agwb" add -A &&
        git -C "$root/srv/agwb" -c user.name=test -c user.email=test@example.com commit -qm 'as it is'
    printf '[url "/srv/agwb"]\n\tinsteadOf = https://example.com/agwb.git\n[safe]\n\tdirectory = *\n' >"$root/etc/gitconfig"
}
prepare() {
    make_root "$root" && in_root "$root" apt-get update -qq &&
        in_root "$root" apt-get install -y -qq --no-install-recommends systemd systemd-sysv dbus iproute2 && make_repository &&
        printf '127.0.0.1 localhost\n127.0.1.1 newcomer\n' >"$root/etc/hosts" && echo newcomer >"$root/etc/hostname"
}
list_commands() { # the first block of shell below "### Install"
    awk '/^### Install/ { section = 1 } section && /^```$/ { exit } block; section && /^```sh$/ { block = 1 }' README.md
}

check "a fresh Debian 12, and the sources as a repository" prepare
if ! boot "$root" "$dir/console" >/dev/null 2>&1; then
    fail "the machine boots" "$(tail -n 20 "$dir/console")"
    finish
    exit 1
fi
pass "the machine boots"

# One shell for all lines, as the newcomer's; the first that fails ends it.
walk() {
    list_commands >"$root/root/commands" && [[ $(wc -l <"$root/root/commands") -ge 5 ]] &&
        inside bash -c 'cd /root && set -ex && . /root/commands'
}
if output=$(walk 2>&1 </dev/null); then
    pass "every command of README.md's installation"
else
    fail "every command of README.md's installation" "$(tail -n 30 <<<"$output")"
fi

is_up() { # unit
    [[ $(property "$1" ActiveState) == active && $(property "$1" StatusText) == "$2"* ]]
}
check_soon "the publisher runs and takes jobs" 60 is_up agwb-publisher 'taking jobs'
check_soon "the consumer runs and takes replies" 60 is_up agwb-consumer 'taking replies'
[[ $failed -eq 0 ]] || inside journalctl -n 20 -o cat -u agwb-publisher -u agwb-consumer | cut -c 1-300 | sed 's/^/            /'
finish
