#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# To be sourced by the test of a program, which sets ${program}.

failures=0

# refuses STATUS TEXT ARGUMENT... checks that the program refuses the arguments
# with the exit status STATUS and, instead of a result, one line that contains
# TEXT. Otherwise it says what the program did, and counts that in ${failures}.
refuses() {
  local status=$1 text=$2 got=0
  local out=${TEST_TMPDIR:?}/out err=$TEST_TMPDIR/err
  shift 2
  "${program:?}" "$@" >"$out" 2>"$err" || got=$?
  if [[ $got != "$status" || -s $out || $(wc -l <"$err") != 1 ]] ||
    ! grep -qF -- "$text" "$err"; then
    echo "$program $*: not status $status and one line with '$text', but $got:"
    cat "$out" "$err"
    failures=$((failures + 1))
  fi
}
