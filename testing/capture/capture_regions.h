// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_CAPTURE_REGIONS_H_
#define PASSTHRU_TESTING_CAPTURE_CAPTURE_REGIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/testing/capture/capture.h"
#include "passthru/testing/fixture/device.pb.h"

namespace passthru::capture {

// The regions that VFIO shows but for the configuration space, with all their
// capabilities, known here or not, and the expansion ROM.
absl::Status CaptureRegions(const vfio::VfioDevice& vfio_device,
                            absl::Span<const uint8_t> config,
                            fixture::PciDevice& device,
                            std::vector<std::string>& notes);

// Contents of BARs. The MSI-X table is not among them, which VFIO does not show
// by reads.
absl::Status CaptureContents(const vfio::VfioDevice& vfio_device,
                             absl::Span<const uint8_t> config,
                             const std::vector<ContentsRange>& ranges,
                             fixture::PciDevice& device);

// What the MSI-X table holds where it differs from what it should after reset,
// through a mapping; where VFIO lets none be made, `notes` say so.
absl::Status CaptureMsixTable(const vfio::VfioDevice& vfio_device,
                              absl::Span<const uint8_t> config,
                              fixture::PciDevice& device,
                              std::vector<std::string>& notes);

// The expansion ROM's image, if VFIO shows one.
absl::Status CaptureRomImage(const vfio::VfioDevice& vfio_device,
                             fixture::PciDevice& device);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_CAPTURE_REGIONS_H_
