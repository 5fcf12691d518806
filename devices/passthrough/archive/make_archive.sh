#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# make_archive.sh ARCHIVE COMPILER AR LINK_OPTIONS LIST: packs the files that
# LIST names, one in a line: headers, static libraries, and texts for the top
# folder. The same files give the same archive.
set -euo pipefail

archive=$1 compiler=$2 ar=$3 link_options=$4 list=$5
folder=$(mktemp -d)
trap 'rm -rf "${folder}"' EXIT
root=${folder}/passthru
include=${folder}/include
mkdir -p "${root}/lib/pkgconfig" "${root}/include/passthru_uapi"

# add FILE TARGET copies a file to a path that may need new folders.
add() {
  mkdir -p "${2%/*}"
  cp -L "$1" "$2"
}

libraries=()
while read -r file; do
  case ${file} in
    # Bazel makes this folder for headers with a prefix, and in it one for each
    # library.
    */_virtual_includes/*.h)
      name=${file#*/_virtual_includes/}
      add "${file}" "${include}/${name#*/}"
      ;;
    external/com_google_absl/absl/*.h | external/com_google_absl/absl/*.inc)
      add "${file}" "${root}/include/${file#external/com_google_absl/}"
      ;;
    external/linux_kernel_headers/include/*)
      name=${file#external/linux_kernel_headers/include/}
      add "${file}" "${root}/include/passthru_uapi/${name}"
      ;;
    *.a) libraries+=("${file}") ;;
    external/com_google_absl/LICENSE) cp -L "${file}" "${root}/LICENSE.abseil" ;;
    */LICENSE | LICENSE | */README.md) cp -L "${file}" "${root}" ;;
    # What is left are sources that others include, and headers without their
    # prefix.
    *.cc | *.h | *.inc) ;;
    *)
      echo "make_archive.sh: ${file} has no place in the archive" >&2
      exit 1
      ;;
  esac
done < "${list}"

# Of our own headers only those that passthru.h includes are for users.
"${compiler}" -std=c++20 -M -I "${include}" -I "${root}/include" \
  -isystem "${root}/include/passthru_uapi" -x c++ \
  "${include}/passthru/passthru.h" > "${folder}/included"
grep -oE "${include}/[^ ]+" "${folder}/included" | sort -u |
  while read -r file; do
    add "${file}" "${root}/include/${file#"${include}"/}"
  done

{
  echo "create ${root}/lib/libpassthru.a"
  printf 'addlib %s\n' "${libraries[@]}"
  echo save
} | "${ar}" -M

version=$(sed -n 's/.*kVersion = "\(.*\)";/\1/p' \
  "${include}/passthru/devices/passthrough/version.h")
cat > "${root}/lib/pkgconfig/passthru.pc" << PC
prefix=\${pcfiledir}/../..

Name: passthru
Description: PCI passthrough for KVM
Version: ${version:?version.h has no version}
Cflags: -I\${prefix}/include -isystem \${prefix}/include/passthru_uapi
Libs: -L\${prefix}/lib -lpassthru ${link_options}
PC
chmod -R u=rwX,go=rX "${root}"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 \
  -C "${folder}" -c passthru | gzip -9n > "${archive}"
