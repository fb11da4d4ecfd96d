#!/bin/sh
# Installs what building, testing and the demo need, on Debian or Ubuntu, and the packages that the arguments name. Does
# nothing where it is all there.
# SPDX-License-Identifier: AGPL-3.0-or-later
set -eu
packages='gcc g++ libc6-dev libsodium-dev libpcre2-dev libutf8proc-dev libseccomp-dev libmicrohttpd-dev libsimde-dev bats mandoc jq python3 python3-pip unzip xxd procps strace curl'
missing=
for p in $packages "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
command -v apt-get >/dev/null || { echo "install-deps: please install:$missing" >&2; exit 1; }
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
