#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# symbols_test.sh LIBRARY: checks what the preloaded library exports and needs.
set -euo pipefail
library="$1"
failed=0

fail() {
  echo "$*" >&2
  failed=1
}

command -v readelf > /dev/null || { echo "SKIPPED: no readelf"; exit 0; }

needed="$(readelf -d "${library}" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort)"
[[ ${needed} == libc.so.6 ]] || fail "it needs more than the C library: ${needed}"

# Names of C functions only: none is mangled, and none is this library's own.
exported="$(readelf --dyn-syms -W "${library}" |
  awk '$5 == "GLOBAL" && $7 != "UND" { print $8 }' | sort -u)"
grep -E '^(_Z|passthru)' <<< "${exported}" && fail "it exports names of its own"
for name in open openat64 __open64_2 close close_range ioctl mmap64 munmap \
  mremap preadv2 __pread64_chk epoll_ctl poll statx realpath opendir sigaction; do
  grep -qx "${name}" <<< "${exported}" || fail "it does not interpose ${name}"
done

# Debian 12 has glibc 2.36.
newest="$(readelf -V -W "${library}" | grep -oE 'GLIBC_2\.[0-9]+' | sort -uV | tail -n 1)"
[[ ${newest#GLIBC_2.} -le 36 ]] || fail "it needs ${newest}"

exit "${failed}"
