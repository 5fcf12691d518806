#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that the program answers wrong arguments, and a socket at which no VM
# listens, with one line that says what to do.
set -u

program=vmm/control/control
work=${TEST_TMPDIR:?}
# shellcheck source=testing/program/refuses.sh
source testing/program/refuses.sh

refuses 2 "give the socket of a passthrough_vm"
refuses 2 "neither text nor json" --output=xml "$work/socket"
refuses 2 "only inspect answers in JSON" --output=json "$work/socket" help
refuses 2 "is no path of a socket" "$work/$(printf 'x%.0s' {1..200})"
# The path of a socket is short, and that of a test's folder is not.
refuses 1 "no VM listens at ./socket" ./socket

[[ $failures == 0 ]]
