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

# said_in_order TEXT... checks that the driven VM answered with these texts.
said_in_order() {
  local answers text
  answers=$(grep '^driven: ' "$work/said")
  for text in "$@"; do
    [[ $answers == *"$text"* ]] || { echo "no answer '$text'"; return 1; }
    answers=${answers#*"$text"}
  done
}
