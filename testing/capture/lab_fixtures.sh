#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The program "lab_fixtures.sh DIRECTORY|--compare [MACHINE]..." captures QEMU's
# emulated devices in the lab, as DIRECTORY/NAME.textproto, or compares each
# with its fixture. It boots once per machine, and takes all machines by
# default. The functions machine_* below list the devices. To run it, use
# `bazel run //testing/capture:lab_fixtures`.
#
# The machines are called by their names, which shellcheck cannot follow.
# shellcheck disable=SC2317
set -uo pipefail

die() { echo "lab_fixtures: $*" >&2; exit 1; }

here=$PWD
lab=$here/testing/lab/lab
capture=$here/testing/capture/lab_capture
cd "${BUILD_WORKING_DIRECTORY:-.}" || exit 1
directory=${1:-}
[[ $directory == --compare || -d $directory ]] ||
  die "usage: lab_fixtures DIRECTORY|--compare [MACHINE]..."
shift
kernel=${PASSTHRU_LAB_KERNEL:-6.12}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
truncate -s 16M "$work/disk.img"

# The current machine, with the arguments of lab.sh and the devices to capture.
arguments=()
specifications=()
slot=2
bus=1

# drive ID adds a disk for a later device.
drive() { arguments+=(--drive="if=none,id=$1,file=$work/disk.img,format=raw,file.locking=off"); }
# quiet QEMU-DEVICE adds a device that is not captured.
quiet() { arguments+=(--device="$1"); }
take() {
  arguments+=(--bind="$2")
  specifications+=("$1|$2|$3|$4")
}
# behind_port QEMU-DEVICE adds a device on the next bus, behind its own root
# port.
behind_port() {
  arguments+=(--device="pcie-root-port,id=port$bus,chassis=$bus,addr=$(printf %x "$slot")")
  arguments+=(--device="$1,bus=port$bus")
  slot=$((slot + 1)) bus=$((bus + 1))
}
# port NAME QEMU-DEVICE COMMENT captures a device behind its own root port.
port() {
  take "$1" "$(printf 0000:%02x:00.0 "$bus")" "$2" "$3"
  behind_port "$2"
}
# root NAME QEMU-DEVICE COMMENT [SLOT] captures a device on the root bus.
root() {
  local at=${4:-$slot}
  arguments+=(--device="$2,addr=$(printf %x "$at")")
  take "$1" "$(printf 0000:00:%02x.0 "$at")" "$2" "$3"
  [[ -n ${4:-} ]] || slot=$((slot + 1))
}
# virtual NAME QEMU-DEVICE OFFSET COMMENT captures the first virtual function of
# a device behind a root port. OFFSET is its routing ID minus the physical
# one's.
virtual() {
  arguments+=(--vfs="$(printf 0000:%02x:00.0=1 "$bus")")
  take "$1" "$(printf 0000:%02x:%02x.%x $((bus + $3 / 256)) $(($3 / 8 % 32)) $(($3 % 8)))" "$2" "$4"
  behind_port "$2"
}
# function_ NAME QEMU-DEVICE COMMENT SLOT FUNCTION captures one of several
# functions of a slot.
function_() {
  arguments+=(--device="$2,addr=$(printf %x.%x "$4" "$5")")
  take "$1" "$(printf 0000:00:%02x.%x "$4" "$5")" "$2" "$3"
}

# testing/lab/check.sh compares this machine's devices with the fixtures.
# Devices that also have a fixture from QEMU 7.2 have names of their own.
machine_contract() {
  port qemu10_e1000e "e1000e,romfile=" "A gigabit Ethernet controller behind a root port: 32-bit and I/O BARs, MSI and MSI-X (5 vectors), extended capabilities, no function-level reset."
  drive disk
  port qemu10_nvme "nvme,serial=lab,drive=disk" "An NVM Express controller. MSI-X table and pending bits in pages of their own, at 0x2000 and 0x3000 of a BAR that VFIO lets map whole; 65 vectors; function-level reset; no MSI."
  root qemu10_edu "edu" "QEMU's educational device: a DMA engine, a factorial unit, one MSI message, a 1 MiB BAR; conventional PCI without any reset." 16
  root qemu10_ich9_ahci "ich9-ahci" "A SATA controller: MSI, a small memory BAR and an I/O BAR, capabilities that are not in order of their offsets." 20
}

