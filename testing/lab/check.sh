#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The program "check.sh [--only=PATTERN] [KERNEL]..." runs every check against
# real kernels, or those whose function's name matches the pattern, as in
# --only='linux*'. The default is both kernels of the lab (6.12 and 6.1). With
# UPDATE=1 the answers and journals become the expected ones in the source tree.
set -uo pipefail

# `bazel run` starts this script among the runfiles, which have the programs.
# The expected answers and journals, which UPDATE=1 writes, are in the source
# tree.
here=$PWD
source=${BUILD_WORKSPACE_DIRECTORY:-$here}
lab=$here/testing/lab/lab
demo=$here/vmm/demo/passthrough_demo_static
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
truncate -s 16M "$work/lab.img"
disk=(--drive="if=none,id=disk,file=$work/lab.img,format=raw")
nvme=nvme,serial=lab,drive=disk
cache=${PASSTHRU_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/passthru/lab}
failed=0
# What a VM is told while it runs; see linux_guest().
driven=()

# run NAME COMMAND... runs one check and shows its output.
run() {
  local status=0 start=$SECONDS
  # shellcheck disable=SC2053  # The right side is a pattern.
  [[ $2 == $only ]] || return 0
  echo "--- $1, Linux $kernel"
  shift
  "$@" || status=$?
  echo "    $((SECONDS - start)) s"
  if [[ $status != 0 ]]; then
    echo "FAILED with status $status"
    failed=$((failed + 1))
  fi
}

# brief COMMAND... runs the demo and shows the part of its report that tells
# what the guest did. If the demo fails, it shows the whole report.
brief() {
  "$@" >"$work/report"
  local status=$?
  if [[ $status == 0 ]]; then
    sed -n -e '/^killed at /p' -e '/^What the guest did$/,/^$/p' \
      -e '/^Left behind$/,/^$/p' "$work/report" |
      grep -v '^What the guest did$\|^$'
  else
    cat "$work/report"
  fi
  return $status
}

# Asks the questions of the contract tests. The places of devices and groups are
# part of some answers, so they are the same as in the first run.
contract() {
  local save=()
  [[ ${UPDATE:-} != 1 ]] || save=(--save)
  "$lab" --kernel="$kernel" \
    --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    --device=pcie-root-port,id=port2,chassis=2,addr=3 \
    --device=e1000e,bus=port1,romfile= --bind=0000:01:00.0 \
    "${disk[@]}" --device=$nvme,bus=port2 --bind=0000:02:00.0 \
    --device=edu,addr=10 --bind=0000:00:10.0 \
    --device=nvme,serial=host,addr=14.0,multifunction=on \
    --device=edu,addr=14.1 --bind=0000:00:14.1 \
    "$here/testing/lab/contract" group=0000:00:14.1,0000:00:14.0 \
    edu=0000:00:10.0 nvme=0000:02:00.0 e1000e=0000:01:00.0 \
    >"$work/answers" || { cat "$work/answers"; return 1; }
  testing/contract/contract_report "$source/testing/contract/answers" \
    "${save[@]}" <"$work/answers"
}

# Puts random calls to the kernel and to its simulation, and compares the
# answers. The seed is always the same, so that a failure can be repeated.
random_calls() {
  "$lab" --kernel="$kernel" \
    --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    --device=pcie-root-port,id=port2,chassis=2,addr=3 \
    --device=pcie-root-port,id=port3,chassis=3,addr=4 \
    --device=e1000e,bus=port1,romfile= --bind=0000:01:00.0 \
    "${disk[@]}" --device=$nvme,bus=port2 --bind=0000:02:00.0 \
    --device=virtio-net-pci,bus=port3,romfile= --bind=0000:03:00.0 \
    --device=edu,addr=10 --bind=0000:00:10.0 \
    "$here/testing/random_calls/random_calls" --seed=1 \
    --calls=900 0000:01:00.0 0000:02:00.0 0000:03:00.0 \
    --calls=4000 0000:00:10.0
}

