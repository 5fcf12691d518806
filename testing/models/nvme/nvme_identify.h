// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_IDENTIFY_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_IDENTIFY_H_

#include <array>
#include <cstdint>
#include <string>

namespace passthru::models::nvme {

// What a controller reports about itself in Identify (NVMe 1.4, 5.15).
struct Identity {
  std::string serial_number = "PASSTHRU0001";   // At most 20 characters.
  std::string model_number = "QEMU NVMe Ctrl";  // At most 40.
  std::string firmware_revision = "1.0";        // At most 8.
  uint64_t namespace_blocks = 0;
  uint8_t max_transfer_shift = 0;  // MDTS, 2^n minimum pages.
  uint8_t abort_limit = 0;         // Zero-based, like the next one.
  uint8_t async_event_limit = 0;
};

using IdentifyPage = std::array<uint8_t, 4096>;

IdentifyPage IdentifyController(const Identity& identity);
IdentifyPage IdentifyNamespace(const Identity& identity);
// Returns the namespaces with an identifier above `after`. There is only
// namespace 1.
IdentifyPage IdentifyActiveNamespaces(uint32_t after);
IdentifyPage IdentifyNamespaceDescriptors();
// Returns the one combination of I/O command sets, which is the NVM command
// set.
IdentifyPage IdentifyCommandSets();

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_IDENTIFY_H_
