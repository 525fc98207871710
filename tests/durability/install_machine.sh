#!/bin/sh
# Installs what the power cuts need, where it is missing: QEMU and the like from Debian, and a Debian kernel for the
# guest, which is only unpacked below build/powercut. With arguments: further programs.
set -eu

cache=$(dirname "$0")/../../build/powercut
kernel=linux-image-cloud-amd64

missing=""
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
need qemu-system-x86_64 qemu-system-x86
need busybox busybox-static
need cpio cpio
need mkfs.ext4 e2fsprogs
for program in "$@"; do
    case "$program" in
        orthanc) need Orthanc orthanc ;;
        dcmqrscp) need dcmqrscp dcmtk ;;
        mmdebstrap) need mmdebstrap mmdebstrap ;;
    esac
done
has_kernel=$(ls "$cache"/kernel/boot/vmlinuz-* 2>/dev/null || true)
[ -n "$missing" ] || [ -z "$has_kernel" ] || exit 0

fail() {
    echo "make: the power cuts need$missing and $kernel from Debian, which could not be had: $1" >&2
    exit 1
}
command -v apt-get >/dev/null || fail "there is no apt-get here"
sudo=""
[ "$(id -u)" = 0 ] || sudo=$(command -v sudo) || fail "neither root nor sudo"

echo "the power cuts: installing${missing:- nothing}, fetching a Debian kernel for the guest"
$sudo apt-get update -q || fail "apt-get update failed"
policy=/usr/sbin/policy-rc.d
if [ -n "$missing" ]; then
    if [ ! -e "$policy" ]; then
        # No package may start a service now (policy-rc.d: 101 is "forbidden by policy").
        trap '$sudo rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
        $sudo chmod 755 "$policy"
    fi
    # shellcheck disable=SC2086 # a list of packages
    $sudo apt-get install -y -q --no-install-recommends $missing || fail "apt-get install failed"
    case "$missing" in
        *orthanc*) $sudo update-rc.d orthanc disable ;;
    esac
fi
if [ -z "$has_kernel" ]; then
    mkdir -p "$cache"
    package=$(apt-cache depends "$kernel" | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -n 1)
    [ -n "$package" ] || fail "apt knows no $kernel"
    (cd "$cache" && apt-get download -q "$package") || fail "apt-get download $package failed"
    dpkg -x "$cache"/linux-image-*.deb "$cache/kernel.new"
    rm "$cache"/linux-image-*.deb
    mv "$cache/kernel.new" "$cache/kernel"
fi
