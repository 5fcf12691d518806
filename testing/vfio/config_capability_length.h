// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_CONFIG_CAPABILITY_LENGTH_H_
#define PASSTHRU_TESTING_VFIO_CONFIG_CAPABILITY_LENGTH_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace passthru::fake {

// Return how many bytes vfio-pci assumes a capability to have (pci_cap_length,
// pci_ext_cap_length and the functions for variable lengths), or 0 for one that
// it does not show. It hides those that have no length there and unknown ids.
// `at` is the start of the capability. Bytes outside of the space count as
// zero.
size_t StandardCapabilityLength(absl::Span<const uint8_t> config, uint8_t id,
                                size_t at);
size_t ExtendedCapabilityLength(absl::Span<const uint8_t> config, uint16_t id,
                                size_t at);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_CONFIG_CAPABILITY_LENGTH_H_
