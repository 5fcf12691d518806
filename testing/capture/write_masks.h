// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_WRITE_MASKS_H_
#define PASSTHRU_TESTING_CAPTURE_WRITE_MASKS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/testing/capture/sysfs_device.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {

enum class MaskMeasurement {
  kNone,     // Write nothing.
  kDefined,  // Registers that a specification defines and that are safe.
  kAll,      // Also vendor's registers and undefined bytes.
};

// Returns the masks of a type 0 function's configuration space that are known
// without writing. The specifications make some bits read-only (identity,
// header type, pointers of capability lists, ...). All others are unknown.
fixture::ConfigImage SpecifiedMasks(absl::Span<const uint8_t> config);

// Returns the bits of each byte that a measurement may write. It never includes
// bits that start or clear something (BIST, resets, power states, status bits,
// enabling MSI or virtual functions, writing product data, sizes of BARs, ...),
// whatever `measurement` is.
std::vector<uint8_t> MeasurableBits(absl::Span<const uint8_t> config,
                                    MaskMeasurement measurement);

// Inverts those bits byte by byte, finds out which of them changed, and
// restores each byte before it touches the next. The caller must hold the
// device in D0, and no program may use it. Adds to `notes` the bytes that could
// not be restored.
absl::Status MeasureWriteMasks(const PhysicalConfig& physical,
                               MaskMeasurement measurement,
                               fixture::ConfigImage& image,
                               std::vector<std::string>& notes);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_WRITE_MASKS_H_
