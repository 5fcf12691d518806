// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes root ports with a guest that writes everywhere in them and behind
// them. Meanwhile the VMM plugs and unplugs devices, asks for them, cuts the
// power of a slot and resets the machine.
//
// The input is steps, with a byte for the step's kind and the bytes that it
// takes.

#include "passthru/devices/root_port/root_port.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fuzz/fuzz_input.h"
#include "passthru/testing/fuzz/fuzz_target.h"
#include "passthru/testing/fuzz/fuzz_vm.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/root_ports.h"

namespace passthru::fuzz {
namespace {

// The first is behind port 0 at the start. Port 1 is empty.
constexpr std::array kHosts = {pci::Bdf(0, 1, 0, 0), pci::Bdf(0, 2, 0, 0)};
constexpr std::array<size_t, 2> kPorts = {0, 1};
constexpr std::array kWidths = {1u, 2u, 4u, 8u};
constexpr int kMaxSteps = 96;

// Offsets in a port's configuration space.
constexpr uint16_t kCommand = 0x04;
constexpr uint16_t kBridgeRegisters = 0x18;
constexpr uint16_t kPcieRegisters = 0x60;
constexpr uint16_t kSlotStatus = 0x7a;

class HostileGuest {
 public:
  HostileGuest(FuzzVm* vm, FuzzInput* input) : vm_(*vm), input_(*input) {}

  absl::Status Run(guest::GuestCpu& cpu) {
    for (int i = 0; i < kMaxSteps && !input_.empty() && !cpu.Stopping(); ++i) {
      Step(cpu);
      Check(cpu);
    }
    return absl::OkStatus();
  }

 private:
  void Step(guest::GuestCpu& cpu) {
    switch (input_.Take<uint8_t>() % 12) {
      case 0:
        return AccessPort(cpu, 0, 0xfff);
      case 1:
        return AccessPort(cpu, kPcieRegisters, 0x3f);
      case 2:
        return AccessPort(cpu, kBridgeRegisters, 0x27);
      case 3: {
        const auto function = input_.Take<uint16_t>() & 0x07ffu;
        const auto offset = input_.Take<uint8_t>();
        return Access(cpu, vmm::kEcamBase + (function << 12) + offset);
      }
      case 4: {
        const auto base = input_.Pick(
            std::array{vmm::kMmio32Base, vmm::kMmio64Base, vmm::kEcamBase});
        return Access(cpu, base + (input_.Take<uint32_t>() & 0x7fffffu));
      }
      case 5:
        return AccessPort(cpu, kCommand, 0);
      case 6: {
        const uint64_t behind = EcamOf(Name());
        return Access(cpu, behind + (input_.Take<uint8_t>() & 0x3fu));
      }
      case 7:
        return Plug();
      case 8: {
        const pci::Bdf guest = Name();
        if (input_.Take<uint8_t>() % 4 == 0) {
          vm_.devices()->CancelUnplug(guest).IgnoreError();
        } else {
          vm_.devices()->RequestUnplug(guest).IgnoreError();
        }
        return;
      }
      case 9:
        return PortAt(input_.Pick(kPorts)).FailPower();
      case 10:
        CHECK_OK(vm_.host().vfio().RequestRelease(input_.Pick(kHosts)));
        return;
      case 11:
        // The edu of port 1 has no way to be reset alone in each kernel.
        vm_.devices()->Reset().IgnoreError();
        return;
    }
  }

  root_port::RootPort& PortAt(size_t port) {
    return vm_.devices()->root_ports().port(port);
  }
  static uint64_t EcamOf(pci::Bdf bdf) {
    return vmm::kEcamBase + (uint64_t{bdf.routing_id()} << 12);
  }
  // Returns the VMM's name for the device behind a port.
  pci::Bdf Name() {
    return vm_.devices()->root_ports().Behind(input_.Pick(kPorts));
  }

  // Accesses a register of a port, from `first` on.
  void AccessPort(guest::GuestCpu& cpu, uint16_t first, uint16_t mask) {
    const size_t port = input_.Pick(kPorts);
    const auto offset = input_.Take<uint16_t>() & mask;
    const uint64_t space = EcamOf(vm_.devices()->root_ports().place(port));
    Access(cpu, space + first + offset);
  }
  void Access(guest::GuestCpu& cpu, uint64_t address) {
    const auto how = input_.Take<uint8_t>();
    const unsigned width = kWidths[how & 3];
    if ((how & 4) != 0) {
      cpu.Store(address, width, input_.Take<uint32_t>());
    } else {
      cpu.Load(address, width);
    }
  }

  void Plug() {
    const auto port = input_.Pick(kPorts);
    const auto host = input_.Pick(kHosts);
    const pci::Bdf guest = vm_.devices()->root_ports().Behind(port);
    if (vm_.devices()->Find(guest) != nullptr) {
      CHECK_OK(vm_.devices()->Detach(guest));
    } else {
      // This fails if the device is behind the other port.
      vm_.devices()
          ->Attach({.host = host, .root_port = port, .hot_plug = true})
          .IgnoreError();
    }
  }

  void Check(guest::GuestCpu& cpu) {
    for (const size_t number : kPorts) {
      const vmm::RootPorts& ports = vm_.devices()->root_ports();
      root_port::RootPort& port = PortAt(number);
      const auto device = vm_.devices()->Find(ports.Behind(number));
      CHECK_EQ(port.card_present(), device != nullptr);
      CHECK(port.card_present() || !port.link_active());
      const uint64_t status = EcamOf(ports.place(number)) + kSlotStatus;
      const auto present = (cpu.Load(status, 2) & 0x40) != 0;
      if (cpu.Stopping()) return;
      CHECK_EQ(present, port.card_present());
      if (device == nullptr) continue;
      for (const vfio_pci::BarReport& bar : device->Describe().bars) {
        if (!bar.placed) continue;
        const uint64_t at = bar.bar.address;
        CHECK(bar.bar.is_io() ? port.ForwardsIo(at, bar.bar.size)
                              : port.ForwardsMemory(at, bar.bar.size))
            << at;
      }
    }
  }

  FuzzVm& vm_;
  FuzzInput& input_;
};

void Run(FuzzInput input) {
  FuzzVm vm(fake::kAllKernelVersions[0]);
  CHECK_OK(vm.AddDevice(Fixture("nvme"), kHosts[0]));
  CHECK_OK(vm.AddDevice(Fixture("edu"), kHosts[1]));
  CHECK_OK(vm.Start(nullptr, {.intx = true, .root_ports = {{}, {}}}));
  CHECK_OK(vm.devices()->Attach({.host = kHosts[0], .root_port = 0}));
  HostileGuest guest(&vm, &input);
  CHECK_OK(
      vm.RunGuest([&guest](guest::GuestCpu& cpu) { return guest.Run(cpu); }));
}

}  // namespace
}  // namespace passthru::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  passthru::fuzz::Run(passthru::fuzz::FuzzInput(data, size));
  return 0;
}
