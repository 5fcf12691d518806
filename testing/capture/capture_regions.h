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

// Captures the expansion ROM's size and the regions that VFIO shows, except for
// the configuration space, with all their capabilities, even unknown ones.
absl::Status CaptureRegions(const vfio::VfioDevice& vfio_device,
                            absl::Span<const uint8_t> config,
                            fixture::PciDevice& device,
                            std::vector<std::string>& notes);

// Captures contents of BARs without the MSI-X table, which VFIO does not show
// by reads.
absl::Status CaptureContents(const vfio::VfioDevice& vfio_device,
                             absl::Span<const uint8_t> config,
                             const std::vector<ContentsRange>& ranges,
                             fixture::PciDevice& device);

// Captures the MSI-X table entries that differ from those after a reset,
// through a mapping. If VFIO permits no mapping, adds a note.
absl::Status CaptureMsixTable(const vfio::VfioDevice& vfio_device,
                              absl::Span<const uint8_t> config,
                              fixture::PciDevice& device,
                              std::vector<std::string>& notes);

// Captures the expansion ROM's image, if VFIO shows one.
absl::Status CaptureRomImage(const vfio::VfioDevice& vfio_device,
                             fixture::PciDevice& device);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_CAPTURE_REGIONS_H_
