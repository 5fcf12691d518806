// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CONFIG_IMAGE_H_
#define PASSTHRU_PCI_CONFIG_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace passthru::pci {

// An image of a configuration space, for tests. A test builds it register by
// register or reads it from a dump.
//
// Thread-compatible.
class ConfigImage {
 public:
  explicit ConfigImage(size_t size = 256) : bytes_(size) {}

  // Parses lines as `lspci -xxxx` prints them, for example "40: 11 80 40 00".
  // Rows that the dump leaves out are zero. Dies on anything else.
  static ConfigImage FromDump(absl::string_view dump, size_t size);

  ConfigImage& Set8(size_t offset, uint8_t value);
  ConfigImage& Set16(size_t offset, uint16_t value);
  ConfigImage& Set32(size_t offset, uint32_t value);

  // Writes a capability's header at `offset` and links to it from the
  // capability at `previous`. If `previous` is 0, this is the first capability,
  // so the capabilities pointer leads to it and Status.CapList is set.
  ConfigImage& AddCapability(uint8_t offset, uint8_t id, uint8_t previous = 0);

  absl::Span<const uint8_t> bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

// Configuration spaces of functions that QEMU 7.2 emulates, as Linux 6.12 read
// them.
ConfigImage CapturedNvme();
ConfigImage CapturedE1000e();
ConfigImage CapturedVirtioNet();
ConfigImage CapturedAhci();

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CONFIG_IMAGE_H_
