// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the whole path with a hostile guest. A virtual CPU accesses two
// devices of different kinds through KVM_RUN and the buses. Meanwhile these
// interrupt, are reset, unplugged and plugged, and a kernel call fails now and
// then.
//
// The input has a byte for the kernel and one for each device, and then steps,
// with a byte for the step's kind and the bytes that it takes.

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/registers.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/fuzz/fuzz_input.h"
#include "passthru/testing/fuzz/fuzz_target.h"
#include "passthru/testing/fuzz/fuzz_vm.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::fuzz {
namespace {

// Some have a model. The others have none, but I/O ports or more BARs.
constexpr std::array kFirstDevices = {"nvme", "e1000e", "ivshmem", "xhci"};
constexpr std::array kSecondDevices = {"edu", "rtl8139", "virtio_net",
                                       "ich9_ahci"};
constexpr std::array kHostBdfs = {pci::Bdf(0, 1, 0, 0), pci::Bdf(0, 2, 0, 0)};
// The places of the devices, and one place without a device.
constexpr std::array kGuestBdfs = {pci::Bdf(0, 0, 1, 0), pci::Bdf(0, 0, 2, 0),
                                   pci::Bdf(0, 0, 0, 0), pci::Bdf(0, 0, 3, 0)};
constexpr std::array kWidths = {1u, 2u, 4u, 8u};
constexpr std::array kErrors = {EIO,    ENOMEM, ENOSPC, EBUSY,
                                EINVAL, ENODEV, EPERM,  EFAULT};
// The places in which something may be mapped are RAM, ECAM, 32-bit and 64-bit
// BARs and the interrupt controllers.
constexpr std::array<uint64_t, 6> kPlaces = {
    0,           vmm::kEcamBase,   vmm::kMmio32Base,
    0xfee00000u, vmm::kMmio64Base, ~uint64_t{0} << 20};

constexpr int kMaxSteps = 256;

// The offsets of the capabilities in a configuration space.
struct Layout {
  std::vector<uint16_t> capabilities;
  std::optional<pci::MsixCapability> msix;
};

Layout FindLayout(absl::Span<const uint8_t> bytes) {
  Layout layout;
  for (const pci::Capability& entry : pci::WalkCapabilities(bytes).entries) {
    layout.capabilities.push_back(entry.offset);
    if (entry.id == pci::CapabilityId::kMsix) {
      auto msix = pci::MsixCapability::Parse(bytes, entry.offset);
      if (msix.ok()) layout.msix = *msix;
    }
  }
  if (layout.capabilities.empty()) layout.capabilities.push_back(0);
  return layout;
}

// Returns the layout of a fixture. Looks at each fixture once.
const Layout& LayoutOf(const std::string& name) {
  static auto* const layouts = new std::map<std::string, Layout>();
  const auto [found, added] = layouts->try_emplace(name);
  if (added) {
    found->second = FindLayout(fixture::ExpandConfig(Fixture(name)).bytes);
  }
  return found->second;
}

class HostileGuest {
 public:
  HostileGuest(FuzzVm* vm, std::array<Layout, 2> layouts, FuzzInput* input)
      : vm_(*vm), layouts_(std::move(layouts)), input_(*input) {}

  absl::Status Run(guest::GuestCpu& cpu) {
    for (int i = 0; i < kMaxSteps && !input_.empty() && !cpu.Stopping(); ++i) {
      Step(cpu);
    }
    return absl::OkStatus();
  }

  // Returns whether the kernel or the device did something that a guest may
  // notice. A slot may then be left without memory behind it.
  bool may_fault() const { return may_fault_; }

 private:
  void Step(guest::GuestCpu& cpu) {
    switch (input_.Take<uint8_t>() % 16) {
      case 0:
        return Access(cpu, Config(input_.Take<uint16_t>() & 0xfff));
      case 1: {
        const auto& capabilities = input_.Pick(layouts_).capabilities;
        const uint16_t capability = input_.Pick(capabilities);
        const auto offset = input_.Take<uint8_t>() & 0x1fu;
        return Access(cpu, Config(capability + offset));
      }
      case 2:
        return AccessPort(cpu,
                          static_cast<uint16_t>(vmm::kPciConfigPort +
                                                input_.Take<uint8_t>() % 8));
      case 3:
        return AccessPort(cpu, input_.Take<uint16_t>());
      case 4:
        return AccessBar(cpu, input_.Take<uint16_t>());
      case 5:
        return AccessBar(cpu, input_.Take<uint32_t>());
      case 6:
        return Access(cpu, Place(input_.Take<uint32_t>()));
      case 7:
        return WriteVector(cpu);
      case 8:
        return MoveBar(cpu);
      case 9:
        return SetDecode(cpu);
      case 10:
        return Interrupt();
      case 11:
        return Dma();
      case 12:
        return HostEvent();
      case 13:
        return ResetDevice();
      case 14:
        return Plug();
      case 15:
        return Fail();
    }
  }

