#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that the demo's calls to the simulated kernel of each version are those
# of journals/. They are the calls that it makes to real kernels, as
# //testing/lab:check checks.
set -uo pipefail

failures=0
for device in nvme edu; do
  for kernel in 6.1 6.12 6.18 7.2; do
    expected=vmm/demo/journals/$device.txt
    [[ ! -e vmm/demo/journals/$device-$kernel.txt ]] ||
      expected=vmm/demo/journals/$device-$kernel.txt
    vmm/demo/passthrough_demo --fixture=testing/fixtures/$device.textproto \
      --kernel=$kernel --journal="$TEST_TMPDIR/journal" >/dev/null &&
      vmm/demo/same_journal "$expected" "$TEST_TMPDIR/journal" && continue
    echo "$device on Linux $kernel: not the calls of $expected"
    failures=$((failures + 1))
  done
done
[[ $failures == 0 ]]
