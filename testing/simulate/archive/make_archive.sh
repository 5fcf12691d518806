#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# make_archive.sh ARCHIVE FILE...: packs the launcher, its library, the fixtures
# and the texts, each by its name, into one folder. The same files give the same
# archive.
set -euo pipefail

archive=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "${folder}"' EXIT
root=${folder}/passthru-simulate
mkdir -p "${root}/fixtures/modelled"
for file; do
  case ${file} in
    */modelled/*.textproto) to=fixtures/modelled/ ;;
    *.textproto) to=fixtures/ ;;
    */simulate.stripped) to=simulate ;;
    *) to= ;;
  esac
  cp -L "${file}" "${root}/${to}"
done
chmod -R u=rwX,go=rX "${root}"
chmod 755 "${root}/simulate"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 \
  -C "${folder}" -c passthru-simulate | gzip -9n > "${archive}"
