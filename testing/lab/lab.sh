#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Boots a machine with a real /dev/vfio and /dev/kvm and runs a static program
# in it. The machine is QEMU's software emulation of a q35 with an Intel IOMMU,
# with a Debian kernel and the lab's init. It needs no hardware and no root, and
# takes seconds.
#
#   lab.sh [--kernel=6.12|6.1|DIR] [--device=QEMU-DEVICE]... [--bind=BDF]...
#          [--vfs=BDF=COUNT[,DRIVER]]... [--drive=QEMU-DRIVE]...
#          [--object=QEMU-OBJECT]... [--audiodev=QEMU-AUDIODEV]...
#          [--netdev=QEMU-NETDEV]... [--file=NAME=FILE]... [--get=PATH=FILE]...
#          [--timeout=SECONDS] [--wake] PROGRAM [ARGUMENT]...
#
# --vfs gives virtual functions to a physical one before devices are bound, and
# brings the network interfaces up that its driver made. Without a driver's name
# it is pci-pf-stub, which makes none. 6.12-generic and 6.1-generic are kernels
# with the drivers of network cards.
# --file puts a file into the machine. --get takes a text file out of it after
# the program has ended. --wake presses Enter on the program's input while its
# output says that it sleeps (typist.h).
#
# Prints the program's output and exits with its status. Exits with 125 if the
# lab itself failed, because QEMU or the kernel is missing, the kernel panicked
# or the run took too long.
set -euo pipefail

die() { echo "lab: $*" >&2; exit 125; }

# `bazel run` puts the tools into the runfiles. Paths on the command line are
# relative to the user's working directory.
if [[ -d $0.runfiles ]]; then
  here=$(echo "$0".runfiles/*/testing/lab)
  cd "${BUILD_WORKING_DIRECTORY:-.}"
else
  here=$(cd "$(dirname "$0")" && pwd)
fi
cache=${PASSTHRU_LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/passthru/lab}
kernel=6.12
timeout=120
wake=
qemu_arguments=()
files=()
get=()
bind=()
vfs=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --kernel=*) kernel=${1#*=} ;;
    --device=* | --drive=* | --audiodev=* | --object=* | --netdev=*)
      option=${1%%=*}
      qemu_arguments+=("${option#-}" "${1#*=}")
      ;;
    --bind=*) bind+=("${1#*=}") ;;
    --vfs=*) vfs+=("${1#*=}") ;;
    --file=*) files+=("${1#*=}") ;;
    --get=*) get+=("${1#*=}") ;;
    --timeout=*) timeout=${1#*=} ;;
    --wake) wake=wake ;;
    --) shift; break ;;
    --*) die "unknown flag $1" ;;
    *) break ;;
  esac
  shift
done
[[ $# -ge 1 ]] || die "no program; see the head of $0"
program=$1
shift
[[ -x $program ]] || die "no program $program"

if [[ $kernel == */* ]]; then
  kernel_dir=$kernel
  "$here/fetch.sh" "$cache" qemu
else
  kernel_dir=$cache/$kernel
  "$here/fetch.sh" "$cache" qemu "$kernel"
fi
[[ -e $kernel_dir/vmlinuz && -e $kernel_dir/modules ]] ||
  die "$kernel_dir has no vmlinuz and modules"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%s\n' "${bind[@]}" >"$work/bind"
printf '%s\n' "${vfs[@]}" >"$work/vfs"
printf '%s\n' "${get[@]%%=*}" >"$work/get"
echo "$wake" >"$work/wake"
printf '%s\n' "/lab/program" "$@" >"$work/command"
initramfs=(init="$here/init" lab/program="$program" lab/modules="$kernel_dir/modules"
           lab/bind="$work/bind" lab/vfs="$work/vfs" lab/get="$work/get"
           lab/command="$work/command" lab/wake="$work/wake")
for module in "$kernel_dir"/*.ko; do
  initramfs+=("lab/${module##*/}=$module")
done
"$here/make_initramfs" "$work/initramfs" "${initramfs[@]}" "${files[@]}" ||
  die "cannot make the initramfs"

root=$cache/qemu
libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
libraries+=:$root/usr/lib/x86_64-linux-gnu/pulseaudio
# no_timer_check is needed on a busy machine, where the emulated timer fails the
# kernel's check.
boot() {
  timeout --kill-after=5 "$timeout" \
    "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
    --library-path "$libraries" "$root/usr/bin/qemu-system-x86_64" \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
    -L "$root/usr/lib/ipxe/qemu" \
    -accel tcg,thread=multi -M q35 -cpu EPYC -m 1G -smp 1 \
    -nodefaults -nographic -no-reboot -serial "file:$work/console" \
    -monitor none -net none -kernel "$kernel_dir/vmlinuz" \
    -initrd "$work/initramfs" \
    -append "console=ttyS0 intel_iommu=on loglevel=1 panic=-1 no_timer_check" \
    -device intel-iommu,intremap=on "${qemu_arguments[@]}" \
    </dev/null >"$work/qemu" 2>&1
}
status=0
boot || status=$?
if [[ $status == 0 ]] && ! grep -q '^LAB-BEGIN' "$work/console"; then
  echo "lab: the machine's kernel did not come up; once more" >&2
  tail -n 25 "$work/console" >&2
  boot || status=$?
fi

# Removes the output of the firmware and the kernel's last line.
tr -d '\r' <"$work/console" >"$work/text"
sed -e '1,/^LAB-BEGIN$/d' -e '/^LAB-EXIT /,$d' \
  -e '/^LAB-FILE /,/^LAB-FILE-END$/d' "$work/text"
for file in "${get[@]}"; do
  sed -e "1,\|^LAB-FILE ${file%%=*}\$|d" -e '/^LAB-FILE-END$/,$d' "$work/text" |
    sed '$d' >"${file#*=}"
done
exit_line=$(sed -n 's/^LAB-EXIT \([0-9]*\)$/\1/p' "$work/text" | tail -n 1)
if [[ -n $exit_line ]]; then
  exit "$exit_line"
fi
grep -v "TCG doesn't support" "$work/qemu" >&2 || true
if [[ $status == 124 || $status == 137 ]]; then
  die "no end after $timeout s: the program hangs, or this machine is too slow" \
      "(--timeout)"
fi
echo "lab: the last that its console showed:" >&2
tail -n 25 "$work/text" >&2
die "the lab's machine ended without the program's end (QEMU status $status):" \
    "a panic of its kernel, or QEMU refused its arguments"
