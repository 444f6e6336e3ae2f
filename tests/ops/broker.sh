#!/bin/bash
# etc/rabbitmq: imported into a real broker, both daemons and an agent work as the users it makes, and these may do no more than they need.
# Runs inside the sandbox.
# shellcheck disable=SC2317 # functions that check calls
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"
dir=$AGWB_TEST_DIR/broker-ops
mkdir -p "$dir"
trap end_started EXIT
definitions=etc/rabbitmq/definitions.json
policies=etc/rabbitmq/definitions-policies.json
tool=tests/ops/broker.py

ctl() {
    "$AGWB_TEST_RABBITMQCTL" "$@"
}
python() {
    /usr/bin/python3 "$tool" "$@"
}

# --- the pair on one virtual host ------------------------------------------------------------------------------------------------

write_config() { # vhost mode provider_port
    (umask 077 && cat >"$dir/agwb.cfg") <<CONFIG
rabbitmq: { hosts = ["$AGWB_TEST_AMQP"]; vhost = "$1"; };
database: { url = "$AGWB_TEST_DATABASE_URL"; };
topology: { mode = "$2"; };
publisher: { metrics_listen = "127.0.0.1:${ports[0]}"; };
consumer: { metrics_listen = "127.0.0.1:${ports[1]}"; };
channels: { accounts = (
  { name = "main"; provider = "wasender"; channel = "whatsapp"; base_url = "http://127.0.0.1:$3"; token = "token"; default = true; }
); };
CONFIG
}

start_as() { # daemon
    start "$dir/$1" env AGWB_RABBITMQ_USER="$1" AGWB_RABBITMQ_PASSWORD="$1-secret" "$build/$1" -c "$dir/agwb.cfg"
}
is_ready() { # daemon
    "$build/$1" -c "$dir/agwb.cfg" healthcheck >/dev/null 2>&1
}

jobs=0
# Everything is started, one message goes all the way, everything is ended.
flows() { # vhost mode
    local daemon status=1
    write_config "$1" "$2" "$provider_port"
    jobs=$((jobs + 1))
    for daemon in agwb-publisher agwb-consumer; do start_as $daemon; done
    if wait_until 20 is_ready agwb-publisher && wait_until 20 is_ready agwb-consumer; then
        start "$dir/agent" "$build/tests/agent" --vhost "$1" --user agent --password agent-secret
        if wait_until 20 says "$dir/agent" ready && add_jobs $jobs $jobs && wait_until 30 sent $jobs; then status=0; fi
    fi
    [[ $status -eq 0 ]] || tail -qn 3 "$dir"/agwb-*.log "$dir/agent.log"
    end_all_but_provider
    return $status
}
end_all_but_provider() {
    local provider=${started[0]}
    started=("${started[@]:1}")
    end_started
    started=("$provider")
}

set_passwords() {
    local user
    for user in agwb-publisher agwb-consumer agent; do ctl change_password $user "$user-secret" || return; done
}
# Importing takes the passwords away again.
import() { # file vhost
    [[ $(ctl list_vhosts name) == *"$2"* ]] || ctl add_vhost "$2" || return
    python move "$1" "$2" "${@:3}" >"$dir/import.json" && ctl import_definitions "$dir/import.json" && set_passwords
}

mapfile -t ports < <(pick_ports 2)
start "$dir/provider" "$build/tests/provider" --port 0
wait_until 20 says "$dir/provider" listening
provider_port=$(sed -n 's/^listening //p' "$dir/provider")
check "migrate" "$build/agwb-publisher" --set "database.url=$AGWB_TEST_DATABASE_URL" migrate

# --- arguments -------------------------------------------------------------------------------------------------------------------

check "definitions.json is imported as it is" ctl import_definitions "$PWD/$definitions"
has_no_password() {
    ! ctl authenticate_user "$1" '' && ! ctl authenticate_user "$1" "$1"
}
for user in agwb-publisher agwb-consumer agent; do check "$user has no password yet" has_no_password $user; done
check "passwords are set" set_passwords

check_flow() { # name vhost mode
    local before=${#started[@]} output=$dir/flow.out
    if flows "$2" "$3" >"$output" 2>&1; then pass "$1"; else fail "$1" "$(cat "$output")"; fi
    [[ ${#started[@]} -eq $before ]]
}
check_flow "a message goes all the way: the queues are there, topology.mode passive" / passive
check_flow "the same with mode declare, which finds them as it wants them" / declare
is_content() { # daemon: its doctor finds nothing wrong
    env AGWB_RABBITMQ_USER="$1" AGWB_RABBITMQ_PASSWORD="$1-secret" "$build/$1" -c "$dir/agwb.cfg" doctor --no-providers
}
for daemon in agwb-publisher agwb-consumer; do check "doctor as $daemon finds nothing wrong" is_content $daemon; done
check "for a broker without queues" import $definitions fresh users
check_flow "mode declare makes them, with the same rights" fresh declare

is_refused() { # vhost user verb what
    python try "$AGWB_TEST_AMQP" "$1" "$2" "$2-secret" "$3" "$4" | tee /dev/stderr | grep -q '^403 '
}
may() {
    python try "$AGWB_TEST_AMQP" "$1" "$2" "$2-secret" "$3" "$4" | tee /dev/stderr | grep -q '^allowed'
}
check "the agent may take requests" may / agent consume ag_queue
check "the agent may not take replies" is_refused / agent consume wb_queue
check "nor dead letters" is_refused / agent consume ag_parked
check "nor make queues" is_refused / agent declare mine
check "nor publish to another exchange" is_refused / agent publish amq.fanout
check "the publisher may not take dead letters" is_refused / agwb-publisher consume wb_parked
check "nor make other queues" is_refused / agwb-publisher declare mine

# --- policies --------------------------------------------------------------------------------------------------------------------

check "the policies give every queue what the arguments give it" python same $definitions $policies
check "definitions-policies.json is imported" import $policies policies
has_policies() {
    local listed
    listed=$(ctl -q list_queues -p policies --no-table-headers name policy | tee /dev/stderr | sort | tr '\t\n' ' ,')
    [[ $listed == 'ag_parked agwb-parked,ag_queue agwb-requests,dlx_agent agwb-dlx-agent,dlx_webhook agwb-dlx-webhook,wb_parked agwb-parked,wb_queue agwb-replies,' ]]
}
check "they are in force on all six queues" has_policies
check_flow "a message goes all the way, topology.mode passive" policies passive
for daemon in agwb-publisher agwb-consumer; do check "doctor as $daemon finds nothing wrong there" is_content $daemon; done
check "the publisher may make nothing there" is_refused policies agwb-publisher declare ag_queue
check "nor take anything" is_refused policies agwb-publisher consume ag_queue
check "the consumer may not take requests" is_refused policies agwb-consumer consume ag_queue
finish
