// SPDX-License-Identifier: Apache-2.0
// Implements the access to regions of VfioDevice.

#include <linux/vfio.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio/vfio_device.h"

namespace passthru::vfio {
namespace {

using kernel::SyscallResult;

// Returns an access for messages, such as "read of BAR 0 of 0000:01:00.0 at
// 0x1000 (0x4 bytes)".
std::string DescribeAccess(const VfioDevice& device, uint32_t index,
                           const char* verb, uint64_t offset, uint64_t size) {
  return absl::StrFormat("%s of %s of %s at 0x%x (0x%x bytes)", verb,
                         RegionName(index), device.name(), offset, size);
}

bool IsInside(const VfioRegionInfo& region, uint64_t offset, uint64_t size) {
  return offset <= region.size && size <= region.size - offset;
}

absl::Status OutsideError(const VfioRegionInfo& region,
                          const std::string& what) {
  return absl::OutOfRangeError(
      absl::StrFormat("%s: the region has 0x%x bytes", what, region.size));
}

absl::Status AccessError(int error, uint32_t index, const std::string& what) {
  if (error != EIO) return kernel::ErrnoError(error, what);
  return kernel::ExplainedErrnoError(
      error,
      absl::StrCat(what, index == VFIO_PCI_CONFIG_REGION_INDEX
                             ? ": the device is gone, or cannot be woken"
                             : ": the device does not decode memory (COMMAND, "
                               "D3hot), or is gone"));
}

// Calls `transfer(done)`, which moves bytes from position `done` on, until it
// has moved all `size` bytes. A short count is rare but legal. The kernel has
// not touched the rest, so another call does not access a register twice. Only
// failures call `describe`, so that a successful access allocates nothing.
template <typename Describe, typename Transfer>
absl::Status TransferAll(uint32_t index, size_t size, Describe describe,
                         Transfer transfer) {
  size_t done = 0;
  while (done < size) {
    const SyscallResult<size_t> part = transfer(done);
    if (part.error == EINTR) continue;
    if (!part.ok()) return AccessError(part.error, index, describe());
    if (part.value == 0 || part.value > size - done) {
      return absl::DataLossError(absl::StrFormat(
          "%s: ended after %d bytes (%d)", describe(), done, part.value));
    }
    done += part.value;
  }
  return absl::OkStatus();
}

// Returns the size of the largest page table entry that a mapping of `size`
// bytes can have, or 0 for a page. Since 6.12 Linux maps BARs with entries of
// 2 MiB and 1 GiB (vfio_pci_mmap_huge_fault()), and since 6.15 it pins them for
// DMA in such steps (vaddr_get_pfns()), but only where the virtual address and
// the file offset are equal modulo that size. The guest's address of a BAR is
// aligned by its own size.
uint64_t LargestEntry(uint64_t size) {
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  constexpr uint64_t kTwoMiB = uint64_t{2} << 20;
  return size >= kGiB ? kGiB : size >= kTwoMiB ? kTwoMiB : 0;
}

}  // namespace

absl::Status VfioDevice::ReadRegion(uint32_t index, uint64_t offset,
                                    absl::Span<uint8_t> data) const {
  const VfioRegionInfo& region = this->region(index);
  const auto describe = [&] {
    return DescribeAccess(*this, index, "read", offset, data.size());
  };
  if (!IsInside(region, offset, data.size())) {
    return OutsideError(region, describe());
  }
  if (!region.readable()) {
    return absl::PermissionDeniedError(
        absl::StrCat(describe(), ": the region cannot be read"));
  }
  return TransferAll(index, data.size(), describe, [&](size_t done) {
    return syscalls_->Pread(fd(), data.data() + done, data.size() - done,
                            region.offset + offset + done);
  });
}

absl::Status VfioDevice::WriteRegion(uint32_t index, uint64_t offset,
                                     absl::Span<const uint8_t> data) const {
  const VfioRegionInfo& region = this->region(index);
  const auto describe = [&] {
    return DescribeAccess(*this, index, "write", offset, data.size());
  };
  if (!IsInside(region, offset, data.size())) {
    return OutsideError(region, describe());
  }
  if (!region.writable()) {
    return absl::PermissionDeniedError(
        absl::StrCat(describe(), ": the region cannot be written"));
  }
  return TransferAll(index, data.size(), describe, [&](size_t done) {
    return syscalls_->Pwrite(fd(), data.data() + done, data.size() - done,
                             region.offset + offset + done);
  });
}

absl::StatusOr<kernel::MappedRegion> VfioDevice::MapRegion(
    uint32_t index, uint64_t offset, uint64_t size) const {
  const VfioRegionInfo& region = this->region(index);
  const std::string what = DescribeAccess(*this, index, "mmap", offset, size);
  if (!IsInside(region, offset, size)) return OutsideError(region, what);
  if (size == 0 || !kernel::IsPageAligned(offset)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": not one or more whole pages"));
  }
  if (!region.readable()) {
    return absl::PermissionDeniedError(
        absl::StrCat(what, ": the region cannot be read"));
  }
  const std::vector<RegionArea> areas = region.MapAreas();
  const bool allowed =
      std::any_of(areas.begin(), areas.end(), [&](const RegionArea& area) {
        return offset >= area.offset &&
               offset + size <= area.offset + area.size;
      });
  if (!allowed) {
    return absl::PermissionDeniedError(
        absl::StrCat(what, ": the region cannot be mapped there"));
  }
  const uint64_t page = kernel::PageSize();
  return kernel::MappedRegion::Map(
      syscalls_,
      {.length = (size + page - 1) & ~(page - 1),
       .protection = PROT_READ | (region.writable() ? PROT_WRITE : PROT_NONE),
       .flags = MAP_SHARED,
       .fd = fd(),
       .offset = region.offset + offset,
       .alignment = LargestEntry(size),
       .name = absl::StrCat(RegionName(index), " of ", name_)});
}

}  // namespace passthru::vfio
