// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/capture_regions.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/info_query.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/testing/capture/byte_rows.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

std::optional<pci::MsixCapability> FindMsix(absl::Span<const uint8_t> config) {
  const pci::CapabilityList list = pci::WalkCapabilities(config);
  const pci::Capability* const found = list.Find(pci::CapabilityId::kMsix);
  if (found == nullptr) return std::nullopt;
  absl::StatusOr<pci::MsixCapability> msix =
      pci::MsixCapability::Parse(config, found->offset);
  if (!msix.ok()) return std::nullopt;
  return *std::move(msix);
}

// The chain does not tell a capability's length. It ends at the next capability
// or at the end of the answer.
absl::Span<const uint8_t> PayloadOf(const vfio::InfoCapabilities& chain,
                                    const vfio::InfoCapability& capability) {
  const uint8_t* end = capability.payload.data() + capability.payload.size();
  for (const vfio::InfoCapability& other : chain.entries) {
    const uint8_t* const header =
        other.payload.data() - sizeof(vfio_info_cap_header);
    if (header >= capability.payload.data()) end = std::min(end, header);
  }
  return capability.payload.subspan(
      0, static_cast<size_t>(end - capability.payload.data()));
}

absl::Status AddCapability(const vfio::InfoCapability& capability,
                           absl::Span<const uint8_t> payload,
                           fixture::Region& region) {
  fixture::RegionCapability& added = *region.add_capabilities();
  switch (capability.id) {
    case VFIO_REGION_INFO_CAP_SPARSE_MMAP: {
      fixture::SparseMmap& sparse = *added.mutable_sparse_mmap();
      const uint32_t count = fixture::ReadLe32(payload, 0);
      for (uint32_t i = 0; i < count; ++i) {
        vfio_region_sparse_mmap_area area = {};
        if (!vfio::ReadPayload(payload, 8 + size_t{i} * sizeof(area), &area)) {
          return absl::DataLossError(absl::StrFormat(
              "region %d: the sparse mmap capability has no room for its %d "
              "areas",
              region.index(), count));
        }
        sparse.add_areas()->set_offset(area.offset);
        sparse.mutable_areas()->rbegin()->set_size(area.size);
      }
      return absl::OkStatus();
    }
    case VFIO_REGION_INFO_CAP_TYPE:
      added.mutable_type()->set_type(fixture::ReadLe32(payload, 0));
      added.mutable_type()->set_subtype(fixture::ReadLe32(payload, 4));
      return absl::OkStatus();
    case VFIO_REGION_INFO_CAP_MSIX_MAPPABLE:
      added.mutable_msix_mappable();
      return absl::OkStatus();
    default:
      added.mutable_unknown()->set_id(capability.id);
      added.mutable_unknown()->set_version(capability.version);
      added.mutable_unknown()->set_bytes(HexBytes(payload));
      return absl::OkStatus();
  }
}

absl::Status CaptureRegion(const vfio::VfioDevice& vfio_device, uint32_t index,
                           fixture::PciDevice& device) {
  vfio_region_info inputs = {};
  inputs.index = index;
  const std::string what = absl::StrFormat(
      "VFIO_DEVICE_GET_REGION_INFO(index=%d) on %s", index, vfio_device.name());
  const auto answer =
      vfio::QueryInfo(vfio_device.syscalls(), vfio_device.fd(),
                      VFIO_DEVICE_GET_REGION_INFO, inputs, what);
  // VFIO refuses the VGA region of a device that is not VGA.
  if (absl::IsInvalidArgument(answer.status())) return absl::OkStatus();
  if (!answer.ok()) return answer.status();
  if (answer->info.size == 0) return absl::OkStatus();
  fixture::Region& region = *device.add_regions();
  region.set_index(index);
  region.set_size(answer->info.size);
  region.set_flags(answer->info.flags);
  if ((answer->info.flags & VFIO_REGION_INFO_FLAG_CAPS) == 0) {
    return absl::OkStatus();
  }
  const vfio::InfoCapabilities chain = vfio::WalkInfoCapabilities(
      answer->bytes, answer->info.cap_offset, sizeof(vfio_region_info));
  for (const vfio::InfoCapability& capability : chain.entries) {
    PASSTHRU_RETURN_IF_ERROR(
        AddCapability(capability, PayloadOf(chain, capability), region));
  }
  return absl::OkStatus();
}

