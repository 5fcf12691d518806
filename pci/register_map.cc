// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/register_map.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/capability_length.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

struct Label {
  uint16_t offset;
  uint8_t size;
  const char* name;
};

// PCI 3.0 6.1 and PCIe 6.0 7.5.1.
constexpr Label kHeaderNames[] = {
    {0x00, 2, "Vendor ID"},
    {0x02, 2, "Device ID"},
    {0x04, 2, "Command"},
    {0x06, 2, "Status"},
    {0x08, 1, "Revision ID"},
    {0x09, 1, "Interface"},
    {0x0a, 1, "Sub-class"},
    {0x0b, 1, "Base class"},
    {0x0c, 1, "Cache Line Size"},
    {0x0d, 1, "Latency Timer"},
    {0x0e, 1, "Header Type"},
    {0x0f, 1, "BIST"},
    {0x10, 4, "BAR0"},
    {0x14, 4, "BAR1"},
    {0x18, 4, "BAR2"},
    {0x1c, 4, "BAR3"},
    {0x20, 4, "BAR4"},
    {0x24, 4, "BAR5"},
    {0x28, 4, "CardBus CIS"},
    {0x2c, 2, "Subsystem Vendor ID"},
    {0x2e, 2, "Subsystem ID"},
    {0x30, 4, "Expansion ROM"},
    {0x34, 1, "Capabilities"},
    {0x35, 1, "reserved"},
    {0x36, 2, "reserved"},
    {0x38, 4, "reserved"},
    {0x3c, 1, "Interrupt Line"},
    {0x3d, 1, "Interrupt Pin"},
    {0x3e, 1, "Min Grant"},
    {0x3f, 1, "Max Latency"},
};

// PCI 3.0 6.7: every capability begins with these.
constexpr Label kCapabilityNames[] = {{0, 1, "ID"}, {1, 1, "next"}};
// PCIe 6.0 7.6.3.
constexpr Label kExtendedNames[] = {{0, 4, "ID, version, next"}};

// PCI Power Management 1.2 3.2.
constexpr Label kPowerManagementNames[] = {{2, 2, "Capabilities"},
                                           {4, 2, "Control/Status"},
                                           {6, 1, "Bridge"},
                                           {7, 1, "Data"}};

// PCI 3.0 appendix I.
constexpr Label kVpdNames[] = {{2, 2, "Address"}, {4, 4, "Data"}};

// PCI 3.0 6.8.2.
constexpr Label kMsixNames[] = {
    {2, 2, "Message Control"}, {4, 4, "Table"}, {8, 4, "Pending bits"}};

// Advanced Capabilities for Conventional PCI, 2006.
constexpr Label kAfNames[] = {{2, 1, "Length"},
                              {3, 1, "Capabilities"},
                              {4, 1, "Control"},
                              {5, 1, "Status"}};

// PCIe 6.0 7.5.3.
constexpr Label kPcieNames[] = {
    {0x02, 2, "Capabilities"},        {0x04, 4, "Device Capabilities"},
    {0x08, 2, "Device Control"},      {0x0a, 2, "Device Status"},
    {0x0c, 4, "Link Capabilities"},   {0x10, 2, "Link Control"},
    {0x12, 2, "Link Status"},         {0x14, 4, "Slot Capabilities"},
    {0x18, 2, "Slot Control"},        {0x1a, 2, "Slot Status"},
    {0x1c, 2, "Root Control"},        {0x1e, 2, "Root Capabilities"},
    {0x20, 4, "Root Status"},         {0x24, 4, "Device Capabilities 2"},
    {0x28, 2, "Device Control 2"},    {0x2a, 2, "Device Status 2"},
    {0x2c, 4, "Link Capabilities 2"}, {0x30, 2, "Link Control 2"},
    {0x32, 2, "Link Status 2"},       {0x34, 4, "Slot Capabilities 2"},
    {0x38, 2, "Slot Control 2"},      {0x3a, 2, "Slot Status 2"},
};

