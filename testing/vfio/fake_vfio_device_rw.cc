// SPDX-License-Identifier: Apache-2.0
// FakeVfioDevice's read(2), write(2) and mmap(2), after
// drivers/vfio/pci/vfio_pci_rdwr.c and vfio_pci_core_mmap().
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/journal/vfio_offset.h"
#include "passthru/testing/vfio/fake_vfio_device.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

constexpr uint64_t kMsixEntrySize = PCI_MSIX_ENTRY_SIZE;
// The limit of read(2) and write(2) (MAX_RW_COUNT).
constexpr size_t kMaxCount = 0x7fff'f000;

// Returns the largest access that a processor makes for the rest of a load or
// store. A naturally aligned one is one transaction.
size_t AccessWidth(uint64_t offset, size_t remaining) {
  size_t width = 8;
  while (width > remaining || offset % width != 0) width /= 2;
  return width;
}

}  // namespace

SyscallResult<size_t> FakeVfioDevice::Read(void* buffer, size_t count,
                                           uint64_t offset) {
  count = std::min(count, kMaxCount);
  const uint32_t index = journal::RegionOf(offset);
  const uint64_t position = journal::OffsetOf(offset);
  if (count == 0) return {0, 0};
  if (index >= region_count()) return {0, EINVAL};
  // Answers that do not depend on the data come first, so that a huge count
  // does not allocate a buffer of its size.
  const uint64_t size =
      index < VFIO_PCI_ROM_REGION_INDEX    ? hardware_->bar_size(index)
      : index == VFIO_PCI_ROM_REGION_INDEX ? rom_.size()
                                           : RegionSize(index);
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
    if (position >= size || count > size - position) return {0, EFAULT};
  } else {
    if (position >= size) return {0, EINVAL};
    count = static_cast<size_t>(std::min<uint64_t>(count, size - position));
  }
  // Most accesses are to a register, and need no memory of the heap.
  absl::InlinedVector<uint8_t, 64> data(count);
  SyscallResult<size_t> result{0, EINVAL};
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
    result = config_->Read(position, absl::MakeSpan(data));
  } else if (index == VFIO_PCI_ROM_REGION_INDEX) {
    result = RomRead(position, absl::MakeSpan(data));
  } else if (index < VFIO_PCI_ROM_REGION_INDEX) {
    result = BarAccess(index, position, absl::MakeSpan(data), false);
  } else {
    result = ExtraRegionAccess(index, position, absl::MakeSpan(data), false);
  }
  if (!result.ok()) return result;
  if (!journal::CopyToUser(buffer, data.data(), result.value))
    return {0, EFAULT};
  return result;
}

SyscallResult<size_t> FakeVfioDevice::Write(const void* buffer, size_t count,
                                            uint64_t offset) {
  count = std::min(count, kMaxCount);
  const uint32_t index = journal::RegionOf(offset);
  const uint64_t position = journal::OffsetOf(offset);
  if (count == 0) return {0, 0};
  if (index >= region_count()) return {0, EINVAL};
  if (index == VFIO_PCI_ROM_REGION_INDEX) return {0, EINVAL};
  const uint64_t size = RegionSize(index);
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
    if (position >= size || count > size - position) return {0, EFAULT};
  } else {
    if (position >= size) return {0, EINVAL};
    count = static_cast<size_t>(std::min<uint64_t>(count, size - position));
  }
  absl::InlinedVector<uint8_t, 64> data(count);
  if (!journal::CopyFromUser(data.data(), buffer, count)) return {0, EFAULT};
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
    const SyscallResult<size_t> result = config_->Write(position, data);
    UpdateMappings();
    return result;
  }
  if (index < VFIO_PCI_ROM_REGION_INDEX) {
    return BarAccess(index, position, absl::MakeSpan(data), true);
  }
  return ExtraRegionAccess(index, position, absl::MakeSpan(data), true);
}

bool FakeVfioDevice::IsMsixTable(uint32_t bar, uint64_t offset,
                                 size_t size) const {
  const uint64_t end =
      msix_table_offset_ + kMsixEntrySize * hardware_->msix_vectors();
  return bar == msix_bar_ && offset < end && offset + size > msix_table_offset_;
}

