// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_LSPCI_TEXT_H_
#define PASSTHRU_TESTING_CAPTURE_LSPCI_TEXT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/pci/bar_index.h"

namespace passthru::capture {

// One function in the output of lspci. Fields that the text does not give are
// absent.
struct LspciDevice {
  std::string bdf;          // "0000:01:00.0".
  std::string description;  // The rest of the heading.
  // From the heading, as "[8086:1520]" (-nn), "8086:1520" (-n) or in the forms
  // of -mm and -vmm.
  std::optional<uint16_t> vendor_id;
  std::optional<uint16_t> device_id;
  // The 64, 256 or 4096 bytes of the hexadecimal rows (-x, -xxx, -xxxx).
  std::vector<uint8_t> config;

  // From "Region 0: Memory at fea00000 (64-bit, prefetchable) [size=16K]", or
  // from "Expansion ROM at fe300000 [size=512K]".
  struct Bar {
    bool is_io = false;
    // Absent for "<unassigned>" and "<ignored>".
    std::optional<uint64_t> address;
    bool is_64bit = false;
    bool prefetchable = false;
    // "[virtual]", which means that the register holds no address.
    bool is_virtual = false;
    std::optional<uint64_t> size;
  };
  // The BARs and the ROM. With one -v the lines have no numbers, and these are
  // then the first BARs for which the registers leave a choice.
  std::array<std::optional<Bar>, pci::BarIndex::kCount> bars;

  // A capability in words, from "Capabilities: [50] MSI: Enable- ..." and the
  // lines below it, without the extended capabilities.
  struct Capability {
    uint8_t offset = 0;
    std::string text;
  };
  std::vector<Capability> capabilities;

  std::optional<uint32_t> iommu_group;
  std::string driver;  // "Kernel driver in use".
  // Why the text of this device cannot be used, with the number of a line. The
  // other fields are then incomplete.
  absl::Status status;
};

// Parses the output of `lspci -xxxx -vv`, or with fewer x and v, with or
// without -n, -nn, -D, -mm and -vmm, of any version of pciutils, in the forms
// in which people post it. These have a prompt above, quote marks ("> "), other
// indentation or an encoding (see PlainText()). Ignores other lines.
//
// For any input this returns devices that have a configuration space or a
// status each, or an error that names the line and says what to do.
absl::StatusOr<std::vector<LspciDevice>> ParseLspci(std::string_view text);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_LSPCI_TEXT_H_
