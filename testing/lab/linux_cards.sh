# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# To be sourced by check.sh: the checks in which a Linux guest has network
# cards.

# linux_with_cards ARGUMENT... is linux_guest with the generic
# kernel, which has drivers of network cards. It checks that each card fetched
# the file that is behind it. The caller's variable e1000e has parameters of
# that driver.
linux_with_cards() {
  local kernel=$kernel-generic module modules=$work/guest_modules
  "$here/testing/lab/fetch.sh" "$cache" "$kernel" || return
  sed "s/^e1000e.ko\$/& ${e1000e:-}/" "$cache/$kernel/guest/modules" >"$modules"
  local guest_files=(lab/modules="$modules")
  for module in "$cache/$kernel/guest"/*.ko; do
    guest_files+=("lab/${module##*/}=$module")
  done
  mkdir -p "$work/tftp"
  head -c 65536 /dev/urandom >"$work/tftp/data"
  local said sum status=0
  said=$(linux_guest "$1" --wake "${@:2}") || status=$?
  echo "$said"
  sum=$(cksum <"$work/tftp/data")
  if ! grep -q ' pings, and fetched ' <<<"$said" ||
    grep ' pings, and fetched ' <<<"$said" |
    grep -qv " fetched 65536 bytes with the sum ${sum% *}\$"; then
    echo "A card did not fetch the file, whose sum is $sum."
    return 1
  fi
  echo "  the file that each card fetched has this sum outside, too"
  return $status
}

# network N prints the network 10.0.N of a card, with the file behind it.
network() { echo "user,id=net$1,net=10.0.$1.0/24,tftp=$work/tftp"; }

# make_rom FILE writes an expansion ROM with one image of 2 KiB (PCI 3.0 6.3),
# which is random code of the type 3 (UEFI), so that SeaBIOS does not run it.
make_rom() {
  {
    printf '\x55\xaa' && head -c 22 /dev/zero && printf '\x1c\0\0\0'
    printf 'PCIR\x86\x80\xd3\x10\0\0\x18\0\0\0\0\x02\x04\0\0\0\x03\x80\0\0'
    head -c 1996 /dev/urandom
  } >"$1"
}

# An NVMe controller in a group of its own, and two cards in another group, by
# MSI-X and by INTx. One card has an expansion ROM, and the VMM gives the other
# one to the guest from a file. Each device goes away and comes back. Those that
# can are reset, and sleep.
linux_cards() {
  local said rom sum status=0 data="write=/dev/nvme*n1"
  local cards="net=e1000e:10.0.2 net=8139cp:10.0.3"
  make_rom "$work/rom1"
  make_rom "$work/rom2"
  said=$(linux_with_cards "-- $data $cards interrupts=nvme:msix \
interrupts=e1000e:msix interrupts=8139cp:intx rom=e1000e rom=8139cp \
remove=nvme remove=e1000e remove=8139cp $data $cards \
function_reset=nvme $data function_reset=e1000e net=e1000e:10.0.2 \
suspend=nvme,e1000e $data $cards" \
    --netdev="$(network 2)" --netdev="$(network 3)" \
    --device=e1000e,netdev=net2,addr=5.0,multifunction=on,romfile="$work/rom1" \
    --device=rtl8139,netdev=net3,addr=5.1,romfile= \
    --bind=0000:00:05.0 --bind=0000:00:05.1 --file=lab/rom="$work/rom2" -- \
    --device=0000:00:04.0 --device=0000:00:05.0,rom=device \
    --device=0000:00:05.1,rom=/lab/rom) || status=$?
  echo "$said"
  for rom in "e1000e $work/rom1" "8139cp $work/rom2"; do
    sum=$(cksum <"${rom#* }")
    if [[ $said != *"ROM of ${rom% *} has 2048 bytes with the sum ${sum% *}"* ]]
    then
      echo "The ROM of ${rom% *} does not have the sum $sum."
      return 1
    fi
  done
  echo "  both ROMs have this sum outside, too"
  return $status
}

# A virtual function whose physical function the host itself uses, and cards
# that are asked to use MSI. e1000e's driver then takes INTx, as it does without
# passthrough, because QEMU's card does not pass the driver's test of MSI. The
# guest resets itself once, and starts again. One kernel is enough.
linux_virtual_function() {
  [[ $kernel == 6.12 ]] || return 0
  local e1000e=IntMode=1 said status=0
  local cards="net=e1000e:10.0.2 net=igb:10.0.3 net=igbvf:10.0.4"
  said=$(linux_with_cards "-- wreck write=/dev/nvme*n1 $cards restart=/dev/nvme*n1 \
interrupts=e1000e:intx interrupts=igb:msi interrupts=igbvf:msix \
function_reset=igbvf net=igbvf:10.0.4 suspend=e1000e,igb $cards" \
    --netdev="$(network 2)" --netdev="$(network 3)" --netdev="$(network 4)" \
    --device=e1000e,netdev=net2,addr=5,romfile= --bind=0000:00:05.0 \
    --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    --device=igb,netdev=net4,bus=port1,romfile= \
    --vfs=0000:01:00.0=1,igb --bind=0000:01:10.0 \
    --device=pcie-root-port,id=port2,chassis=2,addr=3 \
    --device=igb,netdev=net3,bus=port2,romfile= --bind=0000:02:00.0 -- \
    --device=0000:00:04.0 --device=0000:00:05.0 --device=0000:01:10.0 \
    --device=0000:02:00.0,hide=11 --vcpus=2 --reboot) || status=$?
  echo "$said"
  [[ $status == 0 && $said == *"first start"*"second start"* ]]
}
