# SPDX-License-Identifier: Apache-2.0
#
# Prints, as a table in Markdown, what count_calls counted for two VMMs, in the
# files "passthrough_vm" and "qemu". Fails if passthrough_vm misses its goals: no
# exit for a read in the steady state, half of QEMU's exits without the serial
# console, and half of the calls that attach memory and interrupts.
#
#   awk -v reads=1000 -f cost_table.awk passthrough_vm qemu

function vmm() { return FILENAME ~ /qemu$/ ? "qemu" : "ours" }

# The parts of the number of a port or page. awk has no hexadecimal numbers.
function hex(text,  i, n) {
  n = 0
  for (i = 3; i <= length(text); ++i)
    n = n * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
  return n
}

# The kernel's own interrupt controllers and timer answer these, without an
# exit.
function kernel_port(p) {
  return p == 32 || p == 33 || p == 160 || p == 161 || p == 1232 || p == 1233 ||
    (p >= 64 && p <= 67) || p == 97
}
function kernel_page(p) { return p == hex("0xfec00000") || p == hex("0xfee00000") }

function row(title, what,  ours, qemu) {
  ours = n["ours", what] + 0
  qemu = n["qemu", what] + 0
  printf "| %s | %d | %d | %s |\n", title, ours, qemu,
    qemu ? sprintf("%.0f %%", 100 * ours / qemu) : "-"
}

function add(what) { n[vmm(), what] += $4 }

# Returns of KVM_RUN between the marks of the guest, without the console.
function steady(who) { return n[who, "end-of-reads"] - n[who, "reads"] }

$1 != "all" {
  if ($2 == "port" && (hex($3) < hex("0x3f8") || hex($3) > hex("0x3ff")) &&
      !kernel_port(hex($3))) add($1)
  if ($2 == "memory" && !kernel_page(hex($3))) add($1)
  if ($2 == "exit" && $3 != "port" && $3 != "memory") add($1)
  next
}
$2 == "exit" { add("exits"); if ($3 != "port" && $3 != "memory") add("other") }
$2 == "exit" && $3 == "port" { add("ports") }
$2 == "exit" && $3 == "memory" { add("memory") }
$2 == "port" && hex($3) >= hex("0x3f8") && hex($3) <= hex("0x3ff") {
  add("serial")
}
$2 == "port" && hex($3) >= hex("0xcf8") && hex($3) <= hex("0xcff") {
  add("config")
}
$2 == "memory" && hex($3) >= hex("0xb0000000") && hex($3) < hex("0xc0000000") {
  add("ecam")
}
$2 == "call" { add("accesses") }
$2 == "ioctl" && $3 != "KVM_RUN" {
  what = $3
  sub(/REGION2$/, "REGION", what)
  sub(/LINE_STATUS$/, "LINE", what)
  add(what)
  if (what ~ /SET_IRQS|IRQFD|ROUTING|SIGNAL_MSI|MEMORY_REGION|MAP_DMA/) {
    add("calls")
  } else if (what != "KVM_IRQ_LINE") {
    add("ioctls")
  }
}

END {
  split("ours qemu", who)
  for (i in who) {
    n[who[i], "without"] = n[who[i], "exits"] - n[who[i], "serial"]
    n[who[i], "port"] = n[who[i], "ports"] - n[who[i], "serial"] - \
      n[who[i], "config"]
    n[who[i], "page"] = n[who[i], "memory"] - n[who[i], "ecam"]
  }
  print "| | passthrough_vm | QEMU 10 | share |"
  print "| --- | ---: | ---: | ---: |"
  row("returns of KVM_RUN", "exits")
  row("of these for the serial console", "serial")
  row("without it", "without")
  row("- PCI configuration by port", "config")
  row("- PCI configuration by memory (ECAM)", "ecam")
  row("- other ports", "port")
  row("- other memory", "page")
  row("- no access (signals, task priority)", "other")
  printf "| for a read of 4 KiB in the steady state | %.3f | %.3f | - |\n",
    steady("ours") / reads, steady("qemu") / reads
  row("calls below, in all", "calls")
  row("VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_SET_IRQS")
  row("KVM_IRQFD", "KVM_IRQFD")
  row("KVM_SET_GSI_ROUTING", "KVM_SET_GSI_ROUTING")
  row("KVM_SIGNAL_MSI", "KVM_SIGNAL_MSI")
  row("KVM_SET_USER_MEMORY_REGION", "KVM_SET_USER_MEMORY_REGION")
  row("VFIO_IOMMU_MAP_DMA", "VFIO_IOMMU_MAP_DMA")
  row("VFIO_IOMMU_UNMAP_DMA", "VFIO_IOMMU_UNMAP_DMA")
  print "| not in the sum: | | | |"
  row("pread, pwrite (configuration, trapped BARs)", "accesses")
  row("KVM_IRQ_LINE", "KVM_IRQ_LINE")
  row("other ioctls", "ioctls")
  if (steady("ours") * 100 > reads) { print "MISSED: a read costs exits"; exit 1 }
  if (n["ours", "without"] * 2 > n["qemu", "without"]) {
    print "MISSED: more than half of QEMU's exits"; exit 1
  }
  if (n["ours", "calls"] * 2 > n["qemu", "calls"]) {
    print "MISSED: more than half of QEMU's calls"; exit 1
  }
}
