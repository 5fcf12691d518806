// SPDX-License-Identifier: Apache-2.0
// Interrupts, resets, vital product data and redactions of a fixture.
#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "pci/bdf.h"
#include "testing/vfio/fixture_checks.h"

namespace passthru::fake {
namespace {

constexpr uint8_t kPowerManagement = 0x01;
constexpr uint8_t kVpd = 0x03;
constexpr uint8_t kMsi = 0x05;
constexpr uint8_t kPciExpress = 0x10;
constexpr uint8_t kMsix = 0x11;
constexpr uint8_t kAdvancedFeatures = 0x13;
constexpr size_t kInterruptPin = 0x3d;
constexpr uint64_t kMsixEntrySize = 16;

struct Table {
  uint32_t vectors = 0;
  uint32_t bar = 0;
  uint64_t offset = 0;
  uint32_t pba_bar = 0;
  uint64_t pba_offset = 0;
};

std::optional<Table> FindMsix(const ConfigImage& config) {
  const std::optional<uint8_t> at = FindCapability(config.bytes, kMsix);
  if (!at.has_value()) return std::nullopt;
  const uint32_t table = ReadLe32(config.bytes, *at + 4);
  const uint32_t pba = ReadLe32(config.bytes, *at + 8);
  return Table{
      .vectors = (ReadLe16(config.bytes, *at + 2) & 0x7ffu) + 1,
      .bar = table & 7,
      .offset = table & ~uint32_t{7},
      .pba_bar = pba & 7,
      .pba_offset = pba & ~uint32_t{7},
  };
}

uint64_t RegionSize(const PciDevice& device, uint32_t index) {
  for (const Region& region : device.regions()) {
    if (region.index() == index) return region.size();
  }
  return 0;
}

void CheckInBar(const PciDevice& device, uint32_t bar, uint64_t offset,
                uint64_t size, std::string_view what,
                FixtureProblems& problems) {
  const uint64_t bar_size =
      bar < VFIO_PCI_ROM_REGION_INDEX ? RegionSize(device, bar) : 0;
  if (offset + size > bar_size) {
    problems.Add("config",
                 absl::StrFormat("the MSI-X %s, 0x%x bytes at 0x%x of BAR %d, "
                                 "is not inside that BAR, which has 0x%x bytes",
                                 what, size, offset, bar, bar_size));
  }
}

// What the configuration space says that GET_IRQ_INFO must answer.
uint32_t ExpectedCount(const PciDevice& device, const ConfigImage& config,
                       uint32_t index) {
  switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      return !device.is_virtual_function() && config.bytes[kInterruptPin] != 0
                 ? 1
                 : 0;
    case VFIO_PCI_MSI_IRQ_INDEX: {
      const std::optional<uint8_t> at = FindCapability(config.bytes, kMsi);
      if (!at.has_value()) return 0;
      return 1u << (ReadLe16(config.bytes, *at + 2) >> 1 & 7);
    }
    case VFIO_PCI_MSIX_IRQ_INDEX:
      return FindMsix(config).value_or(Table{}).vectors;
    case VFIO_PCI_ERR_IRQ_INDEX:
      return FindCapability(config.bytes, kPciExpress).has_value() ? 1 : 0;
    default:
      return 1;
  }
}

void CheckMsixTable(const PciDevice& device, const std::optional<Table>& table,
                    FixtureProblems& problems) {
  if (!table.has_value()) {
    if (!device.msix_table().empty()) {
      problems.Add("msix_table",
                   "has entries, but there is no MSI-X "
                   "capability in `config`");
    }
    return;
  }
  CheckInBar(device, table->bar, table->offset, kMsixEntrySize * table->vectors,
             "table", problems);
  CheckInBar(device, table->pba_bar, table->pba_offset,
             (table->vectors + 63) / 64 * 8, "pending bit array", problems);
  std::set<uint32_t> seen;
  for (int i = 0; i < device.msix_table().size(); ++i) {
    const MsixTableEntry& entry = device.msix_table(i);
    const std::string field = absl::StrCat("msix_table[", i, "].vector");
    if (entry.vector() >= table->vectors) {
      problems.Add(
          field, absl::StrCat(entry.vector(), " is beyond the ", table->vectors,
                              " vectors of the table"));
    }
    if (!seen.insert(entry.vector()).second) {
      problems.Add(field, absl::StrCat(entry.vector(), " is there twice"));
    }
  }
}

bool NumberInRange(int method) {
  return method != Reset::METHOD_UNSPECIFIED && Reset::Method_IsValid(method);
}

}  // namespace

