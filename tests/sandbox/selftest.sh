#!/bin/bash
# What the sandbox promises, tried on itself: statuses, signals at bad moments, lost ports, crashes, and that nothing is
# left behind. Prints "N passed, N failed". Takes about two minutes.
# shellcheck disable=SC2016,SC2317 # commands for other shells; functions called by name
set -uo pipefail

here=$(dirname "$(readlink -f "$0")")
sandbox=$here/sandbox
work=$(mktemp -d "${TMPDIR:-/tmp}/agwb-selftest.XXXXXX")
chmod 1777 "$work"
export TMPDIR=$work
trap 'rm -rf "$work"' EXIT
unset AGWB_TEST_AMQP AGWB_TEST_DATABASE_URL AGWB_TEST_POOLER AGWB_TEST_DIR
passed=0 failed=0

wait_for() { # seconds command...
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}
is_gone() { # pid
    ! [[ -d /proc/$1 ]] || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"
}

# Processes and folders of any sandbox below $work.
remains() {
    ls -d "$work"/agwb-sandbox.* 2>/dev/null
    grep -lsz "^AGWB_TEST_DIR=$work/" /proc/[0-9]*/environ
    find /proc -mindepth 2 -maxdepth 2 -name cwd -lname "$work/*" 2>/dev/null
}
nothing_remains() {
    [[ -z $(remains) ]]
}

check() { # name function
    local name=$1
    shift
    if ! ("$@") >"$work/output" 2>&1; then
        echo "FAILED $name"
        sed 's/^/    /' "$work/output"
        failed=$((failed + 1))
    elif ! wait_for 10 nothing_remains; then
        echo "FAILED $name: left behind: $(remains | tr '\n' ' ')"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
    rm -f "$work"/output "$work"/mark.*
}

# --- statuses and environment ---

test_servers_answer() {
    "$sandbox" sh -c '
        test "$(psql -AtXc "show fsync" "$AGWB_TEST_DATABASE_URL")" = on &&
        test "$(psql -AtXc "show max_connections" "$AGWB_TEST_DATABASE_URL")" = 100 &&
        "$AGWB_TEST_RABBITMQCTL" -q list_users | grep guest &&
        ! "$AGWB_TEST_RABBITMQCTL" -q list_queues name | grep . &&
        kill -0 "$AGWB_TEST_AMQP_PID" &&
        test "$("$AGWB_TEST_BROKER_CTL" pid)" = "$AGWB_TEST_AMQP_PID" &&
        test -d "$AGWB_TEST_DIR"'
}
test_status_is_the_commands() {
    local status=0
    "$sandbox" --no-broker sh -c 'exit 7' || status=$?
    [[ $status -eq 7 ]]
}
test_unknown_command() {
    local status=0
    "$sandbox" --no-broker /nonexistent/program || status=$?
    [[ $status -eq 127 ]]
}
test_command_killed() {
    local status=0
    "$sandbox" --no-broker sh -c 'kill -KILL $$' || status=$?
    [[ $status -eq 137 ]]
}
test_usage() {
    local status=0
    "$sandbox" --wrong true || status=$?
    [[ $status -eq 64 ]]
}
test_standard_input() {
    [[ $(echo hello | "$sandbox" --no-broker cat) == hello ]]
}
test_nested() {
    "$sandbox" sh -c 'outer=$AGWB_TEST_AMQP; test "$("$0" sh -c "echo \$AGWB_TEST_AMQP")" = "$outer"' "$sandbox"
}
test_users_environment_is_ignored() {
    PGPORT=1 PGHOST=/nonexistent PGOPTIONS=--nonsense RABBITMQ_NODENAME=rabbit@nowhere RABBITMQ_NODE_PORT=1 ERL_EPMD_PORT=1 \
        RABBITMQ_MNESIA_DIR=/nonexistent "$sandbox" true
}
test_two_at_once() {
    local pids=() n
    for n in 1 2; do
        "$sandbox" sh -c '"$AGWB_TEST_RABBITMQCTL" -q status >/dev/null && echo "$AGWB_TEST_AMQP $AGWB_TEST_DATABASE_URL" >"$1"
                          until test -s "$2"; do sleep 0.05; done' sh "$work/mark.$n" "$work/mark.$((3 - n))" &
        pids+=($!)
    done
    wait "${pids[0]}" && wait "${pids[1]}" && ! cmp "$work/mark.1" "$work/mark.2"
}
test_left_over_process() {
    "$sandbox" --no-broker sh -c 'setsid sleep 300 & echo $! >"$1"' sh "$work/mark.pid"
    is_gone "$(cat "$work/mark.pid")"
}
test_ordinary_user() {
    [[ $EUID -eq 0 ]] || return 0
    env -u HOME setpriv --reuid=nobody --regid=nogroup --clear-groups "$sandbox" sh -c '
        psql -AtXc "select 1" "$AGWB_TEST_DATABASE_URL" && "$AGWB_TEST_RABBITMQCTL" -q list_users | grep guest'
}