# Checks that a guest sees the same as on the simulated kernel. The NVMe
# controller is behind a root port, as it was when the fixture was captured.
guest() {
  "$lab" --kernel="$kernel" --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    "${disk[@]}" --device=$nvme,bus=port1 --bind=0000:01:00.0 \
    --object=memory-backend-ram,id=shared,size=4M \
    --device=ivshmem-plain,memdev=shared,addr=9 --bind=0000:00:09.0 \
    "$here/vmm/guest_contract/guest_contract_static" 0000:01:00.0 0000:00:09.0
}

# demo_of DEVICE QEMU-DEVICE runs the demo and checks that it makes the same
# kernel calls as on the simulated kernel.
demo_of() {
  local expected=vmm/demo/journals/$1.txt
  [[ ! -e vmm/demo/journals/$1-$kernel.txt ]] ||
    expected=vmm/demo/journals/$1-$kernel.txt
  brief "$lab" --kernel="$kernel" "${disk[@]}" --device="$2,addr=4" \
    --bind=0000:00:04.0 --get=/tmp/journal="$work/journal" \
    "$demo" --device=0000:00:04.0 --allow_writes --journal=/tmp/journal ||
    return
  "$here/vmm/demo/same_journal" "$source/$expected" "$work/journal" || return
  echo "  its $(wc -l <"$source/$expected") kernel calls are those of $expected"
}

# Two devices of one IOMMU group, which are functions of one slot.
one_group=("${disk[@]}" "--device=$nvme,addr=5.0,multifunction=on"
  "--device=edu,addr=5.1")

demo_of_group() {
  brief "$lab" --kernel="$kernel" "${one_group[@]}" --bind=0000:00:05.0 \
    --bind=0000:00:05.1 "$demo" --device=0000:00:05.0 --device=0000:00:05.1 \
    --allow_writes
}

# Uses one of several virtual functions. The physical function keeps a host
# driver.
demo_of_a_virtual_function() {
  brief "$lab" --kernel="$kernel" \
    --device=pcie-root-port,id=port1,chassis=1,addr=2 \
    --device=igb,bus=port1,romfile= --vfs=0000:01:00.0=2 \
    --bind=0000:01:10.2 "$demo" --device=0000:01:10.2
}

# Uses a group of which the host still uses a device. The demo must say so in
# one sentence.
demo_of_half_a_group() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_group[@]}" --bind=0000:00:05.1 \
    "$demo" --device=0000:00:05.1)
  local status=$?
  echo "$said"
  [[ $status == 1 && $(wc -l <<<"$said") == 1 &&
    $said == *"is not viable: 0000:00:05.0 is bound to nvme"* ]]
}

# Looks at a device that a guest can have, and at one in a group of which the
# host uses another device.
doctor() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_group[@]}" --bind=0000:00:05.1 \
    --device=edu,addr=6 --bind=0000:00:06.0 \
    "$here/vmm/doctor/doctor_static" --memory=64M 0000:00:06.0 0000:00:05.1)
  local status=$?
  sed -n '/^0000:00:06.0/,$p' <<<"$said"
  [[ $status == 1 && $said == *"interrupt remapping  is on: "*\
"It can be passed through."*"the host uses others of group"*\
"> echo 0000:00:05.0 > /sys/bus/pci/devices/0000:00:05.0/driver/unbind"*\
"It cannot be passed through, because of: group members." ]]
}

# Kills the demo while it attaches, while the guest brings the device up, at an
# interrupt in the middle of the work, and while a BAR moves. Then runs it once
# more to its end.
demo_killed() {
  brief "$lab" --kernel="$kernel" "${disk[@]}" --device=$nvme,addr=4 \
    --bind=0000:00:04.0 --file=lab/demo="$demo" \
    "$here/testing/lab/interrupted" VFIO_GROUP_SET_CONTAINER \
    VFIO_IOMMU_MAP_DMA 'mmap(vfio-device' 'count=3, flags=0x24' \
    KVM_SIGNAL_MSI 'slot=1, flags=0x0, guest_phys_addr=0x4000004000' -- \
    /lab/demo --device=0000:00:04.0 --allow_writes
}