  uint64_t Config(uint32_t offset) {
    guest_ = input_.Pick(kGuestBdfs);
    return vmm::kEcamBase + (uint64_t{guest_.routing_id()} << 12) + offset;
  }

  // Ignores the value of a load, because the test is only that the load
  // returns.
  void Access(guest::GuestCpu& cpu, uint64_t address) {
    const auto how = input_.Take<uint8_t>();
    const unsigned width = kWidths[how & 3];
    if ((how & 4) != 0) {
      cpu.Store(address, width, input_.Take<uint32_t>());
    } else if ((how & 8) != 0) {
      cpu.Store(address, width, input_.Take<uint64_t>());
    } else {
      cpu.Load(address, width);
    }
  }

  void AccessPort(guest::GuestCpu& cpu, uint16_t port) {
    const auto how = input_.Take<uint8_t>();
    const unsigned width = kWidths[(how & 3) % 3];
    if ((how & 4) != 0) {
      cpu.Out(port, width, input_.Take<uint32_t>());
    } else {
      cpu.In(port, width);
    }
  }

  // The decision comes after those of the argument. Their order is the format
  // of the inputs.
  uint64_t Place(uint64_t offset) { return input_.Pick(kPlaces) + offset; }

  void AccessBar(guest::GuestCpu& cpu, uint64_t offset) {
    const BarBase base = ReadBar(cpu);
    if (base.is_io) {
      AccessPort(cpu, static_cast<uint16_t>(base.address + offset));
    } else {
      Access(cpu, base.address + offset);
    }
  }

  // A BAR's address from its register, where a driver finds it.
  struct BarBase {
    uint64_t address = 0;
    bool is_io = false;
  };
  BarBase ReadBar(guest::GuestCpu& cpu) {
    const pci::BarIndex bar(input_.Take<uint8_t>() % pci::kType0BarCount);
    const uint64_t reg = Config(pci::RegisterOf(bar).offset);
    const auto low = static_cast<uint32_t>(cpu.Load(reg, 4));
    const pci::BarType type = pci::DecodeBarType(low);
    uint64_t address = low & ~pci::BarFlagsMask(bar, type);
    if (type == pci::BarType::kMemory64) address |= cpu.Load(reg + 4, 4) << 32;
    return {.address = address, .is_io = type == pci::BarType::kIo};
  }

  // Writes a dword of an MSI-X table entry.
  void WriteVector(guest::GuestCpu& cpu) {
    const auto& msix = input_.Pick(layouts_).msix;
    const uint64_t bar = ReadBar(cpu).address;
    const auto vector = input_.Take<uint8_t>();
    const auto dword = input_.Take<uint8_t>() % 4;
    if (!msix.has_value()) return;
    cpu.Store(bar + msix->table_offset() + uint64_t{vector} * 16 + dword * 4, 4,
              input_.Take<uint32_t>());
  }

  // Sets a BAR's register to some pages above one of the places, and checks
  // that it reads back.
  void MoveBar(guest::GuestCpu& cpu) {
    const auto index = input_.Take<uint8_t>();
    const uint64_t header = Config(0);
    const uint64_t wanted = Place(uint64_t{input_.Take<uint16_t>()} << 12);
    const auto device = vm_.devices()->Find(guest_);
    if (device == nullptr || device->bars().empty()) return;
    pci::Bar bar = device->bars()[index % device->bars().size()];
    bar.address = wanted & ~(bar.size - 1);
    if (bar.is_io()) bar.address &= 0xffff;
    if (!bar.is_64bit()) bar.address &= 0xffffffff;
    const pci::BarRegister value = pci::EncodeBar(bar);
    const uint64_t reg = header + pci::RegisterOf(bar.index).offset;
    cpu.Store(reg, 4, value.low);
    if (bar.is_64bit()) cpu.Store(reg + 4, 4, value.high);
    const uint64_t low = cpu.Load(reg, 4);
    const uint64_t high = bar.is_64bit() ? cpu.Load(reg + 4, 4) : 0;
    if (cpu.Stopping()) return;
    CHECK_EQ(low, value.low) << pci::ToString(bar);
    CHECK_EQ(high, value.high) << pci::ToString(bar);
  }

