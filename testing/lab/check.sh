#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The program "check.sh [--only=PATTERN] [KERNEL]..." runs every check against
# real kernels, or those whose function's name matches the pattern, as in
# --only='linux*'. The default is both kernels of the lab (6.12 and 6.1). With
# UPDATE=1 the answers and journals become the expected ones in the source tree.
set -uo pipefail

# `bazel run` starts this script among the runfiles, which have the programs.
# The expected answers and journals, which UPDATE=1 writes, are in the source
# tree.
here=$PWD
source=${BUILD_WORKSPACE_DIRECTORY:-$here}
lab=$here/testing/lab/lab
demo=$here/vmm/demo/passthrough_demo_static
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
truncate -s 16M "$work/lab.img"
disk=(--drive="if=none,id=disk,file=$work/lab.img,format=raw")
nvme=nvme,serial=lab,drive=disk
failed=0

# run NAME COMMAND... runs one check and shows its output.
run() {
  local status=0 start=$SECONDS
  # shellcheck disable=SC2053  # The right side is a pattern.
  [[ $2 == $only ]] || return 0
  echo "--- $1, Linux $kernel"
  shift
  "$@" || status=$?
  echo "    $((SECONDS - start)) s"
  if [[ $status != 0 ]]; then
    echo "FAILED with status $status"
    failed=$((failed + 1))
  fi
}

# brief COMMAND... runs the demo and shows the part of its report that tells
# what the guest did. If the demo fails, it shows the whole report.
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

# Asks the questions of the contract tests. The places of devices and groups are
# part of some answers, so they are the same as in the first run.
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
  testing/contract/contract_report "$source/testing/contract/answers" \
    "${save[@]}" <"$work/answers"
}

# Puts random calls to the kernel and to its simulation, and compares the
# answers. The seed is always the same, so that a failure can be repeated.
random_calls() {
  "$lab" --kernel="$kernel" \
    --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    --device=pcie-root-port,id=port2,chassis=2,addr=3 \
    --device=pcie-root-port,id=port3,chassis=3,addr=4 \
    --device=e1000e,bus=port1,romfile= --bind=0000:01:00.0 \
    "${disk[@]}" --device=$nvme,bus=port2 --bind=0000:02:00.0 \
    --device=virtio-net-pci,bus=port3,romfile= --bind=0000:03:00.0 \
    --device=edu,addr=10 --bind=0000:00:10.0 \
    "$here/testing/random_calls/random_calls" --seed=1 \
    --calls=900 0000:01:00.0 0000:02:00.0 0000:03:00.0 \
    --calls=4000 0000:00:10.0
}

# Checks that a guest sees the same as on the simulated kernel. The NVMe
# controller is behind a root port, as it was when the fixture was captured.
guest() {
  "$lab" --kernel="$kernel" --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    "${disk[@]}" --device=$nvme,bus=port1 --bind=0000:01:00.0 \
    --object=memory-backend-ram,id=shared,size=4M \
    --device=ivshmem-plain,memdev=shared,addr=9 --bind=0000:00:09.0 \
    "$here/vmm/guest_contract/guest_contract_static" 0000:01:00.0 0000:00:09.0
}

# demo_of DEVICE QEMU-DEVICE runs the demo and checks that it makes the same
# kernel calls as on the simulated kernel.
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

# Two devices of one IOMMU group, which are functions of one slot.
one_group=("${disk[@]}" "--device=$nvme,addr=5.0,multifunction=on"
  "--device=edu,addr=5.1")

demo_of_group() {
  brief "$lab" --kernel="$kernel" "${one_group[@]}" --bind=0000:00:05.0 \
    --bind=0000:00:05.1 "$demo" --device=0000:00:05.0 --device=0000:00:05.1 \
    --allow_writes
}

# Uses one of several virtual functions. The physical function keeps a host
# driver.
demo_of_a_virtual_function() {
  brief "$lab" --kernel="$kernel" \
    --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    --device=igb,bus=port1,romfile= --vfs=0000:01:00.0=2 \
    --bind=0000:01:10.2 "$demo" --device=0000:01:10.2
}

# Uses a group of which the host still uses a device. The demo must say so in
# one sentence.
demo_of_half_a_group() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_group[@]}" --bind=0000:00:05.1 \
    "$demo" --device=0000:00:05.1)
  local status=$?
  echo "$said"
  [[ $status == 1 && $(wc -l <<<"$said") == 1 &&
    $said == *"is not viable: 0000:00:05.0 is bound to nvme"* ]]
}

# Looks at a device that a guest can have, and at one in a group of which the
# host uses another device.
doctor() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_group[@]}" --bind=0000:00:05.1 \
    --device=edu,addr=6 --bind=0000:00:06.0 \
    "$here/vmm/doctor/doctor_static" --memory=64M 0000:00:06.0 0000:00:05.1)
  local status=$?
  sed -n '/^0000:00:06.0/,$p' <<<"$said"
  [[ $status == 1 && $said == *"interrupt remapping  is on: "*\
"It can be passed through."*"the host uses others of group"*\
"> echo 0000:00:05.0 > /sys/bus/pci/devices/0000:00:05.0/driver/unbind"*\
"It cannot be passed through, because of: group members." ]]
}

# Times accesses to edu's identification register beside the bare calls. The
# check is that the program works, because an emulated CPU's times say little.
benchmark() {
  local said
  said=$("$lab" --kernel="$kernel" --device=edu,addr=4 --bind=0000:00:04.0 \
    "$here/vmm/benchmark/benchmark_static" --device=0000:00:04.0)
  local status=$?
  echo "$said"
  [[ $status == 0 && $said == *"0x010000ed"*"trapped BAR read"*\
"trapped BAR write"* ]]
}

