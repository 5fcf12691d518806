// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/decode_vfio.h"

#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "passthru/testing/journal/decode_syscall.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::journal {
namespace {

constexpr size_t kMaxNameLength = 64;
// The number of descriptors to list. A SET_IRQS may have 2,048.
constexpr size_t kMaxListed = 8;

Call MapDma(Call call, const void* arg) {
  if (const auto map = CopyFromUser<vfio_iommu_type1_dma_map>(arg)) {
    call.Hex("flags", map->flags)
        .HostAddress("vaddr", map->vaddr)
        .Hex("iova", map->iova)
        .Hex("size", map->size);
  }
  return call;
}

Call UnmapDma(Call call, const void* arg) {
  vfio_iommu_type1_dma_unmap unmap = {};
  if (CopyFromUser(&unmap, arg, offsetof(vfio_iommu_type1_dma_unmap, data))) {
    call.Hex("flags", unmap.flags)
        .Hex("iova", unmap.iova)
        .Hex("size", unmap.size);
  }
  return call;
}

Call SetContainer(Call call, const void* arg) {
  if (const auto fd = CopyFromUser<int32_t>(arg)) call.Fd("container", *fd);
  return call;
}

Call GetDeviceFd(Call call, const void* arg) {
  std::string name;
  const char* text = static_cast<const char*>(arg);
  for (size_t i = 0; i < kMaxNameLength; ++i) {
    char c = 0;
    if (!CopyFromUser(&c, text + i, 1) || c == 0) break;
    name.push_back(c);
  }
  return call.Text("name", name);
}

Call RegionInfo(Call call, const void* arg) {
  if (const auto info = CopyFromUser<vfio_region_info>(arg)) {
    call.Number("index", info->index).Number("argsz", info->argsz);
  }
  return call;
}

Call IrqInfo(Call call, const void* arg) {
  if (const auto info = CopyFromUser<vfio_irq_info>(arg)) {
    call.Number("index", info->index);
  }
  return call;
}

Call SetIrqs(Call call, const void* arg) {
  vfio_irq_set header = {};
  if (!CopyFromUser(&header, arg, sizeof(header))) return call;
  call.Number("index", header.index)
      .Number("start", header.start)
      .Number("count", header.count)
      .Hex("flags", header.flags);
  if ((header.flags & VFIO_IRQ_SET_DATA_EVENTFD) == 0) return call;
  for (size_t i = 0; i < header.count && i < kMaxListed; ++i) {
    int32_t fd = -1;
    const uint8_t* from =
        static_cast<const uint8_t*>(arg) + sizeof(header) + i * sizeof(fd);
    if (!CopyFromUser(&fd, from, sizeof(fd))) break;
    call.Fd(absl::StrFormat("fd[%d]", i), fd);
  }
  return call;
}

Call HotReset(Call call, const void* arg) {
  vfio_pci_hot_reset header = {};
  if (CopyFromUser(&header, arg, sizeof(header))) {
    call.Number("count", header.count).Hex("flags", header.flags);
  }
  return call;
}

Call Feature(Call call, const void* arg) {
  vfio_device_feature header = {};
  if (CopyFromUser(&header, arg, sizeof(header))) {
    call.Number("feature", header.flags & VFIO_DEVICE_FEATURE_MASK)
        .Hex("flags", header.flags & ~uint32_t{VFIO_DEVICE_FEATURE_MASK});
  }
  return call;
}

Call IoEventFd(Call call, const void* arg) {
  vfio_device_ioeventfd request = {};
  if (CopyFromUser(&request, arg, sizeof(request))) {
    call.Hex("flags", request.flags)
        .Hex("offset", request.offset)
        .Hex("data", request.data)
        .Fd("fd", request.fd);
  }
  return call;
}

Call WithNumber(Call call, const char* field, const void* arg) {
  return call.Number(field,
                     static_cast<int64_t>(reinterpret_cast<uintptr_t>(arg)));
}

Call WithName(std::string_view name) { return {.name = std::string(name)}; }

}  // namespace

