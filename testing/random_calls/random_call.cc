// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/random_calls/random_call.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/random_calls/random_kvm_call.h"
#include "passthru/testing/random_calls/source.h"

namespace passthru::random_calls {
namespace {

constexpr uint64_t kWindow = 0x100000;  // Where the mapped IOVAs begin.
constexpr uint8_t kVirtioPciCfg = 5;    // VIRTIO_PCI_CAP_PCI_CFG.
constexpr uint16_t kVirtioVendor = 0x1af4;

constexpr std::string_view kNames[kCallKinds] = {
    "read config",     "write config",   "set power state",
    "set COMMAND",     "function reset", "RESET",
    "HOT_RESET",       "SET_IRQS",       "read eventfd",
    "write eventfd",   "MAP_DMA",        "UNMAP_DMA",
    "pread region",    "pwrite region",  "mmap",
    "munmap",          "touch",          "info",
    "FEATURE",         "low power",      "IOEVENTFD",
    "container",       "lifetime",       "new eventfd",
    "CREATE_VM",       "close",          "CHECK_EXTENSION",
    "CREATE_IRQCHIP",  "CREATE_PIT2",    "ENABLE_CAP",
    "CREATE_DEVICE",   "DEVICE_ATTR",    "SET_USER_MEMORY_REGION",
    "slot over a BAR", "IRQFD",          "SET_GSI_ROUTING",
    "SIGNAL_MSI",      "IRQ_LINE",       "CREATE_VCPU",
    "KVM_IOEVENTFD",   "SET_TSS_ADDR",   "no argument"};

// Returns a region that exists, or now and then any number.
uint64_t DrawRegion(const Shape& shape, Source& source) {
  if (source.Percent(10)) return source.Below(12);
  for (int tries = 0; tries < 20; ++tries) {
    const uint64_t region = source.Below(shape.regions.size());
    if (shape.regions[region].size != 0) return region;
  }
  return VFIO_PCI_CONFIG_REGION_INDEX;
}

uint64_t SizeOf(const Shape& shape, uint64_t region) {
  return region < shape.regions.size() ? shape.regions[region].size : 0;
}

// Returns an offset at one of the places where the answer changes.
uint64_t DrawEdge(const Shape& shape, uint64_t region, Source& source) {
  const uint64_t size = SizeOf(shape, region);
  if (region == shape.msix_bar && source.Percent(40)) {
    return shape.msix_offset + source.OneOf({0, 1, 4, 12, 16}) -
           source.OneOf({0, 0, 2, 4});
  }
  switch (source.Below(4)) {
    case 0:
      return source.OneOf({0, 1, 2, 4, 8});
    case 1:
      return size - std::min<uint64_t>(size, source.OneOf({1, 2, 4, 8, 16}));
    case 2:
      return size + source.OneOf({0, 1, 4, kPage});
    default:
      return size == 0 ? source.Below(64) : source.Below(size);
  }
}

RandomCall DrawConfig(const Shape& shape, bool write, Source& source) {
  const uint64_t size =
      std::max<uint64_t>(256, SizeOf(shape, VFIO_PCI_CONFIG_REGION_INDEX));
  // Most structures are in the first 256 bytes.
  uint64_t offset = source.Percent(80) ? source.Below(256) : source.Below(size);
  if (source.Percent(3)) offset = size - source.Below(6);
  uint64_t length = source.OneOf({1, 1, 2, 2, 4, 4, 4, 3, 8});
  if (!write && source.Percent(10)) length = source.OneOf({0, 16, 64, 256});
  if (!write) return {CallKind::kReadConfig, {offset, length}};
  for (uint64_t i = 0; i < length; ++i) {
    if (offset + i < shape.excluded.size() && shape.excluded[offset + i]) {
      offset = PCI_COMMAND;
      length = 2;
    }
  }
  const uint64_t value = source.OneOf(
      {0, ~uint64_t{0}, source.Bits(), source.Bits(), source.Bits() & 0xff});
  return {CallKind::kWriteConfig, {offset, length, value}};
}

uint64_t DrawFd(Source& source) {
  if (source.Percent(15)) return kNoFd;
  if (source.Percent(3)) return kClosedFd;
  if (source.Percent(3)) return kNullDevice;
  return source.Below(kEventfds);
}

RandomCall DrawSetIrqs(const Shape& shape, Source& source) {
  uint64_t index = source.Below(6);
  for (int tries = 0; tries < 4 && (index > 4 || shape.irq_counts[index] == 0);
       ++tries) {
    index = source.Below(6);
  }
  const uint64_t available = index < 5 ? shape.irq_counts[index] : 0;
  uint64_t flags =
      source.OneOf({VFIO_IRQ_SET_DATA_NONE, VFIO_IRQ_SET_DATA_BOOL,
                    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_EVENTFD}) |
      source.OneOf({VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_ACTION_UNMASK,
                    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_ACTION_TRIGGER,
                    VFIO_IRQ_SET_ACTION_TRIGGER});
  if (source.Percent(5)) flags = source.Below(128);
  const uint64_t start = source.Percent(70) ? 0 : source.Below(available + 2);
  const uint64_t count = source.OneOf({0, 1, 1, 1, 2, 3, 5});
  const bool eventfds = (flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0;
  uint64_t argsz = sizeof(vfio_irq_set);
  if (eventfds) argsz += count * sizeof(int32_t);
  if ((flags & VFIO_IRQ_SET_DATA_BOOL) != 0) argsz += count;
  if (source.Percent(4)) argsz = source.OneOf({16, 19, 20, 21, 4096});
  RandomCall call{CallKind::kSetIrqs, {index, flags, start, count, argsz}};
  for (uint64_t i = 0; i < count; ++i) {
    call.arguments.push_back(eventfds ? DrawFd(source) : source.Below(2));
  }
  return call;
}

RandomCall DrawMap(Source& source) {
  uint64_t size = kPage * (1 + source.Below(4));
  uint64_t offset = kPage * source.Below(kMemoryPages - 3);
  uint64_t flags =
      source.OneOf({VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE,
                    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE});
  uint64_t iova = kWindow + kPage * source.Below(12);
  if (source.Percent(3)) size = source.OneOf({0, 1, 2048, 4097});
  if (source.Percent(3)) iova += source.OneOf({1, 2048});
  if (source.Percent(3)) offset += 2048;
  if (source.Percent(3)) offset = kNoMemory;
  if (source.Percent(3)) flags = source.OneOf({0, 8, 16, 0x80});
  return {CallKind::kMap, {iova, size, offset, flags}};
}

RandomCall DrawUnmap(Source& source) {
  uint64_t iova = kWindow + kPage * source.Below(12);
  uint64_t size = kPage * (1 + source.Below(12));
  uint64_t flags = 0;
  if (source.Percent(5)) {
    flags = VFIO_DMA_UNMAP_FLAG_ALL;
    iova = 0;
    size = 0;
  }
  if (source.Percent(3)) size = source.OneOf({0, 1, 2048, ~uint64_t{0}});
  if (source.Percent(3)) iova += 2048;
  if (source.Percent(2)) flags = source.OneOf({1, 8, 0x80});
  return {CallKind::kUnmap, {iova, size, flags}};
}

RandomCall DrawRegionCall(const Shape& shape, bool write, Source& source) {
  const uint64_t region = DrawRegion(shape, source);
  uint64_t offset = DrawEdge(shape, region, source);
  const uint64_t length = source.OneOf({1, 2, 4, 4, 8, 3, 16, 0});
  if (!write) return {CallKind::kReadRegion, {region, offset, length}};
  // A register may start something. Only the MSI-X table, which the kernel
  // keeps, and what is not there are written.
  const uint64_t size = SizeOf(shape, region);
  const bool table = region == shape.msix_bar && source.Percent(50);
  offset = table ? shape.msix_offset + 4 * source.Below(4)
                 : size + source.OneOf({0, 0, 1, 4, 4096});
  return {CallKind::kWriteRegion, {region, offset, table ? 4 : length}};
}

RandomCall DrawMmap(const Shape& shape, Source& source) {
  const uint64_t region = DrawRegion(shape, source);
  const uint64_t pages = (SizeOf(shape, region) + kPage - 1) / kPage;
  const uint64_t offset =
      source.Percent(60) ? 0 : kPage * source.Below(pages + 2);
  uint64_t length =
      kPage * (1 + source.Below(std::min<uint64_t>(pages, 4) + 1));
  if (source.Percent(5)) length = source.OneOf({0, 1, 100});
  return {CallKind::kMmap,
          {source.Below(kMappings), region, offset, length,
           source.Percent(5) ? 1u : 0u}};
}

RandomCall DrawFeature(Source& source) {
  const uint64_t feature = source.Below(14);
  const uint64_t operation =
      source.OneOf({VFIO_DEVICE_FEATURE_PROBE,
                    VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET,
                    VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET, 0,
                    VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET,
                    VFIO_DEVICE_FEATURE_PROBE | uint64_t{1} << 20});
  return {CallKind::kFeature, {operation | feature}};
}

RandomCall DrawInfo(Source& source) {
  return {CallKind::kInfo,
          {source.Below(4), source.Below(11),
           source.Percent(80) ? 4096 : source.OneOf({0, 8, 12, 16, 20, 32})}};
}

RandomCall DrawIoEventFd(const Shape& shape, Source& source) {
  const uint64_t region = DrawRegion(shape, source);
  const uint64_t size = SizeOf(shape, region);
  const uint64_t offset =
      region == shape.msix_bar && source.Percent(50)
          ? shape.msix_offset
          : size - std::min<uint64_t>(size, source.OneOf({2, 4, 8})) +
                source.OneOf({0, 0, 0, 8});
  return {
      CallKind::kIoEventFd,
      {region, offset,
       source.OneOf({VFIO_DEVICE_IOEVENTFD_8, VFIO_DEVICE_IOEVENTFD_16,
                     VFIO_DEVICE_IOEVENTFD_32, VFIO_DEVICE_IOEVENTFD_64, 0, 3}),
       DrawFd(source)}};
}

RandomCall DrawOne(const Shape& shape, Source& source) {
  const uint64_t choice = source.Below(100);
  if (choice < 12) return DrawConfig(shape, false, source);
  if (choice < 24) return DrawConfig(shape, true, source);
  if (choice < 29)
    return {CallKind::kSetPower, {source.OneOf({0, 0, 3, 3, 1, 2})}};
  if (choice < 34) {
    return {CallKind::kSetCommand,
            {source.OneOf({0, 2, 3, 6, 7, 0x103, 0x107, 0x406, 0x503})}};
  }
  if (choice < 36) return {CallKind::kFunctionReset, {}};
  if (choice < 38) return {CallKind::kReset, {}};
  if (choice < 39) {
    return {CallKind::kHotReset,
            {source.OneOf({0, 1, 1, 2}), source.OneOf({0, 0, kClosedFd})}};
  }
  if (choice < 57) return DrawSetIrqs(shape, source);
  if (choice < 62) return {CallKind::kReadEventfd, {source.Below(kEventfds)}};
  if (choice < 65) return {CallKind::kWriteEventfd, {source.Below(kEventfds)}};
  if (choice < 70) return DrawMap(source);
  if (choice < 75) return DrawUnmap(source);
  if (choice < 81) return DrawRegionCall(shape, false, source);
  if (choice < 84) return DrawRegionCall(shape, true, source);
  if (choice < 87) return DrawMmap(shape, source);
  if (choice < 88) return {CallKind::kMunmap, {source.Below(kMappings)}};
  if (choice < 92) {
    return {CallKind::kTouch, {source.Below(kMappings), source.Below(4)}};
  }
  if (choice < 95) return DrawInfo(source);
  if (choice < 96) return DrawFeature(source);
  if (choice < 97) return {CallKind::kLowPower, {}};
  if (choice < 98) return DrawIoEventFd(shape, source);
  if (choice < 99) return {CallKind::kContainer, {source.Below(9)}};
  if (source.Percent(50)) return {CallKind::kLifetime, {source.Below(6)}};
  return {CallKind::kNewEventfd, {source.Below(kEventfds)}};
}

// Returns the name of what stands for a descriptor, or an empty string.
std::string FdName(uint64_t place) {
  if (place == kNoFd) return "-1";
  if (place == kClosedFd) return "closed";
  if (place == kNullDevice) return "null";
  if (place == kGroup) return "group";
  if (place == kDevice) return "device";
  if (place == kContainer) return "container";
  if (place == kKvm) return "kvm";
  const auto numbered = [place](std::string_view name, uint64_t first,
                                size_t count) {
    return first - place < count ? absl::StrCat(name, first - place) : "";
  };
  std::string name = numbered("vm", kFirstVm, kVms);
  if (name.empty()) name = numbered("vcpu", kFirstVcpu, kVcpus);
  if (name.empty()) name = numbered("kvm-vfio", kFirstKvmDevice, kKvmDevices);
  return name;
}

}  // namespace

std::string RandomCall::ToString() const {
  std::string text(kNames[static_cast<size_t>(kind)]);
  for (const uint64_t argument : arguments) {
    const std::string name = FdName(argument);
    absl::StrAppend(&text, " ",
                    name.empty() ? absl::StrFormat("%#x", argument) : name);
  }
  return text;
}

void AddCapabilities(const std::vector<uint8_t>& config, Shape& shape) {
  const auto find = [&config](uint8_t id) -> uint32_t {
    return fixture::FindCapability(config, id).value_or(0);
  };
  shape.power_management = find(PCI_CAP_ID_PM);
  shape.soft_resets = shape.power_management != 0 &&
                      (config[shape.power_management + PCI_PM_CTRL] &
                       PCI_PM_CTRL_NO_SOFT_RESET) == 0;
  shape.express = find(PCI_CAP_ID_EXP);
  shape.advanced_features = find(PCI_CAP_ID_AF);
  if (const uint32_t msix = find(PCI_CAP_ID_MSIX); msix != 0) {
    const uint32_t table = fixture::ReadLe32(config, msix + PCI_MSIX_TABLE);
    shape.msix_bar = table & PCI_MSIX_TABLE_BIR;
    shape.msix_offset = table & PCI_MSIX_TABLE_OFFSET;
  }
  shape.excluded.assign(config.size(), false);
  if (fixture::ReadLe16(config, PCI_VENDOR_ID) != kVirtioVendor) return;
  uint8_t at = config[PCI_CAPABILITY_LIST];
  for (int walked = 0; at != 0 && walked < 48; ++walked) {
    if (config[at] == PCI_CAP_ID_VNDR && at + 20u <= config.size() &&
        config[at + 3u] == kVirtioPciCfg) {
      std::fill_n(shape.excluded.begin() + at + 4, 16, true);
    }
    at = config[at + 1u];
  }
}

// A third of the sequences has calls of VFIO only, a third mixes them with
// those of KVM, and a third has few of VFIO.
Sequence Draw(const Shape& shape, uint64_t seed, size_t length) {
  Source source(seed);
  const uint64_t kvm_percent = shape.has_kvm ? source.OneOf({0, 50, 90}) : 0;
  Sequence calls;
  calls.reserve(length);
  if (kvm_percent != 0) DrawMachine(source, calls);
  while (calls.size() < length) {
    calls.push_back(source.Percent(static_cast<unsigned>(kvm_percent))
                        ? DrawKvmCall(source)
                        : DrawOne(shape, source));
  }
  calls.resize(length);
  return calls;
}

}  // namespace passthru::random_calls
