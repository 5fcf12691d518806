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
  kNone,     // Nothing is written.
  kDefined,  // Registers that a specification defines and that are safe.
  kAll,      // Also those of the vendor, and bytes that nothing defines.
};

// The masks of a type 0 function's configuration space that are known without
// writing: what the specifications make read-only (identity, header type,
// pointers of capability lists, ...). All else is unknown.
fixture::ConfigImage SpecifiedMasks(absl::Span<const uint8_t> config);

// Which bits of each byte a measurement may write: none that start something
// or clear something (BIST, resets, power states, status bits, enabling MSI or
// virtual functions, writing product data, sizes of BARs, ...), whichever
// `measurement` it is.
std::vector<uint8_t> MeasurableBits(absl::Span<const uint8_t> config,
                                    MaskMeasurement measurement);

// Inverts those bits byte by byte, looks which of them changed, and writes the
// old value back, each byte before the next is touched. The device must be
// held in D0 and not be used. Adds to `notes` what did not come back.
absl::Status MeasureWriteMasks(const PhysicalConfig& physical,
                               MaskMeasurement measurement,
                               fixture::ConfigImage& image,
                               std::vector<std::string>& notes);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_WRITE_MASKS_H_