void CheckInterrupts(const PciDevice& device, const ConfigImage& config,
                     FixtureProblems& problems) {
  std::array<uint32_t, VFIO_PCI_NUM_IRQS> counts = {};
  std::optional<uint32_t> previous;
  for (int i = 0; i < device.irqs().size(); ++i) {
    const Irq& irq = device.irqs(i);
    const std::string field = absl::StrCat("irqs[", i, "]");
    if (irq.index() >= VFIO_PCI_NUM_IRQS) {
      problems.Add(field + ".index",
                   absl::StrCat(irq.index(),
                                " is not an interrupt index of "
                                "vfio-pci (0 to 4)"));
      continue;
    }
    if (previous.has_value() && irq.index() <= *previous) {
      problems.Add(field + ".index",
                   absl::StrCat(irq.index(), " is not above ", *previous,
                                ", the index before"));
    }
    previous = irq.index();
    if (irq.flags() > 0xf) {
      problems.Add(
          field + ".flags",
          absl::StrFormat("0x%x has bits without a meaning", irq.flags()));
    }
    counts[irq.index()] = irq.count();
  }
  for (uint32_t index = 0; index < VFIO_PCI_NUM_IRQS; ++index) {
    const uint32_t expected = ExpectedCount(device, config, index);
    if (counts[index] != expected) {
      problems.Add("irqs",
                   absl::StrCat("index ", index, " has count ", counts[index],
                                "; `config` says ", expected));
    }
  }
  CheckMsixTable(device, FindMsix(config), problems);
}

void CheckReset(const PciDevice& device, const ConfigImage& config,
                FixtureProblems& problems) {
  const Reset& reset = device.reset();
  std::set<int> seen;
  for (int i = 0; i < reset.methods().size(); ++i) {
    const int method = reset.methods(i);
    const std::string field = absl::StrCat("reset.methods[", i, "]");
    if (!NumberInRange(method)) {
      problems.Add(field, absl::StrCat(method, " is not a method"));
      continue;
    }
    if (!seen.insert(method).second) {
      problems.Add(field,
                   absl::StrCat(Reset::Method_Name(method), " is there twice"));
    }
    if (method == Reset::FLR) {
      const std::optional<uint8_t> at =
          FindCapability(config.bytes, kPciExpress);
      if (!at.has_value() ||
          (ReadLe32(config.bytes, *at + 4) & 1u << 28) == 0) {
        problems.Add(field,
                     "FLR, but Device Capabilities in `config` does not "
                     "have it");
      }
    }
    if (method == Reset::AF_FLR) {
      const std::optional<uint8_t> at =
          FindCapability(config.bytes, kAdvancedFeatures);
      if (!at.has_value() || (config.bytes[*at + 3] & 3) != 3) {
        problems.Add(field,
                     "AF_FLR, but there is no Advanced Features "
                     "capability in `config` that has it");
      }
    }
    if (method == Reset::POWER_MANAGEMENT) {
      const std::optional<uint8_t> at =
          FindCapability(config.bytes, kPowerManagement);
      if (!at.has_value() || (ReadLe16(config.bytes, *at + 4) & 8) != 0) {
        problems.Add(field,
                     "POWER_MANAGEMENT, but there is no power "
                     "management capability in `config` with "
                     "No_Soft_Reset clear");
      }
    }
  }
  if (!reset.hot_reset_listed() && reset.hot_reset_errno() != 0) {
    problems.Add("reset.hot_reset_errno",
                 "is set, but hot_reset_listed is not");
  }
  for (int i = 0; i < reset.hot_reset_also_affects().size(); ++i) {
    if (!pci::Bdf::Parse(reset.hot_reset_also_affects(i)).ok()) {
      problems.Add(absl::StrCat("reset.hot_reset_also_affects[", i, "]"),
                   absl::StrCat("\"", reset.hot_reset_also_affects(i),
                                "\" is not an address like "
                                "\"0000:02:00.0\""));
    }
  }
}

void CheckRedactions(const PciDevice& device, const ConfigImage& config,
                     FixtureProblems& problems) {
  // The VPD address register has 15 bits (PCI Local Bus 3.0, appendix I).
  constexpr uint64_t kMaxVpd = uint64_t{1} << 15;
  if (!device.vpd().empty() &&
      !FindCapability(config.bytes, kVpd).has_value()) {
    problems.Add("vpd",
                 "has rows, but there is no Vital Product Data "
                 "capability in `config`");
  }
  CheckRows(device.vpd(), "vpd", kMaxVpd, problems);
  for (int i = 0; i < device.redactions().size(); ++i) {
    const Redaction& redaction = device.redactions(i);
    const std::string field = absl::StrCat("redactions[", i, "]");
    uint64_t size = 0;
    switch (redaction.space()) {
      case Redaction::CONFIG:
        size = device.config_space_size();
        break;
      case Redaction::REGION:
        size = RegionSize(device, redaction.region_index());
        break;
      case Redaction::VPD:
        size = kMaxVpd;
        break;
      case Redaction::ROM:
        size = device.expansion_rom().bar_size();
        break;
      default:
        problems.Add(field + ".space", "says no space");
        continue;
    }
    if (redaction.length() == 0) {
      problems.Add(field + ".length", "is 0");
    }
    if (redaction.offset() > size ||
        redaction.length() > size - redaction.offset()) {
      problems.Add(
          field + ".offset",
          absl::StrFormat("0x%x bytes at 0x%x are not inside a space "
                          "of 0x%x bytes",
                          redaction.length(), redaction.offset(), size));
    }
    if (redaction.what().empty()) {
      problems.Add(field + ".what", "is empty; say what stood there");
    }
  }
}

}  // namespace passthru::fake
