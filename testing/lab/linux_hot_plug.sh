# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
#
# To be sourced by check.sh: the checks in which a device of a Linux guest comes
# and goes. The variables are those of linux_guest().

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

# The guest resets the machine without its controller, which it let go of, and
# starts again without it. Then the controller is plugged.
linux_reboot_without() {
  local timeout=500
  local driven=("guest: I/O runs" "unplug 0000:00:04.0 300"
    "guest: started without 0000:01:00.0" "devices" "+" "plug 0000:00:04.0")
  linux_guest "nvme_core.multipath=N -- leave=lab@0000:01:00.0 \
write=/dev/nvme*n1" -- --root_ports=1 --device=0000:00:04.0,port=0 --reboot |
    tee "$work/said" || return
  said_in_order "300: the guest let go of it" "devices: root port 0" \
    "is empty" "the guest finds it behind root port 0"
}

# The host's administrator takes controllers from vfio-pci while the guest
# writes to them, and the kernel asks the VM again and again (VFIO's request
# interrupt). Behind a root port the guest is asked for the controller and lets
# go of it, and one that ignores attention buttons loses it when the time is
# over, which a command makes shorter here. The guest loses a controller on bus
# 0 at once, and goes on.
linux_host_request() {
  local timeout=500 vfio=/sys/bus/pci/drivers/vfio-pci
  local driven=("guest: I/O runs" "> $vfio/unbind 0000:00:04.0"
    "guest: after" "> $vfio/bind 0000:00:04.0" "+" "plug 0000:00:04.0"
    "guest: I/O runs" "> $vfio/unbind 0000:00:05.0"
    "guest: I/O runs" "& $vfio/unbind 0000:00:04.0"
    "+" "unplug 0000:00:04.0 25")
  truncate -s 16M "$work/lab2.img"
  linux_guest "nvme_core.io_timeout=5 nvme_core.multipath=N -- unplug=lab \
lose=lab2 surprise=lab cpus=2" \
    --drive="if=none,id=disk2,file=$work/lab2.img,format=raw" \
    --device=nvme,serial=lab2,drive=disk2,addr=5 --bind=0000:00:05.0 -- \
    --root_ports=1 --device=0000:00:04.0,port=0 --device=0000:00:05.0 \
    --vcpus=2 | tee "$work/said" || return
  said_in_order "unbind 0000:00:04.0: written" "/bind 0000:00:04.0: written" \
    "the guest finds it behind root port 0" "unbind 0000:00:05.0: written" \
    "25: the guest did not let go" || return
  # Each request is told once.
  said_times 2 "the host wants 0000:00:04.0 back. The guest is asked for it" &&
    said_times 1 "the host wants 0000:00:05.0 back. The guest loses it without" &&
    said_times 1 "the guest loses 0000:00:04.0 by surprise" &&
    said_times 2 "0000:00:04.0 is the host's again" &&
    said_times 1 "0000:00:05.0 is the host's again"
}

# said_times N TEXT checks in how many lines the VM said a text.
said_times() {
  local times
  times=$(grep -cF "$2" "$work/said")
  [[ $times == "$1" ]] || { echo "'$2' is there $times times"; return 1; }
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
