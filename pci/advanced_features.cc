// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/advanced_features.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/capability_check.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"

namespace passthru::pci {

absl::StatusOr<AfCapability> AfCapability::Parse(
    absl::Span<const uint8_t> config, uint8_t offset) {
  if (absl::Status status = CheckCapability(
          config, offset, CapabilityId::kAdvancedFeatures, kSize);
      !status.ok()) {
    return status;
  }
  const uint8_t length = ReadRegister(config, kLength.At(offset));
  if (length != kSize) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "Advanced Features capability at 0x%02x: declares %d bytes, not %d",
        offset, length, kSize));
  }
  return AfCapability(offset, ReadRegister(config, kCapabilities.At(offset)));
}

}  // namespace passthru::pci
