#!/bin/bash
# Tests what regression_table.sh prints and returns, with a program in the
# runner's place.
set -euo pipefail

readonly template="${TEST_SRCDIR}/${TEST_WORKSPACE}/vmm/regression/regression_table.sh"
readonly update_command="bazel run //pkg:test.update"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# A workspace, which is also where the program finds its runfiles.
export BUILD_WORKSPACE_DIRECTORY="${TEST_TMPDIR}/workspace"
mkdir -p "${BUILD_WORKSPACE_DIRECTORY}/pkg"
cd "${BUILD_WORKSPACE_DIRECTORY}"
unset TEST_TOTAL_SHARDS TEST_SHARD_INDEX TEST_SHARD_STATUS_FILE

# The runner prints the fixture, whose second line is its facts. Its status is
# in a file beside the fixture, if there is one.
cat > "${TEST_TMPDIR}/runner" << 'END'
#!/bin/bash
for argument; do
  case "${argument}" in
    --fixture=*) fixture="${argument#*=}" ;;
    --facts=*) facts="${argument#*=}" ;;
  esac
done
status="$(cat "${fixture}.status" 2> /dev/null || echo 0)"
((status != 2)) || exit 2
sed -n 2p "${fixture}" > "${facts}"
cat "${fixture}"
exit "${status}"
END
chmod +x "${TEST_TMPDIR}/runner"

# fill_in TABLE FIXTURE...: makes ${program}.
readonly program="${TEST_TMPDIR}/program"
fill_in() {
  sed -e "s|@RUNNER@|${TEST_TMPDIR}/runner|" -e "s|@KERNEL@|6.12|" -e "s|@TABLE@|$1|" \
    -e "s|@TABLE_NAME@|pkg/devices.golden|" -e "s|@UPDATE_COMMAND@|${update_command}|" \
    -e "s|@FIXTURES@|${*:2}|" "${template}" > "${program}"
}

# run STATUS [ARGUMENT]: runs the program, whose status must be this, and sets
# ${output}.
run() {
  local status=0
  output="$(bash "${program}" "${@:2}" 2>&1)" || status=$?
  ((status == $1)) || fail "status ${status} instead of $1: ${output}"
}

expect() { [[ ${output} == *"$1"* ]] || fail "'$1' is not in: ${output}"; }
expect_not() { [[ ${output} != *"$1"* ]] || fail "'$1' is in: ${output}"; }

printf 'the nic\nfacts of the nic\n' > pkg/nic.textproto
printf 'the disk\nfacts of the disk\n' > pkg/disk.textproto
readonly both=(pkg/disk.textproto pkg/nic.textproto)

# There is no table yet. The test prints what will be in it.
fill_in "" "${both[@]}"
run 1
expect "FAILED: nic: its row of pkg/devices.golden differs"
expect "-(none)"
expect "facts of the nic"
expect "2 of 2 differ or have problems: disk nic"
expect "${update_command}"

# Only golden transcripts that exist are written.
touch pkg/nic.golden
run 0 --update
expect "wrote pkg/devices.golden"
expect "wrote pkg/nic.golden"
expect_not "disk.golden"
cmp pkg/nic.golden pkg/nic.textproto || fail "the golden transcript is not the nic's"
[[ ! -e pkg/disk.golden ]] || fail "the disk got a golden transcript"
digest="$(sha256sum < pkg/nic.textproto)"
grep -q "^nic  *${digest:0:16}  facts of the nic$" pkg/devices.golden ||
  fail "no such row: $(cat pkg/devices.golden)"

fill_in pkg/devices.golden "${both[@]}"
run 0
expect "COUNT: 2 passed-through captures compared with their row and digest"
expect "COUNT: 1 passed-through captures compared with their golden transcript"

# The test prints the transcript of a device whose facts do not differ.
printf 'a disk\nfacts of the disk\n' > pkg/disk.textproto
run 1
expect "FAILED: disk: its row"
expect "The whole transcript of disk now:
a disk
facts of the disk
(end"
expect "1 of 2 differ or have problems: disk"
expect_not "FAILED: nic"
printf 'the disk\nfacts of the disk\n' > pkg/disk.textproto

# A golden transcript may differ though the row does not.
echo "more" >> pkg/nic.golden
run 1
expect "-more"
expect "FAILED: nic: its golden transcript pkg/nic.golden differs"
cp pkg/nic.textproto pkg/nic.golden

# A row may have no device, be there twice, or not at all.
cp pkg/devices.golden saved
echo "ghost 0 facts" >> pkg/devices.golden
run 1
expect "-ghost"
expect "the list of devices"
sed '/^nic/p' saved > pkg/devices.golden
run 1
expect "FAILED: nic: its row"
sed '/^nic/d' saved > pkg/devices.golden
run 1
expect "FAILED: nic: its row"
expect "+nic"
run 0 --update

# Every shard compares its own devices.
for shard in 0 1; do
  export TEST_TOTAL_SHARDS=2 TEST_SHARD_INDEX="${shard}" TEST_SHARD_STATUS_FILE="${TEST_TMPDIR}/sharded"
  run 0
  expect "COUNT: 1 passed-through captures compared with their row and digest"
  expect "COUNT: ${shard} passed-through captures compared with their golden transcript"
  [[ -e ${TEST_SHARD_STATUS_FILE} ]] || fail "Bazel would say that nothing is sharded"
  rm "${TEST_SHARD_STATUS_FILE}"
done
unset TEST_TOTAL_SHARDS TEST_SHARD_INDEX TEST_SHARD_STATUS_FILE

# A run with problems fails even if everything agrees. An update writes the files
# all the same, and fails.
echo 3 > pkg/nic.textproto.status
run 1
expect "FAILED: nic: there are problems in the transcript"
expect_not "differs"
run 3 --update
expect "wrote pkg/devices.golden"

# The test names a device that cannot run, and compares the others. An update
# then writes nothing.
echo 2 > pkg/disk.textproto.status
run 1
expect "FAILED: disk: there is no transcript, status 2"
expect "2 of 2 differ or have problems: disk nic"
cp pkg/devices.golden saved
run 2 --update
cmp saved pkg/devices.golden || fail "the table was overwritten"
