#!/bin/bash
# The Debian package: lintian finds no error, and it installs, runs and goes in a fresh Debian. Wants $BUILD/deb (make deb).
# shellcheck disable=SC2317 # functions that check calls
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"

deb=$(find "$build/deb" -maxdepth 1 -name 'agwb_*.deb' 2>/dev/null | head -n 1)
if [[ -z $deb ]]; then
    fail "make deb leaves a package in $build/deb"
    finish
    exit
fi
if command -v lintian >/dev/null; then
    check "lintian finds no error" lintian --fail-on error,warning --allow-root --suppress-tags initial-upload-closes-no-bugs "$deb"
else
    skip "lintian finds no error" "lintian is not installed"
fi

why=$(why_no_root)
if [[ -n $why ]]; then
    skip "the package in a fresh Debian" "$why"
    finish
    exit
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/agwb-package.XXXXXX")
root=$dir/root
trap 'rm -rf "$dir"' EXIT

installs() {
    make_root "$root" && cp "$deb" "$root/tmp/agwb.deb" && in_root "$root" apt-get update -qq &&
        in_root "$root" apt-get install -y -qq --no-install-recommends /tmp/agwb.deb
}
check "it installs in a fresh Debian 12" installs

has_user() {
    in_root "$root" getent passwd agwb | grep -E ':/usr/sbin/nologin$|:/sbin/nologin$'
}
is_private() {
    [[ $(in_root "$root" stat -c '%U:%G %a' /etc/agwb/agwb.cfg) == 'root:agwb 640' ]]
}
is_not_enabled() {
    ! in_root "$root" systemctl is-enabled agwb-publisher.service agwb-consumer.service agwb.target
}
works() {
    in_root "$root" agwb-publisher check && in_root "$root" agwb-consumer check && in_root "$root" agwb-consumer --version
}
is_conffile_kept() {
    echo '# mine' >>"$root/etc/agwb/agwb.cfg" && in_root "$root" apt-get install -y -qq --reinstall /tmp/agwb.deb &&
        grep '^# mine' "$root/etc/agwb/agwb.cfg" && is_private
}
goes() {
    in_root "$root" apt-get purge -y -qq agwb && [[ ! -e $root/usr/bin/agwb-publisher && ! -e $root/etc/agwb/agwb.cfg ]]
}
check "the user agwb is there and cannot log in" has_user
check "/etc/agwb/agwb.cfg is for root and the group only" is_private
check "nothing is enabled" is_not_enabled
check "both programs run" works
check "a changed configuration survives a second installation" is_conffile_kept
check "purge takes all of it away" goes
finish
