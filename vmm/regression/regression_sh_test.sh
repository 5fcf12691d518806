#!/bin/bash
# Tests what regression.sh prints and returns, with a program in the runner's
# place.
set -euo pipefail

readonly template="vmm/regression/regression.sh"
cd "${TEST_SRCDIR}/${TEST_WORKSPACE}"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# fill_in TRANSCRIPT STATUS GOLDEN: makes ${program}, whose runner prints the
# transcript and returns the status.
readonly program="${TEST_TMPDIR}/program"
fill_in() {
  printf '#!/bin/bash\necho "%s"\nexit %d\n' "$1" "$2" > "${TEST_TMPDIR}/runner"
  chmod +x "${TEST_TMPDIR}/runner"
  sed -e "s|@RUNNER@|${TEST_TMPDIR}/runner|" -e "s|@FIXTURE@|nic.textproto|" \
    -e "s|@KERNEL@|6.12|" -e "s|@GOLDEN@|$3|" -e "s|@GOLDEN_NAME@|pkg/nic.golden|" \
    -e "s|@UPDATE_COMMAND@|bazel run //pkg:nic_test.update|" "${template}" > "${program}"
}

# expect STATUS TEXT [ARGUMENT]: runs the program, which must return the status
# and print the text.
expect() {
  local status=0 output
  output="$(bash "${program}" "${@:3}" 2>&1)" || status=$?
  ((status == $1)) || fail "status ${status} instead of $1: ${output}"
  [[ ${output} == *"$2"* ]] || fail "'$2' is not in: ${output}"
}

readonly golden="${TEST_TMPDIR}/golden"
echo "as it was" > "${golden}"

fill_in "as it was" 0 "${golden}"
expect 0 "COUNT: 1 "

fill_in "different" 0 "${golden}"
expect 1 "+different"
expect 1 "-as it was"
expect 1 "bazel run //pkg:nic_test.update"

fill_in "different" 0 ""
expect 1 "There is no pkg/nic.golden to compare with yet. To write it: bazel run //pkg:nic_test.update"

# A run with problems fails even if the transcripts agree.
fill_in "as it was" 3 "${golden}"
expect 3 "COUNT: 1 "

# A runner may fail without a transcript, for example if it cannot load the
# fixture.
fill_in "" 2 "${golden}"
expect 2 ""

export BUILD_WORKSPACE_DIRECTORY="${TEST_TMPDIR}/workspace"
mkdir -p "${BUILD_WORKSPACE_DIRECTORY}/pkg"
fill_in "different" 0 "${golden}"
expect 0 "wrote pkg/nic.golden" --update
[[ "$(< "${BUILD_WORKSPACE_DIRECTORY}/pkg/nic.golden")" == different ]] || fail "not written"

# A failed run does not change the golden transcript.
fill_in "" 2 "${golden}"
expect 2 "" --update
[[ "$(< "${BUILD_WORKSPACE_DIRECTORY}/pkg/nic.golden")" == different ]] || fail "overwritten"