# Kills the demo while it attaches, while the guest brings the device up, at an
# interrupt in the middle of the work, and while a BAR moves. Then runs it once
# more to its end.
demo_killed() {
  brief "$lab" --kernel="$kernel" "${disk[@]}" --device=$nvme,addr=4 \
    --bind=0000:00:04.0 --file=lab/demo="$demo" \
    "$here/testing/lab/interrupted" VFIO_GROUP_SET_CONTAINER \
    VFIO_IOMMU_MAP_DMA 'mmap(vfio-device' 'count=3, flags=0x24' \
    KVM_SIGNAL_MSI 'slot=1, flags=0x0, guest_phys_addr=0x4000004000' -- \
    /lab/demo --device=0000:00:04.0 --allow_writes
}

# Lets guests use BARs that are peers of one another, small and large. Since
# 6.12 the kernel maps the large one with entries of 2 MiB. 6.1 maps all of it
# at the first fault, with small ones.
# shellcheck disable=SC2054  # The commas are QEMU's.
bars() {
  local faults=32 pages="0 small and 31 large pages"
  [[ $kernel != 6.1 ]] || faults=1 pages="31 small and 0 large pages"
  local said
  said=$("$lab" --kernel="$kernel" \
    --device=edu,dma_mask=0xffffffffffff,addr=4 --bind=0000:00:04.0 \
    --object=memory-backend-ram,id=shared,size=4M \
    --device=ivshmem-plain,memdev=shared,addr=5 --bind=0000:00:05.0 \
    --device=pvpanic-pci,addr=6 --bind=0000:00:06.0 \
    --device=pci-testdev,membar=64M,addr=7 --bind=0000:00:07.0 \
    "$here/vmm/bar_checks/bar_checks_static" \
    0000:00:04.0 0000:00:05.0 0000:00:06.0 0000:00:07.0)
  local status=$?
  grep '^  ' <<<"$said"
  [[ $status == 0 &&
    $said == *"65536 KiB, each page touched: $faults faults; "*"$pages"* ]] ||
    { echo "$said"; return 1; }
}

# Two functions below one root port, which only a reset of their bus reaches.
# Each has an IOMMU group of its own, or both have one, as the kernel decides.
# shellcheck disable=SC2054  # The commas are QEMU's.
one_bus=(--device=pcie-root-port,id=port1,chassis=1,addr=2
  --device=qemu-xhci,bus=port1,addr=0.0,multifunction=on
  --device=pvscsi,bus=port1,addr=0.1)

# Resets a machine that has both functions.
reset_of_a_bus() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_bus[@]}" --bind=0000:01:00.0 \
    --bind=0000:01:00.1 "$here/vmm/machine_reset/machine_reset_static" \
    0000:01:00.0 0000:01:00.1)
  local status=$?
  echo "$said"
  [[ $status == 0 && $said == *"hot reset of its slot or bus, together with"* ]]
}

# Resets a machine that has one of two functions. The other one has no driver or
# that of the host, or is free for another VM. The error must name it.
reset_of_half_a_bus() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_bus[@]}" --bind=0000:01:00.0 \
    "$here/vmm/machine_reset/machine_reset_static" 0000:01:00.0)
  local status=$?
  echo "$said"
  [[ $status == 1 && $said == *"0000:01:00.0 is not reset: "*"0000:01:00.1"* ]]
}

# What a Linux guest costs passthrough_vm and QEMU, counted by the kernel. The
# kernel's version makes no difference, so one is enough.
beside_qemu() {
  [[ $kernel == 6.12 ]] || return 0
  "$here/testing/lab/beside_qemu" "$kernel"
}

# The checks that boot Linux as a guest.
for file in linux_guest linux_report linux_hot_plug linux_cards; do
  # shellcheck source=/dev/null
  source "$here/testing/lab/$file.sh"
done

# Captures devices again and compares them with their fixtures.
capture() {
  PASSTHRU_LAB_KERNEL=$kernel "$here/testing/capture/lab_fixtures" --compare \
    contract virtual
}

only='*'
if [[ ${1:-} == --only=* ]]; then
  only=${1#*=}
  shift
fi
[[ $# -ge 1 ]] || set -- 6.12 6.1
for kernel in "$@"; do
  run "contract" contract
  run "random calls" random_calls
  run "capture" capture
  run "guest" guest
  run "demo of an NVMe controller" demo_of nvme "$nvme"
  run "demo of edu" demo_of edu edu
  run "demo of a group of two" demo_of_group
  run "demo of a group that is not viable" demo_of_half_a_group
  run "doctor" doctor
  # It runs only if the user asks for it, because the gate has no use for times.
  [[ $only == '*' ]] || run "benchmark" benchmark
  run "demo of a virtual function" demo_of_a_virtual_function
  run "demo that is killed" demo_killed
  run "BARs" bars
  run "reset of a bus" reset_of_a_bus
  run "reset of half a bus" reset_of_half_a_bus
  run "Linux with MSI-X" linux_msix
  run "Linux with INTx and two vCPUs" linux_intx
  run "Linux with two controllers and four vCPUs" linux_reset
  run "Linux with a simulated controller" linux_fixture
  run "Linux with a report" linux_report
  run "Linux beside QEMU" beside_qemu
  run "Linux with network cards" linux_cards
  run "Linux with a virtual function" linux_virtual_function
  run "Linux with hot plug" linux_hot_plug
  run "Linux with hot plug by INTx" linux_hot_plug_intx
  run "Linux that starts again without its device" linux_reboot_without
  run "Linux whose devices the host wants" linux_host_request
done
if [[ $failed != 0 ]]; then
  echo "lab: $failed of the runs failed"
  exit 1
fi
echo "lab: all runs ended well"
