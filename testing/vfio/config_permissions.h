// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_CONFIG_PERMISSIONS_H_
#define PASSTHRU_TESTING_VFIO_CONFIG_PERMISSIONS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace passthru::fake {

// How vfio-pci treats a byte of the configuration space (see struct perm_bits
// in drivers/vfio/pci/vfio_pci_config.c).
enum class ConfigByteAccess : uint8_t {
  // The byte belongs to no capability. Reads and writes reach the hardware.
  kRaw,
  // The byte belongs to a capability without rules. Reads reach the hardware,
  // except for the capability's header. Writes are dropped.
  kDirect,
  // Like kDirect, but writes reach the hardware (vendor-specific).
  kDirectWritable,
  // The virt and write masks decide for each bit.
  kMasked,
};

// The structure that a byte belongs to. A structure's start identifies it. The
// standard header starts at 0.
struct ConfigByte {
  ConfigByteAccess access = ConfigByteAccess::kRaw;
  uint16_t start = 0;  // Of the structure. A raw byte is its own.
  uint16_t id = 0;     // Capability id. 0 for the header and raw bytes.
  bool extended = false;
  uint8_t virt = 0;   // 1 if the bit is the kernel's copy.
  uint8_t write = 0;  // 1 if software can write the bit.
};

// The kernel's view of a function's configuration space, as vfio_config_init()
// makes it when the device is opened. It has the structure of each byte, and
// the kernel's own copy of the space, in which the links skip the capabilities
// that the kernel hides.
struct ConfigLayout {
  std::vector<ConfigByte> bytes;
  std::vector<uint8_t> vconfig;
};

struct ConfigLayoutOptions {
  bool is_virtual_function = false;
  // Whether to show no interrupt pin. True for virtual functions, and for
  // functions whose INTx is known to be broken.
  bool hide_interrupt_pin = false;
  // Replace the ids of a virtual function, which read as 0xffff.
  uint16_t vendor_id = 0xffff;
  uint16_t device_id = 0xffff;
};

// Makes the layout for `config`, which is the hardware's configuration space of
// 256 or 4096 bytes and may have any contents.
ConfigLayout MakeConfigLayout(absl::Span<const uint8_t> config,
                              const ConfigLayoutOptions& options);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_CONFIG_PERMISSIONS_H_
