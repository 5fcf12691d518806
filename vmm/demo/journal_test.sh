#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo's kernel calls on the simulated kernel of each version are those of
# journals/, which real kernels were seen to get (//testing/lab:check).
set -uo pipefail

failures=0
for device in nvme edu; do
  for kernel in 6.1 6.12 6.18 7.2; do
    expected=vmm/journals/$device.txt
    [[ ! -e vmm/journals/$device-$kernel.txt ]] ||
      expected=vmm/journals/$device-$kernel.txt
    vmm/passthrough_demo --fixture=testing/fixtures/$device.textproto \
      --kernel=$kernel --journal="$TEST_TMPDIR/journal" >/dev/null &&
      vmm/same_journal "$expected" "$TEST_TMPDIR/journal" && continue
    echo "$device on Linux $kernel: not the calls of $expected"
    failures=$((failures + 1))
  done
done
[[ $failures == 0 ]]