# --- signals ---

# Starts a sandbox as a terminal would: a process group of its own, SIGINT and SIGQUIT at their defaults.
start_group() { # arguments...
    env --default-signal=INT,QUIT setsid "$sandbox" "$@" &
    group=$!
}
broker_is_starting() {
    compgen -G "$work/agwb-sandbox.*/broker/broker.pid" >/dev/null
}
database_is_starting() {
    compgen -G "$work/agwb-sandbox.*/database/data" >/dev/null
}
folder_exists() {
    compgen -G "$work/agwb-sandbox.*" >/dev/null
}

signal_when() { # moment signal wanted-status target
    local status=0
    start_group sh -c 'echo >"$1"; sleep 300' sh "$work/mark.running"
    wait_for 60 "$1" || return
    [[ $4 == group ]] && group=-$group
    kill "-$2" -- "$group"
    wait "${group#-}" || status=$?
    echo "status $status"
    [[ $status -eq $3 ]]
}
is_running_command() {
    [[ -s $work/mark.running ]]
}

# --- lost ports, failures ---

listen_on() { # port: a foreign server that answers nothing
    /usr/bin/python3 -c '
import socket, sys, time
s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=50)
open(sys.argv[2], "w").write("x"); time.sleep(300)' "$1" "$work/mark.listening" &
    listener=$!
    wait_for 10 test -s "$work/mark.listening"
}
lost_port() { # position among AMQP, distribution, epmd; option
    local free wanted
    # shellcheck source-path=SCRIPTDIR source=common.sh
    . "$here/common.sh"
    mapfile -t free < <(pick_ports 3)
    listen_on "${free[$1]}"
    wanted="${free[$1]}"
    AGWB_SANDBOX_PORTS="${free[*]}" "$sandbox" "$2" sh -c 'echo "${AGWB_TEST_AMQP#*:} ${AGWB_TEST_DATABASE_URL:-}"' \
        >"$work/mark.port"
    local status=$?
    kill "$listener"
    cat "$work/mark.port"
    [[ $status -eq 0 ]] && ! grep -q "$wanted" "$work/mark.port"
}
test_failed_start_shows_the_log() {
    local status=0
    (
        ulimit -v 600000
        "$sandbox" --no-database true
    ) >"$work/mark.failure" 2>&1 || status=$?
    cat "$work/mark.failure"
    [[ $status -eq 69 ]] && grep -q 'the end of .*broker' "$work/mark.failure"
}
test_folder_that_postgres_cannot_enter() {
    [[ $EUID -eq 0 ]] || return 0
    local status=0
    mkdir -m 700 "$work/closed"
    TMPDIR=$work/closed "$sandbox" --no-broker true >"$work/mark.failure" 2>&1 || status=$?
    rmdir "$work/closed"
    [[ $status -eq 69 ]] && grep -q 'set TMPDIR' "$work/mark.failure"
}

# --- crashing and restarting ---

