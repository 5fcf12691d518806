// SPDX-License-Identifier: Apache-2.0
// Regions, expansion ROM and what they say about BAR registers.
#include <linux/vfio.h>

#include <bit>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "devices/kernel/page_size.h"
#include "testing/vfio/fixture_checks.h"

namespace passthru::fake {
namespace {

constexpr size_t kBar0Register = 0x10;
constexpr size_t kRomRegister = 0x30;
constexpr uint32_t kBars = VFIO_PCI_ROM_REGION_INDEX;
constexpr uint8_t kMsixCapability = 0x11;
constexpr uint32_t kKnownFlags =
    VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
    VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;

bool IsIo(uint32_t bar) { return (bar & 1) != 0; }
bool Is64Bit(uint32_t bar) { return (bar & 7) == 4; }

// The BAR whose MSI-X table it is, if any.
std::optional<uint32_t> MsixTableBar(const ConfigImage& config) {
  const std::optional<uint8_t> offset =
      FindCapability(config.bytes, kMsixCapability);
  if (!offset.has_value()) return std::nullopt;
  return ReadLe32(config.bytes, *offset + 4) & 7;
}

void CheckSparseAreas(const Region& region, const SparseMmap& sparse,
                      std::string_view field, FixtureProblems& problems) {
  uint64_t previous_end = 0;
  for (int i = 0; i < sparse.areas().size(); ++i) {
    const SparseMmap::Area& area = sparse.areas(i);
    const std::string name = absl::StrCat(field, ".areas[", i, "]");
    if (!kernel::IsPageAligned(area.offset())) {
      problems.Add(name + ".offset",
                   absl::StrFormat("0x%x is not page aligned", area.offset()));
    }
    if (area.size() == 0 || !kernel::IsPageAligned(area.size())) {
      problems.Add(
          name + ".size",
          absl::StrFormat("0x%x is not a number of pages", area.size()));
    }
    if (area.offset() < previous_end) {
      problems.Add(
          name + ".offset",
          absl::StrFormat("0x%x is not above the area before", area.offset()));
    }
    if (area.offset() > region.size() ||
        area.size() > region.size() - area.offset()) {
      problems.Add(name + ".size",
                   absl::StrFormat("the area ends beyond the region's 0x%x "
                                   "bytes",
                                   region.size()));
      return;
    }
    previous_end = area.offset() + area.size();
  }
}

void CheckCapabilities(const Region& region, const ConfigImage& config,
                       std::string_view field, FixtureProblems& problems) {
  const bool flagged = (region.flags() & VFIO_REGION_INFO_FLAG_CAPS) != 0;
  if (flagged == region.capabilities().empty()) {
    problems.Add(absl::StrCat(field, ".flags"),
                 flagged ? "has the capabilities flag (8) but there are none"
                         : "lacks the capabilities flag (8) although there are "
                           "some");
  }
  std::set<int> seen;
  for (int i = 0; i < region.capabilities().size(); ++i) {
    const RegionCapability& capability = region.capabilities(i);
    const std::string name = absl::StrCat(field, ".capabilities[", i, "]");
    const int kind = capability.capability_case();
    if (kind != RegionCapability::kUnknown && !seen.insert(kind).second) {
      problems.Add(name, "is a second capability of the same kind");
    }
    switch (capability.capability_case()) {
      case RegionCapability::kSparseMmap:
        CheckSparseAreas(region, capability.sparse_mmap(),
                         name + ".sparse_mmap", problems);
        break;
      case RegionCapability::kMsixMappable:
        if (MsixTableBar(config) != region.index()) {
          problems.Add(name + ".msix_mappable",
                       "the MSI-X table is not in this region");
        }
        break;
      case RegionCapability::kUnknown: {
        if (capability.unknown().id() > 0xffff ||
            capability.unknown().version() > 0xffff) {
          problems.Add(name + ".unknown", "id and version have 16 bits");
        }
        absl::Status status =
            ParseHexBytes(capability.unknown().bytes()).status();
        if (!status.ok()) {
          problems.Add(name + ".unknown.bytes", status.message());
        }
        break;
      }
      case RegionCapability::kType:
        break;
      case RegionCapability::CAPABILITY_NOT_SET:
        problems.Add(name, "says no kind");
        break;
    }
  }
}

void CheckBar(const Region& region, const ConfigImage& config,
              const BarRegisters& registers, const std::string& source,
              std::string_view field, FixtureProblems& problems) {
  const size_t offset = kBar0Register + 4 * region.index();
  const uint32_t low = registers[region.index()];
  const bool io = IsIo(low);
  const bool wide = Is64Bit(low);
  const uint64_t size = region.size();
  const auto add = [&](std::string_view label, std::string_view reason) {
    problems.Add(absl::StrCat(field, ".", label), reason);
  };
  if (!std::has_single_bit(size)) {
    add("size", absl::StrFormat("0x%x is not a power of two", size));
    return;
  }
  if (size < (io ? 4u : 16u)) {
    add("size", absl::StrFormat("0x%x is less than %s BAR can have", size,
                                io ? "an I/O" : "a memory"));
    return;
  }
  const uint64_t limit = io     ? uint64_t{1} << 16
                         : wide ? uint64_t{1} << 40
                                : uint64_t{1} << 31;
  if (size > limit) {
    add("size", absl::StrFormat("0x%x is more than %s can have (0x%x)", size,
                                io     ? "an I/O BAR"
                                : wide ? "a VFIO region"
                                       : "a 32-bit BAR",
                                limit));
    return;
  }
  const uint32_t type_bits = io ? 3 : 15;
  const uint64_t high =
      wide && region.index() + 1 < kBars ? registers[region.index() + 1] : 0;
  const uint64_t address = (low & ~uint64_t{type_bits}) | high << 32;
  if ((address & (size - 1)) != 0) {
    add("size", absl::StrFormat("0x%x does not divide the address 0x%x that "
                                "%s holds",
                                size, address, source));
  }
  if (address == 0) {
    add("index", absl::StrCat(source,
                              " holds no address; Linux treats such a BAR as "
                              "not there"));
  }
  if (wide && region.index() + 1 == kBars) {
    add("index", "BAR 5 cannot be a 64-bit BAR: there is no upper half");
  }
  if (io && (region.flags() & VFIO_REGION_INFO_FLAG_MMAP) != 0) {
    add("flags", "an I/O BAR cannot be mmapped (4)");
  }
  // What the hardware lets a write change is what sizing finds.
  const uint32_t size_mask = static_cast<uint32_t>(~(size - 1)) & ~type_bits;
  const uint32_t wrong = ReadLe32(config.writable, offset) & ~size_mask;
  if (wrong != 0) {
    add("size", absl::StrFormat("write_masks say that bits 0x%08x of register "
                                "0x%02x can be written, 0x%x bytes say not",
                                wrong, offset, size));
  }
}

// Where a BAR's address and kind stand.
std::string SourceOfBar(const PciDevice& device, uint32_t bar) {
  return device.is_virtual_function()
             ? absl::StrFormat("host_resources[%d] (of a virtual function)",
                               bar)
             : absl::StrFormat("register 0x%02x of `config`",
                               kBar0Register + 4 * bar);
}

void CheckBarRegistersAreCovered(const PciDevice& device,
                                 const BarRegisters& registers,
                                 FixtureProblems& problems) {
  std::set<uint32_t> present;
  for (const Region& region : device.regions()) {
    if (region.size() != 0) present.insert(region.index());
  }
  bool upper_half = false;
  for (uint32_t i = 0; i < kBars; ++i) {
    const uint32_t low = registers[i];
    if (upper_half) {
      if (present.contains(i)) {
        problems.Add("regions", absl::StrCat("BAR ", i,
                                             " is the upper half of a 64-bit "
                                             "BAR and has no region"));
      }
      upper_half = false;
      continue;
    }
    upper_half = Is64Bit(low);
    if (low != 0 && !present.contains(i)) {
      problems.Add("regions",
                   absl::StrFormat("none for BAR %d, though %s holds 0x%08x", i,
                                   SourceOfBar(device, i), low));
    }
  }
}

void CheckRom(const PciDevice& device, const ConfigImage& config,
              FixtureProblems& problems) {
  constexpr uint64_t kMinRom = 2048;
  constexpr uint64_t kMaxRom = uint64_t{16} << 20;
  const uint32_t reg = ReadLe32(config.bytes, kRomRegister);
  const Region* region = nullptr;
  for (const Region& candidate : device.regions()) {
    if (candidate.index() == VFIO_PCI_ROM_REGION_INDEX) region = &candidate;
  }
  if (!device.has_expansion_rom()) {
    if (reg != 0) {
      problems.Add("expansion_rom",
                   absl::StrFormat("is missing, though register 0x30 of "
                                   "`config` holds 0x%08x",
                                   reg));
    }
    if (region != nullptr && region->size() != 0) {
      problems.Add("expansion_rom", "is missing, though region 6 has a size");
    }
    return;
  }
  const ExpansionRom& rom = device.expansion_rom();
  if (!std::has_single_bit(rom.bar_size()) || rom.bar_size() < kMinRom ||
      rom.bar_size() > kMaxRom) {
    problems.Add("expansion_rom.bar_size",
                 absl::StrFormat("0x%x is not a power of two from 2 KiB to "
                                 "16 MiB",
                                 rom.bar_size()));
    return;
  }
  if (((reg & ~uint32_t{1}) & (rom.bar_size() - 1)) != 0) {
    problems.Add("expansion_rom.bar_size",
                 absl::StrFormat("0x%x does not divide the address that "
                                 "register 0x30 of `config` holds, 0x%08x",
                                 rom.bar_size(), reg));
  }
  CheckRows(rom.image(), "expansion_rom.image", rom.bar_size(), problems);
  const uint64_t shown = region == nullptr ? 0 : region->size();
  const uint64_t expected = rom.image().empty() ? 0 : rom.bar_size();
  if (shown != expected) {
    problems.Add(
        "expansion_rom.image",
        absl::StrFormat("with %s image VFIO shows a region 6 of 0x%x "
                        "bytes, `regions` says 0x%x",
                        rom.image().empty() ? "no" : "an", expected, shown));
  }
}

}  // namespace

void CheckRegions(const PciDevice& device, const ConfigImage& config,
                  FixtureProblems& problems) {
  const BarRegisters registers = AssignedBars(device, config.bytes);
  std::optional<uint32_t> previous;
  for (int i = 0; i < device.regions().size(); ++i) {
    const Region& region = device.regions(i);
    const std::string field = absl::StrCat("regions[", i, "]");
    if (previous.has_value() && region.index() <= *previous) {
      problems.Add(field + ".index",
                   absl::StrCat(region.index(), " is not above ", *previous,
                                ", the index before"));
    }
    previous = region.index();
    if ((region.flags() & ~kKnownFlags) != 0) {
      problems.Add(
          field + ".flags",
          absl::StrFormat("0x%x has bits without a meaning", region.flags()));
    }
    CheckCapabilities(region, config, field, problems);
    CheckRows(region.contents(), field + ".contents", region.size(), problems);
    if (region.index() < kBars) {
      if (region.size() != 0) {
        CheckBar(region, config, registers, SourceOfBar(device, region.index()),
                 field, problems);
      }
    } else if (region.index() == VFIO_PCI_CONFIG_REGION_INDEX) {
      if (region.size() != device.config_space_size()) {
        problems.Add(field + ".size",
                     absl::StrCat(region.size(), " is not config_space_size, ",
                                  device.config_space_size()));
      }
    } else if (region.index() >= VFIO_PCI_NUM_REGIONS) {
      bool typed = false;
      for (const RegionCapability& capability : region.capabilities()) {
        typed |= capability.has_type();
      }
      if (!typed) {
        problems.Add(field + ".capabilities",
                     "a device-specific region says its type");
      }
    }
  }
  CheckBarRegistersAreCovered(device, registers, problems);
  CheckRom(device, config, problems);
}

}  // namespace passthru::fake