// Returns the size of the ROM's BAR, which VFIO shows as a region only if there
// is an image behind it. The register is the kernel's own copy, so no write
// reaches the device.
absl::StatusOr<uint64_t> RomBarSize(const vfio::VfioDevice& vfio_device) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto old,
                            vfio_device.ReadConfig<uint32_t>(PCI_ROM_ADDRESS));
  constexpr auto kAllOnes = static_cast<uint32_t>(PCI_ROM_ADDRESS_MASK);
  PASSTHRU_RETURN_IF_ERROR(
      vfio_device.WriteConfig<uint32_t>(PCI_ROM_ADDRESS, kAllOnes));
  const auto mask = vfio_device.ReadConfig<uint32_t>(PCI_ROM_ADDRESS);
  PASSTHRU_RETURN_IF_ERROR(
      vfio_device.WriteConfig<uint32_t>(PCI_ROM_ADDRESS, old));
  if (!mask.ok()) return mask.status();
  const uint32_t writable = *mask & kAllOnes;
  return writable == 0 ? 0 : uint64_t{~writable} + 1;
}

fixture::Region* RegionNumbered(fixture::PciDevice& device, uint32_t index) {
  for (fixture::Region& region : *device.mutable_regions()) {
    if (region.index() == index) return &region;
  }
  return nullptr;
}

bool IsInMsixTable(const std::optional<pci::MsixCapability>& msix, uint32_t bar,
                   uint64_t offset) {
  return msix.has_value() && msix->table_bar().value() == bar &&
         offset >= msix->table_offset() &&
         offset < uint64_t{msix->table_offset()} + msix->table_bytes();
}

}  // namespace

absl::Status CaptureRegions(const vfio::VfioDevice& vfio_device,
                            absl::Span<const uint8_t> config,
                            fixture::PciDevice& device,
                            std::vector<std::string>& notes) {
  for (uint32_t i = 0; i < vfio_device.region_count(); ++i) {
    if (i == VFIO_PCI_CONFIG_REGION_INDEX) continue;
    PASSTHRU_RETURN_IF_ERROR(CaptureRegion(vfio_device, i, device));
  }
  PASSTHRU_ASSIGN_OR_RETURN(uint64_t rom, RomBarSize(vfio_device));
  if (rom == 0) return absl::OkStatus();
  // For the host's first display, the kernel takes the firmware's copy at
  // 0xc0000 for the ROM (pci_fixup_video()). The copy has another size.
  const uint32_t address = fixture::ReadLe32(config, PCI_ROM_ADDRESS) &
                           uint32_t{PCI_ROM_ADDRESS_MASK};
  if (address != 0 && (address & (rom - 1)) != 0) {
    rom = address & (~address + 1);
    notes.push_back(absl::StrFormat(
        "The host shows a copy of the expansion ROM, not the ROM. The size of "
        "its BAR is taken to be 0x%x, as its address allows.",
        rom));
    if (fixture::Region* const region =
            RegionNumbered(device, VFIO_PCI_ROM_REGION_INDEX)) {
      region->set_size(rom);
    }
  }
  device.mutable_expansion_rom()->set_bar_size(rom);
  return absl::OkStatus();
}