// PCIe 6.0 7.8.4.
constexpr Label kAerNames[] = {
    {0x04, 4, "Uncorrectable Status"},   {0x08, 4, "Uncorrectable Mask"},
    {0x0c, 4, "Uncorrectable Severity"}, {0x10, 4, "Correctable Status"},
    {0x14, 4, "Correctable Mask"},       {0x18, 4, "Control"},
};

// PCIe 6.0 9.3.3.
constexpr Label kSriovNames[] = {
    {0x04, 4, "Capabilities"},    {0x08, 2, "Control"},
    {0x0a, 2, "Status"},          {0x0c, 2, "InitialVFs"},
    {0x0e, 2, "TotalVFs"},        {0x10, 2, "NumVFs"},
    {0x12, 1, "Function Link"},   {0x14, 2, "First VF Offset"},
    {0x16, 2, "VF Stride"},       {0x1a, 2, "VF Device ID"},
    {0x1c, 4, "Supported Pages"}, {0x20, 4, "Page Size"},
    {0x24, 4, "VF BAR0"},         {0x28, 4, "VF BAR1"},
    {0x2c, 4, "VF BAR2"},         {0x30, 4, "VF BAR3"},
    {0x34, 4, "VF BAR4"},         {0x38, 4, "VF BAR5"},
};

// PCIe 6.0 7.9.3.
constexpr Label kSerialNames[] = {{4, 4, "lower half"}, {8, 4, "upper half"}};

template <size_t kCount>
std::vector<Label> ListOf(const Label (&names)[kCount]) {
  return {names, names + kCount};
}

// The upper half of a 64-bit BAR takes the register of the next BAR.
std::vector<Label> HeaderNames(absl::Span<const uint8_t> config) {
  static constexpr const char* kUpperHalves[] = {
      "BAR0 upper half", "BAR1 upper half", "BAR2 upper half",
      "BAR3 upper half", "BAR4 upper half"};
  std::vector<Label> names = ListOf(kHeaderNames);
  bool upper_half = false;
  for (uint16_t i = 0; i < kType0BarCount; ++i) {
    const auto reg = kBar0.At(static_cast<uint16_t>(4 * i));
    if (upper_half) {
      for (Label& label : names) {
        if (label.offset == reg.offset) label.name = kUpperHalves[i - 1];
      }
      upper_half = false;
    } else {
      upper_half =
          DecodeBarType(ReadRegister(config, reg)) == BarType::kMemory64;
    }
  }
  return names;
}

// The layout of MSI depends on its control word (PCI 3.0 6.8.1).
std::vector<Label> MsiNames(absl::Span<const uint8_t> config, uint16_t offset) {
  const MsiControl control =
      ReadRegister(config, MsiCapability::kControl.At(offset));
  std::vector<Label> names = {{2, 2, "Message Control"}, {4, 4, "Address"}};
  uint16_t next = 8;
  if (MsiControl::k64Bit.Get(control)) {
    names.push_back({next, 4, "Upper Address"});
    next += 4;
  }
  names.push_back({next, 2, "Data"});
  names.push_back({static_cast<uint16_t>(next + 2), 2, "Extended Data"});
  next += 4;
  if (MsiControl::kPerVectorMasking.Get(control)) {
    names.push_back({next, 4, "Mask bits"});
    names.push_back({static_cast<uint16_t>(next + 4), 4, "Pending bits"});
  }
  return names;
}

std::vector<Label> NamesOf(absl::Span<const uint8_t> config,
                           const Capability& capability) {
  switch (capability.id) {
    case CapabilityId::kPowerManagement:
      return ListOf(kPowerManagementNames);
    case CapabilityId::kVitalProductData:
      return ListOf(kVpdNames);
    case CapabilityId::kMsi:
      return MsiNames(config, capability.offset);
    case CapabilityId::kMsix:
      return ListOf(kMsixNames);
    case CapabilityId::kPciExpress:
      return ListOf(kPcieNames);
    case CapabilityId::kAdvancedFeatures:
      return ListOf(kAfNames);
    default:
      return {};
  }
}

