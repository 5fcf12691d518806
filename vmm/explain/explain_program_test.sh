#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that explain answers wrong arguments with one line that says what to
# do, and with an exit status that is not 0, and that it prints JSON.
set -u

program=vmm/explain/explain
fixture=testing/fixtures/nvme.textproto
work=${TEST_TMPDIR:?}
# shellcheck source=testing/program/refuses.sh
source testing/program/refuses.sh

refuses 2 "needs a device"
refuses 2 "takes one device or one capture" $fixture 0000:01:00.0
refuses 2 "is not the address of a PCI device" nonsense
refuses 2 "neither text nor json" --output=xml $fixture
refuses 2 "--kernel=5.4" --kernel=5.4 $fixture
refuses 2 "not the offset of a capability" --hide=first $fixture
refuses 2 "no capability at 0xcc" --hide=cc $fixture
refuses 2 "max_vectors" --max_vectors=5000 $fixture
refuses 1 "VFIO offers none to read" --rom $fixture
refuses 1 "absent.textproto" absent.textproto
refuses 2 "$work is a folder" "$work"
echo "01:00.0 Ethernet controller: Example" >"$work/lspci.txt"
refuses 2 "testing:capture -- --lspci=FILE" "$work/lspci.txt"
printf 'name: \033[2J\351' >"$work/binary.textproto"
"$program" "$work/binary.textproto" 2>"$work/err"
if [[ $? != 2 ]] || grep -q $'\033' "$work/err" ||
  ! grep -qF "binary.textproto:1:" "$work/err"; then
  echo "a binary file:"
  cat -v "$work/err"
  failures=$((failures + 1))
fi

if ! "$program" --output=json --show=150 testing/fixtures/igb_vf.textproto \
  >"$work/json" || ! grep -q '"treatment": "VIRTUALIZED"' "$work/json" ||
  ! grep -q '"what": "150 Alternative Routing-ID' "$work/json"; then
  echo "--output=json:"
  head -n 20 "$work/json"
  failures=$((failures + 1))
fi

[[ $failures == 0 ]]
