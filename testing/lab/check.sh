#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check.sh [KERNEL]...: everything that is asked of real kernels, on each of the
# lab's (6.12 and 6.1). UPDATE=1: what they say becomes what is expected, in the
# source tree.
set -uo pipefail

# Under `bazel run` the programs are among the runfiles, where it starts us; the
# expected journals that UPDATE writes are in the source tree.
here=$PWD
source=${BUILD_WORKSPACE_DIRECTORY:-$here}
lab=$here/testing/lab/lab
demo=$here/vmm/demo/passthrough_demo_static
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
truncate -s 16M "$work/disk.img"
disk=(--drive="if=none,id=disk,file=$work/disk.img,format=raw")
nvme=nvme,serial=lab,drive=disk
failed=0

# run NAME COMMAND...: one check; what it prints is shown.
run() {
  local status=0 start=$SECONDS
  echo "--- $1, Linux $kernel"
  shift
  "$@" || status=$?
  echo "    $((SECONDS - start)) s"
  if [[ $status != 0 ]]; then
    echo "FAILED with status $status"
    failed=$((failed + 1))
  fi
}

# Shows of a demo's report what the guest did; all of it when it failed.
# brief COMMAND...
brief() {
  "$@" >"$work/report"
  local status=$?
  if [[ $status == 0 ]]; then
    sed -n -e '/^killed at /p' -e '/^What the guest did$/,/^$/p' \
      -e '/^Left behind$/,/^$/p' "$work/report" |
      grep -v '^What the guest did$\|^$'
  else
    cat "$work/report"
  fi
  return $status
}

# The questions of the contract tests. Where devices and groups are is part of
# some answers, so they are where they were first asked.
contract() {
  local save=()
  [[ ${UPDATE:-} != 1 ]] || save=(--save)
  "$lab" --kernel="$kernel" \
    --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    --device=pcie-root-port,id=port2,chassis=2,addr=3 \
    --device=e1000e,bus=port1,romfile= --bind=0000:01:00.0 \
    "${disk[@]}" --device=$nvme,bus=port2 --bind=0000:02:00.0 \
    --device=edu,addr=10 --bind=0000:00:10.0 \
    --device=nvme,serial=host,addr=14.0,multifunction=on \
    --device=edu,addr=14.1 --bind=0000:00:14.1 \
    "$here/testing/lab/contract" group=0000:00:14.1,0000:00:14.0 \
    edu=0000:00:10.0 nvme=0000:02:00.0 e1000e=0000:01:00.0 \
    >"$work/answers" || { cat "$work/answers"; return 1; }
  testing/contract/contract_report "$source/testing/contract/transcripts" \
    "${save[@]}" <"$work/answers"
}

# What a guest sees, which is what it sees on the simulated kernel. The NVMe
# controller is where the fixture was captured, behind a root port.
guest() {
  "$lab" --kernel="$kernel" --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    "${disk[@]}" --device=$nvme,bus=port1 --bind=0000:01:00.0 \
    --object=memory-backend-ram,id=shared,size=4M \
    --device=ivshmem-plain,memdev=shared,addr=9 --bind=0000:00:09.0 \
    "$here/vmm/guest_contract/guest_contract_static" 0000:01:00.0 0000:00:09.0
}

# The demo's kernel calls are those that it makes of the simulated kernel.
# demo_of DEVICE QEMU-DEVICE
demo_of() {
  local expected=vmm/demo/journals/$1.txt
  [[ ! -e vmm/demo/journals/$1-$kernel.txt ]] ||
    expected=vmm/demo/journals/$1-$kernel.txt
  brief "$lab" --kernel="$kernel" "${disk[@]}" --device="$2,addr=4" \
    --bind=0000:00:04.0 --get=/tmp/journal="$work/journal" \
    "$demo" --device=0000:00:04.0 --allow_writes --journal=/tmp/journal ||
    return
  "$here/vmm/demo/same_journal" "$source/$expected" "$work/journal" || return
  echo "  its $(wc -l <"$source/$expected") kernel calls are those of $expected"
}

# Two devices of one IOMMU group: functions of one slot.
one_group=("${disk[@]}" "--device=$nvme,addr=5.0,multifunction=on"
  "--device=edu,addr=5.1")

demo_of_group() {
  brief "$lab" --kernel="$kernel" "${one_group[@]}" --bind=0000:00:05.0 \
    --bind=0000:00:05.1 "$demo" --device=0000:00:05.0 --device=0000:00:05.1 \
    --allow_writes
}

# One of several functions that a physical one makes, which keeps a host driver.
demo_of_a_virtual_function() {
  brief "$lab" --kernel="$kernel" \
    --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    --device=igb,bus=port1,romfile= --vfs=0000:01:00.0=2 \
    --bind=0000:01:10.2 "$demo" --device=0000:01:10.2
}

# One of the two is still the host's: a sentence that says so.
demo_of_half_a_group() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_group[@]}" --bind=0000:00:05.1 \
    "$demo" --device=0000:00:05.1)
  local status=$?
  echo "$said"
  [[ $status == 1 && $(wc -l <<<"$said") == 1 &&
    $said == *"is not viable: 0000:00:05.0 is bound to nvme"* ]]
}

# Killed while it attaches, while the guest brings the device up, at an
# interrupt in the middle of the work, and while a BAR moves; then once more to
# the end.
demo_killed() {
  brief "$lab" --kernel="$kernel" "${disk[@]}" --device=$nvme,addr=4 \
    --bind=0000:00:04.0 --file=lab/demo="$demo" \
    "$here/testing/lab/interrupted" VFIO_GROUP_SET_CONTAINER \
    VFIO_IOMMU_MAP_DMA 'mmap(vfio-device' 'count=3, flags=0x24' \
    KVM_SIGNAL_MSI 'slot=1, flags=0x0, guest_phys_addr=0x4000004000' -- \
    /lab/demo --device=0000:00:04.0 --allow_writes
}

# Captured again, devices are what their fixtures say.
capture() {
  PASSTHRU_LAB_KERNEL=$kernel "$here/testing/capture/lab_fixtures" --compare \
    contract virtual
}

[[ $# -ge 1 ]] || set -- 6.12 6.1
for kernel in "$@"; do
  run "contract" contract
  run "capture" capture
  run "guest" guest
  run "demo of an NVMe controller" demo_of nvme "$nvme"
  run "demo of edu" demo_of edu edu
  run "demo of a group of two" demo_of_group
  run "demo of a group that is not viable" demo_of_half_a_group
  run "demo of a virtual function" demo_of_a_virtual_function
  run "demo that is killed" demo_killed
done
if [[ $failed != 0 ]]; then
  echo "lab: $failed of the runs failed"
  exit 1
fi
echo "lab: all runs ended well"
