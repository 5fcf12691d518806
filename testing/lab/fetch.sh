#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetches QEMU 10 with all its dependencies, and Debian's cloud kernels 6.1 and
# 6.12, on which the lab runs. 6.1-generic and 6.12-generic are Debian's kernels
# for any machine, of which it keeps what the lab and its guests need, with the
# drivers of network cards, which the cloud kernels lack. `tools` (pciutils,
# qemu-utils, driverctl) and `dpdk` (its testpmd and dpdk-devbind.py, with their
# Python) are programs for testing/simulate/check.sh. It unpacks them into a
# folder, installs nothing and needs no root. It reads the system's apt
# configuration only to find a mirror. It works on Debian 12 or newer.
#
#   fetch.sh DIR [qemu | 6.1 | 6.12 | 6.1-generic | 6.12-generic | tools | dpdk]...
set -euo pipefail

die() { echo "lab: $*" >&2; exit 125; }

[[ $# -ge 1 ]] || die "usage: fetch.sh DIR [qemu | KERNEL | tools | dpdk]..."
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
[[ $# -ge 1 ]] || set -- qemu 6.1 6.12

# Loadable in this order. vfio_virqfd is a module of its own only in 6.1.
modules=(irqbypass vfio vfio_virqfd vfio_iommu_type1 vfio-pci-core vfio-pci
         kvm kvm-amd pci-pf-stub)

# Those of a generic kernel besides, and those for its guests, with the modules
# that they depend on.
host_drivers=(igb)
guest_drivers=(nvme e1000e igb igbvf 8139cp)

# Prints the mark of a complete folder, which lists its modules, or what came
# later. A folder with another list is fetched again.
mark() {
  case $1 in
    qemu | dpdk) ;;
    tools) echo driverctl ;;
    *-generic) echo "${modules[*]} ${host_drivers[*]} ${guest_drivers[*]}" ;;
    *) echo "${modules[*]}" ;;
  esac
}

missing=()
for what in "$@"; do
  [[ -e $dir/$what/complete &&
    $(cat "$dir/$what/complete") == "$(mark "$what")" ]] || missing+=("$what")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0
for tool in apt-get dpkg-deb xz; do
  command -v "$tool" >/dev/null ||
    die "the lab's QEMU and kernels come from Debian's packages, and" \
        "there is no $tool here; put them into $dir by hand (see README.md)"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/debs"
# shellcheck source=/dev/null
source "${BASH_SOURCE[0]%/*}/apt.sh"

# from SUITE... lets apt fetch from these suites, and into `archives`.
from() {
  archives=$work/$1/cache/archives
  if [[ -d $archives ]]; then
    export APT_CONFIG=$work/$1/apt.conf
  else
    private_apt "$work/$1" "$@" || { rm -rf "${work:?}/$1"; return 1; }
  fi
}

