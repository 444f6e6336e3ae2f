#!/bin/bash
# The package's units under a real systemd, booted in a container: start at boot, kill, hang, reload, a bad configuration, stop.
# Runs inside the sandbox, whose servers the container reaches on the loopback; wants $BUILD/deb.
# shellcheck disable=SC2317 # functions that check calls
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"
# shellcheck source-path=SCRIPTDIR source=machine.sh
. tests/ops/machine.sh

deb=$(find "$build/deb" -maxdepth 1 -name 'agwb_*.deb' 2>/dev/null | head -n 1)
why=$(why_no_machine)
if [[ -n $why ]]; then
    skip "the units under systemd" "$why"
    finish
    exit
fi
[[ -n $deb ]] || { fail "make deb leaves a package in $build/deb" && finish; exit 1; }

dir=$AGWB_TEST_DIR/systemd
root=$dir/root
mkdir -p "$dir"
trap 'end_machine; end_started' EXIT

install_package() {
    make_root "$root" && cp "$deb" "$root/tmp/agwb.deb" && in_root "$root" apt-get update -qq &&
        in_root "$root" apt-get install -y -qq --no-install-recommends systemd systemd-sysv dbus /tmp/agwb.deb
}

write_config() {
    cat >"$root/etc/agwb/agwb.cfg" <<CONFIG || return
rabbitmq: { hosts = ["$AGWB_TEST_AMQPS"]; tls = true; };
publisher: { metrics_listen = "127.0.0.1:${ports[0]}"; };
consumer: { metrics_listen = "127.0.0.1:${ports[1]}"; };
log: { level = "info"; };
channels: { accounts = (
  { name = "main"; provider = "wasender"; channel = "whatsapp"; base_url = "https://localhost:$1"; default = true; }
); };
CONFIG
    echo '127.0.0.1 localhost' >"$root/etc/hosts"
    cp "$AGWB_TEST_AMQPS_CA" "$root/usr/local/share/ca-certificates/sandbox.crt"
    in_root "$root" update-ca-certificates
}

# Secrets as the sample has them, for both daemons at once; and short times, so that the test need not wait for the shipped ones.
write_drop_ins() {
    local drop_ins=$root/etc/systemd/system/agwb-.service.d credentials=$root/etc/agwb/credentials
    mkdir -p "$drop_ins" && (umask 077 && mkdir "$credentials") || return
    sed 's/^#\(LoadCredential=\)/\1/' "$root/usr/share/agwb/systemd/credentials.conf" >"$drop_ins/credentials.conf"
    (umask 077 && echo "$AGWB_TEST_DATABASE_URL" >"$credentials/database_url" && echo guest >"$credentials/rabbitmq_password" &&
        echo token >"$credentials/account_main_token")
    printf '[Service]\nWatchdogSec=3\nRestartSec=100ms\n' >"$drop_ins/test.conf"
}

is_up() { # unit
    [[ $(property "$1" ActiveState) == active ]]
}
says_status() { # unit text
    property "$1" StatusText | grep -qF "$2"
}
logged() { # unit text
    inside journalctl -u "$1" -o cat | grep -F "$2"
}
answers() { # port path
    curl -sf --max-time 5 "http://127.0.0.1:$1$2"
}

# --- the run -------------------------------------------------------------------------------------------------------------------

mapfile -t ports < <(pick_ports 4)
start "$dir/provider" /usr/bin/python3 tests/ops/https_provider.py "$AGWB_TEST_DIR/broker/server.pem" "$AGWB_TEST_DIR/broker/server.key" \
    "$dir/provider.journal"
wait_until 20 says "$dir/provider" listening
check "the package is installed in a fresh Debian 12" install_package
check "its configuration is written" write_config "$(sed -n 's/^listening //p' "$dir/provider")"
check "the sample of a drop-in is taken over" write_drop_ins
check "migrate, in the root" in_root "$root" agwb-publisher --set "database.url=$AGWB_TEST_DATABASE_URL" migrate
check "the units are enabled" in_root "$root" systemctl enable agwb-publisher agwb-consumer agwb.target
if ! boot "$root" "$dir/console" >/dev/null 2>&1; then
    fail "the machine boots" "$(tail -n 20 "$dir/console")"
    finish
    exit 1
fi
pass "the machine boots"

for unit in agwb-publisher agwb-consumer; do
    check_soon "$unit is started by the boot, and ready" 60 is_up $unit
    check "$unit: systemd-analyze verify" inside systemd-analyze verify --man=no $unit.service
    check "$unit: doctor looked at everything before it" logged $unit 'ok   database: '