bool FakeVfioDevice::IsOnMsixPage(uint32_t bar, uint64_t offset,
                                  uint64_t size) const {
  const uint64_t in_page = kernel::PageSize() - 1;
  const auto overlaps = [&](uint64_t begin, uint64_t length) {
    return offset < ((begin + length + in_page) & ~in_page) &&
           offset + size > (begin & ~in_page);
  };
  const uint64_t vectors = hardware_->msix_vectors();
  return (bar == msix_bar_ &&
          overlaps(msix_table_offset_, kMsixEntrySize * vectors)) ||
         // One bit for each vector, in whole quadwords (PCI 3.0, 6.8.2.10).
         (bar == msix_pba_bar_ &&
          overlaps(msix_pba_offset_, (vectors + 63) / 64 * 8));
}

FakeVfioDevice::IoPiece FakeVfioDevice::NextIoPiece(uint32_t index,
                                                    uint64_t offset,
                                                    size_t remaining) const {
  size_t fillable = remaining;
  if (index == msix_bar_) {
    const uint64_t start = msix_table_offset_;
    const uint64_t end = start + kMsixEntrySize * hardware_->msix_vectors();
    if (offset < start) {
      fillable =
          static_cast<size_t>(std::min<uint64_t>(remaining, start - offset));
    } else if (offset < end) {
      return {.kind = PieceKind::kExcluded,
              .size = static_cast<size_t>(
                  std::min<uint64_t>(remaining, end - offset))};
    }
  }
  for (size_t width = options_.rules.max_region_access; width > 1; width /= 2) {
    if (fillable >= width && offset % width == 0) return {.size = width};
  }
  return {.size = 1};
}

// The MSI-X table reads as all ones and drops writes, because the kernel
// programs it. That holds even with memory disabled, which stops every other
// access.
SyscallResult<size_t> FakeVfioDevice::BarAccess(uint32_t index, uint64_t offset,
                                                absl::Span<uint8_t> data,
                                                bool is_write) {
  const bool gated = !hardware_->bar_is_io(index);
  size_t done = 0;
  while (done < data.size()) {
    const IoPiece piece = NextIoPiece(index, offset + done, data.size() - done);
    const absl::Span<uint8_t> bytes = data.subspan(done, piece.size);
    if (piece.kind == PieceKind::kExcluded) {
      if (!is_write) std::fill(bytes.begin(), bytes.end(), uint8_t{0xff});
    } else if (gated && !config_->memory_enabled()) {
      return {0, EIO};
    } else if (is_write) {
      hardware_->WriteBar(index, offset + done, bytes);
    } else {
      hardware_->ReadBar(index, offset + done, bytes);
    }
    done += piece.size;
  }
  return {done, 0};
}

// pci_map_rom() looks for an image's signature. It finds none while the
// hardware decodes no memory.
SyscallResult<size_t> FakeVfioDevice::RomRead(uint64_t offset,
                                              absl::Span<uint8_t> data) const {
  if (!rom_is_readable() || !hardware_->memory_enabled()) return {0, ENOMEM};
  std::copy_n(rom_.begin() + static_cast<ptrdiff_t>(offset), data.size(),
              data.begin());
  return {data.size(), 0};
}

SyscallResult<size_t> FakeVfioDevice::ExtraRegionAccess(
    uint32_t index, uint64_t offset, absl::Span<uint8_t> data, bool is_write) {
  const auto found = extra_regions_.find(index);
  const uint32_t needed =
      is_write ? VFIO_REGION_INFO_FLAG_WRITE : VFIO_REGION_INFO_FLAG_READ;
  if (found == extra_regions_.end() ||
      (FindRegion(index)->flags() & needed) == 0) {
    return {0, EINVAL};
  }
  if (is_write) {
    found->second->Write(offset, data);
  } else {
    found->second->Read(offset, data);
  }
  return {data.size(), 0};
}

SyscallResult<void*> FakeVfioDevice::Mmap(void* address, size_t length,
                                          int protection, int flags,
                                          uint64_t offset) {
  const uint64_t page = kernel::PageSize();
  const uint32_t index = journal::RegionOf(offset);
  const uint64_t position = journal::OffsetOf(offset);
  const auto fail = [](int error) {
    return SyscallResult<void*>{nullptr, error};
  };
  if (length == 0 || position % page != 0) return fail(EINVAL);
  if (index >= region_count() || (flags & MAP_TYPE) == MAP_PRIVATE) {
    return fail(EINVAL);
  }
  const fixture::Region* region = FindRegion(index);
  if (index == VFIO_PCI_ROM_REGION_INDEX ||
      index == VFIO_PCI_CONFIG_REGION_INDEX ||
      index == VFIO_PCI_VGA_REGION_INDEX || region == nullptr ||
      (region->flags() & VFIO_REGION_INFO_FLAG_MMAP) == 0) {
    return fail(EINVAL);
  }
  const uint64_t pages = (region->size() + page - 1) / page * page;
  const uint64_t rounded = (length + page - 1) / page * page;
  if (rounded < length || position > pages || rounded > pages - position) {
    return fail(EINVAL);
  }
  if (const auto extra = extra_regions_.find(index);
      extra != extra_regions_.end()) {
    return extra->second->Map(address, length, protection, flags, position,
                              true);
  }
  if (journal::Task* const task = journal::CurrentTask(); task != nullptr) {
    // Registers that are polled are memory for the task, too.
    task->mapped_is_device = !options_.mapped_registers;
  }
  // The mapping succeeds even with memory disabled, but then an access faults.
  return hardware_->bar_memory(index)->Map(
      address, length, protection, flags, position,
      mappings_alive_ || options_.mapped_registers);
}

