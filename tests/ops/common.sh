# shellcheck shell=bash
# What the scripts of tests/ops share; sourced by them. Each prints a line a check and ends with finish.

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 69
# shellcheck source-path=SCRIPTDIR source=../sandbox/common.sh
. tests/sandbox/common.sh
export build
build=$(readlink -f "${BUILD:-build}")

passed=0
failed=0
skipped=0

pass() { # name
    echo "  ok      $1"
    passed=$((passed + 1))
}

fail() { # name [text...]: the text is shown below it
    echo "  FAILED  $1"
    shift
    [[ $# -eq 0 ]] || printf '%s\n' "$@" | sed 's/^/            /'
    failed=$((failed + 1))
}

skip() { # name why
    echo "  skipped $1: $2"
    skipped=$((skipped + 1))
}

# Runs a command; its output is of interest only when it fails.
check() { # name command...
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then pass "$name"; else fail "$name" "$output"; fi
}

# Waits at most so long for a command to say yes.
check_soon() { # name seconds command...
    local name=$1 seconds=$2
    shift 2
    if wait_until "$seconds" "$@" >/dev/null 2>&1; then pass "$name"; else fail "$name" "not after $seconds s:" "$("$@" 2>&1)"; fi
}

# The last lines, as tests/run.sh reads them; the exit status.
finish() {
    [[ $skipped -eq 0 ]] || echo "[  SKIPPED ] $skipped test(s)."
    echo "$passed passed, $failed failed"
    [[ $failed -eq 0 ]]
}

# --- Debian roots ------------------------------------------------------------------------------------------------------------

# Why this machine cannot make one; nothing when it can.
why_no_root() {
    if [[ $EUID -ne 0 ]]; then
        echo "needs root"
    elif ! command -v debootstrap >/dev/null; then
        echo "debootstrap is not installed"
    fi
}

# A minimal Debian 12, made once for a build folder and then copied.
make_root() { # target
    local base=$build/ops/base mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
    if [[ ! -d $base ]]; then
        rm -rf "$base.new"
        mkdir -p "$build/ops"
        debootstrap --variant=minbase bookworm "$base.new" "$mirror" >"$build/ops/debootstrap.log" 2>&1 || {
            tail -n 5 "$build/ops/debootstrap.log"
            return 1
        }
        rm -f "$base.new/var/cache/apt/archives"/*.deb
        mv "$base.new" "$base"
    fi
    cp -a --reflink=auto "$base" "$1"
}

# A command inside a root, with nothing of our environment.
in_root() { # root command...
    local root=$1
    shift
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}

# --- traffic (inside the sandbox) ---------------------------------------------------------------------------------------------

sql() { # statement
    psql -XAtq -v ON_ERROR_STOP=1 "$AGWB_TEST_DATABASE_URL" -c "$1"
}

# Inbound messages, each from a contact of its own, as a backend writes them.
add_jobs() { # first last
    sql "begin;
         insert into workspaces (id, name) values ('00000000-0000-4000-8000-000000000001', 'Workspace') on conflict do nothing;
         with contact as (
             insert into customer_profiles (workspace_id, name, phone_number, remote_jid)
             select '00000000-0000-4000-8000-000000000001', 'Contact ' || n, '+1202555' || lpad((100 + n % 100)::text, 4, '0'),
                    '1202555' || lpad((100 + n % 100)::text, 4, '0') || '@s.whatsapp.net'
             from generate_series($1, $2) n returning id, workspace_id, name),
         conversation as (
             insert into conversations (workspace_id, customer_id, channel_type)
             select workspace_id, id, 'whatsapp' from contact returning id, workspace_id, customer_id),
         message as (
             insert into messages (conversation_id, sender_type, content)
             select c.id, 'user', 'hello from ' || k.name from conversation c join contact k on k.id = c.customer_id
             returning id, conversation_id)
         insert into ai_response_queue (workspace_id, contact_id, conversation_id, message_id)
         select c.workspace_id, c.customer_id, c.id, m.id from message m join conversation c on c.id = m.conversation_id;
         commit"
}

sent() { # count: so many replies, or more, have been sent
    [[ $(sql "select count(*) from agwb.deliveries where state = 'sent'") -ge $1 ]]
}

# What a program prints when it can be used.
says() { # file text
    grep -qs "^$2" "$1"
}

# Started here, ended by end_started: by their pids, and only these.
started=()
start() { # output command...
    local output=$1
    shift
    setsid "$@" </dev/null >"$output" 2>"$output.log" &
    started+=($!)
}

end_started() {
    local pid
    for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do
        wait_until 10 is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    started=()
}
