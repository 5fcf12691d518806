// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_FAKE_REGIONS_H_
#define PASSTHRU_DEVICES_VFIO_PCI_FAKE_REGIONS_H_

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/vfio_pci/device_regions.h"

namespace passthru::vfio_pci {

// A fake device whose BAR bytes each hold the low byte of their offset. It
// records each access, e.g. "read BAR0+0x10 0x4". Thread-compatible.
class FakeRegions final : public DeviceRegions {
 public:
  absl::Status ReadConfig(uint16_t, absl::Span<uint8_t>) override {
    return kernel::ErrnoError(EIO, "config");
  }
  absl::Status WriteConfig(uint16_t, absl::Span<const uint8_t>) override {
    return kernel::ErrnoError(EIO, "config");
  }
  absl::Status ReadBar(pci::BarIndex bar, uint64_t offset,
                       absl::Span<uint8_t> data) override {
    Note("read", bar, offset, data.size());
    if (fail) return kernel::ErrnoError(EIO, "pread");
    for (size_t i = 0; i < data.size(); ++i) {
      data[i] = static_cast<uint8_t>(offset + i);
    }
    return absl::OkStatus();
  }
  absl::Status WriteBar(pci::BarIndex bar, uint64_t offset,
                        absl::Span<const uint8_t> data) override {
    Note("write", bar, offset, data.size());
    return fail ? kernel::ErrnoError(EIO, "pwrite") : absl::OkStatus();
  }
  absl::StatusOr<kernel::MappedRegion> MapBar(pci::BarIndex bar,
                                              uint64_t offset,
                                              uint64_t size) override {
    Note("map", bar, offset, size);
    if (fail) return kernel::ErrnoError(ENOMEM, "mmap");
    const uint64_t page = kernel::PageSize();
    return kernel::MappedRegion::Allocate(
        &syscalls_, (size + page - 1) / page * page, "BAR");
  }

  std::vector<std::string> log;
  bool fail = false;

 private:
  void Note(const char* what, pci::BarIndex bar, uint64_t offset,
            uint64_t size) {
    log.push_back(absl::StrCat(what, " ", bar.ToString(), "+0x",
                               absl::Hex(offset), " 0x", absl::Hex(size)));
  }

  kernel::LinuxSyscalls syscalls_;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_FAKE_REGIONS_H_
