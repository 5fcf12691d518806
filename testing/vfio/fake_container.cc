// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/fake_container.h"

#include <linux/vfio.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "passthru/testing/journal/decode_vfio.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/vfio/info_capabilities.h"
#include "passthru/testing/vfio/ioctl_answer.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Extension numbers in the type of the ioctl's argument.
constexpr uint64_t kUnmapAll = VFIO_UNMAP_ALL;
constexpr uint64_t kUpdateVaddr = VFIO_UPDATE_VADDR;

constexpr uint64_t kMaxDirtyBitmap = 0x1000'0000;

}  // namespace

std::string FakeContainer::Describe() const {
  return absl::StrCat("vfio-container ", id_);
}

void FakeContainer::DetachGroup() {
  if (--groups_ == 0) iommu_.reset();
}

SyscallResult<int> FakeContainer::Ioctl(unsigned long request, void* arg) {
  switch (request) {
    case VFIO_GET_API_VERSION:
      return {VFIO_API_VERSION, 0};
    case VFIO_CHECK_EXTENSION:
      return {CheckExtension(reinterpret_cast<uintptr_t>(arg)), 0};
    case VFIO_SET_IOMMU:
      return FromErrno(SetIommu(reinterpret_cast<uintptr_t>(arg)));
    default:
      break;
  }
  // The IOMMU driver handles the other ioctls, and there is none yet.
  if (iommu_ == nullptr) return FromErrno(EINVAL);
  switch (request) {
    case VFIO_IOMMU_GET_INFO:
      return FromErrno(GetInfo(arg));
    case VFIO_IOMMU_MAP_DMA:
      return FromErrno(MapDma(arg));
    case VFIO_IOMMU_UNMAP_DMA:
      return FromErrno(UnmapDma(arg));
    case VFIO_IOMMU_DIRTY_PAGES:
      return FromErrno(DirtyPages(arg));
    default:
      return FromErrno(ENOTTY);
  }
}

int FakeContainer::CheckExtension(uint64_t extension) const {
  switch (extension) {
    case VFIO_TYPE1_IOMMU:
    case VFIO_TYPE1v2_IOMMU:
    case kUnmapAll:
      return 1;
    case VFIO_TYPE1_NESTING_IOMMU:
      return rules_.nesting_extension ? 1 : 0;
    case kUpdateVaddr:
      return has_iommu() ? 1 : 0;
    case VFIO_DMA_CC_IOMMU:
      return has_iommu() && properties_.enforces_coherency ? 1 : 0;
    default:
      return 0;
  }
}

// As in vfio_ioctl_set_iommu() and vfio_iommu_type1_open(), an unknown type is
// ENODEV, and an extension that is not a type is EINVAL.
int FakeContainer::SetIommu(uint64_t type) {
  if (groups_ == 0 || has_iommu()) return EINVAL;
  if (CheckExtension(type) == 0) return ENODEV;
  if (type != VFIO_TYPE1_IOMMU && type != VFIO_TYPE1v2_IOMMU) {
    // The fake does not implement nesting. The other extensions are not types.
    return EINVAL;
  }
  if (!properties_.interrupt_remapping &&
      !properties_.allow_unsafe_interrupts) {
    return EPERM;
  }
  iommu_ = std::make_unique<Type1Iommu>(Type1Iommu::Options{
      .rules = rules_,
      .page_sizes = properties_.page_sizes,
      .iova_ranges = properties_.iova_ranges,
      .max_mappings = properties_.max_mappings,
      .locked_memory_limit = properties_.locked_memory_limit,
      .version2 = type == VFIO_TYPE1v2_IOMMU,
      .mappings = mappings_,
  });
  return 0;
}

