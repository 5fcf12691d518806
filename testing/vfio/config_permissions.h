// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_CONFIG_PERMISSIONS_H_
#define PASSTHRU_TESTING_VFIO_CONFIG_PERMISSIONS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace passthru::fake {

// What vfio-pci does with a byte of the configuration space. One for each byte;
// see drivers/vfio/pci/vfio_pci_config.c, struct perm_bits.
enum class ConfigByteAccess : uint8_t {
  // Bytes of no capability: straight to the hardware, both ways.
  kRaw,
  // A capability without rules: read from the hardware, except for its header,
  // and writes dropped.
  kDirect,
  // The same, but writes go to the hardware (vendor-specific).
  kDirectWritable,
  // By the virt and write masks.
  kMasked,
};

// To which structure a byte belongs. Capabilities are told apart by where they
// start; the standard header starts at 0.
struct ConfigByte {
  ConfigByteAccess access = ConfigByteAccess::kRaw;
  uint16_t start = 0;  // Of the structure; of a raw byte, itself.
  uint16_t id = 0;     // Capability id; 0 for the header and for raw bytes.
  bool extended = false;
  uint8_t virt = 0;   // 1: the bit is the kernel's copy, not the hardware.
  uint8_t write = 0;  // 1: the bit can be written.
};

// The kernel's view of a function's configuration space as it is made when the
// device is opened (vfio_config_init()): what each byte belongs to, and the
// kernel's own copy of it, from which capabilities that it does not want to
// show are unlinked.
struct ConfigLayout {
  std::vector<ConfigByte> bytes;
  std::vector<uint8_t> vconfig;
};

struct ConfigLayoutOptions {
  bool is_virtual_function = false;
  // No interrupt pin is shown: known broken ones, and virtual functions.
  bool hide_interrupt_pin = false;
  // Ids that replace those of a virtual function, whose own read 0xffff.
  uint16_t vendor_id = 0xffff;
  uint16_t device_id = 0xffff;
};

// `config` is the hardware's configuration space of 256 or 4096 bytes, of any
// contents.
ConfigLayout MakeConfigLayout(absl::Span<const uint8_t> config,
                              const ConfigLayoutOptions& options);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_CONFIG_PERMISSIONS_H_