MappedAccess FakeVfioDevice::MappedLoad(uint64_t offset,
                                        absl::Span<uint8_t> data) {
  const uint32_t index = journal::RegionOf(offset);
  const uint64_t position = journal::OffsetOf(offset);
  if (index >= VFIO_PCI_ROM_REGION_INDEX) return MappedAccess::kPlainMemory;
  if (!MemoryIsReachable()) return MappedAccess::kFault;
  if (IsMsixTable(index, position, data.size())) {
    ++mapped_msix_table_accesses_;
  }
  // The processor of a task does not reach the memory.
  if (journal::CurrentTask() == nullptr &&
      !hardware_->ModelHandles(index, position)) {
    return MappedAccess::kPlainMemory;
  }
  LoadBar(index, position, data);
  return MappedAccess::kHandled;
}

MappedAccess FakeVfioDevice::MappedStore(uint64_t offset,
                                         absl::Span<const uint8_t> data) {
  const uint32_t index = journal::RegionOf(offset);
  const uint64_t position = journal::OffsetOf(offset);
  if (index >= VFIO_PCI_ROM_REGION_INDEX) return MappedAccess::kPlainMemory;
  if (!MemoryIsReachable()) return MappedAccess::kFault;
  if (IsMsixTable(index, position, data.size())) {
    ++mapped_msix_table_accesses_;
  }
  // The processor of a task does not reach the memory.
  if (journal::CurrentTask() == nullptr &&
      !hardware_->ModelHandles(index, position)) {
    return MappedAccess::kPlainMemory;
  }
  StoreBar(index, position, data);
  return MappedAccess::kHandled;
}

// A processor, or another device, splits an access into aligned ones.
void FakeVfioDevice::LoadBar(uint32_t index, uint64_t position,
                             absl::Span<uint8_t> data) {
  for (size_t done = 0; done < data.size();) {
    const size_t width = AccessWidth(position + done, data.size() - done);
    hardware_->ReadBar(index, position + done, data.subspan(done, width));
    done += width;
  }
}

void FakeVfioDevice::StoreBar(uint32_t index, uint64_t position,
                              absl::Span<const uint8_t> data) {
  for (size_t done = 0; done < data.size();) {
    const size_t width = AccessWidth(position + done, data.size() - done);
    hardware_->WriteBar(index, position + done, data.subspan(done, width));
    done += width;
  }
}

// A function that does not decode memory, and one whose model is at work,
// completes the request as unsupported (PCI Express 5.0, 2.3.1). Reads of that
// are all ones for the requester here, and writes are lost.
bool FakeVfioDevice::AnswersPeer(uint32_t index, uint64_t position) const {
  return MemoryIsReachable() &&
         !(does_dma_ && hardware_->ModelHandles(index, position));
}

bool FakeVfioDevice::PeerLoad(uint64_t offset, absl::Span<uint8_t> data) {
  const uint32_t index = journal::RegionOf(offset);
  const uint64_t position = journal::OffsetOf(offset);
  if (index >= VFIO_PCI_ROM_REGION_INDEX) return false;
  std::fill(data.begin(), data.end(), uint8_t{0xff});
  const uint64_t size = hardware_->bar_size(index);
  if (position < size && AnswersPeer(index, position)) {
    LoadBar(index, position, data.subspan(0, size - position));
  }
  return true;
}

bool FakeVfioDevice::PeerStore(uint64_t offset,
                               absl::Span<const uint8_t> data) {
  const uint32_t index = journal::RegionOf(offset);
  const uint64_t position = journal::OffsetOf(offset);
  if (index >= VFIO_PCI_ROM_REGION_INDEX) return false;
  const uint64_t size = hardware_->bar_size(index);
  if (position < size && AnswersPeer(index, position)) {
    StoreBar(index, position, data.subspan(0, size - position));
  }
  return true;
}

}  // namespace passthru::fake
