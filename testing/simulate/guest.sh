#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The part of check.sh that boots Debian's Linux 6.12 in QEMU, which emulates the
# processor (TCG), with simulated devices behind its vfio-pci. The guest's
# program is guest_io, which says what it does on the second serial line. It
# uses the functions and variables of check.sh.
# shellcheck disable=SC2034,SC2154  # `on`, `cache`, `here`, `work` are those.

# boot APPEND WORDS QEMU-OPTION... boots the guest with these words of guest_io,
# on the simulated kernel with the options in the array `on`. The guest talks by
# the character device `line` of QEMU.
boot() {
  local append=$1 words=$2 root=$cache/qemu
  shift 2
  : >"$work/empty"
  tr ' ' '\n' <<<"/lab/program $words" >"$work/command"
  "$here/testing/lab/make_initramfs" "$work/initramfs" \
    init="$here/testing/lab/init" lab/modules="$work/empty" \
    lab/bind="$work/empty" lab/vfs="$work/empty" lab/get="$work/empty" \
    lab/program="$here/testing/simulate/guest_io/guest_io" \
    lab/command="$work/command" || return
  unpacked qemu qemu-system-x86_64 \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
    -L "$root/usr/lib/ipxe/qemu" -accel tcg,thread=multi -M q35 -cpu EPYC \
    -m 512M -nodefaults -nographic -no-reboot -net none -monitor none \
    -serial "file:$work/console" -serial "$line" \
    -kernel "$cache/6.12/vmlinuz" -initrd "$work/initramfs" \
    -append "console=ttyS0 loglevel=4 panic=-1 no_timer_check $append" \
    -device pcie-root-port,id=port4,chassis=1,addr=4 \
    -device pcie-root-port,id=port5,chassis=2,addr=5 \
    -device pcie-root-port,id=port6,chassis=3,addr=6 "$@"
}

# judge STATUS shows what the guest and QEMU said. Returns whether the guest did
# all it should, and QEMU and the checker found nothing.
judge() {
  local status=$1
  # Without KVM there is no KVM VFIO device.
  grep -v "TCG doesn't support\|KVM VFIO device isn't created" "$work/qemu"
  grep '^guest_io: ' "$work/said" | grep -v ': ready \|: done' |
    sed 's/^guest_io:/ /'
  if ((status != 0)) || ! grep -qx 'guest_io: done' "$work/said"; then
    echo "  QEMU's status is $status, and the guest's console ends with"
    tail -n 25 "$work/console"
    return 1
  fi
}

# guest APPEND WORDS QEMU-OPTION... boots the guest and judges it.
guest() {
  get qemu 6.12 || return 0
  local line=file:$work/said
  : >"$work/said"
  boot "$@" </dev/null >"$work/qemu" 2>&1
  judge $?
}

nvme=nvme.textproto,disk=8388608

# A controller with mapped BARs, or with trapped ones.
mapped() {
  on=(--fixture="$nvme" --check=fail --leaks=off)
  guest "" "io 00:04.0 200 resets 00:04.0 3" \
    -device vfio-pci,host=0000:02:00.0,bus=port4 || return
  grep -q 'interrupts by PCI-MSIX' "$work/said"
}
trapped() {
  on=(--fixture="$nvme" --kernel=7.2 --check=fail --leaks=off)
  guest "" "io 00:04.0 200 resets 00:04.0 3" \
    -device vfio-pci,host=0000:02:00.0,bus=port4,x-no-mmap=on || return
  grep -q 'interrupts by PCI-MSIX' "$work/said"
}

# INTx, which QEMU lets through an eventfd to unmask.
intx() {
  on=(--fixture="$nvme" --kernel=6.1 --check=fail --leaks=off)
  guest pci=nomsi "io 00:04.0 200 resets 00:04.0 1" -smp 2 \
    -device vfio-pci,host=0000:02:00.0,bus=port4 || return
  grep -q 'interrupts by IO-APIC' "$work/said"
}