# Lets guests use BARs that are peers of one another, small and large. Since
# 6.12 the kernel maps the large one with entries of 2 MiB. 6.1 maps all of it
# at the first fault, with small ones.
# shellcheck disable=SC2054  # The commas are QEMU's.
bars() {
  local faults=32 pages="0 small and 31 large pages"
  [[ $kernel != 6.1 ]] || faults=1 pages="31 small and 0 large pages"
  local said
  said=$("$lab" --kernel="$kernel" \
    --device=edu,dma_mask=0xffffffffffff,addr=4 --bind=0000:00:04.0 \
    --object=memory-backend-ram,id=shared,size=4M \
    --device=ivshmem-plain,memdev=shared,addr=5 --bind=0000:00:05.0 \
    --device=pvpanic-pci,addr=6 --bind=0000:00:06.0 \
    --device=pci-testdev,membar=64M,addr=7 --bind=0000:00:07.0 \
    "$here/vmm/bar_checks/bar_checks_static" \
    0000:00:04.0 0000:00:05.0 0000:00:06.0 0000:00:07.0)
  local status=$?
  grep '^  ' <<<"$said"
  [[ $status == 0 &&
    $said == *"65536 KiB, each page touched: $faults faults; "*"$pages"* ]] ||
    { echo "$said"; return 1; }
}

# Two functions below one root port, which only a reset of their bus reaches.
# Each has an IOMMU group of its own, or both have one, as the kernel decides.
# shellcheck disable=SC2054  # The commas are QEMU's.
one_bus=(--device=pcie-root-port,id=port1,chassis=1,addr=2
  --device=qemu-xhci,bus=port1,addr=0.0,multifunction=on
  --device=pvscsi,bus=port1,addr=0.1)

# Resets a machine that has both functions.
reset_of_a_bus() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_bus[@]}" --bind=0000:01:00.0 \
    --bind=0000:01:00.1 "$here/vmm/machine_reset/machine_reset_static" \
    0000:01:00.0 0000:01:00.1)
  local status=$?
  echo "$said"
  [[ $status == 0 && $said == *"hot reset of its slot or bus, together with"* ]]
}

# Resets a machine that has one of two functions. The other one has no driver or
# that of the host, or is free for another VM. The error must name it.
reset_of_half_a_bus() {
  local said
  said=$("$lab" --kernel="$kernel" "${one_bus[@]}" --bind=0000:01:00.0 \
    "$here/vmm/machine_reset/machine_reset_static" 0000:01:00.0)
  local status=$?
  echo "$said"
  [[ $status == 1 && $said == *"0000:01:00.0 is not reset: "*"0000:01:00.1"* ]]
}

