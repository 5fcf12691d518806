#!/bin/bash
# Tests which capture report.sh passes to the runner, with a program in the
# runner's place.
set -euo pipefail

readonly template="vmm/regression/report.sh"
cd "${TEST_SRCDIR}/${TEST_WORKSPACE}"

readonly program="${TEST_TMPDIR}/program"
# fill_in FIXTURES: makes ${program}, whose runner prints its arguments.
fill_in() {
  sed -e "s|@RUNNER@|echo|" -e "s|@FIXTURES@|$1|" -e "s|@KERNEL@|6.1|" \
    -e "s|@NAME@|test.report|" "${template}" > "${program}"
}

# expect STATUS TEXT ARGUMENT...: runs the program, which must return the status
# and print the text.
expect() {
  local status=0 output
  output="$(bash "${program}" "${@:3}" 2>&1)" || status=$?
  if ((status != $1)) || [[ ${output} != "$2" ]]; then
    echo "FAILED: $*: status ${status}: ${output}" >&2
    exit 1
  fi
}

fill_in "pkg/nic.textproto"
expect 0 "--fixture=pkg/nic.textproto --kernel=6.1 --output=html"
expect 0 "--fixture=pkg/nic.textproto --kernel=6.1 --output=trace" --output=trace
expect 2 "test.report: give one of these captures: nic " disk

fill_in "pkg/nic.textproto pkg/disk.textproto"
expect 0 "--fixture=pkg/disk.textproto --kernel=6.1 --output=html" disk
expect 2 "test.report: give one of these captures: nic disk "
