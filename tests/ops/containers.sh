#!/bin/bash
# etc/docker: the images are built and the whole of compose.yaml runs, on a Docker daemon of the test's own (Debian's docker.io), its data in
# $BUILD/ops. No registry is asked: the base is a local Debian, RabbitMQ and PostgreSQL are stand-ins made of Debian's packages.
# shellcheck disable=SC2317 # functions that check calls
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"

why=$(why_no_root)
if [[ -z $why ]]; then
    if [[ ! -x /usr/sbin/dockerd || ! -x /usr/bin/docker-compose ]]; then
        why="Debian's docker.io and docker-compose are not installed"
    elif pgrep -x dockerd >/dev/null; then
        why="a Docker daemon runs here already, whose networks would be in the way"
    fi
fi
if [[ -n $why ]]; then
    skip "images and compose.yaml" "$why"
    finish
    exit
fi

dir=$(mktemp -d /tmp/agwb-docker.XXXXXX) # a short name: sockets lie in it
export DOCKER_HOST=unix://$dir/docker.sock COMPOSE_PROJECT_NAME=agwb-test
unset DOCKER_CONFIG DOCKER_CONTEXT
had_bridge=$(ip link show docker0 2>/dev/null || true)
forwarding=$(</proc/sys/net/ipv4/ip_forward)

docker() {
    /usr/bin/docker "$@"
}
compose() {
    (cd "$dir/project/etc/docker" && /usr/bin/docker-compose -f compose.yaml -f "$OLDPWD/tests/ops/containers/compose.test.yaml" "$@")
}

# The machine's packet filter and bridges as they were.
finish_docker() {
    [[ ! -d $dir/project ]] || compose down -v --remove-orphans >/dev/null 2>&1
    end_started
    iptables-restore <"$dir/iptables" 2>/dev/null || true
    [[ -n $had_bridge ]] || ip link delete docker0 2>/dev/null || true
    echo "$forwarding" >/proc/sys/net/ipv4/ip_forward
    rm -rf "$dir"
}
trap finish_docker EXIT

start_docker() {
    iptables -t filter -L -n >/dev/null && iptables -t nat -L -n >/dev/null # a table that is not there is not saved
    { iptables-save -t filter && iptables-save -t nat; } >"$dir/iptables" || return
    cat >"$dir/daemon.json" <<CONFIG
{"data-root": "$build/ops/docker", "exec-root": "$dir/exec", "pidfile": "$dir/docker.pid", "hosts": ["$DOCKER_HOST"],
 "bip": "172.31.250.1/24", "default-address-pools": [{"base": "172.31.251.0/24", "size": 26}], "storage-driver": "overlay2"}
CONFIG
    start "$dir/dockerd" /usr/sbin/dockerd --config-file "$dir/daemon.json"
    wait_until 60 docker info >/dev/null 2>&1
}
if ! start_docker; then
    skip "images and compose.yaml" "dockerd does not start on this machine: $(grep -h -o 'failed to start daemon.*' "$dir/dockerd.log" | tail -n 1)"
    finish
    exit
fi

# --- images ------------------------------------------------------------------------------------------------------------------------

make_base() {
    docker image inspect agwb-test-base >/dev/null 2>&1 && return
    make_root "$dir/base" && tar -C "$dir/base" -c . | docker import --change 'CMD ["bash"]' - agwb-test-base
    rm -rf "$dir/base"
}
stand_in() { # name
    docker build -q --build-arg BASE=agwb-test-base -f "tests/ops/containers/$1.Dockerfile" -t "agwb-test-$1" tests/ops/containers
}
# A copy, so that .env and secrets are the test's own.
make_project() {
    mkdir "$dir/project" && cp -R Makefile README.md .dockerignore common publisher consumer schemas etc "$dir/project/" &&
        rm -rf "$dir/project/etc/docker/secrets" && echo test-token >"$dir/token" && "$dir/project/etc/docker/make-secrets" "$dir/token" &&
        sed -e 's/^BASE_IMAGE=.*/BASE_IMAGE=agwb-test-base/; s/^RABBITMQ_IMAGE=.*/RABBITMQ_IMAGE=agwb-test-rabbitmq/' \
            -e 's/^POSTGRES_IMAGE=.*/POSTGRES_IMAGE=agwb-test-postgres/' etc/docker/.env.example >"$dir/project/etc/docker/.env"
    TEST_RABBITMQ_PASSWORD=$(cat "$dir/project/etc/docker/secrets/rabbitmq_password") || return
    export TEST_RABBITMQ_PASSWORD TEST_BUILD=$build
}