std::string_view NameOfVfioIoctl(unsigned long request) {
  switch (request) {
    case VFIO_GET_API_VERSION:
      return "VFIO_GET_API_VERSION";
    case VFIO_CHECK_EXTENSION:
      return "VFIO_CHECK_EXTENSION";
    case VFIO_SET_IOMMU:
      return "VFIO_SET_IOMMU";
    case VFIO_IOMMU_GET_INFO:
      return "VFIO_IOMMU_GET_INFO";
    case VFIO_IOMMU_MAP_DMA:
      return "VFIO_IOMMU_MAP_DMA";
    case VFIO_IOMMU_UNMAP_DMA:
      return "VFIO_IOMMU_UNMAP_DMA";
    case VFIO_IOMMU_DIRTY_PAGES:
      return "VFIO_IOMMU_DIRTY_PAGES";
    case VFIO_GROUP_GET_STATUS:
      return "VFIO_GROUP_GET_STATUS";
    case VFIO_GROUP_SET_CONTAINER:
      return "VFIO_GROUP_SET_CONTAINER";
    case VFIO_GROUP_UNSET_CONTAINER:
      return "VFIO_GROUP_UNSET_CONTAINER";
    case VFIO_GROUP_GET_DEVICE_FD:
      return "VFIO_GROUP_GET_DEVICE_FD";
    default:
      return {};
  }
}

std::string_view NameOfVfioDeviceIoctl(unsigned long request) {
  switch (request) {
    case VFIO_DEVICE_GET_INFO:
      return "VFIO_DEVICE_GET_INFO";
    case VFIO_DEVICE_GET_REGION_INFO:
      return "VFIO_DEVICE_GET_REGION_INFO";
    case VFIO_DEVICE_GET_IRQ_INFO:
      return "VFIO_DEVICE_GET_IRQ_INFO";
    case VFIO_DEVICE_SET_IRQS:
      return "VFIO_DEVICE_SET_IRQS";
    case VFIO_DEVICE_RESET:
      return "VFIO_DEVICE_RESET";
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
      return "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";
    case VFIO_DEVICE_PCI_HOT_RESET:
      return "VFIO_DEVICE_PCI_HOT_RESET";
    case VFIO_DEVICE_FEATURE:
      return "VFIO_DEVICE_FEATURE";
    case VFIO_DEVICE_IOEVENTFD:
      return "VFIO_DEVICE_IOEVENTFD";
    default:
      return NameOfVfioIoctl(request);
  }
}

Call DescribeVfioIoctl(unsigned long request, const void* arg) {
  const std::string_view name = NameOfVfioIoctl(request);
  if (name.empty()) return DescribeUnknownIoctl(request, arg);
  Call call = WithName(name);
  switch (request) {
    case VFIO_CHECK_EXTENSION:
      return WithNumber(std::move(call), "extension", arg);
    case VFIO_SET_IOMMU:
      return WithNumber(std::move(call), "type", arg);
    case VFIO_IOMMU_MAP_DMA:
      return MapDma(std::move(call), arg);
    case VFIO_IOMMU_UNMAP_DMA:
      return UnmapDma(std::move(call), arg);
    case VFIO_GROUP_SET_CONTAINER:
      return SetContainer(std::move(call), arg);
    case VFIO_GROUP_GET_DEVICE_FD:
      call.result_kind = CallField::Kind::kFd;
      return GetDeviceFd(std::move(call), arg);
    default:
      return call;
  }
}

Call DescribeVfioDeviceIoctl(unsigned long request, const void* arg) {
  Call call = WithName(NameOfVfioDeviceIoctl(request));
  switch (request) {
    case VFIO_DEVICE_GET_INFO:
    case VFIO_DEVICE_RESET:
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
      return call;
    case VFIO_DEVICE_GET_REGION_INFO:
      return RegionInfo(std::move(call), arg);
    case VFIO_DEVICE_GET_IRQ_INFO:
      return IrqInfo(std::move(call), arg);
    case VFIO_DEVICE_SET_IRQS:
      return SetIrqs(std::move(call), arg);
    case VFIO_DEVICE_PCI_HOT_RESET:
      return HotReset(std::move(call), arg);
    case VFIO_DEVICE_FEATURE:
      return Feature(std::move(call), arg);
    case VFIO_DEVICE_IOEVENTFD:
      return IoEventFd(std::move(call), arg);
    default:
      return DescribeVfioIoctl(request, arg);
  }
}

}  // namespace passthru::journal
