#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs programs of others, from Debian's packages, on the simulated kernel: those
# that look at devices, QEMU's own NVMe driver, QEMU's vfio-pci under a Linux
# guest, driverctl, and DPDK. What the packages cannot be had for is said, and
# is no failure.
#
#   check.sh [lspci | qemu-io | kvm | guest | driverctl | dpdk]...
set -uo pipefail

here=$PWD
simulate=$here/testing/simulate/simulate
fetch=$here/testing/lab/fetch.sh
cache=${PASSTHRU_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/passthru/lab}
unset BUILD_WORKING_DIRECTORY
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap '' PIPE  # A program that ends too early is a failure of its own check.
ran=0
failed=0
skipped=()
# How long a program may take that takes seconds on an idle machine.
patience=900

# run NAME COMMAND... runs one check and shows its output.
run() {
  local status=0 start=$SECONDS
  ran=$((ran + 1))
  echo "--- $1"
  shift
  "$@" || status=$?
  echo "    $((SECONDS - start)) s"
  ((status == 0)) || { echo "FAILED with status $status"; failed=$((failed + 1)); }
}

# get WHAT... fetches packages. Returns 1 and says so if they cannot be had.
get() {
  "$fetch" "$cache" "$@" && return
  echo "SKIPPED: $* cannot be fetched"
  skipped+=("$*")
  return 1
}

# unpacked FOLDER PROGRAM ARGUMENT... runs a program of a fetched folder, with
# its libraries, on the simulated kernel with the options in the array `on`.
unpacked() {
  local root=$cache/$1 program=$2 libraries
  shift 2
  libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
  libraries+=:$root/usr/lib/x86_64-linux-gnu/pulseaudio
  timeout -k 60 "$patience" "$simulate" "${on[@]}" -- "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
    --library-path "$libraries" "$root/usr/bin/$program" "$@"
}

# as_command FOLDER PROGRAM makes a program of a fetched folder one that others
# find in $work/bin.
as_command() {
  local root=$cache/$1
  local libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
  mkdir -p "$work/bin"
  printf '#!/bin/bash\nexec %q --library-path %q %q "$@"\n' \
    "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$libraries" \
    "$root/usr/bin/$2" >"$work/bin/$2"
  chmod +x "$work/bin/$2"
}

lspci() {
  get tools || return 0
  on=(--fixture=nvme.textproto --fixture=e1000e.textproto --check=fail
    --leaks=off)
  unpacked tools lspci -vvvxxxx >"$work/lspci" 2>"$work/errors" || return
  # A container has no modules, which lspci would name.
  if grep -v 'libkmod' "$work/errors"; then return 1; fi
  grep -cE '^[0-9a-f]{2}:[0-9a-f]{2}\.' "$work/lspci" | grep -qx 2 || return
  grep -q 'Kernel driver in use: vfio-pci' "$work/lspci" || return
  unpacked tools setpci -s 02:00.0 0x0.l | grep -qx 00101b36 || return
  echo "  two devices, $(wc -l <"$work/lspci") lines"
}

# Writes and reads random extents of the medium, each with its own pattern, eight
# of them at the same time. Those are in different parts of the medium.
qemu_io() {
  get tools || return 0
  local commands=() writes reads batch i offset length extent
  local part=$((64 * 1024)) parts=128 batches=150 depth=8
  RANDOM=1
  for ((batch = 0; batch < batches; ++batch)); do
    writes=()
    reads=()
    for ((i = 0; i < depth; ++i)); do
      length=$(((1 + RANDOM % 128) * 512))
      offset=$(((batch * depth + i) * 37 % parts * part))
      offset=$((offset + RANDOM % ((part - length) / 512 + 1) * 512))
      extent="$((1 + RANDOM % 250)) $offset $length"
      writes+=(-c "aio_write -q -P $extent")
      reads+=(-c "aio_read -P $extent")
    done
    commands+=("${writes[@]}" -c aio_flush "${reads[@]}" -c aio_flush)
  done
  on=(--fixture="nvme.textproto,disk=$((part * parts))" --check=fail)
  unpacked tools qemu-io -f raw "${commands[@]}" nvme://0000:02:00.0/1 \
    >"$work/io" 2>&1 || { tail -n 20 "$work/io"; return 1; }
  if grep -qi 'fail\|differ\|error\|broken' "$work/io"; then
    grep -i 'fail\|differ\|error\|broken' "$work/io" | head
    return 1
  fi
  i=$(grep -c '^read ' "$work/io")
  echo "  $i extents verified, $depth at a time"
  ((i == batches * depth))
}

