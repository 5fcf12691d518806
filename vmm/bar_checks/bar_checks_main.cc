// SPDX-License-Identifier: Apache-2.0
//
// bar_checks EDU PEER SMALL LARGE makes machines on this host's /dev/kvm and
// /dev/vfio and checks what their guests do with BARs. EDU is an edu with
// dma_mask=0xffffffffffff and PEER an ivshmem-plain, SMALL has a BAR 0 smaller
// than a page, and LARGE is a pci-testdev with a membar. The program prints
// what it found, with the pages of BAR 2 of LARGE and of BAR 0 of EDU, and
// fails at the first check that does.

#include <array>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/bar_checks/bar_checks.h"

namespace passthru::vmm {
namespace {

absl::Status ShowPages(const BarChecksHost& host, pci::Bdf device,
                       uint8_t bar) {
  PASSTHRU_ASSIGN_OR_RETURN(const BarPages pages,
                            CountBarPages(host, device, bar));
  std::cout << "  " << pages.size / 1024
            << " KiB, each page touched: " << pages.faults
            << " faults; by a guest, once in 2 MiB: " << pages.kvm_4_kib
            << " small and " << pages.kvm_2_mib << " large pages" << std::endl;
  return absl::OkStatus();
}

absl::Status Main(const std::vector<std::string>& arguments) {
  if (arguments.size() != 4) {
    return absl::InvalidArgumentError("usage: bar_checks EDU PEER SMALL LARGE");
  }
  std::array<pci::Bdf, 4> devices;
  for (size_t i = 0; i < devices.size(); ++i) {
    PASSTHRU_ASSIGN_OR_RETURN(devices[i], pci::Bdf::Parse(arguments[i]));
  }
  const auto [edu, peer, small, large] = devices;
  kernel::LinuxSyscalls linux_kernel;
  const BarChecksHost host = {.syscalls = &linux_kernel};
  PASSTHRU_RETURN_IF_ERROR(
      kernel::Annotate(CheckPeerDma(host, edu, peer, false),
                       "DMA from device to device, which is off"));
  std::cout << "  a device does not reach the BAR of another one" << std::endl;
  PASSTHRU_RETURN_IF_ERROR(kernel::Annotate(CheckPeerDma(host, edu, peer, true),
                                            "DMA from device to device"));
  std::cout << "  with peer_to_peer it copies from there and to there"
            << std::endl;
  PASSTHRU_RETURN_IF_ERROR(
      kernel::Annotate(CheckSmallBar(host, small), "a small BAR"));
  std::cout << "  a BAR smaller than a page is mapped where it is alone"
            << std::endl;
  PASSTHRU_RETURN_IF_ERROR(ShowPages(host, edu, 0));
  return ShowPages(host, large, 2);
}

}  // namespace
}  // namespace passthru::vmm

int main(int argc, char** argv) {
  const absl::Status status =
      passthru::vmm::Main(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cout << "bar_checks: " << status.message() << "\n";
  return 1;
}