# PCI Express devices, each behind a root port.
machine_express() {
  drive disk
  port nvme_cmb "nvme,serial=lab,drive=disk,cmb_size_mb=4" "An NVM Express controller with a controller memory buffer: a second, prefetchable 64-bit BAR of 4 MiB."
  port nvme_msix1 "nvme,serial=lab1,max_ioqpairs=1,msix_qsize=1" "An NVM Express controller with a single MSI-X vector."
  port igb "igb,romfile=" "An 82576 gigabit Ethernet controller: SR-IOV capability, 10 MSI-X vectors, MSI with mask bits, ARI, function-level reset."
  port qemu10_xhci "qemu-xhci" "A USB 3 controller: 16 vectors, MSI-X table and pending bits at 0x3000 and 0x3800 of its only BAR."
  port nec_xhci "nec-usb-xhci" "A USB 3 controller of another maker: the same BAR, MSI as well as MSI-X."
  port qemu10_virtio_net "virtio-net-pci,iommu_platform=on,disable-legacy=on,romfile=,ats=on,mq=on,vectors=18" "A virtio network device: 18 vectors in a BAR of their own, a 64-bit prefetchable BAR, vendor-specific capabilities, ATS."
  drive blk
  port virtio_blk "virtio-blk-pci-non-transitional,drive=blk,iommu_platform=on" "A virtio block device, modern only."
  port virtio_rng "virtio-rng-pci-non-transitional,iommu_platform=on" "A virtio entropy source."
  port virtio_balloon "virtio-balloon-pci-non-transitional,iommu_platform=on" "A virtio memory balloon."
  port virtio_scsi "virtio-scsi-pci-non-transitional,iommu_platform=on" "A virtio SCSI host adapter."
  port virtio_serial "virtio-serial-pci-non-transitional,iommu_platform=on" "A virtio console with two vectors."
  port virtio_keyboard "virtio-keyboard-pci,iommu_platform=on" "A virtio input device."
  port vmxnet3 "vmxnet3,romfile=" "VMware's Ethernet controller: three BARs, MSI and MSI-X with 25 vectors in the last, a serial number."
  port megasas_gen2 "megasas-gen2" "A RAID controller: MSI-X table in a 64-bit BAR beside an I/O BAR and a memory BAR."
  port pvscsi "pvscsi" "VMware's paravirtual SCSI controller: one BAR of 32 KiB, MSI."
}

# Conventional PCI devices on the root bus, for network and storage.
machine_conventional() {
  root e1000_rom "e1000" "A conventional gigabit Ethernet controller: 128 KiB of memory, an I/O BAR, an expansion ROM, no capability at all, INTx only."
  root e1000_82544gc "e1000-82544gc,romfile=" "An older gigabit Ethernet controller, without its ROM."
  root e1000_82545em "e1000-82545em,romfile=" "A newer conventional gigabit Ethernet controller."
  root i82559er "i82559er,romfile=" "A fast Ethernet controller: three BARs, power management with D1 and D2, nothing else."
  root i82801 "i82801" "A fast Ethernet controller with its ROM."
  root ne2k "ne2k_pci,romfile=" "An NE2000: one I/O BAR, nothing else."
  root pcnet "pcnet,romfile=" "A PCnet Ethernet controller: an I/O BAR and 32 bytes of memory, far below a page."
  root qemu10_rtl8139 "rtl8139,romfile=" "A fast Ethernet controller: an I/O BAR and a 256-byte memory BAR, below a page; INTx only, no reset."
  root tulip "tulip,romfile=" "A DEC 21143 Ethernet controller: 128 bytes of ports and of memory."
  root am53c974 "am53c974" "A SCSI controller: I/O only."
  root lsi53c810 "lsi53c810" "A SCSI controller: ports, 1 KiB of registers, 8 KiB of script memory."
  root lsi53c895a "lsi53c895a" "A newer one of the same family."
  root megasas "megasas" "A RAID controller on conventional PCI: MSI-X without PCI Express."
  root mptsas1068 "mptsas1068" "A SAS controller: three BARs, MSI."
  root sdhci "sdhci-pci" "An SD host controller: 256 bytes of memory."
  root virtio_net_transitional "virtio-net-pci-transitional,romfile=" "A transitional virtio network device: legacy ports besides the modern BARs."
  drive blk
  root virtio_blk_transitional "virtio-blk-pci-transitional,drive=blk" "A transitional virtio block device."
  root piix3_uhci "piix3-usb-uhci" "A USB 1 controller: I/O only, 32 ports."
  root pci_ohci "pci-ohci" "A USB 1 controller of the other kind: 256 bytes of memory."
  root ati_vga "ati-vga" "An ATI Rage 128: memory, ports and registers."
  root usb_ehci "usb-ehci" "A USB 2 controller: 4 KiB of memory."
}