std::vector<Label> NamesOf(absl::Span<const uint8_t>,
                           const ExtendedCapability& capability) {
  switch (capability.id) {
    case ExtendedCapabilityId::kAdvancedErrorReporting:
      return ListOf(kAerNames);
    case ExtendedCapabilityId::kSingleRootIov:
      return ListOf(kSriovNames);
    case ExtendedCapabilityId::kDeviceSerialNumber:
      return ListOf(kSerialNames);
    default:
      return {};
  }
}

// Collects the registers. A byte belongs to the first that claims it, so that
// lists that overlap, as devices have them, do no harm.
class Map {
 public:
  explicit Map(size_t size) : owner_(size, kNone) {}

  // Adds those of `names` that begin in the first `length` bytes of a group.
  void Add(const std::string& group, uint16_t offset, uint16_t length,
           absl::Span<const Label> names) {
    for (const Label& name : names) {
      if (name.offset + name.size > length) continue;
      Claim({.offset = static_cast<uint16_t>(offset + name.offset),
             .size = name.size,
             .group = group,
             .group_offset = offset,
             .name = name.name});
    }
  }

  // Adds the bytes of a group that no register has, in aligned pieces.
  void Fill(const std::string& group, uint16_t offset, uint32_t end) {
    uint32_t at = offset;
    while (at < std::min<uint32_t>(end, static_cast<uint32_t>(owner_.size()))) {
      uint8_t size = at % 4 == 0 ? 4 : at % 2 == 0 ? 2 : 1;
      while (size > 1 && (at + size > end || !Free(at, size))) size /= 2;
      if (Free(at, size)) {
        Claim({.offset = static_cast<uint16_t>(at),
               .size = size,
               .group = group,
               .group_offset = offset,
               .name = group.empty()
                           ? ""
                           : absl::StrFormat("+0x%02x", at - offset)});
      }
      at += size;
    }
  }

  std::vector<NamedRegister> Take() {
    std::sort(registers_.begin(), registers_.end(),
              [](const NamedRegister& a, const NamedRegister& b) {
                return a.offset < b.offset;
              });
    return std::move(registers_);
  }

 private:
  static constexpr char kNone = 0;
  static constexpr char kTaken = 1;

  bool Free(uint32_t offset, uint8_t size) const {
    if (offset + size > owner_.size()) return false;
    return std::all_of(owner_.begin() + offset, owner_.begin() + offset + size,
                       [](char owner) { return owner == kNone; });
  }
  void Claim(NamedRegister reg) {
    if (!Free(reg.offset, reg.size)) return;
    std::fill_n(owner_.begin() + reg.offset, reg.size, kTaken);
    registers_.push_back(std::move(reg));
  }

  std::vector<char> owner_;
  std::vector<NamedRegister> registers_;
};

// Adds the capabilities of one list, of which the space ends at `end`.
template <typename List, typename LengthOf, size_t kCount>
void AddList(absl::Span<const uint8_t> config, const List& list, uint16_t end,
             LengthOf length_of, const Label (&head)[kCount], Map& map) {
  for (const auto& entry : list.entries) {
    uint16_t room = static_cast<uint16_t>(end - entry.offset);
    for (const auto& other : list.entries) {
      if (other.offset > entry.offset) {
        room = std::min<uint16_t>(
            room, static_cast<uint16_t>(other.offset - entry.offset));
      }
    }
    const uint16_t length =
        std::min<uint16_t>(room, length_of(config, entry).value_or(room));
    const std::string group(pci::Name(entry.id));
    map.Add(group, entry.offset, length, head);
    map.Add(group, entry.offset, length, NamesOf(config, entry));
    map.Fill(group, entry.offset, entry.offset + uint32_t{length});
  }
}

}  // namespace

std::vector<NamedRegister> ListRegisters(absl::Span<const uint8_t> config) {
  Map map(config.size());
  map.Add("Header", 0, kStandardHeaderSize, HeaderNames(config));
  AddList(config, WalkCapabilities(config), kConfigSpaceSize,
          StandardCapabilityLength, kCapabilityNames, map);
  AddList(config, WalkExtendedCapabilities(config), kExtendedConfigSpaceSize,
          ExtendedCapabilityLength, kExtendedNames, map);
  map.Fill("", 0, static_cast<uint32_t>(config.size()));
  return map.Take();
}

}  // namespace passthru::pci
