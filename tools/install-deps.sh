#!/bin/sh
# Installs the Debian packages that loam is built and tested with, when any is missing.
set -eu
packages="gcc g++ make pkg-config python3 python3-pip ca-certificates \
 libpcre2-dev libutf8proc-dev zlib1g-dev libedit-dev libcurl4-openssl-dev libssl-dev \
 libpoppler-glib-dev libgumbo-dev libseccomp-dev"
missing=""
for p in $packages; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-deps: these packages are needed (Debian names):$missing" >&2
    exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q >/dev/null
# shellcheck disable=SC2086
$sudo apt-get install -y -q --no-install-recommends $missing >/dev/null
