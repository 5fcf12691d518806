#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# archive_test.sh ARCHIVE CLIENT: unpacks the archive in an empty folder, and
# runs programs on captured devices in an empty environment.
set -uo pipefail

archive=$PWD/$1
client=$(realpath "$2")
failed=0
fail() {
  echo "$*" >&2
  failed=1
}

# A space in the path is not for LD_PRELOAD.
work="${TEST_TMPDIR:?}/any folder"
mkdir "${work}" && cd "${work}" && tar -xzf "${archive}" || exit 1
root=${work}/passthru-simulate
[[ $(ls) == passthru-simulate ]] || fail "it has more than one folder: $(ls)"
if grep -qE '__(asan|tsan)_init' "${root}/simulate"; then
  echo "SKIPPED: a sanitizer's library must be preloaded first"
  exit 0
fi

# The launcher needs the C library alone, and not a newer one than Debian 12's,
# unless it was linked with a newer one.
needed=$(readelf -d "${root}/simulate" |
  sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
[[ ${needed} =~ ^(ld-linux-x86-64\.so\.2\ )?libc\.so\.6\ (libm\.so\.6\ )?$ ]] ||
  fail "the launcher needs ${needed}"
newest=$(readelf -V -W "${root}/simulate" | grep -oE 'GLIBC_2\.[0-9]+' |
  sort -uV | tail -n 1)
if ((${newest#GLIBC_2.} > 36)); then
  [[ $(getconf GNU_LIBC_VERSION) != 'glibc 2.36' ]] ||
    fail "the launcher needs ${newest}"
  echo "Linked here, the launcher needs ${newest}, which Debian 12 lacks."
fi

# simulate EXPECTED ARGUMENT... compares the output.
simulate() {
  local expected=$1 output
  shift
  output=$(env -i "${root}/simulate" "$@" 2>&1) ||
    fail "simulate $*: status $?"
  [[ ${output} == "${expected}" ]] || fail "simulate $*: ${output}"
}

simulate 0x1234 --fixture=edu.textproto -- \
  cat /sys/bus/pci/devices/0000:00:02.0/vendor
simulate '' --fixture=edu.textproto --check=fail --leaks=fail -- \
  "${client}" mapped
simulate '' --fixture=edu.textproto -- sh -c "${client@Q} interrupts"
simulate 0x1b36 --fixture=nvme.textproto -- \
  cat /sys/bus/pci/devices/0000:02:00.0/vendor
simulate 0x10de --fixture=modelled/gpu_gk104.textproto -- \
  sh -c 'cat /sys/bus/pci/devices/*/vendor'
# A fixture of the user's own is found from the working directory.
cp "${root}/fixtures/edu.textproto" mine.textproto
simulate '' --fixture=mine.textproto -- "${client}" calls
cd / || exit 1
simulate '' --fixture=edu.textproto -- "${client}" mapped

# Each fixture of the archive is one.
cd "${root}/fixtures" || exit 1
count=0
for fixture in *.textproto modelled/*.textproto; do
  count=$((count + 1))
  env -i "${root}/simulate" --fixture="${fixture}" -- true > /dev/null 2>&1 ||
    fail "${fixture} does not load"
done
((count > 80)) || fail "it has only ${count} fixtures"
echo "${count} fixtures, $(stat -Lc %s "${archive}") bytes"
exit "${failed}"
