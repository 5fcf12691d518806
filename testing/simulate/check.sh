#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs programs of others, from Debian's packages, on the simulated kernel: those
# that look at devices, QEMU's own NVMe driver, QEMU's vfio-pci under a Linux
# guest, and DPDK. What the packages cannot be had for is said, and is no failure.
#
#   check.sh [lspci | qemu-io | guest | dpdk]...
set -uo pipefail

here=$PWD
simulate=$here/testing/simulate/simulate
fetch=$here/testing/lab/fetch.sh
cache=${PASSTHRU_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/passthru/lab}
unset BUILD_WORKING_DIRECTORY
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# run NAME COMMAND... runs one check and shows its output.
run() {
  local status=0 start=$SECONDS
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
  return 1
}

# unpacked FOLDER PROGRAM ARGUMENT... runs a program of a fetched folder, with
# its libraries, on the simulated kernel with the options in the array `on`.
unpacked() {
  local root=$cache/$1 program=$2 libraries
  shift 2
  libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
  libraries+=:$root/usr/lib/x86_64-linux-gnu/pulseaudio
  "$simulate" "${on[@]}" -- "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
    --library-path "$libraries" "$root/usr/bin/$program" "$@"
}

lspci() {
  get tools || return 0
  on=(--fixture=nvme.textproto --fixture=e1000e.textproto --check=fail
    --leaks=off)
  unpacked tools lspci -vvvxxxx >"$work/lspci" 2>"$work/errors" || return
  # A container has no modules, which lspci would name.
  ! grep -v 'libkmod' "$work/errors" || return
  grep -cE '^[0-9a-f]{2}:[0-9a-f]{2}\.' "$work/lspci" | grep -qx 2 || return
  grep -q 'Kernel driver in use: vfio-pci' "$work/lspci" || return
  unpacked tools setpci -s 02:00.0 0x0.l | grep -qx 00101b36
}

# Writes and reads random extents of the medium, each with its own pattern.
qemu_io() {
  get tools || return 0
  local commands=() i offset length extent
  RANDOM=1
  for ((i = 0; i < 300; ++i)); do
    length=$(((1 + RANDOM % 128) * 512))
    offset=$((RANDOM % 1024 * 512))
    extent="$((1 + RANDOM % 250)) $offset $length"
    commands+=(-c "write -q -P $extent" -c "read -P $extent")
  done
  on=(--fixture=nvme.textproto --check=fail)
  unpacked tools qemu-io -f raw "${commands[@]}" nvme://0000:02:00.0/1 \
    >"$work/io" 2>&1 || { tail -n 20 "$work/io"; return 1; }
  if grep -qi 'fail\|differ\|error\|broken' "$work/io"; then
    grep -i 'fail\|differ\|error\|broken' "$work/io" | head
    return 1
  fi
  echo "  $(grep -c '^read ' "$work/io") extents verified"
}

# guest NAME APPEND DEVICE-OPTIONS boots Debian's kernel in QEMU, which emulates
# the processor, with the NVMe controller behind vfio-pci.
guest() {
  get qemu 6.12 || return 0
  local root=$cache/qemu
  : >"$work/empty"
  printf '%s\n' /lab/program 200 >"$work/command"
  "$here/testing/lab/make_initramfs" "$work/initramfs" \
    init="$here/testing/lab/init" lab/modules="$work/empty" \
    lab/bind="$work/empty" lab/vfs="$work/empty" lab/get="$work/empty" \
    lab/program="$here/testing/simulate/guest_io" \
    lab/command="$work/command" || return
  # QEMU leaves everything to the kernel when it ends.
  on=(--fixture=nvme.textproto --check=fail --leaks=off)
  unpacked qemu qemu-system-x86_64 \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
    -L "$root/usr/lib/ipxe/qemu" -accel tcg,thread=multi -M q35 -cpu EPYC \
    -m 512M -smp 1 -nodefaults -nographic -no-reboot \
    -serial "file:$work/console" -monitor none -net none \
    -kernel "$cache/6.12/vmlinuz" -initrd "$work/initramfs" \
    -append "console=ttyS0 loglevel=4 panic=-1 no_timer_check $1" \
    -device pcie-root-port,id=port1,chassis=1,addr=4 \
    -device "vfio-pci,host=0000:02:00.0,bus=port1$2" </dev/null >"$work/qemu" 2>&1
  local status=$?
  grep -v "TCG doesn't support" "$work/qemu"
  if ! grep '^guest_io: .* rounds right' "$work/console"; then
    tail -n 25 "$work/console"
    return 1
  fi
  return "$status"
}

# shellcheck source=/dev/null
source "$here/testing/simulate/dpdk_checks.sh"

[[ $# -gt 0 ]] || set -- lspci qemu-io guest dpdk
for what in "$@"; do
  case $what in
    lspci) run "lspci -vvvxxxx, setpci" lspci ;;
    qemu-io) run "qemu-io on nvme://" qemu_io ;;
    guest)
      run "QEMU's vfio-pci, Linux 6.12: mapped BARs" guest "" ""
      run "the same, INTx" guest pci=nomsi ""
      run "the same, x-no-mmap" guest "" ,x-no-mmap=on
      ;;
    dpdk)
      run "DPDK: testpmd on two wired devices" dpdk_packets
      run "DPDK: dpdk-devbind.py" dpdk_devbind
      ;;
    *) echo "unknown '$what': lspci, qemu-io, guest or dpdk" >&2; exit 2 ;;
  esac
done
((failed == 0))