absl::Status CaptureContents(const vfio::VfioDevice& vfio_device,
                             absl::Span<const uint8_t> config,
                             const std::vector<ContentsRange>& ranges,
                             fixture::PciDevice& device) {
  const std::optional<pci::MsixCapability> msix = FindMsix(config);
  std::map<uint32_t, std::map<uint64_t, uint8_t>> contents;
  for (const ContentsRange& range : ranges) {
    const vfio::VfioRegionInfo& region = vfio_device.region(range.bar);
    if (!region.exists() || range.offset > region.size ||
        range.length > region.size - range.offset) {
      return absl::InvalidArgumentError(
          absl::StrFormat("contents %d:0x%x+0x%x: BAR %d of %s has 0x%x bytes",
                          range.bar, range.offset, range.length, range.bar,
                          vfio_device.name(), region.size));
    }
    // Registers in memory BARs are commonly dwords, those in I/O BARs bytes.
    const size_t width = region.mappable() ? 4 : 1;
    const uint64_t end = range.offset + range.length;
    for (uint64_t at = range.offset / width * width; at < end; at += width) {
      if (IsInMsixTable(msix, range.bar, at)) continue;
      uint8_t data[4] = {};
      const size_t length = std::min<uint64_t>(width, region.size - at);
      PASSTHRU_RETURN_IF_ERROR(
          vfio_device.ReadRegion(range.bar, at, absl::MakeSpan(data, length)));
      for (size_t i = 0; i < length; ++i) {
        if (at + i >= range.offset && at + i < end) {
          contents[range.bar][at + i] = data[i];
        }
      }
    }
  }
  for (const auto& [bar, bytes] : contents) {
    *RegionNumbered(device, bar)->mutable_contents() = ToRows(bytes);
  }
  return absl::OkStatus();
}

absl::Status CaptureMsixTable(const vfio::VfioDevice& vfio_device,
                              absl::Span<const uint8_t> config,
                              fixture::PciDevice& device,
                              std::vector<std::string>& notes) {
  const std::optional<pci::MsixCapability> msix = FindMsix(config);
  if (!msix.has_value()) return absl::OkStatus();
  const uint64_t page = kernel::PageSize();
  const uint64_t begin = msix->table_offset() / page * page;
  const uint64_t end =
      (msix->table_offset() + msix->table_bytes() + page - 1) / page * page;
  const uint32_t bar = msix->table_bar().value();
  const auto mapping = vfio_device.MapRegion(bar, begin, end - begin);
  if (!mapping.ok()) {
    notes.push_back(
        "The MSI-X table was not read, since VFIO does not let it be mapped: "
        "it is taken to be as after reset.");
    return absl::OkStatus();
  }
  // These are a device's registers, so this reads each once, as a dword.
  const auto* const table = reinterpret_cast<const volatile uint32_t*>(
      static_cast<const uint8_t*>(mapping->data()) +
      (msix->table_offset() - begin));
  for (uint32_t vector = 0; vector < msix->table_size(); ++vector) {
    const volatile uint32_t* const entry = table + 4 * size_t{vector};
    const uint64_t address = entry[0] | uint64_t{entry[1]} << 32;
    const uint32_t data = entry[2];
    const uint32_t control = entry[3];
    if (address == 0 && data == 0 && control == PCI_MSIX_ENTRY_CTRL_MASKBIT) {
      continue;
    }
    fixture::MsixTableEntry& added = *device.add_msix_table();
    added.set_vector(vector);
    added.set_address(address);
    added.set_data(data);
    added.set_control(control);
  }
  return absl::OkStatus();
}

absl::Status CaptureRomImage(const vfio::VfioDevice& vfio_device,
                             fixture::PciDevice& device) {
  if (!vfio_device.region(VFIO_PCI_ROM_REGION_INDEX).exists()) {
    return absl::OkStatus();
  }
  const uint64_t size = vfio_device.region(VFIO_PCI_ROM_REGION_INDEX).size;
  // The most that the register can ask for (PCI 3.0, 6.2.5.2).
  constexpr uint64_t kMaxRomSize = uint64_t{16} << 20;
  if (size > kMaxRomSize) {
    return absl::InternalError(absl::StrFormat(
        "VFIO says that the expansion ROM of %s has %u bytes, but %u are the "
        "most there are",
        vfio_device.name(), size, kMaxRomSize));
  }
  std::vector<uint8_t> image(size);
  PASSTHRU_RETURN_IF_ERROR(vfio_device.ReadRegion(VFIO_PCI_ROM_REGION_INDEX, 0,
                                                  absl::MakeSpan(image)));
  // Reads beyond the image return ones.
  while (!image.empty() && image.back() == 0xff) image.pop_back();
  image.resize(
      std::min<size_t>(image.size(), device.expansion_rom().bar_size()));
  *device.mutable_expansion_rom()->mutable_image() = ToRows(image);
  return absl::OkStatus();
}

}  // namespace passthru::capture
