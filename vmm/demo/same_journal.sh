#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# same_journal.sh EXPECTED JOURNAL: whether a journal of the demo
# (passthrough_demo --journal=JOURNAL) has the kernel calls of EXPECTED, in
# that order, on any machine. Prints what differs. With UPDATE=1, makes EXPECTED
# what the journal says.
#
# Left out is what is not the VMM's to decide: what the event loop's thread
# calls (indented: how often and when depends on the interrupts), what the
# guest's processor takes (a program of the simulation's, or the agent's on real
# KVM), and where the device is.
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
    # What is left out had names as well: count anew.
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
