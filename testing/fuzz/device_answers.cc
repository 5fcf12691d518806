// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes device passthrough with a device and a kernel that answer anything.
// The library must refuse the device, or must work while a guest uses what it
// sees.
//
// The input has a byte for the kernel and one for the device, then the kernel's
// lies (see LyingKernel), and then accesses of the guest.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/registers.h"
#include "passthru/testing/fuzz/fuzz_input.h"
#include "passthru/testing/fuzz/fuzz_target.h"
#include "passthru/testing/fuzz/fuzz_vm.h"
#include "passthru/testing/fuzz/lying_kernel.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::fuzz {
namespace {

constexpr std::array kDevices = {"nvme", "edu", "e1000e", "virtio_net"};
constexpr pci::Bdf kHostBdf(0, 1, 0, 0);
constexpr std::array kWidths = {1u, 2u, 4u, 8u};
constexpr int kMaxSteps = 64;

// Makes accesses as exits deliver them. A real guest would test no more,
// because its accesses without an exit reach only the device.
class Guest {
 public:
  Guest(vmm::Machine* machine, vfio_pci::VfioPciDevice* device,
        FuzzInput* input)
      : machine_(*machine), device_(*device), input_(*input) {}

  void Run(pci::Bdf bdf) {
    const uint64_t config = vmm::kEcamBase + (uint64_t{bdf.routing_id()} << 12);
    Access(machine_.mmio(), config + pci::kCommand.offset, 2, true, 7);
    for (int i = 0; i < kMaxSteps && !input_.empty(); ++i) {
      const auto how = input_.Take<uint8_t>();
      const unsigned width = kWidths[how & 3];
      const bool is_write = (how & 4) != 0;
      if ((how & 8) != 0) {
        Access(machine_.mmio(), config + (input_.Take<uint16_t>() & 0xfff),
               width, is_write);
      } else {
        AccessBar(width, is_write);
      }
    }
  }

 private:
  void AccessBar(unsigned width, bool is_write) {
    const auto reports = device_.Describe().bars;
    const auto which = input_.Take<uint8_t>();
    const auto offset = input_.Take<uint32_t>();
    if (reports.empty()) return;
    const pci::Bar& bar = reports[which % reports.size()].bar;
    Access(bar.is_io() ? machine_.pio() : machine_.mmio(),
           bar.address + offset % bar.size, width, is_write);
  }

  void Access(bus::Bus& bus, uint64_t address, unsigned width, bool is_write) {
    Access(bus, address, width, is_write,
           is_write ? input_.Take<uint32_t>() : 0);
  }

  static void Access(bus::Bus& bus, uint64_t address, unsigned width,
                     bool is_write, uint64_t value) {
    std::array<uint8_t, 8> bytes = {};
    for (unsigned i = 0; i < width; ++i) {
      bytes[i] = static_cast<uint8_t>(value >> 8 * i);
    }
    if (is_write) {
      bus.Write(address, absl::MakeConstSpan(bytes).first(width));
    } else {
      bus.Read(address, absl::MakeSpan(bytes).first(width));
    }
  }

  vmm::Machine& machine_;
  vfio_pci::VfioPciDevice& device_;
  FuzzInput& input_;
};

void Run(FuzzInput input) {
  FuzzVm vm(input.Pick(fake::kAllKernelVersions));
  CHECK_OK(vm.AddDevice(Fixture(input.Pick(kDevices)), kHostBdf));
  LyingKernel kernel(&vm.host().kernel(), input);
  if (!vm.Start(&kernel).ok()) return;
  const auto guest = vm.devices()->Attach(kHostBdf);
  if (guest.ok()) {
    const auto device = vm.devices()->Find(*guest);
    Guest(vm.machine(), device.get(), &input).Run(*guest);
    // The device may be unable to reset.
    device->Reset().IgnoreError();
  }
  vm.Stop();
}

}  // namespace
}  // namespace passthru::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  passthru::fuzz::Run(passthru::fuzz::FuzzInput(data, size));
  return 0;
}
