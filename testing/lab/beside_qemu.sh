#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Boots the same Linux, with the same initrd and command line and the same NVMe
# controller, once under passthrough_vm and once under QEMU's vfio-pci. The
# guest writes and reads 256 KiB, reads 1000 single blocks and turns the power
# off. Prints, as a table in Markdown, what each VMM cost by count_calls, and
# fails if passthrough_vm misses a goal (cost_table.awk).
#
#   beside_qemu.sh [KERNEL]
set -uo pipefail

here=$PWD
kernel=${1:-6.12}
lab=$here/testing/lab
cache=${PASSTHRU_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/passthru/lab}
root=$cache/qemu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
reads=1000
append="console=ttyS0 quiet panic=-1 -- write=/dev/nvme0n1 vectors=PCI-MSI"
append+=" reads=/dev/nvme0n1:$reads"

"$lab/fetch.sh" "$cache" qemu "$kernel" || exit
"$lab/make_initramfs" "$work/guest" init="$lab/guest_init" || exit

# count NAME LAB-OPTION... -- PROGRAM ARGUMENT... runs a VMM in the lab and
# leaves what was counted in the file NAME.
count() {
  local name=$1 said status=0 options=()
  shift
  while [[ $1 != -- ]]; do options+=("$1"); shift; done
  shift
  truncate -s 0 "$work/lab.img" && truncate -s 16M "$work/lab.img" || return
  said=$("$lab/lab" --kernel="$kernel" --timeout=300 \
    --drive="if=none,id=disk,file=$work/lab.img,format=raw" \
    --device=nvme,serial=lab,drive=disk,addr=4 --bind=0000:00:04.0 \
    --file=lab/vmlinuz="$cache/$kernel/vmlinuz" --file=lab/guest="$work/guest" \
    "${options[@]}" "$lab/count_calls" "$@") || status=$?
  sed -n 's/^COUNT //p' <<<"$said" >"$work/$name"
  if [[ $status != 0 || $said != *GUEST-OK* || ! -s $work/$name ]]; then
    echo "$name ended with status $status:"
    grep -v '^COUNT ' <<<"$said"
    return 1
  fi
}

# QEMU with its libraries, where its dynamic linker looks for them.
qemu_files() {
  local libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
  libraries+=:$root/usr/lib/x86_64-linux-gnu/pulseaudio
  local linker=lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 file
  echo "--file=lib64/ld-linux-x86-64.so.2=$root/$linker"
  echo "--file=lab/qemu=$root/usr/bin/qemu-system-x86_64"
  "$root/$linker" --library-path "$libraries" --list \
    "$root/usr/bin/qemu-system-x86_64" | sed -n 's/.* => \(\/.*\) (0x.*/\1/p' |
    while read -r file; do
      echo "--file=lib/x86_64-linux-gnu/$(basename "$file")=$file"
    done
  for file in seabios/bios-256k.bin qemu/linuxboot_dma.bin qemu/kvmvapic.bin; do
    echo "--file=lab/share/$(basename "$file")=$root/usr/share/$file"
  done
}

count passthrough_vm \
  --file=lab/vmm="$here/vmm/linux_vm/passthrough_vm_static" -- \
  /lab/vmm --kernel=/lab/vmlinuz --initrd=/lab/guest --memory=256M \
  --append="$append" --device=0000:00:04.0 || exit
mapfile -t files < <(qemu_files)
count qemu "${files[@]}" -- \
  /lab/qemu -L /lab/share -accel kvm -M q35 -cpu host -m 256M -nodefaults \
  -display none -no-reboot -monitor none -net none -serial stdio \
  -kernel /lab/vmlinuz -initrd /lab/guest -append "$append" \
  -device vfio-pci,host=0000:00:04.0 || exit
awk -v reads=$reads -f "$lab/cost_table.awk" "$work/passthrough_vm" "$work/qemu"
