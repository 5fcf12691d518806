#!/bin/bash
# run_clang_tidy.sh STAMP PROGRAM ARGUMENT...: runs clang-tidy, silent unless it
# finds something, and then creates STAMP.
set -euo pipefail
readonly stamp="$1"
shift
if ! output="$("$@" 2>&1)"; then
  # Not how many warnings there were in other people's headers.
  grep --invert-match --extended-regexp \
    '^([0-9]+ warnings? (generated|treated as error)|Suppressed |Use -header-filter)' \
    <<< "${output}" >&2 || true
  exit 1
fi
touch "${stamp}"
