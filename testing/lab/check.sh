#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check.sh [KERNEL]...: on each of the lab's kernels (6.12 and 6.1), the
# contract tests' questions, and the demo on real VFIO and KVM.
set -uo pipefail

# Under `bazel run` the programs are among the runfiles, where it starts us.
here=$PWD
lab=$here/testing/lab/lab
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
truncate -s 16M "$work/disk.img"
disk=(--drive="if=none,id=disk,file=$work/disk.img,format=raw")
failed=0

# What the questions were first put to: where devices and groups are is part of
# some answers.
questions=(
  --device=pcie-root-port,id=port1,chassis=1,addr=2
  --device=pcie-root-port,id=port2,chassis=2,addr=3
  --device=e1000e,bus=port1,romfile= --bind=0000:01:00.0
  "${disk[@]}" --device=nvme,serial=lab,drive=disk,bus=port2
  --bind=0000:02:00.0
  --device=edu,addr=10 --bind=0000:00:10.0
  --device=ich9-ahci,addr=14
)
devices=(
  "${disk[@]}" --device=nvme,serial=lab,drive=disk,addr=4 --bind=0000:00:04.0
  --device=edu,addr=6 --bind=0000:00:06.0
)

# run NAME LAB-ARGUMENT...
run() {
  echo "--- $1"
  shift
  local status=0
  "$lab" "$@" || status=$?
  if [[ $status != 0 ]]; then
    echo "FAILED with status $status"
    failed=$((failed + 1))
  fi
}

demo=$here/vmm/passthrough_demo_static
[[ $# -ge 1 ]] || set -- 6.12 6.1
for kernel in "$@"; do
  run "contract, Linux $kernel" --kernel="$kernel" "${questions[@]}" \
    "$here/testing/lab/contract" e1000e=0000:01:00.0 nvme=0000:02:00.0 \
    edu=0000:00:10.0
  run "demo of an NVMe controller, Linux $kernel" --kernel="$kernel" \
    "${devices[@]}" "$demo" --device=0000:00:04.0 --allow_writes
  run "demo of edu, Linux $kernel" --kernel="$kernel" \
    "${devices[@]}" "$demo" --device=0000:00:06.0
done
if [[ $failed != 0 ]]; then
  echo "lab: $failed of the runs failed"
  exit 1
fi
echo "lab: all runs ended well"
