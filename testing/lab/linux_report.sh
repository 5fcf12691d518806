# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# To be sourced by check.sh: the check of the page and the trace that
# passthrough_vm makes of a real Linux guest.

# The guest reads configuration space until the timeline is full. What the page
# counts must be what the VM counted, and the trace must have the events of the
# page. PASSTHRU_LAB_KEEP names a folder to which both are copied.
linux_report() {
  linux_guest "-- write=/dev/nvme0n1 vectors=PCI-MSI config=12" \
    --get=/tmp/page="$work/page.html" --get=/tmp/trace="$work/trace.json" -- \
    --device=0000:00:04.0 --report=/tmp/page --trace=/tmp/trace |
    tee "$work/said" || return
  [[ -z ${PASSTHRU_LAB_KEEP:-} ]] ||
    cp "$work/page.html" "$work/trace.json" "$PASSTHRU_LAB_KEEP" || return
  counts_of_page <"$work/page.html" | sort >"$work/in_page"
  counts_of_statistics <"$work/said" | sort >"$work/in_statistics"
  if [[ ! -s $work/in_statistics ]] ||
    ! diff "$work/in_statistics" "$work/in_page"; then
    echo "The page counts otherwise than the VM (<)."
    return 1
  fi
  echo "  the page counts what the VM counted, $(wc -l <"$work/in_page") figures"
  local fact
  for fact in '"program": "passthrough_vm"' '"host_bdf": "0000:00:04.0"' \
    '"name": "MSI-X"' '"state": "Active"' '"raised": "[1-9]' \
    '"mapped": true' '^\["exit",[0-9]*,' '"vCPU 0 exits"' '"event loop"' \
    '"KVM_RUN"' 'MMIO read of 4 bytes at 0xb0'; do
    grep -q -- "$fact" "$work/page.html" ||
      { echo "The page has no '$fact'."; return 1; }
  done
  same_events
}

# Prints "exit REASON N" and "call NAME N" for what the page on the standard
# input counts, summed over its phases: all exits, those of the console, and the
# calls of KVM and VFIO.
counts_of_page() {
  awk -F'"' '
    /id="report-data"/ { data = 1 }
    /<\/script>/ { data = 0 }
    !data { next }
    /"exits": \{$/ { kind = "exit"; next }
    /"kernel_calls": \{$/ { kind = "call"; next }
    /\}/ { kind = "" }
    kind == "exit" {
      exits += $4
      if ($2 == "serial console") console += $4
    }
    kind == "call" && $2 ~ /^(KVM|VFIO)_/ { calls[$2] += $4 }
    END {
      print "exit all", exits
      print "exit console", console
      for (name in calls) print "call", name, calls[name]
    }'
}

# Prints the same for what the VM on the standard input said at its end
# (--statistics). The page does not show exits for which the VMM itself is the
# reason.
counts_of_statistics() {
  local -r exits='.*KVM_RUN returned ([0-9]+) times.* interrupted ([0-9]+), '
  local -r serial='.* accesses ([0-9]+) were those of the serial console.*'
  sed -nE -e "s/${exits}${serial}/\1 \2 \3/p" \
    -e 's/.*passthrough_vm: kernel calls://p' |
    awk '
      NF == 3 && $1 ~ /^[0-9]+$/ {
        print "exit all", $1 - $2
        print "exit console", $3
        next
      }
      { for (i = 1; i < NF; i += 2) print "call", $i, $(i + 1) }'
}

# Checks that the page and the trace have the same events, as many as a timeline
# keeps and some that a thread was about to add, and say how many are left out.
# Files of more than 16 MiB would be hard to look at.
same_events() {
  local page trace left_out
  page=$(grep -cE '^\["(access|exit|call|wait|interrupt)",' "$work/page.html")
  trace=$(grep -cE '"cat":"(access|exit|call|wait|interrupt)"' \
    "$work/trace.json")
  left_out=$(sed -nE 's/^"gap":\[([0-9]+),.*/\1/p' "$work/page.html")
  echo "  the page has $page events and leaves $left_out out," \
    "in $(wc -c <"$work/page.html") bytes; the trace has $trace," \
    "in $(wc -c <"$work/trace.json") bytes"
  [[ $page == "$trace" ]] && ((page >= 20000 && page < 20100)) &&
    ((left_out > 0)) &&
    grep -qF "\"$left_out events left out\"" "$work/trace.json" &&
    [[ -z $(find "$work/page.html" "$work/trace.json" -size +16M) ]]
}
