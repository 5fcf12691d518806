#!/bin/bash
# Compares the transcripts of captured devices with a table, which has a digest
# and a row of facts for each device, and with whole golden transcripts of those
# that have one. With --update it writes them instead. //testing:passthrough.bzl
# makes a program of this for each test and fills in what is between @.
set -euo pipefail

readonly runner='@RUNNER@'
readonly kernel='@KERNEL@'
readonly table='@TABLE@'  # among the runfiles; empty if there is none yet
readonly table_name='@TABLE_NAME@'  # in the workspace
readonly update_command='@UPDATE_COMMAND@'
readonly fixtures=(@FIXTURES@)

folder="$(dirname "${table_name}")"
readonly folder
work="${TEST_TMPDIR:-$(mktemp -d)}"
readonly work

# transcribe FIXTURE: passes the device through. Sets ${name}, ${transcript},
# which is a file, and ${row}. Returns the runner's status, which is 3 if there
# is a transcript with problems in it.
transcribe() {
  local status=0 digest
  name="$(basename "$1" .textproto)"
  transcript="${work}/${name}.golden"
  "${runner}" --fixture="$1" --kernel="${kernel}" --facts="${work}/facts" \
    > "${transcript}" || status=$?
  ((status == 0 || status == 3)) || return "${status}"
  digest="$(sha256sum < "${transcript}")"
  row="$(printf '%-24s %s  %s' "${name}" "${digest:0:16}" "$(< "${work}/facts")")"
  return "${status}"
}

update() {
  local -r workspace="${BUILD_WORKSPACE_DIRECTORY:?only for bazel run}"
  local fixture name transcript row golden status result=0
  local rows=() names=()
  for fixture in "${fixtures[@]}"; do
    status=0
    transcribe "${fixture}" || status=$?
    ((status == 0 || status == 3)) || exit "${status}"
    ((status == 0)) || result="${status}"
    rows+=("${row}")
    names+=("${name}")
  done
  {
    echo "# Each captured device, passed through on the simulated Linux ${kernel}: the first"
    echo "# 16 digits of the sha256sum of its whole transcript, and its facts. Written by"
    echo "# ${update_command}"
    printf '%s\n' "${rows[@]}"
  } > "${workspace}/${table_name}"
  echo "wrote ${table_name}"
  for name in "${names[@]}"; do
    golden="${folder}/${name}.golden"
    [[ -e "${workspace}/${golden}" ]] || continue
    cp "${work}/${name}.golden" "${workspace}/${golden}"
    echo "wrote ${golden}"
  done
  exit "${result}"
}

# compare FIXTURE: returns whether the device is as the table and its golden
# transcript, if it has one, say. Prints what differs, and the whole transcript.
compare() {
  local name transcript row expected="" status=0 same=1
  transcribe "$1" || status=$?
  if ((status != 0 && status != 3)); then
    echo "FAILED: ${name}: there is no transcript, status ${status}"
    return 1
  fi
  ((status == 0)) || echo "FAILED: ${name}: there are problems in the transcript"
  [[ -z ${table} ]] || expected="$(awk -v name="${name}" '$1 == name' "${table}")"
  if [[ ${row} != "${expected}" ]]; then
    same=0
    printf 'FAILED: %s: its row of %s differs\n-%s\n+%s\n' "${name}" "${table_name}" \
      "${expected:-(none)}" "${row}"
  fi
  local -r golden="${folder}/${name}.golden"
  if [[ -e ${golden} ]]; then
    ((++whole))
    diff -u --label "${golden}" --label now "${golden}" "${transcript}" ||
      { same=0 && echo "FAILED: ${name}: its golden transcript ${golden} differs"; }
  fi
  if ((same == 0)); then
    echo "The whole transcript of ${name} now:"
    cat "${transcript}"
    echo "(end of the transcript of ${name})"
  fi
  ((same == 1 && status == 0))
}

[[ ${1:-} != --update ]] || update

readonly shards="${TEST_TOTAL_SHARDS:-1}" shard="${TEST_SHARD_INDEX:-0}"
[[ -z ${TEST_SHARD_STATUS_FILE:-} ]] || touch "${TEST_SHARD_STATUS_FILE}"
failed=()
compared=0
whole=0
for ((i = shard; i < ${#fixtures[@]}; i += shards)); do
  ((++compared))
  compare "${fixtures[i]}" || failed+=("$(basename "${fixtures[i]}" .textproto)")
done
echo "COUNT: ${compared} passed-through captures compared with their row and digest"
echo "COUNT: ${whole} passed-through captures compared with their golden transcript"

# A row that has no device, or is there twice, would assert nothing.
if ((shard == 0)) && [[ -n ${table} ]]; then
  diff -u --label "${table_name}" --label "the fixtures" \
    <(awk '!/^#/ { print $1 }' "${table}") \
    <(for fixture in "${fixtures[@]}"; do basename "${fixture}" .textproto; done) ||
    failed+=("the list of devices")
fi

if ((${#failed[@]})); then
  echo "${#failed[@]} of ${compared} differ or have problems: ${failed[*]}"
  echo "If what they do now is right, accept it and review the difference: ${update_command}"
  exit 1
fi
