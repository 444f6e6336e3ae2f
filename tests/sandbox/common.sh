# shellcheck shell=bash
# What the sandbox's scripts share; sourced by them.

ends_with_error() { # text...; the exit status is EX_UNAVAILABLE
    printf 'sandbox: %s\n' "$*" >&2
    exit 69
}

show_tail() { # file...: the end of each log, for the person who must find out why a server did not start
    local file
    for file; do
        [[ -s $file ]] || continue
        printf -- '--- the end of %s:\n' "$file" >&2
        tail -n 25 -- "$file" >&2
    done
}

# A zombie is gone, too: its parent may never collect it.
is_running() { # pid
    [[ -n ${1:-} && -d /proc/$1 ]] && ! grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"
}

# Asks again until the command says yes; fails when the deadline is over.
wait_until() { # seconds command...
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

is_gone() { # pid
    ! is_running "$1"
}

# Ports that nobody listens on now, below the kernel's usual ephemeral range and away from the servers' own defaults.
# Another program may still take one before we do, so whoever binds them must be ready to pick again.
# AGWB_SANDBOX_PORTS names ports to hand out first and unchecked: the self-test loses the race with it.
pick_ports() { # count
    {
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
        tr ' ' '\n' <<<"${AGWB_SANDBOX_PORTS:-}" | sed 's/^[0-9][0-9]*$/& wanted/'
        shuf -i 26000-31999 -n 200
    } | awk -v count="$1" '
        $2 == "wanted" || NF == 1 && !(sprintf("%04X", $1) in used) { print $1; if (++n == count) exit; next }
        NF > 3 { parts = split($2, part, ":"); used[part[parts]] = 1 }'
}

# Runs a command in $home as the user postgres, if we are root: neither PostgreSQL nor pgbouncer runs as root. $programs is first in
# its PATH. In a session of its own: a signal to the caller's process group must not reach initdb's backends, which leave shared
# memory behind when they are killed.
as_owner() { # command...
    local become=()
    [[ $EUID -ne 0 ]] || become=(setpriv --reuid=postgres --regid=postgres --init-groups)
    (
        cd "${home:?}" || exit
        exec setsid --wait "${become[@]}" env -i PATH="${programs:?}:/usr/bin:/bin" LANG=C.UTF-8 AGWB_TEST_DIR="${dir:?}" "$@"
    )
}

# Server processes live on after their starter, so they must not hold its pipes open.
close_inherited_files() {
    local fd
    for fd in "/proc/$BASHPID/fd"/*; do
        fd=${fd##*/}
        ((fd <= 2 || fd == 255)) || exec {fd}>&-
    done
}
