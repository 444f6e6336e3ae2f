#!/bin/sh
# Runs libFuzzer on each target for a fixed time: run.sh PROGRAM SECONDS [TARGET...]. What it learns stays in a folder beside the
# program and is where the next run starts; what it finds is named at the end, to be copied to tests/corpus/FOLDER and fixed.
set -eu
program=$1
seconds=$2
shift 2
work=$(dirname "$program")

# One target, its output in a file of its own; the last words on standard output.
if [ "${1:-}" = --one ]; then
    target=$2
    log=$work/$target.log
    folders=$("$program" | sed -n "s/^$target //p")
    learned=$work/learned/$target
    mkdir -p "$learned" "$work/finds"
    set -- "$learned"
    for folder in $folders; do set -- "$@" "tests/corpus/$folder"; done
    status=0
    AGWB_FUZZ_TARGET=$target "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -use_value_profile=1 \
        -artifact_prefix="$work/finds/$target-" -print_final_stats=1 "$@" >"$log" 2>&1 || status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\).*/\1 edges, \2 features/p' "$log" | tail -n 1)
    if [ "$status" -eq 0 ]; then
        printf '  ok      %-14s %s runs, %s\n' "$target" "$executions" "$coverage"
    else
        printf '  FAILED  %-14s exit status %s\n' "$target" "$status"
        grep -E '^broken promise|ERROR:|runtime error|Test unit written' "$log" | sed 's/^/    | /' || tail -n 20 "$log" | sed 's/^/    | /'
    fi
    exit "$status"
fi

targets=${*:-$("$program" | cut -d ' ' -f 1)}
echo "fuzzing, $seconds s a target"
# shellcheck disable=SC2086
printf '%s\n' $targets | xargs -n 1 -P "$(nproc)" sh "$0" "$program" "$seconds" --one
