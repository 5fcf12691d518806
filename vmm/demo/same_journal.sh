#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# same_journal.sh EXPECTED JOURNAL checks that a journal of the demo
# (passthrough_demo --journal=JOURNAL), from any machine, has the kernel calls
# of EXPECTED in the same order, and prints the difference. With UPDATE=1 it
# writes the calls of the journal to EXPECTED.
#
# It ignores what the VMM does not decide:
# - the calls of the event loop's thread, which the journal indents, because
#   their number and time depend on the interrupts;
# - the calls for the guest's processor, which executes a program in the
#   simulation and the agent on real KVM;
# - the device's address and its group.
set -euo pipefail

journal=$(awk '
  /^  / || /\(vcpu / { next }
  /^KVM_CREATE_VCPU/ { has_vcpu = 1 }
  has_vcpu && /\(\/dev\/kvm[,)]/ { next }
  {
    x = "[0-9a-f]"
    gsub(x x x x ":" x x ":" x x "\\.[0-7]", "DEVICE")
    gsub("/dev/vfio/[0-9]+", "/dev/vfio/GROUP")
    gsub("iommu_groups/[0-9]+", "iommu_groups/GROUP")
    if (/^read(dir|link)/) sub(/ = [0-9]+$/, "")
    # The ignored calls used names too, so this numbers the names again.
    line = ""
    while (match($0, /(fd|addr)#[0-9]+/)) {
      name = substr($0, RSTART, RLENGTH)
      kind = name
      sub(/#.*/, "", kind)
      if (!(name in names)) names[name] = kind "#" ++given[kind]
      line = line substr($0, 1, RSTART - 1) names[name]
      $0 = substr($0, RSTART + RLENGTH)
    }
    print line $0
  }' "$2")
if [[ ${UPDATE:-} == 1 ]]; then
  echo "$journal" >"$1"
  exit
fi
diff -u --label "$1" --label journal "$1" <(echo "$journal")
