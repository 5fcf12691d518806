# SPDX-License-Identifier: Apache-2.0
#
# Prints the rows of peers.sh for one device, as "ours / QEMU's". Its input is
# the report of passthrough_demo in JSON, a file with the line at which each
# phase of QEMU's journal ends, and that journal. The variable `device` is the
# fixture's name, and `driven` says whether Linux has a driver for it.
#
#   awk -v device=nvme -v driven=1 -f peers.awk report phases journal

# Returns the kind of a call, or nothing for one that is neither on VFIO nor on
# sysfs.
function kind(name) {
  if (name ~ /^(path|readlink|readdir)$/) return "sysfs"
  if (name == "open" || name ~ /SET_CONTAINER|SET_IOMMU|GET_DEVICE_FD/)
    return "open"
  if (name ~ /^VFIO_.*(GET_INFO|GET_REGION_INFO|GET_IRQ_INFO|API_VERSION|CHECK_EXTENSION|GET_STATUS|HOT_RESET_INFO|FEATURE)$/)
    return "ask"
  if (name ~ /^VFIO_IOMMU_(UN)?MAP_DMA$/) return "dma"
  if (name == "VFIO_DEVICE_SET_IRQS") return "irqs"
  if (name ~ /^VFIO_DEVICE_.*RESET$/) return "reset"
  if (name ~ /^(pread|pwrite)$/) return "access"
  # A program unmaps many things besides BARs.
  if (name == "mmap") return "mmap"
  if (name ~ /^VFIO_/) return "other"
  return ""
}

function count(who, phase, name, calls,  what) {
  what = kind(name)
  if (what == "" || phase == "") return
  n[who, phase, what] += calls
  n[who, phase, "sum"] += calls
}

function cell(phase, what) {
  return sprintf(" %d / %d |", n["ours", phase, what], n["qemu", phase, what])
}

function row(phase,  line, i) {
  line = "| " device " | " phase " |"
  for (i = 1; i <= kinds; ++i) line = line cell(phase, columns[i])
  print line
}

# The demo's guest drives every device. What it costs counts if Linux does so.
# In the other phases the guest moves BARs, which Linux does not.
function phase_of(name) {
  if (name == "attach") return "attach"
  if (name ~ /^(enumerate|bring up|work)$/) return "bring-up"
  if (name == "detach" || (name == "shut down" && driven)) return "unplug"
  return ""
}

BEGIN { kinds = split("sysfs open ask dma irqs reset access mmap other sum", columns) }

FNR == 1 { ++file }

file == 1 && $1 == "\"phases\":" { in_phases = 1 }
file == 1 && in_phases && $1 == "\"name\":" {
  name = $0
  gsub(/^[^:]*: "|",?$/, "", name)
  ours = phase_of(name)
}
file == 1 && in_phases && $2 ~ /^"[0-9]+",?$/ {
  gsub(/[":,]/, "")
  count("ours", ours, $1, $2)
}

file == 2 { ends[$1] = $2 }

# A journal's line is "#12 VFIO_SET_IOMMU(vfio-container 1, type=3) = 0".
file == 3 {
  phase = FNR <= ends["attach"] ? "attach" : \
    FNR <= ends["bring-up"] ? "bring-up" : "unplug"
  name = $2
  sub(/\(.*/, "", name)
  # The journal has opened files of sysfs twice, as a path and as a file.
  if ($0 !~ /\(\/sys/ || name == "path") count("qemu", phase, name, 1)
}

END {
  row("attach")
  if (driven) row("bring-up")
  row("unplug")
}