check "a base image from debootstrap" make_base
check "a stand-in for rabbitmq" stand_in rabbitmq
check "a stand-in for postgres" stand_in postgres
if make_project >"$dir/project.log" 2>&1; then # not by check, in whose subshell the variables would stay
    pass "its secrets are made"
else
    fail "its secrets are made" "$(cat "$dir/project.log")"
fi
check "compose.yaml is valid, with the profile monitoring, too" compose --profile monitoring config -q
check "the images are built" compose build -q publisher consumer
is_not_root() {
    [[ $(docker image inspect -f '{{.Config.User}} {{.Config.StopSignal}}' "$1") == '10001:10001 SIGTERM' ]] &&
        docker image inspect -f '{{.Config.Healthcheck.Test}}' "$1" | grep -q "${1%:*} healthcheck"
}
for image in agwb-publisher:0.1.0 agwb-consumer:0.1.0; do
    check "$image: not root, SIGTERM, a health check of its own" is_not_root $image
done
has_no_secret() {
    ! docker history --no-trunc agwb-consumer:0.1.0 | grep -F -f "$dir/project/etc/docker/secrets/rabbitmq_password"
}
check "no secret is in an image" has_no_secret

# --- the run -----------------------------------------------------------------------------------------------------------------------

container() { # service
    docker ps -aqf "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" -f "label=com.docker.compose.service=$1"
}
is_healthy() { # service
    [[ $(docker inspect -f '{{.State.Health.Status}}' "$(container "$1")") == healthy ]]
}
in_database() { # statement
    docker exec -e PGPASSWORD="$(cat "$dir/project/etc/docker/secrets/postgres_password")" "$(container postgres)" \
        psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -U agwb -d agwb -c "$1"
}
sql() { # for add_jobs and sent
    in_database "$1"
}

check "everything is started" compose up -d
check_soon "the publisher is healthy" 120 is_healthy publisher
check_soon "the consumer is healthy" 60 is_healthy consumer
migrated() {
    [[ $(docker inspect -f '{{.State.ExitCode}} {{.State.Running}}' "$(container migrate)") == '0 false' ]]
}
check "migrate has run once and ended" migrated
is_confined() { # service
    local status
    status=$(docker exec "$(container "$1")" cat /proc/1/status) && grep -qE '^CapBnd:\s0+$' <<<"$status" &&
        grep -qE '^NoNewPrivs:\s1$' <<<"$status" && grep -qE '^Uid:\s10001\s' <<<"$status" &&
        ! docker exec "$(container "$1")" touch /tmp/x 2>/dev/null
}
for service in publisher consumer; do check "the $service: no capabilities, no root, nothing writable" is_confined $service; done
check "an inbound message" add_jobs 1 1
check_soon "its reply is sent" 60 sent 1
ends_in_order() { # service
    docker stop -t 30 "$(container "$1")" && [[ $(docker inspect -f '{{.State.ExitCode}}' "$(container "$1")") == 0 ]]
}
for service in publisher consumer; do check "the $service drains on docker stop, status 0" ends_in_order $service; done
[[ $failed -eq 0 ]] || compose logs --tail 5 2>&1 | cut -c 1-300 | sed 's/^/            /'
skip "the official images of RabbitMQ, PostgreSQL and Prometheus" "no registry is asked here; the stand-ins have Debian's versions"
finish
