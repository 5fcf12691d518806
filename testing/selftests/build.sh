#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetches the sources of the newest Linux of Debian that has VFIO selftests,
# unpacks the few files that these need, and builds them as FOLDER/static and
# FOLDER/dynamic, unless FOLDER has them. It needs gcc, installs nothing and needs no root.
# FOLDER/version then says which Linux they are of.
#
#   build.sh FOLDER
set -euo pipefail

die() { echo "selftests: $*" >&2; exit 125; }

[[ $# == 1 ]] || die "usage: build.sh FOLDER"
mkdir -p "$(dirname "$1")"
folder=$(cd "$(dirname "$1")" && pwd)/${1##*/}
if [[ -d $0.runfiles ]]; then
  here=$(echo "$0".runfiles/*/testing/selftests)
else
  here=$(cd "$(dirname "$0")" && pwd)
fi

# The mark of a complete folder. One that other scripts made is made again.
mark=$(cat "$here"/{build.sh,iommu_mode.c,missing.h} | cksum)
[[ ! -e $folder/complete || $(<"$folder/complete") != "$mark" ]] || exit 0
for tool in apt-get dpkg-deb xz gcc; do
  command -v "$tool" >/dev/null || die "there is no $tool"
done

partial=$folder.partial
rm -rf "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work" "$partial"' EXIT
# The headers and libuuid are those of the oldest Debian that is supported.
# shellcheck source=/dev/null
. "$here/../lab/apt.sh"
private_apt "$work/apt" bookworm bookworm-backports trixie-backports sid

# get PACKAGE[=VERSION] downloads a package.
get() {
  (cd "$work" && apt-get -qq download "$1" 2>"$work/errors") ||
    { cat "$work/errors" >&2; return 1; }
}

# unpack SERIES streams the sources out of the package, of which few are needed.
# The selftests' own links lead to drivers' headers.
unpack() {
  local top=linux-source-$1
  mkdir "$work/linux"
  dpkg-deb --fsys-tarfile "$work/$top"_*.deb |
    tar xO "./usr/src/$top.tar.xz" | xz -T2 -dc |
    tar x -C "$work/linux" --strip-components=1 --wildcards \
      "$top/tools/testing/selftests/vfio/*" \
      "$top/tools/testing/selftests/kselftest*.h" \
      "$top/tools/include/*" "$top/tools/arch/x86/include/*" \
      "$top/include/linux/pci_ids.h" \
      "$top/drivers/dma/*.h" "$top/drivers/net/ethernet/intel/igb/*.h"
}

# Compiles each source, and links each test with the library of the tests.
# (The kernel's makefiles would first install all headers.)
build() {
  local linux=$work/linux program
  local tests=$linux/tools/testing/selftests headers=$work/headers/usr/include
  # The lab's processor is emulated, its memory is small, and a busy machine is
  # slow. igb's driver, which newer tests have, waits so many milliseconds.
  sed -i 's/\(TEST_TIMEOUT_DEFAULT\) 30$/\1 600/' "$tests/kselftest_harness.h"
  sed -i 's/\(TEST_F_TIMEOUT(.*\), 60)$/\1, 600)/; s/SZ_1G);$/SZ_64M);/' \
    "$tests/vfio/vfio_pci_driver_test.c"
  local igb=$tests/vfio/lib/drivers/igb/igb.c
  [[ ! -e $igb ]] || sed -i 's/\(retries =\) 200;$/\1 5000;/' "$igb"
  local compile=(gcc -O1 -D_GNU_SOURCE= -Werror=implicit -isystem "$headers"
    -isystem "$headers/x86_64-linux-gnu" -I "$linux/tools/include"
    -I "$linux/tools/arch/x86/include" -I "$tests"
    -I "$tests/vfio/lib/include" -c)
  grep -q 'define calloc_assert' "$tests/vfio/lib/include/libvfio/assert.h" ||
    compile+=(-include "$here/missing.h")
  mkdir "$work/library" "$work/programs"
  cd "$work/library"
  find "$tests/vfio/lib" "$here/iommu_mode.c" -name '*.c' -print0 |
    xargs -0 -P 2 -n 1 "${compile[@]}" || return
  cd "$work/programs"
  printf '%s\0' "$tests"/vfio/*.c | xargs -0 -P 2 -n 1 "${compile[@]}" || return
  mkdir "$partial/static" "$partial/dynamic"
  for program in *.o; do
    local link=(gcc "$program" ../library/*.o
      "$work/headers/usr/lib/x86_64-linux-gnu/libuuid.a" -pthread)
    "${link[@]}" -o "$partial/dynamic/${program%.o}" &&
      "${link[@]}" -static -o "$partial/static/${program%.o}" || return
  done
}

# try PACKAGE VERSION does it all with one Linux.
try() {
  rm -rf "$work"/{linux,headers,library,programs,*.deb} "$partial"
  mkdir "$work/headers" "$partial"
  get "$1=$2" && get "linux-libc-dev=$2" && get uuid-dev/bookworm || return
  local deb start=$SECONDS
  for deb in "$work"/{linux-libc-dev,uuid-dev}_*.deb; do
    dpkg-deb -x "$deb" "$work/headers" || return
  done
  unpack "${1#linux-source-}" || return
  echo "selftests: unpacked after $((SECONDS - start)) s" >&2
  (build) || return
  echo "selftests: built after $((SECONDS - start)) s" >&2
  echo "$2" >"$partial/version"
}

# The newest first. The tests are there since Linux 6.18.
while read -r package version; do
  dpkg --compare-versions "$version" ge 6.18 || continue
  echo "selftests: fetching those of Linux $version" >&2
  if try "$package" "$version"; then
    echo "$mark" >"$partial/complete"
    mv "$partial" "$folder"
    exit 0
  fi
  echo "selftests: those of Linux $version cannot be had" >&2
done < <(apt-cache pkgnames linux-source- | grep -E '^linux-source-[0-9.]+$' |
  xargs apt-cache madison |
  awk -F' *[|] *' '{ gsub(/ /, "", $1); print $1, $2 }' | sort -u |
  sort -rV -k2,2 | head -n 3)
die "no Debian suite has a linux-source with VFIO selftests that can be built"
