#!/bin/bash
# What is shipped beside the programs is well-formed and says what the programs say: units, manuals, completion, rules.
# Needs neither servers nor systemd.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"
exposure_limit=20 # of systemd-analyze, in tenths
dir=$(mktemp -d "${TMPDIR:-/tmp}/agwb-files.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# --- units ---------------------------------------------------------------------------------------------------------------------

is_tight() { # unit limit
    systemd-analyze security --offline=true --threshold="$2" "$build/etc/$1"
}

is_filled_in() { # unit
    [[ -s $build/etc/$1 ]] && ! grep -n '@[A-Z]*@' "$build/etc/$1"
}

for unit in agwb-publisher agwb-publisher@ agwb-consumer agwb-consumer@; do
    check "$unit.service: every place is filled in" is_filled_in "$unit.service"
    check "$unit.service: exposure at most $((exposure_limit / 10)).$((exposure_limit % 10))" is_tight "$unit.service" "$exposure_limit"
done
is_loose_unit_refused() {
    sed '/^ProtectSystem\|^CapabilityBoundingSet\|^SystemCallFilter\|^PrivateDevices\|^NoNewPrivileges/d' "$build/etc/agwb-publisher.service" \
        >"$dir/loose.service"
    ! systemd-analyze security --offline=true --threshold="$exposure_limit" "$dir/loose.service"
}
check "a unit without its sandbox is refused" is_loose_unit_refused

# --- make install ------------------------------------------------------------------------------------------------------------------

# DESTDIR and PREFIX hold everything, and uninstall leaves nothing of it.
run_make() { # target prefix
    env -u MAKEFLAGS -u MAKELEVEL make -s BUILD="$build" DESTDIR="$dir/dest" PREFIX="$2" "$1"
}
is_installed() {
    local outside
    run_make install /opt/agwb || return
    outside=$(find "$dir/dest" -type f ! -path "$dir/dest/opt/agwb/*")
    [[ -z $outside && -x $dir/dest/opt/agwb/bin/agwb-publisher ]] && "$dir/dest/opt/agwb/bin/agwb-consumer" --version &&
        grep -q '^ExecStart=/opt/agwb/bin/agwb-publisher ' "$dir/dest/opt/agwb/lib/systemd/system/agwb-publisher.service"
}
is_uninstalled() {
    local left
    run_make uninstall /opt/agwb || return
    left=$(find "$dir/dest" ! -type d)
    [[ -z $left ]] || { echo "$left" && return 1; }
}
check "make install, below DESTDIR and PREFIX only" is_installed
check "make uninstall leaves no file" is_uninstalled

# --- manuals -------------------------------------------------------------------------------------------------------------------

# Whether a manual that is referred to is installed on this machine is not a fault of the page.
is_clean_page() { # file
    local found
    found=$(mandoc -Tlint "$1" 2>&1 | grep -v 'referenced manual not found\|outdated mandoc.db')
    [[ -z $found ]] || { echo "$found" && return 1; }
}

# The commands of --help: the words of its first list.
list_commands() { # program
    env -i "$build/$1" --help | awk '/^commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }' | sort
}

# The entries of the section COMMANDS, up to its first subsection.
list_documented() { # program
    awk '/^\.Sh COMMANDS/ { on = 1; next } /^\.S[hs]/ { on = 0 } on && /^\.It Cm/ { print $3 }' "etc/man/$1.8" | sort
}

documents_commands() { # program
    diff <(list_commands "$1") <(list_documented "$1")
}

# The options that a command's own help names.
list_command_options() { # program command
    env -i "$build/$1" "$2" --help | grep -o -- '--[a-z][a-z-]*' | sort -u
}

documents_command_options() { # program command
    local option found
    found=$(list_command_options "$@")
    [[ -n $found ]] || return
    for option in $found; do
        grep -q "Fl Fl ${option#--}\b" "etc/man/$1.8" || { echo "$1.8 lacks $option of $2" && return 1; }
    done
}

documents_options() {
    local option
    for option in $(bash -c '. etc/completion/agwb; _agwb_options "$1" -c etc/agwb.cfg' bash "$build/agwb-publisher"); do
        grep -qx "\.It Va ${option%=}" "$build/etc/agwb.cfg.5" || { echo "agwb.cfg.5 lacks $option" && return 1; }
    done
    grep -q '^\.It Va rabbitmq.hosts' "$build/etc/agwb.cfg.5"
}

for page in etc/man/agwb-publisher.8 etc/man/agwb-consumer.8 "$build/etc/agwb.cfg.5"; do
    check "$(basename "$page"): mandoc finds nothing" is_clean_page "$page"
done
for program in agwb-publisher agwb-consumer; do
    check "$program.8 has the commands of --help" documents_commands $program
done
check "agwb.cfg.5 has every option" documents_options

# --- completion ------------------------------------------------------------------------------------------------------------------

# What the completion offers for a command line whose last word is to be completed; bash takes "=" apart as a word.
complete_line() { # word...
    PATH=$build:$PATH bash -c '
        compopt() { :; }
        . etc/completion/agwb
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _agwb "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}

offers() { # the one thing expected, or nothing; word...
    local expected=$1
    shift
    diff <(printf '%s\n' "$expected") <(complete_line "$@")
}

offers_commands() { # program
    diff <(list_commands "$1") <(complete_line "$1" '' | grep -v '^-' | sort)
}

for program in agwb-publisher agwb-consumer; do
    check "completion: the commands of $program --help" offers_commands $program
done
check "completion: a command from its first letters" offers migrate agwb-publisher mig
check "completion: behind options" offers check agwb-consumer -c etc/agwb.cfg --set log.level = debug ch
check "completion: option names" offers "retry.job.tries=" agwb-publisher -c etc/agwb.cfg --set retry.job.t
check "completion: no guess at an option's value" offers "" agwb-publisher --set log.level =
check "completion: verbs and queues of dlq" offers "ag_parked" agwb-consumer dlq show ag

completes_command_options() { # program command
    local words=("$1" "$2")
    [[ $2 != dlq ]] || words+=(replay wb_parked)
    diff <(list_command_options "$1" "$2" | grep -vx -- --help) <(complete_line "${words[@]}" -- | sort)
}
while read -r program command; do
    check "$program.8 has the options of $command --help" documents_command_options "$program" "$command"
    check "completion: the options of $program $command --help" completes_command_options "$program" "$command"
done <<'COMMANDS'
agwb-publisher trace
agwb-publisher stats
agwb-publisher doctor
agwb-consumer dlq
agwb-consumer stats
agwb-consumer doctor
COMMANDS

# --- rules of alerts ---------------------------------------------------------------------------------------------------------------

names_every_alert() { # in the runbook, and no other
    diff <(sed -n 's/^ *- alert: //p' etc/prometheus/agwb.rules.yml | sort) <(sed -n 's/^| .\(Agwb[A-Za-z]*\).*/\1/p' README.md | sort)
}
tests_every_alert() {
    diff <(sed -n 's/^ *- alert: //p' etc/prometheus/agwb.rules.yml | sort) <(sed -n 's/^ *alertname: //p' tests/ops/rules.test.yml | sort -u)
}
check "the runbook of README.md has every alert" names_every_alert
check "every alert has a test" tests_every_alert
if command -v promtool >/dev/null; then
    check "promtool: configuration and rules" promtool check config etc/prometheus/prometheus.yml
    cp etc/docker/prometheus.yml etc/prometheus/agwb.rules.yml "$dir/" # as compose.yaml mounts them
    check "promtool: the configuration for compose.yaml" promtool check config "$dir/prometheus.yml"
    check "promtool: each alert fires when it should, and only then" promtool test rules tests/ops/rules.test.yml
else
    skip "promtool" "prometheus is not installed"
fi

finish
