#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that the benchmark answers wrong arguments with one line that says what
# is wrong, and with an exit status that is not 0.
set -u

program=vmm/benchmark/benchmark
# shellcheck source=testing/program/refuses.sh
source testing/program/refuses.sh

refuses 2 "no section 'nothing'" --only=nothing
refuses 2 "--bar and --offset" --offset=0x10
refuses 2 "exclude each other" --device=0000:01:00.0 --only=kvm
refuses 2 "\"nonsense\" is not the address of a PCI device" --device=nonsense
refuses 1 "there is no PCI device ffff:ff:1f.7" --device=ffff:ff:1f.7

[[ $failures == 0 ]]
