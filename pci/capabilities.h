// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CAPABILITIES_H_
#define PASSTHRU_PCI_CAPABILITIES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "passthru/pci/capability_id.h"

// Walks over the two capability lists of a function. The lists come from a
// device, or from a file that recorded one, so they may hold anything. A walk
// always ends, stays inside the image and yields every capability at most once.

namespace passthru::pci {

struct Capability {
  CapabilityId id = CapabilityId::kNull;
  uint8_t offset = 0;
  uint8_t next = 0;  // Reserved bits removed; 0 at the end.
  friend constexpr bool operator==(const Capability&,
                                   const Capability&) = default;
};

struct ExtendedCapability {
  ExtendedCapabilityId id = ExtendedCapabilityId::kNull;
  uint8_t version = 0;
  uint16_t offset = 0;
  uint16_t next = 0;  // Reserved bits removed; 0 at the end.
  friend constexpr bool operator==(const ExtendedCapability&,
                                   const ExtendedCapability&) = default;
};

// The entries that a walk found, in the order of the list. If the list is
// broken, the entries before the broken place are kept and `malformed` tells
// what is wrong.
template <typename Entry>
struct BasicCapabilityList {
  std::vector<Entry> entries;
  std::string malformed;  // Empty if the list is well formed.

  // Returns the first entry with that ID, or null.
  const Entry* Find(decltype(Entry::id) id) const {
    for (const Entry& entry : entries) {
      if (entry.id == id) return &entry;
    }
    return nullptr;
  }
};
using CapabilityList = BasicCapabilityList<Capability>;
using ExtendedCapabilityList = BasicCapabilityList<ExtendedCapability>;

// Walks the list of PCI 3.0 6.7, which lies in 0x40 to 0xff. `config` is an
// image of the configuration space from its start, of any length.
CapabilityList WalkCapabilities(absl::Span<const uint8_t> config);

// Walks the list of PCIe 6.0 7.6.3, which lies in 0x100 to 0xfff. The result is
// empty and well formed if the image ends before 0x104, or if the function has
// no such list.
ExtendedCapabilityList WalkExtendedCapabilities(
    absl::Span<const uint8_t> config);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CAPABILITIES_H_
