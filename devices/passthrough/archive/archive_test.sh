#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# archive_test.sh ARCHIVE SIMULATE: unpacks the archive in an empty folder,
# builds vmm/example there as a user does who has no Bazel, and passes a
# captured device of the simulated kernel to it.
set -uo pipefail

archive=$PWD/$1
simulate=$PWD/$2
fixture=$PWD/testing/fixtures/nvme.textproto
example=$PWD/vmm/example
guide=$PWD/docs/use-in-your-vmm.md
failed=0
fail() {
  echo "$*" >&2
  failed=1
}

work=${TEST_TMPDIR:?}/elsewhere
mkdir "${work}" && cd "${work}" && tar -xzf "${archive}" || exit 1
root=${work}/passthru
library=${root}/lib/libpassthru.a
[[ $(ls) == passthru ]] || fail "it has more than one folder: $(ls)"
nm -A "${library}" > symbols 2> /dev/null
if grep -qE '__(asan|tsan)_init' symbols; then
  echo "SKIPPED: with a sanitizer in the library, no program can do without it"
  exit 0
fi

# What pkg-config prints, also where there is none.
if command -v pkg-config > /dev/null; then
  export PKG_CONFIG_PATH=${root}/lib/pkgconfig
  read -ra compile < <(pkg-config --cflags passthru)
  read -ra link < <(pkg-config --libs passthru)
else
  echo "There is no pkg-config: passthru.pc is read by this script."
  fields() {
    sed -n "s|^$1: ||p" "${root}/lib/pkgconfig/passthru.pc" |
      sed "s|\${prefix}|${root}|g"
  }
  read -ra compile < <(fields Cflags)
  read -ra link < <(fields Libs)
fi

# The library, and nothing that only tests need.
grep -q ' T .*passthru11passthrough9DeviceSet6Attach' symbols ||
  fail "the library lacks DeviceSet::Attach()"
if grep -m 3 -E '7testing8internal|6google8protobuf|8passthru4fake' symbols; then
  fail "the library has code of tests"
fi

# All the headers that the guide names are there, and Abseil is the version that
# README.md names.
headers=0
while read -r header; do
  headers=$((headers + 1))
  compgen -G "${root}/include/passthru/${header}" > /dev/null ||
    fail "${header} is not there"
done < <(grep -oE '(allocator|devices|pci)/[a-z_/*]+\.h' "${guide}" | sort -u)
((headers > 20)) || fail "the guide names only ${headers} headers"
abseil=$(sed -n 's/^#define ABSL_LTS_RELEASE_VERSION //p' \
  "${root}/include/absl/base/config.h")
grep -q "Abseil ${abseil}," "${root}/README.md" ||
  fail "README.md names another Abseil than ${abseil}"

# The headers give no warning, and include what they need.
mapfile -t headers < <(cd "${root}/include" && find passthru -name '*.h' | sort)
for header in "${headers[@]}"; do echo "#include \"${header}\""; done > all.cc
# Before 6.12 the headers of the kernel give this ioctl another number in C++.
echo "static_assert(KVM_SET_GSI_ROUTING == 0x4008ae6a);" >> all.cc
for compiler in g++ clang++; do
  command -v "${compiler}" > /dev/null || continue
  "${compiler}" -std=c++20 -Wall -Wextra -Werror "${compile[@]}" \
    -fsyntax-only all.cc || fail "${compiler} does not like the headers"
done

# The small VMM of vmm/example, with no other Abseil and no other headers.
cp -rL "${example}" example
g++ -std=c++20 -Wall -Werror -o example_vmm \
  example/main.cc example/vmm.cc "${compile[@]}" "${link[@]}" || exit 1
output=$(./example_vmm --device=nothing 2>&1)
[[ $? == 2 && ${output} == '--device: '* ]] || fail "its answer is ${output}"

# It passes a device of the simulated kernel through.
output=$("${simulate}" --fixture="${fixture}" --kvm=simulated --check=fail \
  --leaks=fail -- ./example_vmm --device=0000:02:00.0 2>&1) ||
  fail "the VMM ends with status $?"
echo "${output}"
grep -q "65 of the device's 65 vectors shown" <<< "${output}" ||
  fail "it does not show the device"
echo "COUNT: ${#headers[@]} headers of the archive compiled"
echo "$(stat -Lc %s "${archive}") bytes, $(stat -c %s example_vmm) in a VMM"
exit "${failed}"
