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
private_apt "$work" bookworm bookworm-backports || exit 125

fetch_qemu() {
  packages install -y --no-install-recommends --download-only \
    -t bookworm-backports qemu-system-x86 ||
    die "cannot download qemu-system-x86 10"
  mkdir -p "$1"
  for deb in "$work"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$1"; done
}

fetch_tools() {
  rm -f "$work"/cache/archives/*.deb
  packages install -y --no-install-recommends --download-only \
    pciutils qemu-utils qemu-block-extra ||
    die "cannot download pciutils and qemu-utils"
  # A script, which does not need the udev on which it depends.
  (cd "$work/cache/archives" && packages download driverctl) ||
    die "cannot download driverctl"
  mkdir -p "$1"
  for deb in "$work"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$1"; done
}

# testpmd is in a package that depends on all headers of DPDK, which it does not
# need.
fetch_dpdk() {
  local needed
  rm -f "$work"/cache/archives/*.deb
  mapfile -t needed < <(apt-cache depends dpdk-dev |
    sed -n 's/.*Depends: \(.*\)/\1/p' | grep -v -e '-dev$' -e python)
  [[ ${#needed[@]} -gt 0 ]] || die "cannot tell what dpdk-dev depends on"
  mapfile -O "${#needed[@]}" -t needed < <(apt-cache pkgnames librte-net-virtio)
  packages install -y --no-install-recommends --download-only \
    "${needed[@]}" python3-minimal libpython3-stdlib ||
    die "cannot download what DPDK needs"
  (cd "$work/cache/archives" && packages download dpdk dpdk-dev) ||
    die "cannot download dpdk and dpdk-dev"
  mkdir -p "$1"
  for deb in "$work"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$1"; done
}

# fetch_kernel DIR RELEASE
fetch_kernel() {
  local package
  package=$(apt-cache depends "linux-image-cloud-amd64/$2" |
    sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
  [[ -n $package ]] || die "$2 has no linux-image-cloud-amd64"
  (cd "$work/debs" && packages download "$package") ||
    die "cannot download $package"
  dpkg-deb -x "$work/debs/$package"_*.deb "$work/$2"
  mkdir -p "$1"
  cp "$work/$2"/boot/vmlinuz-* "$1/vmlinuz"
  local module file
  for module in "${modules[@]}"; do
    file=$(find "$work/$2" -name "$module.ko*" | head -n 1)
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

# fetch_generic DIR RELEASE
fetch_generic() {
  local package module
  package=$(apt-cache depends "linux-image-amd64/$2" |
    sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
  [[ -n $package ]] || die "$2 has no linux-image-amd64"
  (cd "$work/debs" && packages download "$package") ||
    die "cannot download $package"
  mkdir -p "$work/generic-$2" "$1"
  dpkg-deb --fsys-tarfile "$work/debs/$package"_*.deb |
    tar -x -C "$work/generic-$2" --wildcards './boot/vmlinuz-*' '*.ko*'
  cp "$work/generic-$2"/boot/vmlinuz-* "$1/vmlinuz"
  for module in "${modules[@]}" "${host_drivers[@]}"; do
    keep "$work/generic-$2" "$1" "$module"
  done
  for module in "${guest_drivers[@]}"; do
    keep "$work/generic-$2" "$1/guest" "$module"
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
    6.12) fetch_kernel "$dir/$what.partial" bookworm-backports ;;
    6.1-generic) fetch_generic "$dir/$what.partial" bookworm ;;
    6.12-generic) fetch_generic "$dir/$what.partial" bookworm-backports ;;
    *) die "unknown '$what': qemu, 6.1, 6.12, either with -generic, tools or dpdk" ;;
  esac
  mark "$what" >"$dir/$what.partial/complete"
  mv "$dir/$what.partial" "$dir/$what"
done
