#!/bin/bash
# The demo: both daemons, a stand-in provider and a stand-in agent, an hour of traffic in seconds, and the sums. Runs inside the sandbox.
# shellcheck disable=SC2317 # functions that only traps and wait_until call
set -euo pipefail

usage() {
    cat >&2 <<'USAGE'
usage: tests/sandbox/sandbox tests/demo/run.sh [N]

N inbound messages, 10 to 100000 (default 200). `make demo N=...` does all of this. The programs are taken from $BUILD (default build).
Exit status: 0 when the numbers add up.
USAGE
    exit 64
}

count=${1:-200}
[[ $# -le 1 && $count =~ ^[1-9][0-9]{1,5}$ && $count -le 100000 ]] || usage
[[ -n ${AGWB_TEST_DIR:-} && -n ${AGWB_TEST_AMQP:-} && -n ${AGWB_TEST_DATABASE_URL:-} ]] || usage

# The environment wins over the configuration file: someone's own DATABASE_URL, proxy or AGWB_ setting must not reach the daemons.
for name in $(compgen -e); do
    case $name in
    PATH | HOME | TMPDIR | TERM | TZ | LANG | LC_* | NO_COLOR | BUILD | AGWB_TEST_* | ?SAN_OPTIONS | UBSAN_OPTIONS) ;;
    *) unset "$name" 2>/dev/null || true ;;
    esac
done

here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=../sandbox/common.sh
. "$here/../sandbox/common.sh"
build=${BUILD:-build}
dir=$AGWB_TEST_DIR/demo
(umask 077 && mkdir "$dir") || exit 69 # one demo a sandbox
patience_s=30 # for a program to become ready, or to end

# --- processes --------------------------------------------------------------------------------------------------------------

declare -A pid=()

# Each in a session of its own, so that Ctrl-C reaches this script only, which then ends them in order.
start() { # name command...
    local name=$1
    shift
    setsid "$@" </dev/null >"$dir/$name.out" 2>"$dir/$name.log" &
    pid[$name]=$!
}

# Sets $status to the exit status. The shell's own remarks on killed jobs are not for the screen.
stop() { # name
    status=0
    [[ -n ${pid[$1]:-} ]] || return 0
    kill -TERM "${pid[$1]}" 2>/dev/null || true
    wait_until "$patience_s" is_gone "${pid[$1]}" || kill -KILL "${pid[$1]}" 2>/dev/null || true
    wait "${pid[$1]}" 2>/dev/null || status=$?
    unset "pid[$1]"
}

end_all() {
    local name
    patience_s=3
    for name in "${!pid[@]}"; do
        kill -TERM "${pid[$name]}" 2>/dev/null || true
    done
    for name in "${!pid[@]}"; do
        stop "$name"
    done
}

on_signal() { # number
    trap '' INT TERM HUP
    stop player # it writes to the screen
    printf '\ndemo: interrupted\n' >&2
    end_all
    exit $((128 + $1))
}
trap 'on_signal 2' INT
trap 'on_signal 15' TERM
trap 'on_signal 1' HUP

keep_logs() {
    local kept=$build/demo-logs
    rm -rf "$kept" && cp -r "$dir" "$kept" && echo "demo: logs, journals and the configuration are kept in $kept" >&2
}

fails() { # text...
    local name
    trap '' INT TERM HUP
    stop player
    printf '\ndemo: %s\n' "$*" >&2
    end_all
    for name in agwb-publisher agwb-consumer agent provider; do
        [[ -s $dir/$name.log ]] || continue
        printf -- '--- the end of %s.log:\n' "$name" >&2
        tail -n 10 "$dir/$name.log" >&2
    done
    keep_logs || true
    exit 1
}

# --- start ------------------------------------------------------------------------------------------------------------------

says() { # name text: the program has said it on its standard output
    grep -qs "^$2" "$dir/$1.out" || is_gone "${pid[$1]}"
}

is_ready() { # name
    "$build/$1" -c "$dir/agwb.cfg" healthcheck >/dev/null 2>&1 || is_gone "${pid[$1]}"
}

await() { # name command...: fails when the program ends or the command does not come true
    local name=$1
    shift
    if ! wait_until "$patience_s" "$@"; then fails "$name is not ready after $patience_s s"; fi
    if is_gone "${pid[$name]}"; then fails "$name ended at once"; fi
}

line() { # what how
    printf '  %-24s  %s\n' "$1" "$2"
}