# download PACKAGE... gets packages with all that they depend on.
download() {
  rm -f "$archives"/*.deb
  packages install -y --no-install-recommends --download-only "$@"
}

# unpack DIR unpacks what was downloaded. In newer suites /lib is /usr/lib.
unpack() {
  local deb
  mkdir -p "$1"
  for deb in "$archives"/*.deb; do dpkg-deb -x "$deb" "$1"; done
  [[ -e $1/lib ]] || ln -s usr/lib "$1/lib"
}

# QEMU 10 is in a stable suite, and in backports, which may go.
fetch_qemu() {
  if ! { from trixie && download qemu-system-x86; }; then
    echo "lab: trixie's QEMU cannot be had; trying bookworm-backports" >&2
    if ! { from bookworm-backports bookworm &&
      download -t bookworm-backports qemu-system-x86; }; then
      die "cannot download qemu-system-x86 10"
    fi
  fi
  unpack "$1"
}

fetch_tools() {
  if ! { from bookworm && download pciutils qemu-utils qemu-block-extra; }; then
    die "cannot download pciutils and qemu-utils"
  fi
  # A script, which does not need the udev on which it depends.
  (cd "$archives" && packages download driverctl) ||
    die "cannot download driverctl"
  unpack "$1"
}

# testpmd is in a package that depends on all headers of DPDK, which it does not
# need.
fetch_dpdk() {
  local needed
  from bookworm || die "cannot download DPDK"
  mapfile -t needed < <(apt-cache depends dpdk-dev |
    sed -n 's/.*Depends: \(.*\)/\1/p' | grep -v -e '-dev$' -e python)
  [[ ${#needed[@]} -gt 0 ]] || die "cannot tell what dpdk-dev depends on"
  mapfile -O "${#needed[@]}" -t needed < <(apt-cache pkgnames librte-net-virtio)
  download "${needed[@]}" python3-minimal libpython3-stdlib ||
    die "cannot download what DPDK needs"
  (cd "$archives" && packages download dpdk dpdk-dev) ||
    die "cannot download dpdk and dpdk-dev"
  unpack "$1"
}

# download_kernel PACKAGE SUITE... gets the kernel on which the package depends
# in the first of the suites that has it. `deb` is then its file.
download_kernel() {
  local wanted=$1 suite package
  shift
  for suite; do
    from "$suite" || continue
    package=$(apt-cache depends "$wanted/$suite" |
      sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1) || true
    if [[ -n $package ]] &&
      (cd "$work/debs" && packages download "$package"); then
      deb=$(echo "$work/debs/$package"_*.deb)
      return
    fi
    echo "lab: $wanted of $suite cannot be had" >&2
  done
  die "cannot download $wanted"
}

# fetch_kernel DIR SUITE...
fetch_kernel() {
  local deb module file tree=$work/${1##*/}.tree
  download_kernel linux-image-cloud-amd64 "${@:2}"
  dpkg-deb -x "$deb" "$tree"
  mkdir -p "$1"
  cp "$tree"/boot/vmlinuz-* "$1/vmlinuz"
  for module in "${modules[@]}"; do
    file=$(find "$tree" -name "$module.ko*" | head -n 1)
    [[ -n $file ]] || continue
    case $file in
      *.xz) xz -dc "$file" >"$1/$module.ko" ;;
      *) cp "$file" "$1/$module.ko" ;;
    esac
    echo "$module.ko" >>"$1/modules"
  done
}

# keep TREE DIR MODULE puts a module of the tree into the folder and into its
# list of modules, after those that it depends on.
keep() {
  local file dependencies dependency
  [[ ! -e $2/$3.ko ]] || return 0
  # A module's name has "-" or "_" in its file's name, and always "_" in others.
  file=$(find "$1" -name "${3//[-_]/[-_]}.ko*" | head -n 1)
  [[ -n $file ]] || return 0
  mkdir -p "$2"
  case $file in
    *.xz) xz -dc "$file" >"$2/$3.ko" ;;
    *) cp "$file" "$2/$3.ko" ;;
  esac
  dependencies=$(tr '\0' '\n' <"$2/$3.ko" |
    LC_ALL=C sed -n 's/^depends=//p' | tr ',' ' ')
  for dependency in $dependencies; do keep "$1" "$2" "$dependency"; done
  echo "$3.ko" >>"$2/modules"
}

# fetch_generic DIR SUITE...
fetch_generic() {
  local deb module tree=$work/${1##*/}.tree
  download_kernel linux-image-amd64 "${@:2}"
  mkdir -p "$tree" "$1"
  dpkg-deb --fsys-tarfile "$deb" |
    tar -x -C "$tree" --wildcards './boot/vmlinuz-*' '*.ko*'
  cp "$tree"/boot/vmlinuz-* "$1/vmlinuz"
  for module in "${modules[@]}" "${host_drivers[@]}"; do
    keep "$tree" "$1" "$module"
  done
  for module in "${guest_drivers[@]}"; do
    keep "$tree" "$1/guest" "$module"
  done
}

number=0
for what in "${missing[@]}"; do
  number=$((number + 1))
  echo "lab: fetching $what, $number of ${#missing[@]}" >&2
  rm -rf "${dir:?}/$what" "$dir/$what.partial"
  case $what in
    qemu) fetch_qemu "$dir/$what.partial" ;;
    tools) fetch_tools "$dir/$what.partial" ;;
    dpdk) fetch_dpdk "$dir/$what.partial" ;;
    6.1) fetch_kernel "$dir/$what.partial" bookworm ;;
    6.12) fetch_kernel "$dir/$what.partial" trixie bookworm-backports ;;
    6.1-generic) fetch_generic "$dir/$what.partial" bookworm ;;
    6.12-generic)
      fetch_generic "$dir/$what.partial" trixie bookworm-backports
      ;;
    *) die "unknown '$what': qemu, 6.1, 6.12, either with -generic, tools or dpdk" ;;
  esac
  mark "$what" >"$dir/$what.partial/complete"
  mv "$dir/$what.partial" "$dir/$what"
done