# linux_guest COMMAND-LINE LAB-OPTION... -- FLAG... boots the lab's kernel as a
# guest of passthrough_vm and checks what its init said, the data on the disk,
# and the exit status (0, or that of the caller's variable expected_status). The
# guest's RAM is on both sides of 4 GiB. The caller's variable images lists the
# serial numbers of the controllers that the guest writes to; default: lab. Its
# variable guest_files lists more files of the guest, and its array driven has
# what the VM is told while it runs, as pairs of a text in its output and a
# command.
linux_guest() {
  local guest_options=$1 said status=0 lab_options=() sum serial
  shift
  while [[ $1 != -- ]]; do lab_options+=("$1"); shift; done
  shift
  "$here/testing/lab/fetch.sh" "$cache" "$kernel" || return
  "$here/testing/lab/make_initramfs" "$work/guest" \
    init="$here/testing/lab/guest_init" "${guest_files[@]}" || return
  local vm=("$here/vmm/linux_vm/passthrough_vm_static")
  if [[ ${#driven[@]} != 0 ]]; then
    lab_options+=(--file=lab/vm="${vm[0]}")
    vm=("$here/vmm/control/driven_static" /tmp/control "${driven[@]}" --
      /lab/vm --control=/tmp/control)
  fi
  # shellcheck disable=SC2054  # The comma is the kernel's.
  local machine=("$lab" --kernel="$kernel" --timeout="${timeout:-300}"
    "${disk[@]}" --device="$nvme,addr=4" --bind=0000:00:04.0 "${lab_options[@]}"
    --file=lab/vmlinuz="$cache/$kernel/vmlinuz" --file=lab/guest="$work/guest"
    "${vm[@]}" --kernel=/lab/vmlinuz --initrd=/lab/guest --memory=256M
    --low_memory_end=160M --statistics
    --append="console=ttyS0 quiet panic=-1 nowatchdog \
rcupdate.rcu_cpu_stall_suppress=1 $guest_options" "$@")
  said=$("${machine[@]}") || status=$?
  # On a busy machine a kernel in two layers of emulation stops now and then
  # before it has started a program, as the lab's own does (lab.sh).
  if ((status == 125)) && [[ $said != *GUEST-BEGIN* ]]; then
    echo "lab: the guest's kernel did not come up; once more" >&2
    status=0
    said=$("${machine[@]}") || status=$?
  fi
  echo "$said"
  # Each image has the data of which the guest printed the sum, unless the
  # guest's controller is simulated.
  for serial in ${images:-lab}; do
    sum=$(sed -n "s/^guest: .* with serial $serial has the sum //p" <<<"$said" |
      tail -n 1)
    if [[ $(head -c 262144 "$work/$serial.img" | cksum) != "$sum 262144" ]]; then
      echo "The image of $serial has other data."
      return 1
    fi
    echo "  the image of $serial has the same data"
  done
  [[ $status == "${expected_status:-0}" && $said == *GUEST-OK* &&
    $said != *GUEST-FAILED* ]]
}

# Linux's NVMe driver with MSI-X, and then with INTx, on two vCPUs. (The device
# has no MSI, which Linux 6.1 does not tell from MSI-X.)
linux_msix() {
  linux_guest "-- write=/dev/nvme0n1 vectors=PCI-MSI" -- \
    --device=0000:00:04.0
}
linux_intx() {
  linux_guest "pci=nomsi -- write=/dev/nvme0n1 vectors=IO-APIC cpus=2" -- \
    --device=0000:00:04.0,slot=9 --vcpus=2
}

# Two controllers and four vCPUs, and a guest that resets itself at the end.
linux_reset() {
  truncate -s 16M "$work/lab2.img"
  local expected_status=3 images="lab lab2"
  linux_guest "-- write=/dev/nvme0n1 write=/dev/nvme1n1 cpus=4 reset" \
    --drive="if=none,id=disk2,file=$work/lab2.img,format=raw" \
    --device=nvme,serial=lab2,drive=disk2,addr=5 --bind=0000:00:05.0 -- \
    --device=0000:00:04.0 --device=0000:00:05.0,slot=7,max_vectors=2 --vcpus=4
}

# The NVMe controller goes and comes back behind another root port while the
# guest writes to it, by the guest's leave and by surprise. Then the guest
# ignores attention buttons, and loses the controller when the time is over. (By
# multipath Linux would wait for another path to it for ever.) The ports
# interrupt by MSI.
linux_hot_plug() {
  local timeout=500
  local driven=("guest: I/O runs" "unplug 0000:00:04.0 300"
    "guest: after" "plug 0000:00:04.0,port=1"
    "guest: I/O runs" "unplug 0000:00:04.0 0"
    "guest: after" "plug 0000:00:04.0,port=0"
    "guest: I/O runs" "unplug 0000:00:04.0 5")
  linux_guest "nvme_core.io_timeout=5 nvme_core.multipath=N -- \
port_vectors=PCI-MSI unplug=lab unplug=lab surprise=lab cpus=2" -- \
    --root_ports=2 --device=0000:00:04.0,port=0 --vcpus=2 |
    tee "$work/said" || return
  said_in_order "300: the guest let go of it" \
    "the guest finds it behind root port 1" "0: the guest did not let go" \
    "the guest finds it behind root port 0" "5: the guest did not let go"
}

# The same by INTx, and then the guest resets in the middle of an unplug.
linux_hot_plug_intx() {
  local timeout=500 expected_status=3
  local driven=("guest: I/O runs" "unplug 0000:00:04.0 300"
    "guest: after" "plug 0000:00:04.0"
    "guest: a button resets" "unplug 0000:00:04.0 300")
  linux_guest "pcie_pme=nomsi -- port_vectors=IO-APIC unplug=lab \
reset_at_button" -- --root_ports=1 --device=0000:00:04.0,port=0 |
    tee "$work/said" || return
  said_in_order "300: the guest let go of it" \
    "the guest finds it behind root port 0" \
    "300: the VM ended before the guest let go of it"
}

# said_in_order TEXT... checks that the driven VM answered with these texts.
said_in_order() {
  local answers text
  answers=$(grep '^driven: ' "$work/said")
  for text in "$@"; do
    [[ $answers == *"$text"* ]] || { echo "no answer '$text'"; return 1; }
    answers=${answers#*"$text"}
  done
}

# Linux's NVMe driver on a simulated controller, whose model it drives.
linux_fixture() {
  local images=" "
  linux_guest "-- write=/dev/nvme0n1 vectors=PCI-MSI" \
    --file=lab/nvme="$here/testing/fixtures/nvme.textproto" -- \
    --fixture=/lab/nvme
}

# What a Linux guest costs passthrough_vm and QEMU, counted by the kernel. The
# kernel's version makes no difference, so one is enough.
beside_qemu() {
  [[ $kernel == 6.12 ]] || return 0
  "$here/testing/lab/beside_qemu" "$kernel"
}

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

# Captures devices again and compares them with their fixtures.
capture() {
  PASSTHRU_LAB_KERNEL=$kernel "$here/testing/capture/lab_fixtures" --compare \
    contract virtual
}

only='*'
if [[ ${1:-} == --only=* ]]; then
  only=${1#*=}
  shift
fi
[[ $# -ge 1 ]] || set -- 6.12 6.1
for kernel in "$@"; do
  run "contract" contract
  run "random calls" random_calls
  run "capture" capture
  run "guest" guest
  run "demo of an NVMe controller" demo_of nvme "$nvme"
  run "demo of edu" demo_of edu edu
  run "demo of a group of two" demo_of_group
  run "demo of a group that is not viable" demo_of_half_a_group
  run "doctor" doctor
  run "demo of a virtual function" demo_of_a_virtual_function
  run "demo that is killed" demo_killed
  run "BARs" bars
  run "reset of a bus" reset_of_a_bus
  run "reset of half a bus" reset_of_half_a_bus
  run "Linux with MSI-X" linux_msix
  run "Linux with INTx and two vCPUs" linux_intx
  run "Linux with two controllers and four vCPUs" linux_reset
  run "Linux with a simulated controller" linux_fixture
  run "Linux beside QEMU" beside_qemu
  run "Linux with network cards" linux_cards
  run "Linux with a virtual function" linux_virtual_function
  run "Linux with hot plug" linux_hot_plug
  run "Linux with hot plug by INTx" linux_hot_plug_intx
done
if [[ $failed != 0 ]]; then
  echo "lab: $failed of the runs failed"
  exit 1
fi
echo "lab: all runs ended well"
