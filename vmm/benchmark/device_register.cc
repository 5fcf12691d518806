// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/benchmark/device_register.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/registers.h"

namespace passthru::benchmark {
namespace {

// Returns an error unless the register is in a BAR of memory of `device`.
absl::Status Check(const vfio::VfioDevice& device,
                   const DeviceRegister& where) {
  constexpr uint64_t kWidth = DeviceRegister::kWidth;
  const auto bar = pci::BarIndex::FromNumber(where.bar);
  if (!bar.has_value() || bar->is_rom()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has no BAR %d: a device has the BARs 0 to 5 "
                        "(--bar)",
                        device.name(), where.bar));
  }
  const vfio::VfioRegionInfo& region = device.region(bar->value());
  PASSTHRU_RETURN_IF_ERROR(region.status);
  if (!region.exists()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has no BAR %d that VFIO shows: another one may "
                        "have memory (--bar)",
                        device.name(), where.bar));
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      const uint32_t low,
      device.ReadConfig<uint32_t>(pci::RegisterOf(*bar).offset));
  if (pci::DecodeBarType(low) == pci::BarType::kIo) {
    return absl::InvalidArgumentError(
        absl::StrFormat("BAR %d of %s has I/O ports and no memory: another one "
                        "may have (--bar)",
                        where.bar, device.name()));
  }
  if (where.offset % kWidth != 0 || region.size < kWidth ||
      where.offset > region.size - kWidth) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "BAR %d of %s has no register of %d bytes at 0x%x: --offset must be a "
        "multiple of %d in its 0x%x bytes",
        where.bar, device.name(), kWidth, where.offset, kWidth, region.size));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<vfio::VfioDevice>> OpenDevice(
    kernel::Syscalls* syscalls, const DeviceRegister& where) {
  PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf address,
                            vfio::ParseHostDevice(where.device));
  PASSTHRU_ASSIGN_OR_RETURN(const uint32_t number,
                            vfio::FindGroup(syscalls, address));
  PASSTHRU_ASSIGN_OR_RETURN(auto container,
                            vfio::VfioContainer::Create(syscalls));
  PASSTHRU_ASSIGN_OR_RETURN(
      auto group, vfio::VfioGroup::Open(std::move(container), number));
  PASSTHRU_ASSIGN_OR_RETURN(auto device,
                            vfio::VfioDevice::Open(std::move(group), address));
  PASSTHRU_RETURN_IF_ERROR(Check(*device, where));
  // Until then VFIO fails accesses to memory (vfio_pci_core_do_io_rw()).
  PASSTHRU_ASSIGN_OR_RETURN(const uint16_t command,
                            device->ReadConfig<uint16_t>(pci::kCommand.offset));
  PASSTHRU_RETURN_IF_ERROR(device->WriteConfig<uint16_t>(
      pci::kCommand.offset,
      static_cast<uint16_t>(command | pci::Command::kMemorySpace.Mask())));
  return device;
}

}  // namespace passthru::benchmark
