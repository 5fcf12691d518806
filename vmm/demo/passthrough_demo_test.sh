#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that passthrough_demo answers wrong arguments with one line that says
# what to do, and with an exit status that is not 0.
set -u

program=vmm/demo/passthrough_demo
work=${TEST_TMPDIR:?}
# shellcheck source=testing/program/refuses.sh
source testing/program/refuses.sh

refuses 2 "'nonsense' is not a flag" nonsense
refuses 2 "none of text, json, html and trace" --output=xml
refuses 2 "--kernel=5.4" --kernel=5.4
refuses 2 "is not the address of a PCI device" --device=nonsense
refuses 2 "only one of the two" --device=0000:01:00.0 --fixture=x.textproto
refuses 2 "--allow_writes needs --device" --allow_writes
refuses 1 "lspci" --device=ffff:1f:1f.7
refuses 2 "--journal=/nowhere/j" --journal=/nowhere/j
refuses 1 "absent.textproto" --fixture=absent.textproto
printf 'schema_version: 1\nname: "broken"\nregions { index: "x" }\n' \
  >"$work/broken.textproto"
refuses 2 "broken.textproto:3" --fixture="$work/broken.textproto"
printf 'schema_version: 1\nname: "odd"\nconfig_size: 77\n' \
  >"$work/odd.textproto"
refuses 2 "config_size" --fixture="$work/odd.textproto"

# The README shows a part of what the demo prints.
"$program" >"$work/text" 2>"$work/err"
sed -n '/^Address map$/,/^$/p' "$work/text" | sed '$d' >"$work/printed"
sed -n '/^Address map$/,/^```$/p' README.md | sed '$d' >"$work/shown"
if [[ ! -s $work/shown ]] || ! diff "$work/shown" "$work/printed"; then
  echo "README.md shows another address map than the demo prints"
  failures=$((failures + 1))
fi

if ! "$program" --output=json >"$work/json" 2>"$work/err" ||
  ! grep -q '"guest_bdf": "0000:00:01.0"' "$work/json"; then
  echo "--output=json:"
  head -n 20 "$work/json" "$work/err"
  failures=$((failures + 1))
fi

if ! "$program" --output=json --journal="$work/journal" >"$work/json" 2>"$work/err" ||
  ! grep -q '^VFIO_GROUP_GET_DEVICE_FD(' "$work/journal"; then
  echo "--journal:"
  head -n 20 "$work/journal" "$work/err"
  failures=$((failures + 1))
fi

# has OUTPUT TEXT checks that a format has a text.
has() {
  if ! "$program" "--output=$1" >"$work/output" 2>"$work/err" ||
    ! grep -qF -- "$2" "$work/output"; then
    echo "--output=$1 has no '$2':"
    head -n 20 "$work/err"
    failures=$((failures + 1))
  fi
}
has html '<!doctype html>'
has html '"guest_bdf": "0000:00:01.0"'
has html '"KVM_SET_GSI_ROUTING(vm, '
has trace '{"name":"thread_name","cat":"__metadata","ph":"M",'
has trace '{"name":"KVM_SET_GSI_ROUTING","cat":"call","ph":"X",'

[[ $failures == 0 ]]
