#!/bin/sh
# Runs the tests that are built in $BUILD: run.sh [unit|schemas|sandbox|integration|faults|packaging|ops] [name]. Without arguments all of them.
# A line a program while it runs, with its output when it failed; then every program's closing lines; the last line is
# "N passed, N failed", counted in test cases; a skipped one is neither. Exits 1 when something failed.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
export BUILD
unit_timeout_s=120
integration_timeout_s=300

# --- one program: its output goes to $results/NAME.out, its counts to $results/NAME.counts ---------------------------------------

# "passed failed", from cmocka's closing lines or from a script's own last line; nothing when there is neither.
read_counts() { # output
    awk '/^\[  PASSED  \] [0-9]+ test\(s\)/ { passed += $4; counted = 1 }
         /^\[  FAILED  \] [0-9]+ test\(s\)/ { failed += $4; counted = 1 }
         /^[0-9]+ passed, [0-9]+ failed$/   { passed = $1; failed = $3; counted = 1 }
         END { if (counted) print passed + 0, failed + 0 }' "$1"
}

describe_end() { # status seconds timeout
    if [ "$1" -eq 124 ] || { [ "$1" -eq 137 ] && [ "$2" -ge "$3" ]; }; then
        echo "TIMED OUT after $3 s"
    elif [ "$1" -gt 128 ]; then
        echo "CRASHED, signal $(($1 - 128))"
    else
        echo "FAILED, exit status $1"
    fi
}

# A program that crashes, is cut off, counts nothing or exits non-zero without a failed case is one failure more.
judge() { # name seconds timeout status
    out=$results/$1.out
    read -r passed failed <<COUNTS || true
$(read_counts "$out")
COUNTS
    if [ "$4" -ne 0 ] && [ "${failed:-0}" -eq 0 ]; then
        verdict=$(describe_end "$4" "$2" "$3")
        failed=1
    elif [ -z "$passed" ] || [ $((passed + failed)) -eq 0 ] && ! grep -q '^\[  SKIPPED \]' "$out"; then
        verdict='FAILED, it counted no test'
        failed=1
    elif [ "$failed" -gt 0 ]; then
        verdict='FAILED'
    else
        verdict=
    fi
    echo "${passed:-0} $failed" >"$results/$1.counts"
    skipped=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test(s).*/, \1 skipped/p' "$out")
    counts="${passed:-0} passed, $failed failed$skipped, $2 s"
    if [ -z "$verdict" ]; then
        printf '  ok      %-28s %s\n' "$1" "$counts"
    else
        printf '  FAILED  %-28s %s\n' "$1" "$counts"
        sed 's/^/    | /' "$out"
        printf '    %s: %s\n' "$1" "$verdict"
    fi
}

run_one() { # name timeout command...
    name=$1
    limit_s=$2
    shift 2
    begun=$(date +%s)
    status=0
    timeout --foreground --kill-after=10 "$limit_s" "$@" >"$results/$name.out" 2>&1 </dev/null || status=$?
    judge "$name" $(($(date +%s) - begun)) "$limit_s" "$status" >"$results/$name.report"
    flock "$results" cat "$results/$name.report" # two at a time must not mix their lines
}

# --- groups ----------------------------------------------------------------------------------------------------------------------

# By source, so that a program that was not built is missed and one whose source is gone is not run.
list_programs() { # unit|integration name
    found=
    for source in tests/"$1"/test_*.c; do
        program=$(basename "$source" .c)
        if [ -e "$source" ] && { [ -z "$2" ] || [ "$2" = "$program" ] || [ "test_$2" = "$program" ]; }; then
            echo "$BUILD/tests/$1/$program"
            found=1
        fi
    done
    [ -n "$found" ] || echo "run.sh: there is no $1 test${2:+ named $2}" >&2
}

run_unit() { # name
    echo "unit tests"
    list_programs unit "$1" | xargs -r -n 1 -P 2 sh tests/run.sh --one "$unit_timeout_s"
}

