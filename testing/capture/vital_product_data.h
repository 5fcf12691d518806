// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_VITAL_PRODUCT_DATA_H_
#define PASSTHRU_TESTING_CAPTURE_VITAL_PRODUCT_DATA_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "passthru/devices/vfio/vfio_device.h"

namespace passthru::capture {

// Vital Product Data (PCI 3.0, appendix I).

// Reads all resources up to the end tag, or as much as the device gives,
// through the capability at `offset`. Reading changes no state that others use.
std::vector<uint8_t> ReadVpd(const vfio::VfioDevice& device, uint8_t offset);

// A field whose value may tell one board from another, which is its serial
// number or a field whose meaning only the vendor knows.
struct VpdField {
  std::string keyword;  // "SN"
  size_t offset = 0;    // Offset of its value.
  size_t length = 0;
};
std::vector<VpdField> IdentifyingVpdFields(absl::Span<const uint8_t> vpd);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_VITAL_PRODUCT_DATA_H_
