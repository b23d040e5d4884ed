#!/bin/sh
# Fetches the 64-bit ARM builds of loam's three libraries (Debian packages) and unpacks them into a
# directory: headers and static libraries for tools/test-aarch64.sh.  Installs nothing and needs no root.
# usage: get-aarch64-libs.sh DIR
set -eu
to=$1
[ -e "$to/complete" ] && exit 0
mkdir -p "$to/apt/lists/partial" "$to/apt/cache/archives/partial" "$to/debs"
to=$(cd "$to" && pwd)
: >"$to/apt/status"
# a state of its own, for another architecture than the machine's
get() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::lists="$to/apt/lists" \
        -o Dir::State::status="$to/apt/status" -o Dir::Cache="$to/apt/cache" -o Acquire::Languages=none \
        -o APT::Sandbox::User="$(id -un)" "$@" >/dev/null
}
get update
(cd "$to/debs" && get download libpcre2-dev:arm64 libutf8proc-dev:arm64 zlib1g-dev:arm64)
for deb in "$to"/debs/*.deb; do dpkg-deb -x "$deb" "$to"; done
find "$to/usr/lib" -name '*.so' -delete # their targets are not here: the static libraries are linked
rm -rf "$to/apt" "$to/debs"
: >"$to/complete"
