// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/capability_check.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {

absl::Status CheckCapability(absl::Span<const uint8_t> config, uint8_t offset,
                             CapabilityId id, size_t size) {
  if (offset < kStandardHeaderSize) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s capability at 0x%02x: inside of the configuration header", Name(id),
        offset));
  }
  const size_t end = std::min<size_t>(config.size(), kConfigSpaceSize);
  if (offset + size > end) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s capability at 0x%02x: its %d bytes do not fit below "
        "0x%x",
        Name(id), offset, size, end));
  }
  if (config[offset] != static_cast<uint8_t>(id)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s capability at 0x%02x: the capability ID there is 0x%02x, not "
        "0x%02x",
        Name(id), offset, config[offset], static_cast<uint8_t>(id)));
  }
  return absl::OkStatus();
}

}  // namespace passthru::pci
