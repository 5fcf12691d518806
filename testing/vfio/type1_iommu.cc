// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/type1_iommu.h"

#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "passthru/testing/journal/task.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/vfio/pinning.h"

namespace passthru::fake {

// Makes the checks of vfio_dma_do_map() in the same order.
int Type1Iommu::Map(uint32_t flags, uint64_t vaddr, uint64_t iova,
                    uint64_t size) {
  const bool read = (flags & VFIO_DMA_MAP_FLAG_READ) != 0;
  const bool write = (flags & VFIO_DMA_MAP_FLAG_WRITE) != 0;
  const bool set_vaddr = (flags & VFIO_DMA_MAP_FLAG_VADDR) != 0;
  if ((read || write) == set_vaddr) return EINVAL;
  if (size == 0 || ((size | iova | vaddr) & (granularity() - 1)) != 0) {
    return EINVAL;
  }
  if (iova + size - 1 < iova || vaddr + size - 1 < vaddr) {
    return options_.rules.wrap_error;
  }
  if (set_vaddr) return SetVaddr(vaddr, iova, size);
  if (FindFirst(iova, size) != mappings_.end()) return EEXIST;
  if (available() == 0) return ENOSPC;
  if (!InRange(iova, iova + size - 1)) return EINVAL;
  if (size > options_.locked_memory_limit - pinned_bytes_) return ENOMEM;
  if (const int error = PinError(vaddr, size, write); error != 0) return error;
  mappings_[iova] = {.iova = iova,
                     .size = size,
                     .vaddr = vaddr,
                     .read = read,
                     .write = write,
                     .process = journal::CurrentProcess()};
  pinned_bytes_ += size;
  return 0;
}

int Type1Iommu::SetVaddr(uint64_t vaddr, uint64_t iova, uint64_t size) {
  const auto found = FindFirst(iova, size);
  if (found == mappings_.end()) return ENOENT;
  DmaMapping& mapping = found->second;
  if (!mapping.vaddr_invalid || mapping.iova != iova || mapping.size != size) {
    return EINVAL;
  }
  mapping.vaddr = vaddr;
  mapping.process = journal::CurrentProcess();
  mapping.vaddr_invalid = false;
  return 0;
}

// Unmaps like vfio_dma_do_unmap().
int Type1Iommu::Unmap(uint32_t flags, uint64_t iova, uint64_t* size) {
  const bool all = (flags & VFIO_DMA_UNMAP_FLAG_ALL) != 0;
  const uint64_t unaligned = granularity() - 1;
  if ((iova & unaligned) != 0) return EINVAL;
  uint64_t length = *size;
  if (all) {
    if (iova != 0 || length != 0) return EINVAL;
    length = ~uint64_t{0};
  } else if (length == 0 || (length & unaligned) != 0) {
    return EINVAL;
  } else if (iova + length - 1 < iova) {
    return options_.rules.wrap_error;
  }
  // Version 2 never splits a mapping.
  if (options_.version2 && !all && Bisects(iova, length)) return EINVAL;
  const uint64_t last = iova + length - 1;

  uint64_t unmapped = 0;
  if ((flags & VFIO_DMA_UNMAP_FLAG_VADDR) != 0) {
    if (const int error = InvalidateVaddr(iova, last, &unmapped); error != 0) {
      return error;
    }
    *size = unmapped;
    return 0;
  }
  auto mapping = FindFirst(iova, length);
  while (mapping != mappings_.end() && mapping->first <= last) {
    // Version 1 does nothing for a range that starts inside a mapping. It
    // removes a mapping as a whole even if the range covers only its first
    // part.
    if (!options_.version2 && iova > mapping->first) break;
    unmapped += mapping->second.size;
    pinned_bytes_ -= mapping->second.size;
    mapping = mappings_.erase(mapping);
  }
  *size = unmapped;
  return 0;
}

int Type1Iommu::InvalidateVaddr(uint64_t iova, uint64_t last,
                                uint64_t* unmapped) {
  std::vector<DmaMapping*> changed;
  for (auto mapping = mappings_.lower_bound(iova);
       mapping != mappings_.end() && mapping->first <= last; ++mapping) {
    if (mapping->second.vaddr_invalid) {
      for (DmaMapping* undo : changed) undo->vaddr_invalid = false;
      return EINVAL;
    }
    mapping->second.vaddr_invalid = true;
    changed.push_back(&mapping->second);
    *unmapped += mapping->second.size;
  }
  return 0;
}

bool Type1Iommu::Bisects(uint64_t iova, uint64_t size) {
  const auto first = FindFirst(iova, 1);
  if (first != mappings_.end() && first->second.iova != iova) return true;
  const auto end = FindFirst(iova + size - 1, 1);
  return end != mappings_.end() && end->second.last() != iova + size - 1;
}

std::map<uint64_t, DmaMapping>::iterator Type1Iommu::FindFirst(uint64_t iova,
                                                               uint64_t size) {
  auto candidate = mappings_.upper_bound(iova);
  if (candidate != mappings_.begin()) {
    const auto before = std::prev(candidate);
    if (before->second.last() >= iova) return before;
  }
  if (candidate != mappings_.end() && candidate->first <= iova + size - 1) {
    return candidate;
  }
  return mappings_.end();
}

bool Type1Iommu::InRange(uint64_t iova, uint64_t last) const {
  return std::any_of(options_.iova_ranges.begin(), options_.iova_ranges.end(),
                     [&](const IovaRange& range) {
                       return range.first <= iova && last <= range.last;
                     });
}

std::vector<DmaMapping> Type1Iommu::Mappings() const {
  std::vector<DmaMapping> all;
  all.reserve(mappings_.size());
  for (const auto& [iova, mapping] : mappings_) all.push_back(mapping);
  return all;
}

Type1Iommu::Access Type1Iommu::Translate(uint64_t iova, uint64_t size,
                                         bool write,
                                         std::vector<Piece>& pieces) const {
  while (size > 0) {
    auto mapping = mappings_.upper_bound(iova);
    if (mapping == mappings_.begin()) return Access::kUnmapped;
    --mapping;
    if (mapping->second.last() < iova) return Access::kUnmapped;
    if (write ? !mapping->second.write : !mapping->second.read) {
      return Access::kPermission;
    }
    const uint64_t offset = iova - mapping->first;
    const uint64_t length = std::min(size, mapping->second.size - offset);
    pieces.push_back({.vaddr = mapping->second.vaddr + offset,
                      .size = length,
                      .process = mapping->second.process});
    iova += length;
    size -= length;
    if (iova == 0 && size > 0) return Access::kUnmapped;
  }
  return Access::kDone;
}

bool Type1Iommu::ForEachPart(
    const Piece& piece, absl::FunctionRef<bool(uint64_t done, uint64_t size,
                                               FakeFile* file, uint64_t offset)>
                            part) const {
  if (options_.mappings == nullptr) return part(0, piece.size, nullptr, 0);
  for (uint64_t done = 0; done < piece.size;) {
    const uint64_t at = piece.vaddr + done;
    const uint64_t in_page = granularity() - at % granularity();
    const uint64_t size = std::min(piece.size - done, in_page);
    const Mapping* const mapping = options_.mappings->FindOf(piece.process, at);
    const bool has_file = mapping != nullptr && mapping->file != nullptr;
    if (!part(done, size, has_file ? mapping->file.get() : nullptr,
              has_file ? mapping->offset + (at - mapping->address) : 0)) {
      return false;
    }
    done += size;
  }
  return true;
}

Type1Iommu::Access Type1Iommu::Read(uint64_t iova,
                                    absl::Span<uint8_t> data) const {
  std::vector<Piece> pieces;
  const Access access = Translate(iova, data.size(), false, pieces);
  if (access != Access::kDone) return access;
  size_t done = 0;
  for (const Piece& piece : pieces) {
    const bool read = ForEachPart(piece, [&](uint64_t at, uint64_t size,
                                             FakeFile* file, uint64_t offset) {
      const auto part = data.subspan(done + at, size);
      return (file != nullptr && file->PeerLoad(offset, part)) ||
             journal::CopyFromProcess(piece.process, part.data(),
                                      journal::UserPointer(piece.vaddr + at),
                                      size);
    });
    if (!read) return Access::kUnpinned;
    done += piece.size;
  }
  return Access::kDone;
}

Type1Iommu::Access Type1Iommu::Write(uint64_t iova,
                                     absl::Span<const uint8_t> data) const {
  std::vector<Piece> pieces;
  const Access access = Translate(iova, data.size(), true, pieces);
  if (access != Access::kDone) return access;
  size_t done = 0;
  for (const Piece& piece : pieces) {
    const bool written = ForEachPart(
        piece,
        [&](uint64_t at, uint64_t size, FakeFile* file, uint64_t offset) {
          const auto part = data.subspan(done + at, size);
          return (file != nullptr && file->PeerStore(offset, part)) ||
                 journal::CopyToProcess(piece.process,
                                        journal::UserPointer(piece.vaddr + at),
                                        part.data(), size);
        });
    if (!written) return Access::kUnpinned;
    done += piece.size;
  }
  return Access::kDone;
}

}  // namespace passthru::fake
