// SPDX-License-Identifier: Apache-2.0
// FakeVfioDevice's ioctls GET_INFO, GET_REGION_INFO, GET_IRQ_INFO, SET_IRQS and
// DEVICE_FEATURE.
#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/journal/vfio_offset.h"
#include "passthru/testing/vfio/fake_vfio_device.h"
#include "passthru/testing/vfio/info_capabilities.h"
#include "passthru/testing/vfio/ioctl_answer.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

constexpr uint16_t kCapabilityVersion = 1;

void AddCapability(const fixture::RegionCapability& capability,
                   InfoCapabilities& chain) {
  std::vector<uint8_t> body;
  switch (capability.capability_case()) {
    case fixture::RegionCapability::kSparseMmap:
      AppendBytes(
          body, static_cast<uint32_t>(capability.sparse_mmap().areas().size()));
      AppendBytes(body, uint32_t{0});  // Reserved.
      for (const fixture::SparseMmap::Area& area :
           capability.sparse_mmap().areas()) {
        AppendBytes(body, area.offset());
        AppendBytes(body, area.size());
      }
      chain.Add(VFIO_REGION_INFO_CAP_SPARSE_MMAP, kCapabilityVersion, body);
      return;
    case fixture::RegionCapability::kType:
      AppendBytes(body, capability.type().type());
      AppendBytes(body, capability.type().subtype());
      chain.Add(VFIO_REGION_INFO_CAP_TYPE, kCapabilityVersion, body);
      return;
    case fixture::RegionCapability::kMsixMappable:
      chain.Add(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, kCapabilityVersion, body);
      return;
    case fixture::RegionCapability::kUnknown:
      chain.Add(static_cast<uint16_t>(capability.unknown().id()),
                static_cast<uint16_t>(capability.unknown().version()),
                *fixture::ParseHexBytes(capability.unknown().bytes()));
      return;
    case fixture::RegionCapability::CAPABILITY_NOT_SET:
      return;
  }
}

}  // namespace

SyscallResult<int> FakeVfioDevice::Ioctl(unsigned long request, void* arg) {
  switch (request) {
    case VFIO_DEVICE_GET_INFO:
      return FromErrno(GetInfo(arg));
    case VFIO_DEVICE_GET_REGION_INFO:
      return FromErrno(GetRegionInfo(arg));
    case VFIO_DEVICE_GET_IRQ_INFO:
      return FromErrno(GetIrqInfo(arg));
    case VFIO_DEVICE_SET_IRQS:
      return SetIrqs(arg);
    case VFIO_DEVICE_RESET:
      return FromErrno(Reset());
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
      return FromErrno(GetHotResetInfo(arg));
    case VFIO_DEVICE_PCI_HOT_RESET:
      return FromErrno(HotReset(arg));
    case VFIO_DEVICE_IOEVENTFD:
      return FromErrno(SetIoEventFd(arg));
    case VFIO_DEVICE_FEATURE:
      return FromErrno(Feature(arg));
    default:
      return FromErrno(ENOTTY);
  }
}

const fixture::Region* FakeVfioDevice::FindRegion(uint32_t index) const {
  for (const fixture::Region& region : options_.fixture.regions()) {
    if (region.index() == index) return &region;
  }
  return nullptr;
}

uint32_t FakeVfioDevice::region_count() const {
  uint32_t count = VFIO_PCI_NUM_REGIONS;
  for (const fixture::Region& region : options_.fixture.regions()) {
    count = std::max(count, region.index() + 1);
  }
  return count;
}

bool FakeVfioDevice::rom_is_readable() const {
  return !options_.fixture.expansion_rom().image().empty();
}

uint64_t FakeVfioDevice::RegionSize(uint32_t index) const {
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) return hardware_->config_size();
  if (index == VFIO_PCI_ROM_REGION_INDEX) {
    // The kernel enables memory decode and looks for an image, of which a
    // function shows nothing unless it is in D0.
    return rom_is_readable() && hardware_->power_state() == 0 ? rom_.size() : 0;
  }
  const fixture::Region* region = FindRegion(index);
  return region == nullptr ? 0 : region->size();
}

int FakeVfioDevice::GetInfo(void* arg) const {
  constexpr size_t kMinimum = offsetof(vfio_device_info, cap_offset);
  vfio_device_info info = {};
  if (const int error = CopyHeader(arg, kMinimum, &info)) return error;
  const size_t given = std::min<size_t>(info.argsz, sizeof(info));
  info.flags = VFIO_DEVICE_FLAGS_PCI;
  if (reset_at_open_.has_value()) {
    info.flags |= VFIO_DEVICE_FLAGS_RESET;
  }
  info.num_regions = region_count();
  info.num_irqs = VFIO_PCI_NUM_IRQS;
  info.cap_offset = 0;
  return journal::CopyToUser(arg, &info, given) ? 0 : EFAULT;
}

