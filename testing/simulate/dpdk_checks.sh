# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
#
# The checks with DPDK, for check.sh.

# The ends of the wire are two captures, whose registers are in other places.
dpdk_ends=(0000:04:00.0 0000:06:00.0)
dpdk_wire=(--fixture=virtio_net.textproto --fixture=qemu10_virtio_net.textproto
  "--connect=0000:04:00.0,0000:06:00.0")

# testpmd ARGUMENT... runs DPDK's program of this name with the ends of the
# wire. It runs on a terminal, so that its output comes line by line. DPDK loads
# drivers only from folders that nobody else can write to, so the dynamic linker
# does it. Nothing needs huge pages, and two threads need not have two CPUs.
testpmd() {
  local root=$cache/dpdk cpus command
  local libraries=$root/usr/lib/x86_64-linux-gnu
  cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
  # shellcheck disable=SC2016
  command=("$simulate" "${on[@]}" --
    bash -c 'echo $$ >"$0" && exec "$@"' "$work/testpmd.pid"
    "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    --preload "$(cd "$libraries" && echo librte_{net_virtio,mempool_ring}.so.??)"
    --library-path "$root/lib/x86_64-linux-gnu:$libraries"
    "$root/usr/bin/dpdk-testpmd" --lcores "0@($cpus),1@($cpus)"
    --no-huge -m 128 --no-shconf --no-telemetry --iova-mode=va
    -a "${dpdk_ends[0]}" -a "${dpdk_ends[1]}" -- "$@")
  SHELL=/bin/bash exec script -qec "$(printf '%q ' "${command[@]}")" /dev/null
}

# tell_testpmd COMMAND types a command into testpmd.
tell_testpmd() { echo "$*" >&"$to_testpmd"; }

# Reads a line of what testpmd says into `line`.
hear_testpmd() {
  IFS= read -r -t 120 line <&"$from_testpmd" && echo "$line" >>"$work/testpmd"
}

# Reads until a line that contains the text.
await_testpmd() {
  local line
  while hear_testpmd; do
    [[ $line != *"$1"* ]] || return 0
  done
  echo "testpmd did not say '$1'"
  return 1
}

# Asks for testpmd's statistics: packets and bytes that each port received and
# sent, and what it lost.
ask_statistics() {
  local line port=
  received=() sent=() lost=()
  tell_testpmd show port stats all
  while hear_testpmd; do
    if [[ $line =~ 'NIC statistics for port '([01]) ]]; then
      port=${BASH_REMATCH[1]}
    elif [[ -z $port ]]; then
      continue
    elif [[ $line =~ RX-packets:\ ([0-9]+)\ +RX-missed:\ ([0-9]+)\ +RX-bytes:\ +([0-9]+) ]]; then
      received[port]="${BASH_REMATCH[1]} packets, ${BASH_REMATCH[3]} bytes"
      lost[port]=${BASH_REMATCH[2]}
    elif [[ $line =~ (RX-errors|RX-nombuf):\ +([0-9]+) ]]; then
      lost[port]=$((lost[port] + BASH_REMATCH[2]))
    elif [[ $line =~ TX-packets:\ ([0-9]+)\ +TX-errors:\ ([0-9]+)\ +TX-bytes:\ +([0-9]+) ]]; then
      sent[port]="${BASH_REMATCH[1]} packets, ${BASH_REMATCH[3]} bytes"
      lost[port]=$((lost[port] + BASH_REMATCH[2]))
      ((port == 1)) && return
    fi
  done
  return 1
}

# Asks until the condition holds, which is a command.
await_statistics() {
  local end=$((SECONDS + 240))
  while ask_statistics; do
    "$@" && return
    ((SECONDS < end)) || return 1
    sleep 0.2
  done
  return 1
}

