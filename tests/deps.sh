#!/bin/sh
# Installs the Debian packages that agwb is built and tested with; `deps.sh ops` also those of `make check-ops`. Does nothing when all
# are there; starts no service.
set -eu

build='build-essential pkg-config librabbitmq-dev libcurl4-openssl-dev libcjson-dev libpq-dev libconfig-dev libuv1-dev
       libmicrohttpd-dev libsystemd-dev libssl-dev'
check='rabbitmq-server postgresql postgresql-client pgbouncer libcmocka-dev python3-minimal python3-pika nodejs npm procps util-linux openssl
       mandoc prometheus systemd'
lint='clang libclang-rt-dev clang-tidy clang-format universal-ctags shellcheck git valgrind'
ops='debhelper lintian debootstrap systemd-container docker.io docker-compose curl'
[ "${1:-}" = ops ] || ops=

missing=
for p in $build $check $lint $ops; do
    case $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null || true) in
    *' installed') ;;
    *)  # a machine may bring its own toolchain in place of Debian's
        case $p in
        nodejs) command -v node >/dev/null || missing="$missing $p" ;;
        npm) command -v npm >/dev/null || missing="$missing $p" ;;
        *) missing="$missing $p" ;;
        esac ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "make deps: these packages are missing, install them as root:$missing" >&2
    exit 1
fi
echo "make deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive

# Servers come with their packages; ours are started by tests/sandbox only, so nothing may be started or given a cluster here.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=1
fi
trap '[ -z "$made_policy" ] || rm -f "$policy"' EXIT
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