# shellcheck source=/dev/null
source "$here/testing/simulate/guest.sh"

# What driverctl binds, the next program drives. It does not save the override
# in /etc, which is the machine's.
driverctl() {
  get tools || return 0
  as_command tools qemu-io
  cat >"$work/driverctl" <<'SCRIPT'
set -e
driverctl() { "$DRIVERCTL" --nosave "$@"; }
driverctl list-devices
driverctl set-override 0000:02:00.0 vfio-pci
driverctl list-devices storage
driverctl list-overrides
qemu-io -f raw -c 'write -q -P 7 0 64k' -c 'read -q -P 7 0 64k' \
  nvme://0000:02:00.0/1
driverctl unset-override 0000:02:00.0
driverctl list-devices
! driverctl set-override 0000:02:00.0 vfio-bsd
ls /dev/vfio
SCRIPT
  PATH=$work/bin:$PATH DRIVERCTL=$cache/tools/usr/sbin/driverctl "$simulate" \
    --fixture=nvme.textproto,driver=nvme --fixture=e1000e.textproto,driver=none \
    --check=fail -- bash -e "$work/driverctl" >"$work/shown" 2>"$work/errors" ||
    { cat "$work/shown" "$work/errors"; return 1; }
  diff - "$work/shown" <<'SHOWN' && grep 'no such module: vfio-bsd' "$work/errors"
0000:01:00.0 (none)
0000:02:00.0 nvme
0000:02:00.0 vfio-pci [*]
0000:02:00.0 vfio-pci
0000:01:00.0 (none)
0000:02:00.0 nvme
vfio
SHOWN
}

# Starts QEMU on the simulated KVM, which executes no guest and says so once.
# QEMU then stops, and its monitor is told to end it.
# shellcheck disable=SC2094  # It waits for what the other one writes.
qemu_kvm() {
  get qemu || return 0
  local root=$cache/qemu status=0
  on=(--fixture=nvme.textproto --kvm=simulated --check=fail --leaks=off)
  {
    for ((tries = 0; tries < 600; ++tries)); do
      ! grep -q 'KVM_RUN' "$work/kvm" 2>/dev/null || break
      sleep 0.2
    done
    echo quit
  } | unpacked qemu qemu-system-x86_64 \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
    -L "$root/usr/lib/ipxe/qemu" -accel kvm -M q35 -cpu qemu64 -m 128M \
    -nodefaults -display none -serial none -monitor stdio \
    -device pcie-root-port,id=port1,chassis=1,addr=4 \
    -device vfio-pci,host=0000:02:00.0,bus=port1 >"$work/kvm" 2>&1 || status=$?
  if [[ $status != 0 || $(grep -c 'simulate: KVM_RUN' "$work/kvm") != 1 ]]; then
    tail -n 20 "$work/kvm"
    return 1
  fi
  grep 'simulate: KVM_RUN' "$work/kvm"
}

# shellcheck source=/dev/null
source "$here/testing/simulate/dpdk_checks.sh"

[[ $# -gt 0 ]] || set -- lspci qemu-io kvm guest driverctl dpdk
for what in "$@"; do
  case $what in
    lspci) run "lspci -vvvxxxx, setpci" lspci ;;
    qemu-io) run "qemu-io on nvme://" qemu_io ;;
    kvm) run "QEMU on the simulated KVM" qemu_kvm ;;
    guest)
      run "QEMU's vfio-pci, Linux 6.12 in the guest: mapped BARs, resets" mapped
      run "the same, x-no-mmap" trapped
      run "the same, INTx" intx
      run "one of two disks is unplugged and plugged during I/O" hot_plug 6
      run "two disks and edu in a guest, in three groups" several 7 8
      run "the same, the disks in one group" several 7 7
      ;;
    driverctl) run "driverctl, then qemu-io" driverctl ;;
    dpdk)
      run "DPDK: testpmd on two wired devices" dpdk_packets
      run "DPDK: dpdk-devbind.py" dpdk_devbind
      ;;
    *)
      echo "unknown '$what': lspci, qemu-io, kvm, guest, driverctl or dpdk" >&2
      exit 2
      ;;
  esac
done
echo "--- $ran checks with programs of others: $failed failed," \
  "${#skipped[@]} SKIPPED for lack of packages${skipped[*]:+ (${skipped[*]})}"
((failed == 0))