done
check "the publisher's status line" says_status agwb-publisher 'taking jobs'
by_hand() { # command...
    inside env CREDENTIALS_DIRECTORY=/etc/agwb/credentials "$@"
}
check "a command by hand finds the credentials' files" by_hand agwb-publisher stats
check "doctor by hand, too" by_hand agwb-consumer doctor --no-providers

is_confined() { # unit
    local pid status
    pid=$(property "$1" MainPID)
    status=$(inside cat "/proc/$pid/status")
    echo "$status"
    grep -qE '^CapBnd:\s0+$' <<<"$status" && grep -qE '^NoNewPrivs:\s1$' <<<"$status" && grep -qE '^Seccomp:\s2$' <<<"$status" &&
        [[ $(inside stat -c %U "/proc/$pid") == agwb ]] &&
        [[ $(inside grep '^Max stack size' "/proc/$pid/limits" | awk '{ print $4 }') -ge 4194304 ]]
}
check "the publisher runs confined: no capabilities, no new privileges, system calls filtered, 4 MB of stack" is_confined agwb-publisher
check "the consumer, too" is_confined agwb-consumer

start "$dir/agent" "$build/tests/agent"
wait_until 20 says "$dir/agent" ready
check "an inbound message" add_jobs 1 1
check_soon "its reply is sent: libpq, AMQP over TLS and HTTPS work in the sandbox" 30 sent 1

# An end from outside: a new process, the same work.
is_restarted() { # unit pid: by another one, which is ready
    local now
    now=$(property "$1" MainPID)
    [[ $now != 0 && $now != "$2" ]] && is_up "$1"
}
for unit in agwb-publisher agwb-consumer; do
    old=$(property $unit MainPID)
    inside kill -KILL "$old"
    check_soon "$unit, killed, is started again" 30 is_restarted $unit "$old"
done
check "an inbound message after that" add_jobs 2 2
check_soon "its reply is sent" 30 sent 2

for unit in agwb-publisher agwb-consumer; do
    old=$(property $unit MainPID)
    inside kill -STOP "$old"
    check_soon "$unit, hanging, is found by the watchdog and started again" 40 is_restarted $unit "$old"
    check "$unit: the journal names the watchdog" logged $unit 'Watchdog timeout'
done

old=$(property agwb-consumer MainPID)
sed -i 's/level = "info"/level = "debug"/' "$root/etc/agwb/agwb.cfg"
check "reload" inside systemctl reload agwb-consumer
check_soon "the configuration is read again" 10 logged agwb-consumer 'configuration reloaded'
is_same() { # unit pid
    [[ $(property "$1" MainPID) == "$2" ]] && is_up "$1"
}
check "by the same process" is_same agwb-consumer "$old"

check "an instance, named by the port of its metrics" inside systemctl start "agwb-publisher@${ports[2]}"
check "its /metrics" answers "${ports[2]}" /metrics

# Status 78 means that a person must act. After systemd has decided, the unit is failed, not waiting for its next start.
cp "$root/etc/agwb/agwb.cfg" "$dir/good.cfg"
echo 'nonsense = 1;' >>"$root/etc/agwb/agwb.cfg"
refuses_start() {
    ! inside systemctl restart agwb-consumer
}
stays_down() {
    [[ $(property agwb-consumer ActiveState) == failed && $(property agwb-consumer ExecMainStatus) == 78 ]]
}
check "a bad configuration: the start fails" refuses_start
check "with status 78, and is not tried again" stays_down
check "the journal names the place" logged agwb-consumer 'nonsense'
has_priority() { # unit priority text
    inside journalctl -u "$1" PRIORITY="$2" -o cat | grep "$3"
}
check "as an error" has_priority agwb-consumer 3 'nonsense'
check "a line of the log has its own priority, and is JSON all the same" has_priority agwb-consumer 7 '^{"ts":.*"level":"debug"'
cp "$dir/good.cfg" "$root/etc/agwb/agwb.cfg"
check "corrected, it starts" inside systemctl start agwb-consumer

are_down() {
    local unit
    for unit in agwb-publisher agwb-consumer "agwb-publisher@${ports[2]}"; do
        [[ $(property "$unit" ActiveState) == inactive && $(property "$unit" Result) == success ]] || { inside systemctl status "$unit"; return 1; }
    done
}
check "stop of agwb.target" inside systemctl stop agwb.target
check_soon "drains and ends all of them, with success" 60 are_down
finish
