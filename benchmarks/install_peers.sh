#!/bin/sh
# Installs the peers that the benchmarks measure beside pacsnode: Debian's Orthanc and DCMTK, where they are missing.
# Orthanc's package comes with a service: it is neither started nor left enabled. The benchmarks start programs of
# their own, on loopback and in scratch folders.
set -eu

POLICY=/usr/sbin/policy-rc.d

missing=""
command -v Orthanc >/dev/null || missing="$missing orthanc"
command -v dcmqrscp >/dev/null || missing="$missing dcmtk"
command -v openssl >/dev/null || missing="$missing openssl"
[ -n "$missing" ] || exit 0

fail() {
    echo "make: the benchmarks' peers are missing and could not be installed; run: apt-get install$missing" >&2
    exit 1
}
command -v apt-get >/dev/null || fail
sudo=""
[ "$(id -u)" = 0 ] || sudo=$(command -v sudo) || fail

echo "installing Debian's$missing, which the benchmarks measure beside pacsnode"
if [ ! -e "$POLICY" ]; then
    # Debian's way to say that no package may start a service now (policy-rc.d: 101 is "forbidden by policy").
    trap '$sudo rm -f "$POLICY"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$POLICY" >/dev/null
    $sudo chmod 755 "$POLICY"
fi
$sudo apt-get update -q || fail
# shellcheck disable=SC2086 # a list of packages
$sudo apt-get install -y -q --no-install-recommends $missing || fail
case "$missing" in
    *orthanc*) $sudo update-rc.d orthanc disable ;; # systemd's unit, too
esac
