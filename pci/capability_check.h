// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CAPABILITY_CHECK_H_
#define PASSTHRU_PCI_CAPABILITY_CHECK_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/pci/capability_id.h"

namespace passthru::pci {

// Returns OK if there is a capability `id` at `offset` and its first `size`
// bytes lie behind the header, below 0x100 and inside the image. Every parser
// of a capability calls this first.
absl::Status CheckCapability(absl::Span<const uint8_t> config, uint8_t offset,
                             CapabilityId id, size_t size);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CAPABILITY_CHECK_H_