write_config() { # provider_port
    local ports
    mapfile -t ports < <(pick_ports 2)
    publisher_metrics=127.0.0.1:${ports[0]}
    consumer_metrics=127.0.0.1:${ports[1]}
    (umask 077 && cat >"$dir/agwb.cfg") <<CONFIG
rabbitmq: { hosts = ["$AGWB_TEST_AMQP"]; };
database: { url = "$AGWB_TEST_DATABASE_URL"; };
publisher: { metrics_listen = "$publisher_metrics"; };
consumer: { prefetch = 100; max_in_flight = 50; metrics_listen = "$consumer_metrics"; };
limits: { jobs_in_flight = 0; jobs_per_minute = 0; contact_per_minute = 0; };
log: { format = "json"; };
webhooks: { twilio: { url = "https://example.com/webhooks/twilio"; }; };
channels: { accounts = (
  { name = "books"; provider = "wasender"; channel = "whatsapp"; base_url = "http://127.0.0.1:$1"; token = "demo";
    workspaces = ["de300000-0001-4000-8000-000000000000"]; webhook_secret = "demo-secret"; },
  { name = "dental"; provider = "whatsapp_cloud"; channel = "whatsapp"; base_url = "http://127.0.0.1:$1"; token = "demo";
    workspaces = ["de300000-0001-4000-8000-000000000001"]; webhook_secret = "demo-secret";
    options = { phone_number_id = "106540352242922"; }; },
  { name = "furniture"; provider = "whatsapp_qr"; channel = "whatsapp"; base_url = "http://127.0.0.1:$1"; token = "demo";
    workspaces = ["de300000-0001-4000-8000-000000000002"]; webhook_secret = "demo-secret";
    options = { preset = "evolution"; instance = "shop"; }; },
  { name = "sms"; provider = "twilio"; channel = "sms"; base_url = "http://127.0.0.1:$1"; user = "AC00000000000000000000000000000000";
    password = "demo"; from = "+15005550006"; default = true; webhook_secret = "demo-secret"; }
); };
CONFIG
}

printf 'agwb demo: %s inbound messages through both daemons, on private servers\n\n' "$count"
line RabbitMQ "$AGWB_TEST_AMQP"
line PostgreSQL "${AGWB_TEST_DATABASE_URL#*@}"

start provider "$build/tests/provider" --port 0 --journal "$dir/provider.journal" --token demo
await provider says provider listening
provider_port=$(sed -n 's/^listening //p' "$dir/provider.out")
write_config "$provider_port"
line 'stand-in provider' "127.0.0.1:$provider_port, Wasender, Cloud API, Evolution, Twilio"

migrated=$("$build/agwb-publisher" -c "$dir/agwb.cfg" migrate 2>&1) || fails "migrate: $migrated"
line 'agwb-publisher migrate' "${migrated##*$'\n'}"

start agwb-publisher "$build/agwb-publisher" -c "$dir/agwb.cfg"
start agwb-consumer "$build/agwb-consumer" -c "$dir/agwb.cfg"
await agwb-publisher is_ready agwb-publisher
line agwb-publisher "pid ${pid[agwb-publisher]}, http://$publisher_metrics/metrics"
await agwb-consumer is_ready agwb-consumer
line agwb-consumer "pid ${pid[agwb-consumer]}, http://$consumer_metrics/metrics"

"$build/tests/demo" script "$count" >"$dir/agent.script"
start agent "$build/tests/agent" --prefetch 50 --script "$dir/agent.script" --journal "$dir/agent.journal"
await agent says agent ready
: >>"$dir/agent.journal"
line 'stand-in agent' 'answers at once'

start hooks "$build/tests/hooks" follow --database "$AGWB_TEST_DATABASE_URL" --journal "$dir/provider.journal" --secret demo-secret
await hooks says hooks ready
line 'its receipts' 'signed, into webhook_inbox'

cat <<'TEXT'

  Limits are off here (jobs_in_flight, jobs_per_minute, contact_per_minute);
  the shipped defaults stay 10, 60 and 5.
TEXT

# --- traffic ------------------------------------------------------------------------------------------------------------------

journals=(--provider-journal "$dir/provider.journal" --agent-journal "$dir/agent.journal")
"$build/tests/demo" play "$count" "${journals[@]}" &
pid[player]=$!

ended=
status=0
wait -n -p ended "${pid[@]}" 2>/dev/null || status=$?
for name in "${!pid[@]}"; do
    [[ ${pid[$name]} != "$ended" ]] || break
done
if [[ $name != player ]]; then
    unset "pid[$name]"
    fails "$name ended in the middle of the run, with status $status"
fi
unset 'pid[player]'
played=$status

# --- the end --------------------------------------------------------------------------------------------------------------------

stop hooks
stop agwb-publisher
publisher_status=$status
stop agent
stop agwb-consumer
consumer_status=$status

checked=0
"$build/tests/demo" check "$count" "${journals[@]}" --publisher-status "$publisher_status" --consumer-status "$consumer_status" || checked=$?
patience_s=3
stop provider
[[ $played == 0 && $checked == 0 ]] || fails "the run failed"
