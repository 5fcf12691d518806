// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio_pci/bar_trap.h"
#include "passthru/devices/vfio_pci/vfio_adapters.h"
#include "passthru/pci/bar_index.h"
#include "passthru/vmm/benchmark/device_register.h"
#include "passthru/vmm/benchmark/measure.h"
#include "passthru/vmm/benchmark/sections.h"

namespace passthru::benchmark {

absl::Status PrintDeviceAccesses(const DeviceRegister& where) {
  constexpr uint64_t kBase = uint64_t{1} << 36;  // in the guest
  kernel::LinuxSyscalls calls;
  PASSTHRU_ASSIGN_OR_RETURN(const std::unique_ptr<vfio::VfioDevice> device,
                            OpenDevice(&calls, where));
  const pci::BarIndex bar(static_cast<uint8_t>(where.bar));
  vfio_pci::VfioRegions regions(device.get());
  kernel::FailureLog failures(device->name());
  const auto trap = std::make_shared<vfio_pci::BarTrap>(
      absl::StrCat(device->name(), " BAR ", where.bar), bar, &regions,
      &failures, nullptr);
  bus::Bus mmio("memory");
  PASSTHRU_RETURN_IF_ERROR(
      mmio.Add(kBase, device->region(bar.value()).size, trap, 0).status());

  // What the register holds is written back, so that it keeps its value.
  uint32_t value = 0;
  const absl::Span<uint8_t> data(reinterpret_cast<uint8_t*>(&value),
                                 DeviceRegister::kWidth);
  PASSTHRU_RETURN_IF_ERROR(regions.ReadBar(bar, where.offset, data));
  const uint32_t written = value;
  const absl::Span<const uint8_t> write_data(
      reinterpret_cast<const uint8_t*>(&written), DeviceRegister::kWidth);
  PASSTHRU_RETURN_IF_ERROR(regions.WriteBar(bar, where.offset, write_data));

  const int fd = device->fd();
  const auto place =
      static_cast<off_t>(device->region(bar.value()).offset + where.offset);
  uint64_t bare_failures = 0;
  const auto count = [&](ssize_t moved) {
    if (moved != ssize_t{DeviceRegister::kWidth}) ++bare_failures;
  };
  Rows rows = {{"", "ns", "bare call, ns", "ours beside it", "allocations"}};
  AddAccessBeside(
      rows, "trapped BAR read", [&] { mmio.Read(kBase + where.offset, data); },
      [&] { count(::pread(fd, data.data(), data.size(), place)); });
  AddAccessBeside(
      rows, "trapped BAR write",
      [&] { mmio.Write(kBase + where.offset, write_data); },
      [&] {
        count(::pwrite(fd, write_data.data(), write_data.size(), place));
      });
  const bus::BusStats stats = mmio.stats();
  if (stats.misses != 0 || stats.failures != 0 || bare_failures != 0) {
    return absl::InternalError(absl::StrFormat(
        "accesses to BAR %d of %s at 0x%x failed, %d of ours and %d bare ones",
        where.bar, device->name(), where.offset, stats.misses + stats.failures,
        bare_failures));
  }
  PrintTable(
      absl::StrCat("Accesses to ", device->name(),
                   " that exit, without the exit itself"),
      absl::StrFormat("The bare calls are pread and pwrite of 4 bytes of the "
                      "device's descriptor, BAR %d at 0x%x, which held 0x%08x.",
                      where.bar, where.offset, written),
      rows);
  return absl::OkStatus();
}

}  // namespace passthru::benchmark
