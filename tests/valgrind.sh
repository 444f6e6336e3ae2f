#!/bin/sh
# Runs the unit tests in $BUILD under valgrind's memcheck: invalid reads and writes, uses of what was never set, definite leaks.
# valgrind.sh [NAME...]; without names all but those whose children or clocks make them slow there and which the sanitizers cover.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
slow='test_daemon_cli test_fuzz_corpus test_http test_log test_loop test_loop_timers test_status_server'

check_one() { # program
    out=$(mktemp)
    status=0
    valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        --num-callers=25 --suppressions=tests/valgrind.supp "$1" >"$out" 2>&1 || status=$?
    if [ "$status" -eq 0 ]; then
        printf '  ok      %s\n' "$(basename "$1")"
    else
        printf '  FAILED  %s, exit status %s\n' "$(basename "$1")" "$status"
        grep -E '^==|FAILED' "$out" | sed 's/^/    | /' || true
    fi
    rm -f "$out"
    [ "$status" -eq 0 ]
}

if [ "${1:-}" = --one ]; then
    check_one "$2"
    exit
fi

names=$*
if [ -z "$names" ]; then
    for source in tests/unit/test_*.c; do
        name=$(basename "$source" .c)
        case " $slow " in
        *" $name "*) ;;
        *) names="$names $name" ;;
        esac
    done
fi
echo "unit tests under valgrind"
for name in $names; do echo "$BUILD/tests/unit/$name"; done | xargs -n 1 -P 2 sh tests/valgrind.sh --one