test_database_crash_and_restart() {
    "$sandbox" --no-broker sh -ec '
        psql -qXc "create table t (n int); insert into t values (42)" "$AGWB_TEST_DATABASE_URL"
        "$AGWB_TEST_PG_CTL" stop-immediate
        ! psql -qXc "select 1" "$AGWB_TEST_DATABASE_URL"
        "$AGWB_TEST_PG_CTL" start
        test "$(psql -AtXc "select n from t" "$AGWB_TEST_DATABASE_URL")" = 42
        "$AGWB_TEST_PG_CTL" restart
        "$AGWB_TEST_PG_CTL" start
        "$AGWB_TEST_PG_CTL" stop-fast
        "$AGWB_TEST_PG_CTL" stop-fast
        env -i "$AGWB_TEST_PG_CTL" start
        test "$(psql -AtXc "select n from t" "$AGWB_TEST_DATABASE_URL")" = 42'
}
test_broker_crash_and_restart() {
    "$sandbox" --no-database sh -ec '
        "$AGWB_TEST_RABBITMQCTL" -q add_vhost kept
        "$AGWB_TEST_BROKER_CTL" kill
        ! test -d "/proc/$AGWB_TEST_AMQP_PID" || grep "^State:.*Z" "/proc/$AGWB_TEST_AMQP_PID/status"
        env -i "$AGWB_TEST_BROKER_CTL" start
        "$AGWB_TEST_RABBITMQCTL" -q list_vhosts | grep kept
        before=$("$AGWB_TEST_BROKER_CTL" pid)
        "$AGWB_TEST_BROKER_CTL" restart
        test "$("$AGWB_TEST_BROKER_CTL" pid)" != "$before"
        env -i "$AGWB_TEST_RABBITMQCTL" -q list_vhosts | grep kept'
}
test_pooler_crash_and_restart() {
    "$sandbox" --no-broker --pooler sh -ec '
        url=postgresql://postgres@$AGWB_TEST_POOLER/postgres
        before=$("$AGWB_TEST_POOLER_CTL" pid)
        test "$(psql -AtXc "select 42" "$url")" = 42
        "$AGWB_TEST_POOLER_CTL" kill
        "$AGWB_TEST_POOLER_CTL" kill
        ! psql -qXc "select 1" "$url"
        env -i "$AGWB_TEST_POOLER_CTL" start
        "$AGWB_TEST_POOLER_CTL" start
        test "$("$AGWB_TEST_POOLER_CTL" pid)" != "$before"
        exec 5>&1; timeout 20 sh -c "\"\$AGWB_TEST_POOLER_CTL\" restart 5>&1 | cat"
        test "$(psql -AtXc "select 42" "$url")" = 42'
}
test_pooler_port_lost() {
    "$sandbox" --no-broker bash -c '
        here=$0 work=$1
        '"$(declare -f wait_for listen_on)"'
        . "$here/common.sh"
        free=$(pick_ports 1)
        listen_on "$free"
        AGWB_SANDBOX_PORTS=$free "$here/sandbox" --no-broker --pooler sh -c "echo \$AGWB_TEST_POOLER; psql -AtXc \"select 42\" postgresql://postgres@\$AGWB_TEST_POOLER/postgres" >"$work/mark.port"
        status=$?
        kill "$listener"
        cat "$work/mark.port"
        [[ $status -eq 0 ]] && ! grep -q "$free" "$work/mark.port"' "$here" "$work"
}
test_tools_close_their_output() { # a server that was started by a tool must not keep its caller's pipe open
    "$sandbox" --no-broker sh -ec '"$AGWB_TEST_PG_CTL" restart; exec 5>&1; timeout 20 sh -c "\"\$AGWB_TEST_PG_CTL\" restart 5>&1 | cat"'
}
test_ended_after_a_crash() {
    "$sandbox" --no-broker sh -c 'kill -KILL "$("$AGWB_TEST_PG_CTL" pid)"'
}
test_ended_while_stopped() {
    "$sandbox" sh -c 'kill -STOP "$AGWB_TEST_AMQP_PID" "$("$AGWB_TEST_PG_CTL" pid)"'
}

# PostgreSQL's shared memory; other people's servers add to it, too, so a change is only reported.
orphaned_memory() {
    { ipcs -m | awk '$6 == 0 && $3 == "postgres" { print "System V " $2 }'; ls /dev/shm/PostgreSQL.* 2>/dev/null; } | sort
}
before=$(orphaned_memory)

check 'both servers answer, as configured' test_servers_answer
check "the status is the command's" test_status_is_the_commands
check 'a command that does not exist' test_unknown_command
check 'a command that is killed' test_command_killed
check 'usage' test_usage
check 'standard input is passed on' test_standard_input
check 'nested' test_nested
check "the user's environment is ignored" test_users_environment_is_ignored
check 'two at once' test_two_at_once
check 'a process left over by the command' test_left_over_process
check 'as an ordinary user without HOME' test_ordinary_user
check 'Ctrl-C as the folder is made' signal_when folder_exists INT 130 group
check 'Ctrl-C while the broker starts' signal_when broker_is_starting INT 130 group
check 'Ctrl-C while the cluster is made' signal_when database_is_starting INT 130 group
check 'SIGTERM while the broker starts' signal_when broker_is_starting TERM 143 process
check 'SIGHUP while the broker starts' signal_when broker_is_starting HUP 129 process
check 'SIGKILL while the broker starts' signal_when broker_is_starting KILL 137 process
check 'SIGKILL of the group while the broker starts' signal_when broker_is_starting KILL 137 group
check 'Ctrl-C while running' signal_when is_running_command INT 130 group
check 'SIGINT to the sandbox alone' signal_when is_running_command INT 130 process
check 'SIGTERM while running' signal_when is_running_command TERM 143 process
check 'SIGHUP while running' signal_when is_running_command HUP 129 process
check 'SIGKILL while running' signal_when is_running_command KILL 137 process
check 'AMQP port lost' lost_port 0 --no-database
check 'distribution port lost' lost_port 1 --no-database
check 'epmd port lost' lost_port 2 --no-database
check 'database port lost' lost_port 0 --no-broker
check 'a failed start shows the log' test_failed_start_shows_the_log
check 'a folder that PostgreSQL cannot enter' test_folder_that_postgres_cannot_enter
check 'database: crash, start, restart' test_database_crash_and_restart
check 'broker: kill, start, restart' test_broker_crash_and_restart
check 'pooler: kill, start, restart' test_pooler_crash_and_restart
check 'pooler port lost' test_pooler_port_lost
check 'tools close their output' test_tools_close_their_output
check 'a database that was killed' test_ended_after_a_crash
check 'servers that are stopped by SIGSTOP' test_ended_while_stopped

left=$(comm -13 <(echo "$before") <(orphaned_memory))
[[ -z $left ]] || printf 'note: new shared memory, from here or from another server:\n%s\n' "$left"
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
