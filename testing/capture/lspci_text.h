// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_LSPCI_TEXT_H_
#define PASSTHRU_TESTING_CAPTURE_LSPCI_TEXT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/pci/bar_index.h"

namespace passthru::capture {

// One function in the output of lspci. Fields that the text does not give are
// absent.
struct LspciDevice {
  std::string bdf;          // "0000:01:00.0".
  std::string description;  // The rest of the heading.
  // "[8086:1520]" in the heading (-nn).
  std::optional<uint16_t> vendor_id;
  std::optional<uint16_t> device_id;
  // The 64, 256 or 4096 bytes of the hexadecimal rows (-x, -xxx, -xxxx).
  std::vector<uint8_t> config;
  // "[size=16K]" of the BARs and the ROM.
  std::array<std::optional<uint64_t>, pci::BarIndex::kCount> sizes;
  // From "Region 0: Memory at fea00000 (64-bit, prefetchable)". A virtual
  // function's own registers do not tell this.
  struct MemoryBar {
    uint64_t address = 0;
    bool is_64bit = false;
    bool prefetchable = false;
  };
  std::array<std::optional<MemoryBar>, pci::BarIndex::kCount> memory_bars;
  std::optional<uint32_t> iommu_group;
  std::string driver;  // "Kernel driver in use".
};

// Parses the output of `lspci -xxxx -vv`, or with fewer x and v, of any version
// of pciutils, in the forms in which people post it. These have a prompt above,
// quote marks ("> "), other indentation or Windows' line ends. Ignores other
// lines.
//
// For any input this returns devices that have a configuration space each, or
// an error that names the line and says what to do.
absl::StatusOr<std::vector<LspciDevice>> ParseLspci(std::string_view text);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_LSPCI_TEXT_H_
