#!/bin/bash
# Runs tools/layers on trees of three folders, of which the highest may include
# the one in the middle, and the one in the middle may include the lowest.
set -euo pipefail
readonly layers="${PWD}/tools/layers"
cd "${TEST_TMPDIR}"
mkdir -p tools low middle testing/high

# expect MESSAGE: runs tools/layers, which prints this, or "0 problems".
expect() {
  local output
  output="$("${layers}" "${PWD}" 2>&1)" || true
  if [[ ${output} != *"$1"* ]]; then
    printf 'There is no "%s" in\n%s\n' "$1" "${output}"
    exit 1
  fi
}

# include FILE HEADER: writes a file that includes one header.
include() { echo "#include \"passthru/$2\"" > "$1"; }

printf '%s\n' low: 'middle: low' 'testing/high:' '  mid*' > tools/layers.txt
expect "there is no include to check"
include middle/a.cc low/a.h
include middle/a_test.cc testing/high/a.h
include testing/high/a.h middle/a.h
expect "3 includes, 0 problems"

include low/a.h middle/a.h
expect "low/a.h:1: must not include middle/a.h (tools/layers.txt:1: low:)"
include low/a.h low/b.h
include testing/high/b.cc low/a.h
expect "b.cc:1: must not include low/a.h (tools/layers.txt:3: testing/high: mid*)"
include testing/high/b.cc middle/a.h
include middle/b.h testing/high/a.h
expect "middle/b.h:1: must not include testing/high/a.h"
include middle/b.h low/a.h
include low/a_test.cc middle/a.h
expect "low/a_test.cc:1: must not include middle/a.h"
rm low/a_test.cc
expect "6 includes, 0 problems"

echo 'low: middle' >> tools/layers.txt
expect "tools/layers.txt:5: low has another line"
printf '%s\n' 'low: middle' 'middle: low' testing/high: > tools/layers.txt
expect "tools/layers.txt:1: no earlier line has the folder middle"
printf '%s\n' low: 'middle: low' > tools/layers.txt
expect "a.h:1: tools/layers.txt has no line for the folder testing/high"
