// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_CONFIG_CAPABILITY_LENGTH_H_
#define PASSTHRU_TESTING_VFIO_CONFIG_CAPABILITY_LENGTH_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace passthru::fake {

// How many bytes vfio-pci takes a capability to have (pci_cap_length,
// pci_ext_cap_length and their functions of variable length); 0 for one that it
// does not show: those of no length there, and ids that it does not know. `at`
// is where the capability starts; what lies outside the space reads as zero.
size_t StandardCapabilityLength(absl::Span<const uint8_t> config, uint8_t id,
                                size_t at);
size_t ExtendedCapabilityLength(absl::Span<const uint8_t> config, uint16_t id,
                                size_t at);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_CONFIG_CAPABILITY_LENGTH_H_