# several GROUP GROUP boots a guest with two disks, whose images must be what the
# guest has written to each, and with edu.
several() {
  local first=nvme.textproto,group=$1 second=nvme.textproto,group=$2
  rm -f "$work"/*.img
  truncate -s 8M "$work/first.img"
  truncate -s 6M "$work/second.img"
  on=(--fixture="$first,disk=$work/first.img"
    --fixture="$second,address=0000:03:00.0,disk=$work/second.img"
    --fixture=edu.textproto --check=fail --leaks=off)
  guest "" "io 00:04.0,00:05.0 150 edu 00:06.0 20 io 00:04.0,00:05.0 50" \
    -smp 2 -device vfio-pci,host=0000:02:00.0,bus=port4 \
    -device vfio-pci,host=0000:03:00.0,bus=port5 \
    -device vfio-pci,host=0000:00:02.0,bus=port6 || return
  tail -c 512 "$work/first.img" | grep -aq 'by the guest behind 00:04.0' &&
    tail -c 512 "$work/second.img" | grep -aq 'by the guest behind 00:05.0'
}

# hear FD TEXT [TEXT] waits for a line that has these texts. Returns 1 if the
# other side fails, ends, or says nothing for too long. Keeps what the guest said.
hear() {
  local from=$1 text=$2 also=${3:-} part line='' status waited=0
  while ((waited < patience)); do
    IFS= read -r -t 5 part <&"$from"
    status=$?
    line+=$part
    # A FIFO has no end, so the end of QEMU is looked for.
    if ((status > 128)) && kill -0 "$qemu_process" 2>"$work/ignored"; then
      waited=$((waited + 5))
      continue
    fi
    ((status == 0)) || break
    [[ $line != guest_io:* ]] || echo "$line" >>"$work/said"
    if [[ $line == *"$text"* && $line == *"$also"* ]]; then return 0; fi
    [[ $line != *'{"error"'* && $line != *FAILED* ]] || break
    line=''
  done
  echo "  instead of $text came, after $waited s, '$line'"
  return 1
}

# say QMP-COMMAND [ARGUMENTS] tells QEMU's monitor what to do.
say() {
  echo "{\"execute\": \"$1\", \"arguments\": {${2:-}}}" >&"$to_qemu"
}

# unplug DISK TURN unplugs a disk when the guest is busy for the nth time.
unplug() {
  hear "$from_guest" "guest_io: ready $2" || return
  say device_del "\"id\": \"$1\"" || return
  hear "$from_qemu" DEVICE_DELETED "/machine/peripheral/$1" || return
  hear "$from_guest" ': unplugged'
}

# Unplugs a disk and plugs it again, and unplugs both disks at the end. BARs are
# mapped and trapped in turn.
unplug_and_plug() {
  local cycles=$1 cycle mode=false
  hear "$from_qemu" '"QMP"' && say qmp_capabilities || return
  hear "$from_qemu" '{"return"' || return
  for ((cycle = 0; cycle < cycles; ++cycle)); do
    unplug disk "$cycle" || return
    [[ $mode == true ]] && mode=false || mode=true
    say device_add "\"driver\": \"vfio-pci\", \"host\": \"0000:02:00.0\",
      \"id\": \"disk\", \"bus\": \"port4\", \"x-no-mmap\": $mode" || return
    hear "$from_qemu" '{"return"' || return
  done
  unplug disk "$cycles" && unplug other "$((cycles + 1))" || return
  # Until now the guest has waited, or it could switch the machine off too early.
  echo >&"$to_guest"
  hear "$from_guest" 'guest_io: done'
}

# hot_plug CYCLES. At its end QEMU has given everything back, so that nothing
# may be left open.
hot_plug() {
  get qemu 6.12 || return 0
  local from_qemu to_qemu from_guest to_guest qemu_process status
  local line=pipe:$work/line
  on=(--fixture="$nvme"
    --fixture="$nvme,address=0000:03:00.0,group=8" --check=fail --leaks=fail)
  rm -f "$work"/line.*
  mkfifo "$work/line.in" "$work/line.out" || return
  : >"$work/said"
  exec {from_guest}<>"$work/line.out" {to_guest}<>"$work/line.in"
  coproc machine {
    boot "" "hot 00:04.0,00:05.0 $1" -qmp stdio -smp 2 \
      -device vfio-pci,host=0000:02:00.0,bus=port4,id=disk \
      -device vfio-pci,host=0000:03:00.0,bus=port5,id=other 2>"$work/qemu"
  }
  qemu_process=$machine_PID
  exec {from_qemu}<&"${machine[0]}" {to_qemu}>&"${machine[1]}"
  unplug_and_plug "$1" || say quit
  wait "$qemu_process"
  status=$?
  exec {from_guest}<&- {to_guest}<&- {from_qemu}<&- {to_qemu}>&-
  judge "$status"
}