moved_enough() {
  ((${#sent[@]} == 2 && ${sent[0]%% *} >= 5000 && ${sent[1]%% *} >= 5000))
}
all_arrived() {
  ((${#sent[@]} == 2 && ${#received[@]} == 2)) &&
    [[ ${received[0]} == "${sent[1]}" && ${received[1]} == "${sent[0]}" ]]
}

# Each port passes on to its wire what the other port received, so that packets
# go round in both directions. The ports then only receive until none is on its
# way. At last one goes, and the other one gets the message (MSI-X) that its link
# is down.
#
# testpmd is then killed. If it closed a port whose interrupt it has just taken,
# its interrupt thread would add the closed descriptor to its epoll set now and
# then, and panic.
talk_to_testpmd() {
  local received=() sent=() lost=()
  tell_testpmd start tx_first 4
  await_statistics moved_enough || { echo "too few packets"; return 1; }
  tell_testpmd stop
  tell_testpmd set fwd rxonly
  tell_testpmd start
  await_statistics all_arrived || { echo "sent and received differ"; return 1; }
  tell_testpmd stop
  tell_testpmd port stop 0
  tell_testpmd port close 0
  await_testpmd 'Port 1: link state change event' || return
  kill -KILL "$(<"$work/testpmd.pid")" || return
  echo "  port 0 sent ${sent[0]}; port 1 received ${received[1]}"
  echo "  port 1 sent ${sent[1]}; port 0 received ${received[0]}"
  ((lost[0] + lost[1] == 0)) || echo "lost: ${lost[*]}"
  all_arrived && ((lost[0] + lost[1] == 0))
}

dpdk_packets() {
  get dpdk || return 0
  local killed=137
  on=("${dpdk_wire[@]}" --check=fail --leaks=off "--journal=$work/journal")
  : >"$work/testpmd"
  coproc TESTPMD { testpmd -i --total-num-mbufs=2048; }
  # The shell forgets the array when the process has ended.
  local process=$! status=0 from_testpmd to_testpmd
  exec {from_testpmd}<&"${TESTPMD[0]}" {to_testpmd}>&"${TESTPMD[1]}"
  talk_to_testpmd || status=$?
  ((status == 0)) || kill "$process"
  wait "$process"
  local ended=$?
  exec {from_testpmd}<&- {to_testpmd}>&-
  # Else it ended by itself, or broke a rule.
  ((ended == killed)) || { echo "it ended with $ended"; status=1; }
  grep -q 'VFIO_DEVICE_SET_IRQS(.*index=2, start=0, count=1' "$work/journal" ||
    { echo "testpmd did not use MSI-X"; status=1; }
  ((status == 0)) || tail -n 40 "$work/testpmd"
  return "$status"
}

# Binds and unbinds as DPDK's users do. The tool asks ip(8) which devices the
# machine's routes use, which are none of the simulated ones.
dpdk_devbind() {
  get dpdk tools || return 0
  as_command tools lspci
  as_command dpdk python3
  printf '#!/bin/sh\n' >"$work/bin/ip"
  cat >"$work/devbind" <<'SCRIPT'
set -e
devbind() { python3 "$PYTHONHOME/bin/dpdk-devbind.py" "$@"; }
devbind --status-dev net
devbind -b vfio-pci 0000:01:00.0
devbind --status-dev net
devbind -b e1000e 0000:01:00.0
devbind -u 0000:04:00.0
devbind --status-dev net
SCRIPT
  chmod +x "$work/bin/ip"
  PATH=$work/bin:$PATH PYTHONHOME=$cache/dpdk/usr "$simulate" \
    --fixture=virtio_net.textproto --fixture=e1000e.textproto,driver=e1000e \
    --check=fail -- bash "$work/devbind" >"$work/status" 2>"$work/errors" ||
    { cat "$work/status" "$work/errors"; return 1; }
  diff - <(sed -n "s/^\(0000:[^ ]*\) '[^']*' \(if= \)\?/\1 /p" "$work/status") \
    <<'STATUS'
0000:04:00.0 drv=vfio-pci unused=
0000:01:00.0 drv=e1000e unused=vfio-pci 
0000:01:00.0 drv=vfio-pci unused=
0000:04:00.0 drv=vfio-pci unused=
0000:01:00.0 drv=e1000e unused=vfio-pci 
0000:04:00.0 unused=vfio-pci
STATUS
}
