#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that doctor answers wrong arguments with one line that says what to do,
# and that it looks at this machine, whatever it is, in both formats.
set -u

doctor=vmm/doctor/doctor
work=${TEST_TMPDIR:?}
failures=0

# refuses TEXT ARGUMENT... checks that doctor refuses the arguments with the
# exit status 2 and one line that contains TEXT.
refuses() {
  local text=$1
  shift
  "$doctor" "$@" >"$work/out" 2>"$work/err"
  local got=$?
  if [[ $got != 2 || -s $work/out || $(wc -l <"$work/err") != 1 ]] ||
    ! grep -qF -- "$text" "$work/err"; then
    echo "doctor $*: not status 2 and one line with '$text', but $got:"
    cat "$work/out" "$work/err"
    failures=$((failures + 1))
  fi
}

refuses "is not the address of a PCI device" nonsense
refuses "neither text nor json" --output=xml
refuses "is no size of memory" --memory=much

# There is no such device on any machine.
"$doctor" ffff:1f:1f.7 >"$work/out" 2>"$work/err"
if [[ $? != 1 ]] || ! grep -q "It cannot be passed through" "$work/out"; then
  echo "a device that is not there:"
  cat "$work/out" "$work/err"
  failures=$((failures + 1))
fi
"$doctor" --output=json ffff:1f:1f.7 >"$work/json"
if [[ $? != 1 ]] || ! grep -q '"verdict": "PROBLEM"' "$work/json"; then
  echo "--output=json:"
  head -n 20 "$work/json"
  failures=$((failures + 1))
fi

[[ $failures == 0 ]]