  void SetDecode(guest::GuestCpu& cpu) {
    const uint64_t command = Config(pci::kCommand.offset);
    cpu.Store(command, 2, input_.Take<uint8_t>() & 7);
  }

  void Interrupt() {
    const auto what = input_.Take<uint8_t>();
    const auto vector = input_.Take<uint8_t>();
    WithHardware([&](models::DevicePlatform& hardware) {
      switch (what % 4) {
        case 0:
          return hardware.RaiseMsix(vector);
        case 1:
          return hardware.RaiseMsi(vector);
        default:
          return hardware.SetIntx((what & 1) != 0);
      }
    });
  }

  void Dma() {
    const auto how = input_.Take<uint8_t>();
    const uint64_t iova = Place(input_.Take<uint32_t>());
    std::vector<uint8_t> data(1u + how / 2);
    WithHardware([&](models::DevicePlatform& hardware) {
      // A refusal is no error, because the guest's memory may be anywhere.
      if ((how & 1) != 0) {
        hardware.DmaWrite(iova, data).IgnoreError();
      } else {
        hardware.DmaRead(iova, absl::MakeSpan(data)).IgnoreError();
      }
    });
  }

  void WithHardware(
      const std::function<void(models::DevicePlatform&)>& action) {
    CHECK_OK(vm_.host().vfio().WithHardware(input_.Pick(kHostBdfs), action));
  }

  void HostEvent() {
    const pci::Bdf host = input_.Pick(kHostBdfs);
    switch (input_.Take<uint8_t>() % 3) {
      case 0:
        CHECK_OK(vm_.host().vfio().RequestRelease(host));
        return;
      case 1:
        CHECK_OK(vm_.host().vfio().ReportError(host));
        return;
      case 2:
        CHECK_OK(vm_.host().vfio().BackdoorReset(host));
        may_fault_ = true;
        return;
    }
  }

  void ResetDevice() {
    const auto device = vm_.devices()->Find(input_.Pick(kGuestBdfs));
    // A device that cannot reset continues as it was.
    if (device != nullptr) device->Reset().IgnoreError();
  }

  void Plug() {
    const auto which = input_.Take<uint8_t>();
    const pci::Bdf guest = input_.Pick(kGuestBdfs);
    if (vm_.devices()->Find(guest) != nullptr) {
      CheckUnlessFailed(vm_.devices()->Detach(guest));
    } else {
      // This fails if the device is attached already.
      vm_.devices()->Attach(kHostBdfs[which & 1]).IgnoreError();
    }
  }

  // Makes one call fail. If retries of a call failed again and again, the
  // machine would not work any more.
  void Fail() {
    auto& faults = vm_.host().kernel().faults();
    const size_t nth = 1u + input_.Take<uint8_t>();
    faults.Clear();
    faults.FailNth(nth, input_.Pick(kErrors));
    may_fault_ = true;
  }

  void CheckUnlessFailed(const absl::Status& status) {
    if (!may_fault_) CHECK_OK(status);
  }

  FuzzVm& vm_;
  const std::array<Layout, 2> layouts_;
  FuzzInput& input_;
  pci::Bdf guest_;
  bool may_fault_ = false;
};

void Run(FuzzInput input) {
  FuzzVm vm(input.Pick(fake::kAllKernelVersions));
  const std::array<std::string, 2> names = {input.Pick(kFirstDevices),
                                            input.Pick(kSecondDevices)};
  std::array<Layout, 2> layouts;
  for (size_t i = 0; i < names.size(); ++i) {
    layouts[i] = LayoutOf(names[i]);
    CHECK_OK(vm.AddDevice(Fixture(names[i]), kHostBdfs[i]));
  }
  CHECK_OK(vm.Start());
  for (const pci::Bdf host : kHostBdfs) CHECK_OK(vm.devices()->Attach(host));
  HostileGuest guest(&vm, std::move(layouts), &input);
  const absl::Status status =
      vm.RunGuest([&guest](guest::GuestCpu& cpu) { return guest.Run(cpu); });
  if (!guest.may_fault()) CHECK_OK(status);
}

}  // namespace
}  // namespace passthru::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  passthru::fuzz::Run(passthru::fuzz::FuzzInput(data, size));
  return 0;
}
