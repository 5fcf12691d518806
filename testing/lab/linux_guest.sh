# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# To be sourced by check.sh: linux_guest(), which boots the lab's kernel as a
# guest of passthrough_vm, and the checks that need no more than it.

cache=${PASSTHRU_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/passthru/lab}
# The array has what a VM is told while it runs (linux_guest()).
driven=()

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
    --append="console=ttyS0 quiet panic=-1 no_console_suspend nowatchdog \
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

# Linux's NVMe driver on a simulated controller, whose model it drives.
linux_fixture() {
  local images=" "
  linux_guest "-- write=/dev/nvme0n1 vectors=PCI-MSI" \
    --file=lab/nvme="$here/testing/fixtures/nvme.textproto" -- \
    --fixture=/lab/nvme
}
