#!/bin/sh
# Checks of the sources: run.sh [check]... A line a check, with what it found; the last line is "N passed, N failed"; exits 1 when a
# check failed. `make lint` calls it and sets LINT_CC and LINT_FLAGS, the compiler with its warnings, and LINT_TABLES, tables.c
# as a program.
# shellcheck disable=SC2016,SC2317 # commands for other shells; functions called by name
set -eu
cd "$(dirname "$0")/../.."
lint=tests/lint
export PYTHONDONTWRITEBYTECODE=1
all='top format headers warnings switches calls includes sizes options words metrics paths shell python unfinished tidy'

# --- which files -----------------------------------------------------------------------------------------------------------------

# What git tracks or would track. The clone may belong to another user than us.
list_files() { # pattern...
    git -c 'safe.directory=*' ls-files --cached --others --exclude-standard -- "$@" | sort -u |
        while read -r file; do [ ! -f "$file" ] || echo "$file"; done
}

list_scripts() {
    list_files | while read -r file; do
        read -r first <"$file" || [ -n "$first" ] || continue
        case $file:$first in
        *.sh:* | *:'#!/bin/sh'* | *:'#!/bin/bash'* | *:'#!/usr/bin/env bash'*) echo "$file" ;;
        esac
    done 2>/dev/null
}

# --- checks: what they print is a finding when they fail; lines that begin with "note:" are shown in any case -----------------------

check_top() {
    ! list_files | cut -d / -f 1 | sort -u | grep -v '^\.' |
        grep -vxE 'Makefile|publisher|consumer|common|schemas|tests|etc|README\.md'
}

check_format() {
    list_files '*.c' '*.h' | xargs clang-format --dry-run -Werror 2>&1 |
        awk -F: '/error:|warning:/ { n[$1]++ }
                 END { for (f in n) { print f ": " n[f] " places: make format" | "sort"; bad = 1 }; exit bad }'
}

# Each from a file of its own; what a header offers need not be used there.
check_headers() {
    list_files '*.h' | each_file '$LINT_CC "$@" -Werror -Wno-unused-function -Wno-unused-variable -x c -fsyntax-only - <<INCLUDE
#include "$file"
INCLUDE
'
}

check_warnings() {
    list_files '*.c' | each_file '$LINT_CC "$@" -Werror -fsyntax-only "$file"'
}

# A default that hides a forgotten enumerator is found by -Wswitch-enum, a needless one by clang.
check_switches() {
    list_files '*.c' | each_file 'clang "$@" -Werror -Wno-everything -Wswitch-enum -Wcovered-switch-default -fsyntax-only "$file"'
}

check_calls() { python3 $lint/calls.py; }
check_includes() { python3 $lint/includes.py; }
check_sizes() { python3 $lint/sizes.py; }
check_options() { python3 $lint/tables.py options "$LINT_TABLES"; }
check_words() { python3 $lint/tables.py words "$LINT_TABLES"; }
check_metrics() { python3 $lint/tables.py metrics "$LINT_TABLES"; }
check_paths() { python3 $lint/tables.py paths "$LINT_TABLES"; }

check_shell() {
    list_scripts | xargs shellcheck -x
}

check_python() {
    list_files '*.py' | xargs python3 -c '
import sys
for path in sys.argv[1:]:
    compile(open(path, encoding="utf-8").read(), path, "exec")'
}

check_unfinished() {
    ! list_files ':!tests/lint/run.sh' ':!*.json' | xargs grep -nIwE 'TODO|FIXME|XXX|HACK'
}

# The programs and the stand-ins; what unit tests do to their subject is their own affair.
check_tidy() {
    list_files 'common/*.c' 'publisher/*.c' 'consumer/*.c' 'tests/provider/*.c' 'tests/agent/*.c' 'tests/demo/*.c' |
        each_file 'clang-tidy --quiet "$file" -- "$@" 2>/dev/null'
}

# Runs a command for every $file on standard input, with the compiler's flags as $@, as many at a time as there are processors.
# What one prints stays together, and is of interest only when it failed.
each_file() { # command
    command=$1
    eval "set -- $LINT_FLAGS"
    xargs -P "$(nproc)" -I FILE sh -c "file=\$1; shift
        found=\$( ($command) 2>&1) || { echo \"\$found\"; exit 1; }" sh FILE "$@"
}

# ----------------------------------------------------------------------------------------------------------------------------------

output=$(mktemp "${TMPDIR:-/tmp}/agwb-lint.XXXXXX")
trap 'rm -f "$output"' EXIT
passed=0
failed=0
[ $# -gt 0 ] || eval "set -- $all"
for name; do
    if (set -e; "check_$name") >"$output" 2>&1; then
        grep '^note:' "$output" | sed "s/^note:/lint: $name:/" || true
        echo "lint: $name: ok"
        passed=$((passed + 1))
    else
        echo "lint: $name: FAILED"
        sed 's/^/    /' "$output"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