# Graphics, sound, serial and odd devices. QEMU allows one of the VGA family.
machine_odd() {
  root vga "VGA" "A VGA display: 16 MiB of prefetchable memory, 4 KiB of registers, an expansion ROM, no interrupt."
  root secondary_vga "secondary-vga" "The same as a second display: no legacy ranges, another class."
  root bochs_display "bochs-display" "A display of class 03 80 without VGA."
  root cirrus_vga "cirrus-vga" "A Cirrus Logic GD5446: 32 MiB, of which part are registers."
  arguments+=(--audiodev="none,id=silence")
  root ac97 "AC97,audiodev=silence" "An audio codec: two I/O BARs, nothing else."
  root es1370 "ES1370,audiodev=silence" "An Ensoniq sound card: 256 ports."
  root intel_hda "intel-hda" "High definition audio: 16 KiB of memory, MSI."
  root ich9_intel_hda "ich9-intel-hda" "The same of the ICH9."
  root pci_serial "pci-serial" "A serial port: 8 ports, the smallest I/O BAR there is here."
  root pci_serial_2x "pci-serial-2x" "Two serial ports in one I/O BAR of 16."
  root pci_serial_4x "pci-serial-4x" "Four serial ports in one I/O BAR of 32."
  root tpci200 "tpci200" "A carrier of industry-pack modules: all six BARs, of 128 bytes to 32 MiB."
  quiet "ipmi-bmc-sim,id=bmc0"
  root pci_testdev "pci-testdev" "A test device: a memory BAR and an I/O BAR, no interrupt."
  arguments+=(--object="memory-backend-ram,id=shared,size=4M,share=on")
  root qemu10_ivshmem "ivshmem-plain,memdev=shared" "Shared memory: a 256-byte BAR, below a page, and a 64-bit prefetchable one of 4 MiB; no interrupt, no capability."
  root pvpanic "pvpanic-pci" "A panic notifier: two bytes behind a small BAR, no interrupt."
  root i6300esb "i6300esb" "A watchdog: 16 bytes of memory, no interrupt."
  root ipmi_kcs "pci-ipmi-kcs,bmc=bmc0" "A management controller's interface: 8 ports, INTx."
}

# Several functions of one slot, which share an IOMMU group.
machine_functions() {
  root vmware_svga "vmware-svga" "VMware's display: ports and two memories."
  function_ ich9_ehci "ich9-usb-ehci1,id=ehci" "A USB 2 controller, function 7 of a device whose functions 0 to 2 are its companions: one IOMMU group." 29 7
  function_ ich9_uhci1 "ich9-usb-uhci1,masterbus=ehci.0,firstport=0,multifunction=on" "A USB 1 controller, function 0 of 4: I/O only." 29 0
  function_ ich9_uhci2 "ich9-usb-uhci2,masterbus=ehci.0,firstport=2" "A USB 1 controller, function 1 of 4." 29 1
  function_ ich9_uhci3 "ich9-usb-uhci3,masterbus=ehci.0,firstport=4" "A USB 1 controller, function 2 of 4." 29 2
}

# Virtual functions of SR-IOV.
machine_virtual() {
  virtual igb_vf "igb,romfile=" 0x80 "A virtual function of an 82576 network controller: no ids of its own, no memory enable, no INTx; two BARs, 3 MSI-X vectors."
}

machines=(contract express conventional odd functions virtual)
[[ $# -eq 0 ]] || machines=("$@")
failed=0
number=0
for machine in "${machines[@]}"; do
  number=$((number + 1))
  arguments=() specifications=() slot=2 bus=1
  "machine_$machine" || die "no machine $machine"
  status=0
  if [[ $directory == --compare ]]; then
    command=(compare)
    for specification in "${specifications[@]}"; do
      IFS='|' read -r name bdf _ <<<"$specification"
      arguments+=(--file="lab/$name=$here/testing/fixtures/$name.textproto")
      command+=("$name|$bdf|/lab/$name")
    done
  else
    command=(capture "QEMU 10, intel-iommu intremap=on" "$(date -u +%Y-%m-%d)"
      "${specifications[@]}")
  fi
  echo "lab_fixtures: machine $machine, $number of ${#machines[@]}, has" \
    "${#specifications[@]} devices"
  "$lab" --kernel="$kernel" --timeout=600 "${arguments[@]}" "$capture" \
    "${command[@]}" >"$work/output" || status=$?
  awk -v directory="$directory" '
    /^==> / { file = directory "/" $2; printf "" > file; next }
    /^<==$/ { close(file); file = ""; next }
    file != "" { print > file; next }
    { print }' "$work/output"
  echo "lab_fixtures: machine $machine ended with status $status"
  [[ $status == 0 ]] || failed=1
done
exit $failed
