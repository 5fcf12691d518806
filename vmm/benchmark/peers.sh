#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Counts, by kind, the calls on VFIO and sysfs that this library and QEMU's
# vfio-pci make on the same simulated devices, and prints them as a table in
# Markdown. QEMU runs unmodified on //testing:simulate. It emulates the
# processor of a guest with Debian's kernel, into which the device is plugged
# while it runs, and from which it is unplugged again. Ours are counted by
# passthrough_demo.
#
#   peers.sh [FIXTURE]...
set -uo pipefail

here=$PWD
benchmark=$here/vmm/benchmark
lab=$here/testing/lab
cache=${PASSTHRU_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/passthru/lab}
root=$cache/qemu
kernel=6.12
patience=300
unset BUILD_WORKING_DIRECTORY
work=$(mktemp -d)
qemu=
trap '[[ -z $qemu ]] || kill "$qemu"; rm -rf "$work"' EXIT
[[ $# -gt 0 ]] || set -- nvme nvme_msix1 nvme_cmb e1000e igb \
  virtio_net edu

die() {
  echo "peers: $*" >&2
  [[ ! -e $work/qemu ]] || tail -n 20 "$work/qemu" >&2
  [[ ! -e $work/console ]] || tail -n 20 "$work/console" >&2
  exit 1
}

"$lab/fetch.sh" "$cache" qemu $kernel || exit
"$lab/make_initramfs" "$work/guest" init="$lab/guest_init" || exit
libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
libraries+=:$root/usr/lib/x86_64-linux-gnu/pulseaudio

# say JSON sends a command to QEMU's monitor.
say() { echo "$1" >&3; }

# expect FD FILE TEXT reads lines, and keeps them, until one has the text.
expect() {
  local line
  while read -r -t $patience -u "$1" line; do
    echo "$line" >>"$2"
    [[ $line != *"$3"* ]] || return 0
  done
  die "waited for $3"
}

# phase NAME notes at which line of the journal a phase ends.
phase() {
  wc -l <"$work/journal" | sed "s/^/$1 /" >>"$work/phases"
}

# of_qemu FIXTURE TASK-OF-THE-GUEST leaves the journal, and the lines at which
# its phases end. The machine is stopped while the device is attached, so that
# no access of the guest is among these calls.
of_qemu() {
  rm -f "$work"/{monitor,serial}.{in,out} "$work"/{journal,phases,qemu,console}
  mkfifo "$work"/{monitor,serial}.{in,out} || exit
  "$here/testing/simulate/simulate" --fixture="$1.textproto,address=01:00.0" \
    --journal="$work/journal" --check=fail -- \
    "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --library-path \
    "$libraries" "$root/usr/bin/qemu-system-x86_64" \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
    -L "$root/usr/lib/ipxe/qemu" -accel tcg,thread=multi -M q35 -cpu EPYC \
    -m 512M -nodefaults -nographic -no-reboot -net none \
    -serial "pipe:$work/serial" -qmp "pipe:$work/monitor" \
    -kernel "$cache/$kernel/vmlinuz" -initrd "$work/guest" \
    -append "console=ttyS0 quiet panic=-1 no_timer_check -- mark=ready \
device=0000:01:00.0 $2 mark=up" \
    -device pcie-root-port,id=port1,chassis=1,addr=4 \
    </dev/null >"$work/qemu" 2>&1 &
  qemu=$!
  exec 3<>"$work/monitor.in" 4<>"$work/monitor.out" 5<>"$work/serial.in" \
    6<>"$work/serial.out"
  say '{"execute": "qmp_capabilities"}'
  expect 6 "$work/console" "GUEST-MARK ready"
  : >"$work/monitor"
  say '{"execute": "stop", "id": "stopped"}'
  expect 4 "$work/monitor" '"stopped"'
  say '{"execute": "device_add", "arguments": {"driver": "vfio-pci",
    "host": "0000:01:00.0", "bus": "port1", "id": "device"}, "id": "added"}'
  expect 4 "$work/monitor" '"added"'
  phase attach
  say '{"execute": "cont"}'
  echo >&5
  expect 6 "$work/console" "GUEST-MARK up"
  phase bring-up
  say '{"execute": "device_del", "arguments": {"id": "device"}}'
  expect 4 "$work/monitor" '"DEVICE_DELETED"'
  say '{"execute": "quit"}'
  wait "$qemu" || die "QEMU ended with status $?"
  qemu=
  exec 3>&- 4>&- 5>&- 6>&-
}

cat <<'TABLE'
| device | phase | sysfs | open, attach | ask | map, unmap DMA | SET_IRQS | reset | pread, pwrite | mmap | other | sum |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
TABLE
for fixture in "$@"; do
  task='' driven=0
  if [[ $fixture == nvme* ]]; then
    task=write=/dev/nvme0n1 driven=1
  fi
  of_qemu "$fixture" "$task"
  "$here/vmm/demo/passthrough_demo" --output=json \
    --fixture="testing/fixtures/$fixture.textproto" >"$work/report" \
    2>"$work/errors" ||
    { cat "$work/errors" >&2; die "the demo of $fixture failed"; }
  awk -v device="$fixture" -v driven=$driven -f "$benchmark/peers.awk" \
    "$work/report" "$work/phases" "$work/journal" || exit
done
