#!/bin/bash
# Compares the transcript of a captured device with its golden transcript. With
# --update it writes that instead. //testing:passthrough.bzl makes a program of
# this for each test and fills in what is between @.
set -euo pipefail

readonly runner='@RUNNER@'
readonly fixture='@FIXTURE@'
readonly kernel='@KERNEL@'
readonly golden='@GOLDEN@'  # among the runfiles; empty if there is none yet
readonly golden_name='@GOLDEN_NAME@'  # in the workspace
readonly update_command='@UPDATE_COMMAND@'

# run: prints the transcript. Its status is 3 if there are problems in it.
run() { "${runner}" --fixture="${fixture}" --kernel="${kernel}"; }

if [[ ${1:-} == --update ]]; then
  status=0
  transcript="$(run)" || status=$?
  ((status == 0 || status == 3)) || exit "${status}"
  echo "${transcript}" > "${BUILD_WORKSPACE_DIRECTORY:?only for bazel run}/${golden_name}"
  echo "wrote ${golden_name}"
  exit "${status}"
fi

status=0
run > "${TEST_TMPDIR:?only for bazel test}/transcript" || status=$?
((status == 0 || status == 3)) || exit "${status}"
echo "COUNT: 1 passed-through captures compared with their golden transcript"
if [[ -z ${golden} ]]; then
  echo "There is no ${golden_name} to compare with yet. To write it: ${update_command}"
  status=1
elif ! diff -u --label "${golden_name}" --label now "${golden}" "${TEST_TMPDIR}/transcript"; then
  echo "${fixture} passes through differently now. If that is right: ${update_command}"
  status=1
fi
exit "${status}"