// Answers like vfio_iommu_type1_get_info().
int FakeContainer::GetInfo(void* arg) const {
  constexpr size_t kMinimum = offsetof(vfio_iommu_type1_info, cap_offset);
  vfio_iommu_type1_info info = {};
  if (const int error = CopyHeader(arg, kMinimum, &info)) return error;

  InfoCapabilities capabilities(rules_.info_capability_alignment, sizeof(info));
  const uint64_t lowest = iommu_->page_sizes() & (~iommu_->page_sizes() + 1);
  std::vector<uint8_t> migration;
  AppendBytes(migration, uint32_t{0});  // Flags.
  AppendBytes(migration, uint32_t{0});  // Padding.
  AppendBytes(migration, lowest);
  AppendBytes(migration, kMaxDirtyBitmap);
  capabilities.Add(VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, migration);
  std::vector<uint8_t> available;
  AppendBytes(available, iommu_->available());
  capabilities.Add(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, available);
  std::vector<uint8_t> ranges;
  AppendBytes(ranges, static_cast<uint32_t>(iommu_->iova_ranges().size()));
  AppendBytes(ranges, uint32_t{0});  // Reserved.
  for (const IovaRange& range : iommu_->iova_ranges()) {
    AppendBytes(ranges, range.first);
    AppendBytes(ranges, range.last);
  }
  capabilities.Add(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, ranges);

  const size_t given = std::min<size_t>(info.argsz, sizeof(info));
  const size_t needed = sizeof(info) + capabilities.size();
  info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
  info.iova_pgsizes = iommu_->page_sizes();
  info.cap_offset = 0;
  if (info.argsz < needed) {
    info.argsz = static_cast<uint32_t>(needed);
  } else {
    info.cap_offset = sizeof(info);
    if (!journal::CopyToUser(static_cast<uint8_t*>(arg) + sizeof(info),
                             capabilities.bytes().data(),
                             capabilities.size())) {
      return EFAULT;
    }
  }
  return journal::CopyToUser(arg, &info, given) ? 0 : EFAULT;
}

int FakeContainer::MapDma(const void* arg) {
  constexpr uint32_t kKnown = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE |
                              VFIO_DMA_MAP_FLAG_VADDR;
  vfio_iommu_type1_dma_map map = {};
  if (const int error = CopyHeader(arg, sizeof(map), &map)) return error;
  if ((map.flags & ~kKnown) != 0) return EINVAL;
  return iommu_->Map(map.flags, map.vaddr, map.iova, map.size);
}

int FakeContainer::UnmapDma(void* arg) {
  constexpr size_t kMinimum = offsetof(vfio_iommu_type1_dma_unmap, data);
  constexpr uint32_t kDirty = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
  constexpr uint32_t kOthers =
      VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR;
  vfio_iommu_type1_dma_unmap unmap = {};
  if (const int error = CopyHeader(arg, kMinimum, &unmap)) return error;
  if ((unmap.flags & ~(kDirty | kOthers)) != 0) return EINVAL;
  if ((unmap.flags & kDirty) != 0) {
    if ((unmap.flags & kOthers) != 0 || !iommu_->dirty_tracking()) {
      return EINVAL;
    }
    return ENOTTY;  // The fake has no bitmaps.
  }
  uint64_t size = unmap.size;
  if (const int error = iommu_->Unmap(unmap.flags, unmap.iova, &size)) {
    return error;
  }
  unmap.size = size;
  return journal::CopyToUser(arg, &unmap, kMinimum) ? 0 : EFAULT;
}

// Answers like vfio_iommu_type1_dirty_pages().
int FakeContainer::DirtyPages(const void* arg) {
  constexpr size_t kMinimum = offsetof(vfio_iommu_type1_dirty_bitmap, data);
  constexpr uint32_t kKnown = VFIO_IOMMU_DIRTY_PAGES_FLAG_START |
                              VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP |
                              VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
  if (!iommu_->version2()) return EACCES;
  vfio_iommu_type1_dirty_bitmap dirty = {};
  if (const int error = CopyHeader(arg, kMinimum, &dirty)) return error;
  if ((dirty.flags & ~kKnown) != 0 || !std::has_single_bit(dirty.flags)) {
    return EINVAL;
  }
  if (dirty.flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_START) {
    iommu_->StartDirtyTracking();
  } else if (dirty.flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP) {
    iommu_->StopDirtyTracking();
  } else {
    return iommu_->dirty_tracking() ? ENOTTY /* not implemented */ : EINVAL;
  }
  return 0;
}

journal::Call ContainerFile::DescribeIoctl(unsigned long request,
                                           const void* arg) const {
  return journal::DescribeVfioIoctl(request, arg);
}

std::string_view ContainerFile::IoctlName(unsigned long request) const {
  return journal::NameOfVfioIoctl(request);
}

SyscallResult<int> ContainerFile::Ioctl(unsigned long request, void* arg) {
  return container_->Ioctl(request, arg);
}

}  // namespace passthru::fake