int FakeVfioDevice::GetRegionInfo(void* arg) {
  vfio_region_info info = {};
  if (const int error = CopyHeader(arg, sizeof(info), &info)) return error;
  const uint32_t index = info.index;
  const fixture::Region* region = FindRegion(index);
  if (index >= region_count() ||
      (index == VFIO_PCI_VGA_REGION_INDEX && region == nullptr)) {
    return EINVAL;
  }
  info.offset = journal::FileOffset(index);
  info.size = RegionSize(index);
  info.flags = 0;
  info.cap_offset = 0;
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
    info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  } else if (index == VFIO_PCI_ROM_REGION_INDEX) {
    if (info.size != 0) info.flags = VFIO_REGION_INFO_FLAG_READ;
  } else if (region != nullptr) {
    info.flags = region->flags();
    InfoCapabilities chain(options_.rules.info_capability_alignment,
                           sizeof(info));
    for (const fixture::RegionCapability& capability : region->capabilities()) {
      AddCapability(capability, chain);
    }
    if (!chain.empty()) {
      const size_t needed = sizeof(info) + chain.size();
      if (info.argsz < needed) {
        info.argsz = static_cast<uint32_t>(needed);
      } else {
        info.cap_offset = sizeof(info);
        if (!journal::CopyToUser(static_cast<uint8_t*>(arg) + sizeof(info),
                                 chain.bytes().data(), chain.size())) {
          return EFAULT;
        }
      }
    }
  }
  return journal::CopyToUser(arg, &info, sizeof(info)) ? 0 : EFAULT;
}

int FakeVfioDevice::GetIrqInfo(void* arg) const {
  vfio_irq_info info = {};
  if (const int error = CopyHeader(arg, sizeof(info), &info)) return error;
  const auto found = irqs_->GetInfo(info.index);
  if (!found.ok()) return found.error;
  info.flags = found.value.flags;
  info.count = found.value.count;
  return journal::CopyToUser(arg, &info, sizeof(info)) ? 0 : EFAULT;
}

SyscallResult<int> FakeVfioDevice::SetIrqs(const void* arg) {
  vfio_irq_set header = {};
  if (const int error = CopyHeader(arg, sizeof(header), &header)) {
    return FromErrno(error);
  }
  const VfioIrqs::Request request{.flags = header.flags,
                                  .index = header.index,
                                  .start = header.start,
                                  .count = header.count};
  const auto size = irqs_->DataSize(request, header.argsz);
  if (!size.ok()) return FromErrno(size.error);
  std::vector<uint8_t> data(size.value);
  if (!data.empty() &&
      !journal::CopyFromUser(data.data(),
                             static_cast<const uint8_t*>(arg) + sizeof(header),
                             data.size())) {
    return FromErrno(EFAULT);
  }
  return irqs_->Set(request, data);
}

// Answers like vfio_ioctl_device_feature().
int FakeVfioDevice::Feature(const void* arg) {
  constexpr uint32_t kOperations = VFIO_DEVICE_FEATURE_GET |
                                   VFIO_DEVICE_FEATURE_SET |
                                   VFIO_DEVICE_FEATURE_PROBE;
  vfio_device_feature header = {};
  if (const int error = CopyHeader(arg, sizeof(header), &header)) return error;
  const uint32_t operation = header.flags & kOperations;
  if ((header.flags & ~(uint32_t{VFIO_DEVICE_FEATURE_MASK} | kOperations)) !=
      0) {
    return EINVAL;
  }
  constexpr uint32_t kGetAndSet =
      VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
  if ((operation & VFIO_DEVICE_FEATURE_PROBE) == 0 &&
      (operation & kGetAndSet) == kGetAndSet) {
    return EINVAL;
  }
  return FeatureOperation(header.flags & VFIO_DEVICE_FEATURE_MASK, operation,
                          header.argsz - sizeof(header),
                          static_cast<const uint8_t*>(arg) + sizeof(header));
}

int FakeVfioDevice::FeatureOperation(uint32_t feature, uint32_t operation,
                                     size_t argsz, const void* data) {
  // 7.2 added DMA_BUF and the feature after it. The fake implements only the
  // probe.
  constexpr uint32_t kDmaBuf = 11;
  constexpr uint32_t kAfterDmaBuf = 12;
  const bool probe = (operation & VFIO_DEVICE_FEATURE_PROBE) != 0;
  if (options_.rules.features_11_and_12 && feature == kAfterDmaBuf) {
    return EINVAL;
  }
  if (options_.rules.features_11_and_12 && feature == kDmaBuf) {
    if ((operation & VFIO_DEVICE_FEATURE_SET) != 0 || operation == 0) {
      return EINVAL;
    }
    return probe ? 0 : ENOTTY;
  }
  if (feature != VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY &&
      feature != VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP &&
      feature != VFIO_DEVICE_FEATURE_LOW_POWER_EXIT) {
    return ENOTTY;
  }
  // The three features can only be set.
  if ((operation & VFIO_DEVICE_FEATURE_GET) != 0 || operation == 0) {
    return EINVAL;
  }
  if (probe) return 0;
  switch (feature) {
    case VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
      low_power_ = false;
      break;
    case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: {
      vfio_device_low_power_entry_with_wakeup entry = {};
      if (argsz < sizeof(entry)) return EINVAL;
      if (!journal::CopyFromUser(&entry, data, sizeof(entry))) return EFAULT;
      return entry.wakeup_eventfd < 0 ? EINVAL : ENOTTY;  // Not implemented.
    }
    default:
      if (low_power_) return EINVAL;
      low_power_ = true;
      break;
  }
  UpdateMappings();
  return 0;
}

}  // namespace passthru::fake
