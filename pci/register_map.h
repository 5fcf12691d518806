// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_REGISTER_MAP_H_
#define PASSTHRU_PCI_REGISTER_MAP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace passthru::pci {

// A register of a configuration space, with its name for people.
struct NamedRegister {
  uint16_t offset = 0;
  uint8_t size = 0;  // 1, 2 or 4
  // Where the register belongs: "Header", the name of a capability, or "" if it
  // is in no listed capability.
  std::string group;
  uint16_t group_offset = 0;  // where the group begins
  // As in the specification, as "Link Control", or its offset in the group, as
  // "+0x14", if it has no name here. Empty if it is in no group.
  std::string name;

  friend bool operator==(const NamedRegister&, const NamedRegister&) = default;
};

// Divides the configuration space of a function with a type 0 header into
// registers, in ascending order and without gaps. `config` is its image of 256
// or 4096 bytes, of any contents, whose capability lists say which registers
// are where.
std::vector<NamedRegister> ListRegisters(absl::Span<const uint8_t> config);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_REGISTER_MAP_H_
