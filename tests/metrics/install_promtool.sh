#!/bin/sh
# promtool out of Debian's prometheus, of which nothing else is installed: no server is to be started. $1: where to.
set -eu
target=$1
[ -x "$target" ] && exit 0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get download -q prometheus 2>/dev/null
dpkg -x prometheus_*.deb .
cd - >/dev/null
cp "$folder/usr/bin/promtool" "$target"
