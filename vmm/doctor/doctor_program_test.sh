#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that doctor answers wrong arguments with one line that says what to do,
# and that it looks at this machine, whatever it is, in both formats.
set -u

program=vmm/doctor/doctor
work=${TEST_TMPDIR:?}
# shellcheck source=testing/program/refuses.sh
source testing/program/refuses.sh

refuses 2 "is not the address of a PCI device" nonsense
refuses 2 "neither text nor json" --output=xml
refuses 2 "is no size of memory" --memory=much

# There is no such device on any machine.
"$program" ffff:1f:1f.7 >"$work/out" 2>"$work/err"
if [[ $? != 1 ]] || ! grep -q "It cannot be passed through" "$work/out"; then
  echo "a device that is not there:"
  cat "$work/out" "$work/err"
  failures=$((failures + 1))
fi
"$program" --output=json ffff:1f:1f.7 >"$work/json"
if [[ $? != 1 ]] || ! grep -q '"verdict": "PROBLEM"' "$work/json"; then
  echo "--output=json:"
  head -n 20 "$work/json"
  failures=$((failures + 1))
fi

[[ $failures == 0 ]]