# One pair of servers for all of them: tests keep apart by queue names and schemas, not by servers.
run_integration() { # name
    echo "integration tests"
    list_programs integration "$1" >"$results/integration.list"
    [ -s "$results/integration.list" ] || return 0
    if [ -z "${AGWB_TEST_AMQP:-}" ] || [ -z "${AGWB_TEST_DATABASE_URL:-}" ]; then
        pooler=
        if [ -x /usr/sbin/pgbouncer ]; then pooler=--pooler; else echo "  pgbouncer is not installed (make deps): test_pair_pooler skips its tests"; fi
        tests/sandbox/sandbox $pooler sh tests/run.sh --each "$integration_timeout_s" <"$results/integration.list" || fail_group servers $?
    else
        sh tests/run.sh --each "$integration_timeout_s" <"$results/integration.list"
    fi
}

fail_group() { # name status
    echo "  FAILED  $1: exit status $2"
    echo "0 1" >"$results/$1.counts"
}

run_group() { # group name
    case $1 in
    unit) run_unit "$2" ;;
    integration) run_integration "$2" ;;
    schemas)
        echo "schemas"
        run_one schemas 600 sh tests/schemas/run.sh
        ;;
    sandbox)
        echo "the sandbox itself"
        run_one sandbox 900 tests/sandbox/selftest.sh
        ;;
    faults) # the short form of `make check-faults`, on a build of its own
        echo "faults"
        run_one faults 600 env BUILD="$BUILD/faults" tests/sandbox/sandbox "$BUILD/faults/tests/faults" --short
        ;;
    packaging) # what is shipped in etc/, as far as it needs no container and no systemd
        echo "packaging"
        run_one files 120 tests/ops/files.sh
        run_one broker-users 300 tests/sandbox/sandbox tests/ops/broker.sh
        ;;
    ops) # that, and what needs them
        run_group packaging ''
        echo "operations"
        run_one prometheus 300 tests/sandbox/sandbox tests/ops/prometheus.sh
        run_one package 600 tests/ops/package.sh
        run_one systemd 900 tests/sandbox/sandbox tests/ops/systemd.sh
        run_one newcomer 900 tests/ops/newcomer.sh
        run_one containers 1800 tests/ops/containers.sh
        ;;
    *)
        echo "usage: run.sh [unit|schemas|sandbox|integration|faults|packaging|ops] [name]" >&2
        exit 64
        ;;
    esac
}

# cmocka's from "n test(s) run" on, with the names of what failed; the faults' table; a script's last line.
print_closing_lines() {
    for out in "$results"/*.out; do
        [ -e "$out" ] || continue
        printf '\n%s:\n' "$(basename "$out" .out)"
        awk '/^\[==========\] [0-9]+ test\(s\) run/ { closing = 1 }
             /^[0-9]+ messages, [0-9]+ kills/ { table = 1 }
             table && /^[0-9]+ messages|^  / { print; next }
             closing && /^\[|^ [0-9]+ [A-Z]+ TEST/ || /^[0-9]+ passed, [0-9]+ failed$|^  skipped /' "$out"
        grep -hE '^    [a-z_]+: (TIMED OUT|CRASHED|FAILED)' "${out%.out}.report" || true
    done
}

case ${1:-} in
--one) # called by this script: timeout program
    run_one "$(basename "$3")" "$2" "$3"
    exit
    ;;
--each) # the same for the programs on standard input, one after the other
    while read -r program; do run_one "$(basename "$program")" "$2" "$program"; done
    exit
    ;;
esac

results=$(mktemp -d "${TMPDIR:-/tmp}/agwb-tests.XXXXXX")
export results
trap 'rm -rf "$results"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for group in ${1:-unit schemas sandbox integration faults packaging}; do
    run_group "$group" "${2:-}"
done
print_closing_lines
echo
cat "$results"/*.counts 2>/dev/null | awk '
    { passed += $1; failed += $2 }
    END { print passed + 0 " passed, " failed + 0 " failed"; exit failed > 0 || passed == 0 }'
