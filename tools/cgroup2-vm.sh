#!/bin/bash
# Run tests in a virtual machine whose host has cgroup v2 alone: Debian 12 with its own kernel.
# Usage: tools/cgroup2-vm.sh [pytest arguments]; without any, what tools/cgroup2-guest/tests names.
#
#   NARU_VM_DIR      where the machine's disk is kept (default: naru-vm in $XDG_CACHE_HOME, else /var/tmp)
#   NARU_VM_INIT     systemd (default), or plain: a first process that only mounts, tests in the root cgroup
#   NARU_VM_TIME     seconds that the machine may run (default 1800)
#   NARU_VM_COMMAND  a shell command to run in the checkout instead of pytest
#
# Needs root, and the packages that are installed when missing. Uses KVM where it works, else it emulates
# (many times slower). The machine has no network. Its disk is made once, of the Debian
# mirror that this host's apt reads; each run starts from the same disk and throws its changes away.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
cache=${NARU_VM_DIR:-${XDG_CACHE_HOME:-/var/tmp}/naru-vm}
limit_s=${NARU_VM_TIME:-1800}
init=${NARU_VM_INIT:-systemd}

fail() { echo "cgroup2-vm: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "a disk with devices is made here: run it as root"
[[ $init == systemd || $init == plain ]] || fail "NARU_VM_INIT is systemd or plain, not '$init'"
[ "$limit_s" -ge 240 ] || fail "NARU_VM_TIME is at least 240: the machine boots for a minute where it is emulated"
[ -x .venv/bin/python ] || fail "run 'make setup-dev' first"

missing=()
for package in qemu-system-x86 mmdebstrap e2fsprogs debian-archive-keyring; do
  state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $state == ii* ]] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "cgroup2-vm: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null </dev/null \
    || fail "apt-get could not install: ${missing[*]}"
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock -w 1800 9 || fail "another run holds $cache/lock"
work=$(mktemp -d "$cache/run-XXXXXX")
machine=
end() {
  [ -z "$machine" ] || kill -KILL "$machine" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

# -- the disk, once

guest=$here/tools/cgroup2-guest
packages=$(grep -v '^#' "$guest/packages" | paste -sd,)
wanted=$(cat "$guest/packages" "$guest/boot" "$guest/naru-vm.service" | sha256sum | cut -c1-16)
disk=$cache/$wanted
make_disk() {
  echo "cgroup2-vm: making the machine's disk in $disk (some minutes, once)"
  rm -rf --one-file-system "$cache"/????????????????
  # What this host's apt reads of Debian 12; other suites and other vendors' archives stay out.
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' \
    | awk '$4 == "Debian" && $2 ~ /^bookworm/ && $3 == "main" {
        print "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $1, $2, $3 }' \
    | sort -u >"$work/sources"
  [ -s "$work/sources" ] || fail "apt on this host reads no Debian 12: run 'apt-get update' on one that does"
  timeout 1500 mmdebstrap --quiet --variant=minbase --mode=root --include="$packages" bookworm "$work/root" - \
    <"$work/sources" || fail "mmdebstrap could not make the root file system"
  install -m 755 "$guest/boot" "$work/root/usr/sbin/naru-vm-boot"
  install -m 644 "$guest/naru-vm.service" "$work/root/etc/systemd/system/naru-vm.service"
  ln -s ../naru-vm.service "$work/root/etc/systemd/system/multi-user.target.wants/naru-vm.service"
  mkdir "$work/disk"
  cp "$work"/root/boot/vmlinuz-* "$work/disk/kernel"
  cp "$work"/root/boot/initrd.img-* "$work/disk/initrd"
  truncate -s 8G "$work/disk/root.img"
  mke2fs -q -F -t ext4 -L naru-root -d "$work/root" "$work/disk/root.img"
  mv "$work/disk" "$disk"
  rm -rf --one-file-system "$work/root"
}
[ -f "$disk/root.img" ] || make_disk

# -- this run: the checkout as a second disk, some swap as a third

patience=1
# A /dev/kvm without the processor's support underneath runs no ordinary kernel.
if [ -c /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo && : 2>/dev/null <>/dev/kvm; then
  # Without this feature: a virtual machine's own KVM often cannot pass it on.
  how=(-enable-kvm -cpu host,-arch-capabilities)
else
  echo "cgroup2-vm: no KVM that works here: emulating, which is slow" >&2
  patience=5 how=(-accel tcg,thread=multi,tb-size=512 -cpu max)
fi
commands=$work/commands
{
  echo "cd $(printf %q "$here") && export NARU_TEST_PATIENCE=$patience"
  if [ -n "${NARU_VM_COMMAND:-}" ]; then
    echo "$NARU_VM_COMMAND"
  else
    selection=("$@")
    [ $# -gt 0 ] || mapfile -t selection < <(grep -v '^#' "$guest/tests")
    # Interrupted in time, pytest still tells what failed.
    echo "timeout --signal=INT --kill-after=80 $((limit_s - 150)) .venv/bin/python -m pytest -v --color=no" \
      "-p no:cacheprovider -rfE $(printf '%q ' "${selection[@]}")"
  fi
} >"$commands"
truncate -s 2G "$work/work.img"
mke2fs -q -F -t ext4 -L naru-work -d "$here" "$work/work.img"
{
  echo "write $commands naru-vm-commands"
  # A static client, where there is one: the tests drive it.
  client=$(command -v docker || true)
  [ -z "$client" ] || echo "write $(readlink -f "$client") naru-vm-docker"
} | debugfs -w -f - "$work/work.img" >/dev/null 2>&1
truncate -s 512M "$work/swap.img"
mkswap -q "$work/swap.img" 2>/dev/null || mkswap "$work/swap.img" >/dev/null

drive() { echo "if=virtio,format=raw,snapshot=$3,file=$work/$1,id=$2"; }
[ "$init" = systemd ] && first=/lib/systemd/systemd || first=/usr/sbin/naru-vm-boot
kernel_line="root=/dev/vda rw console=ttyS0 quiet systemd.unified_cgroup_hierarchy=1 panic=-1 mitigations=off init=$first"
TMPDIR=$work nice -n 10 qemu-system-x86_64 "${how[@]}" -smp 2 -m 2048 -nodefaults -no-user-config -no-reboot \
  -display none -nic none -device virtio-rng-pci \
  -drive "if=virtio,format=raw,snapshot=on,file=$disk/root.img" \
  -drive "$(drive work.img work off)" -drive "$(drive swap.img swap off)" \
  -serial "file:$work/console" -serial "file:$work/output" \
  -kernel "$disk/kernel" -initrd "$disk/initrd" \
  -append "$kernel_line naru.path=$here" </dev/null >"$work/qemu.log" 2>&1 9>&- &
machine=$!
touch "$work/output"
tail -q -n +1 -f --pid="$machine" "$work/output" | sed -u 's/\r$//' | grep --line-buffered -v '^naru-vm: status ' &
printer=$!
deadline=$((SECONDS + limit_s))
while kill -0 "$machine" 2>/dev/null && [ $SECONDS -lt $deadline ]; do sleep 1; done
if kill -0 "$machine" 2>/dev/null; then
  echo "cgroup2-vm: ended after $limit_s s; the console's last lines:" >&2
  kill -KILL "$machine"
fi
wait "$machine" 2>/dev/null || true
machine=
wait "$printer" 2>/dev/null || true
status=$(sed -n 's/^naru-vm: status \([0-9]*\).*/\1/p' "$work/output" | tail -n 1)
if [ -z "$status" ]; then
  tail -n 30 "$work/console" "$work/qemu.log" >&2 2>/dev/null || true
  fail "the tests came to no end"
fi
exit "$status"
