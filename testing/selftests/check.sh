#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs Linux's own VFIO selftests in the lab and on the simulation of the same
# Linux, with the same devices, and compares the results case by case. If their
# package cannot be had, it says so, which is no failure.
#
#   check.sh [6.1 | 6.12]...
set -uo pipefail

here=$PWD
selftests=$here/testing/selftests
cache=${PASSTHRU_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/passthru/lab}
tests=$cache/selftests
unset BUILD_WORKING_DIRECTORY
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# From this Linux on nobody has looked at the selftests yet, and they may differ
# for new reasons.
unknown=7.4

if ! "$selftests/build.sh" "$tests"; then
  echo "SKIPPED: the VFIO selftests cannot be had"
  exit 0
fi
version=$(<"$tests/version")
echo "VFIO selftests of Linux $version"

# The devices, and how QEMU emulates them, as testing/capture/lab_fixtures.sh
# says. Each is behind a root port on a bus of its own, but edu, which is
# conventional PCI.
devices=(nvme e1000e igb virtio_net edu)
fixtures=(qemu10_nvme qemu10_e1000e igb qemu10_virtio_net qemu10_edu)
# shellcheck disable=SC2054  # The commas are QEMU's.
emulated=(nvme,serial=lab,drive=disk e1000e,romfile= igb,romfile=
  virtio-net-pci,iommu_platform=on,disable-legacy=on,romfile=,ats=on,mq=on,vectors=18
  edu,addr=10)
addresses=(0000:01:00.0 0000:02:00.0 0000:03:00.0 0000:04:00.0 0000:00:10.0)

# The devices with their addresses, for run_selftests.
named=()
for i in "${!devices[@]}"; do named+=("${devices[i]}=${addresses[i]}"); done

# Boots Linux once and runs all tests on all devices.
in_the_lab() {
  local machine=() i program
  truncate -s 16M "$work/disk.img.$1"
  machine+=(--drive="if=none,id=disk,file=$work/disk.img.$1,format=raw")
  for i in 0 1 2 3; do
    machine+=(--device="pcie-root-port,id=port$i,chassis=$i,addr=$((i + 2))"
      --device="${emulated[i]},bus=port$i")
  done
  machine+=(--device="${emulated[4]}" "${addresses[@]/#/--bind=}")
  for program in "$tests"/static/*; do
    machine+=(--file="lab/selftests/${program##*/}=$program")
  done
  "$here/testing/lab/lab" --kernel="$1" --timeout=1500 "${machine[@]}" \
    "$selftests/run_selftests_static" /lab/selftests "${named[@]}"
}

on_the_simulation() {
  local machine=() i
  for i in "${!devices[@]}"; do
    machine+=(--fixture="${fixtures[i]}.textproto,address=${addresses[i]},group=$((i + 10))")
  done
  timeout -k 60 1500 "$here/testing/simulate/simulate" --kernel="$1" \
    --leaks=off "${machine[@]}" -- "$selftests/run_selftests" "$tests/dynamic" \
    "${named[@]}"
}

# Both, with the output in files and what it took.
run() {
  local start=$SECONDS status=0
  "$1" "$2" >"$work/$1.$2" 2>&1 || status=$?
  echo "Linux $2 ${1//_/ }: $((SECONDS - start)) s"
  ((status == 0)) || { tail -n 50 "$work/$1.$2"; touch "$work/failed"; }
}

[[ $# -gt 0 ]] || set -- 6.12 6.1
# The kernels are fetched one by one.
"$here/testing/lab/fetch.sh" "$cache" qemu "$@" || exit
# Much of the time is sleep, so two at once do not disturb one another.
for kernel in "$@"; do
  run in_the_lab "$kernel" &
  run on_the_simulation "$kernel" &
  wait
done
for kernel in "$@"; do
  echo "--- Linux $kernel and its simulation"
  "$selftests/compare_results" "$selftests/exceptions.txt" \
    "$work/in_the_lab.$kernel" "$work/on_the_simulation.$kernel" ||
    touch "$work/failed"
done
if [[ -e $work/failed ]] && dpkg --compare-versions "$version" ge "$unknown"; then
  echo "SKIPPED: differences in tests of Linux $unknown or newer"
  exit 0
fi
[[ ! -e $work/failed ]]
