#!/bin/sh
# Makes the root disk of the machine that runs the units: a minimal Debian with systemd and Python, from Debian's archive,
# as an image below build/vm. Argument: the version of Python that pacsnode is installed for, such as 3.11.
set -eu

python=python$1
here=$(dirname "$0")
cache=$here/../../build/vm
image=$cache/debian-$python.img

sh "$here/../durability/install_machine.sh" mmdebstrap
[ -e "$image" ] && exit 0
fail() {
    echo "make: no Debian for the machine: $1" >&2
    exit 1
}
sudo=""
[ "$(id -u)" = 0 ] || sudo=$(command -v sudo) || fail "neither root nor sudo"
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")

mkdir -p "$cache"
tree=$(mktemp -d "$cache/tree.XXXXXX")
trap '$sudo rm -rf "$tree" "$image.new"' EXIT
trap 'exit 1' HUP INT TERM
echo "the machine: installing Debian $suite with systemd and Python into $image"
$sudo mmdebstrap --quiet --variant=minbase --include=systemd-sysv,python3 "$suite" "$tree" || fail "mmdebstrap failed"
[ -e "$tree/usr/bin/$python" ] || fail "Debian $suite has no $python, which .venv is of; run: make PYTHON=/usr/bin/python3"
truncate -s 16G "$image.new" # sparse; the node wants some space to be free
$sudo mkfs.ext4 -q -F -i 65536 -E lazy_itable_init=0,lazy_journal_init=0 -d "$tree" "$image.new" || fail "mkfs.ext4 failed"
mv "$image.new" "$image"
