#!/bin/bash
# etc/prometheus and etc/grafana against a real Prometheus that scrapes a real run of the pair: every metric named exists, every query of the
# dashboard returns data, every rule is evaluated, and what the daemons say passes promtool. Runs inside the sandbox.
# shellcheck disable=SC2317 # functions that check calls
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"
dir=$AGWB_TEST_DIR/prometheus
mkdir -p "$dir"
trap end_started EXIT
rules=etc/prometheus/agwb.rules.yml
dashboard=etc/grafana/agwb.json

if ! command -v prometheus promtool >/dev/null; then
    skip "a real Prometheus" "prometheus is not installed"
    finish
    exit
fi

ask() { # what...
    /usr/bin/python3 tests/ops/prometheus.py "http://127.0.0.1:${ports[2]}" "$@"
}
is_at_least() { # number expr
    local value
    value=$(ask query "$2") && awk "BEGIN { exit !($value >= $1) }"
}
is_ready() { # daemon
    "$build/$1" -c "$dir/agwb.cfg" healthcheck >/dev/null 2>&1
}

# --- the pair, with limits that bite ---------------------------------------------------------------------------------------------

mapfile -t ports < <(pick_ports 3)
start "$dir/provider" "$build/tests/provider" --port 0 --journal "$dir/provider.journal"
wait_until 20 says "$dir/provider" listening
(umask 077 && cat >"$dir/agwb.cfg") <<CONFIG
rabbitmq: { hosts = ["$AGWB_TEST_AMQP"]; };
database: { url = "$AGWB_TEST_DATABASE_URL"; };
publisher: { metrics_listen = "127.0.0.1:${ports[0]}"; };
consumer: { metrics_listen = "127.0.0.1:${ports[1]}"; };
limits: { jobs_in_flight = 0; jobs_per_minute = 0; sends_per_minute = 3; window_ms = 1000; };
webhooks: { whatsapp_cloud: { secret = "not what the test signs with"; }; };
channels: { accounts = (
  { name = "main"; provider = "wasender"; channel = "whatsapp"; base_url = "http://127.0.0.1:$(sed -n 's/^listening //p' "$dir/provider")";
    token = "token"; default = true; }
); };
CONFIG
check "migrate" "$build/agwb-publisher" -c "$dir/agwb.cfg" migrate
for daemon in agwb-publisher agwb-consumer; do
    start "$dir/$daemon" "$build/$daemon" -c "$dir/agwb.cfg"
    check_soon "$daemon is ready" 30 is_ready $daemon
done
start "$dir/agent" "$build/tests/agent" --prefetch 10
wait_until 20 says "$dir/agent" ready
# People who write by webhook, and a provider that reports on each message; it does not reach Contact 12 and 22.
start "$dir/hooks" "$build/tests/hooks" follow --database "$AGWB_TEST_DATABASE_URL" --journal "$dir/provider.journal" --up-to read \
    --fail 'Contact 12=131026' --fail 'Contact 22=131026'
wait_until 20 says "$dir/hooks" ready

# --- Prometheus, with the shipped configuration but other ports and a faster clock -------------------------------------------------

sed -e "s/127.0.0.1:9464/127.0.0.1:${ports[0]}/; s/127.0.0.1:9465/127.0.0.1:${ports[1]}/; s/: 15s/: 1s/" etc/prometheus/prometheus.yml \
    >"$dir/prometheus.yml"
cp $rules "$dir/"
start "$dir/prometheus" prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" \
    --web.listen-address="127.0.0.1:${ports[2]}" --log.level=warn
check_soon "Prometheus scrapes both daemons" 60 is_at_least 2 'sum(up{job="agwb"})'

# A counter must be seen before it grows, or no rate can be told: each kind of event comes twice, with a scrape between.
traffic() { # which
    add_jobs "${1}1" "${1}6" || return
    for provider in wasender whatsapp_cloud; do # the second one's signature is missing
        "$build/tests/hooks" message $provider --database "$AGWB_TEST_DATABASE_URL" --from +12025550190 --text hello || return
    done
    /usr/bin/python3 tests/integration/amqp.py "$AGWB_TEST_AMQP" / publish wb_queue '{}' 'not json'
}
check "traffic: six messages, more than a limit lets through, and a reply that is none" traffic 1
check_soon "all of it is seen" 60 is_at_least 7 \
    'sum(agwb_delivery_attempts_total{outcome="DELIVERED"}) + sum(agwb_dead_letters_total)'
check_soon "also what was throttled" 30 is_at_least 1 'sum(agwb_throttled_total)'
check "the same once more" traffic 2
check_soon "all of that is seen" 60 is_at_least 14 \
    'sum(agwb_delivery_attempts_total{outcome="DELIVERED"}) + sum(agwb_dead_letters_total)'

check_soon "every query of the dashboard returns data" 40 ask dashboard $dashboard
check "every metric of the dashboard exists" ask names $dashboard
check "every metric of the rules exists" ask names rules
check "every rule is evaluated without an error" ask rules
is_pending() {
    ask query 'ALERTS{alertname="AgwbDeadLettersWaiting", queue="wb_parked"}'
}
check_soon "the parked reply makes an alert pending" 40 is_pending

# What the alerts on a blocked broker and on a daemon that cannot work look at follows the truth, and comes back.
check "the broker's memory alarm is set off" "$AGWB_TEST_RABBITMQCTL" set_vm_memory_high_watermark 0.000001
check "an inbound message meanwhile" add_jobs 31 31
check_soon "agwb_broker_blocked says so" 40 is_at_least 1 'max(agwb_broker_blocked)'
check_soon "agwb_ready, too" 40 ask query 'agwb_ready{daemon="publisher"} == 0'
check "the alarm is over" "$AGWB_TEST_RABBITMQCTL" set_vm_memory_high_watermark 0.4
check_soon "agwb_broker_blocked is back" 40 ask query 'max(agwb_broker_blocked) == 0'
check_soon "agwb_ready, too" 40 is_at_least 1 'min(agwb_ready)'
check_soon "the message is answered" 40 sent 13

for port in "${ports[0]}" "${ports[1]}"; do
    passes_promtool() {
        curl -sf "http://127.0.0.1:$port/metrics" >"$dir/metrics" && [[ -s $dir/metrics ]] && promtool check metrics <"$dir/metrics"
    }
    check "promtool check metrics: port $port" passes_promtool
done
names_no_unknown() { # the dashboard's check would see a wrong name
    sed 's/agwb_throttled_total/agwb_trottled_total/' $dashboard >"$dir/wrong.json" && ! ask names "$dir/wrong.json" && ! ask dashboard "$dir/wrong.json"
}
check "a wrong name would be found" names_no_unknown
skip "the dashboard on a screen" "Debian has no Grafana: its queries are run here, its looks are not seen"
finish
