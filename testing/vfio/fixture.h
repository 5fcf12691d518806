// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FIXTURE_H_
#define PASSTHRU_TESTING_VFIO_FIXTURE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "testing/proto/device.pb.h"

namespace passthru::fake {

// Reads and validates a fixture: a PciDevice in protobuf's text format. Every
// error names the file; one in the text, line and column too.
absl::StatusOr<PciDevice> LoadFixture(const std::string& path);

// The same of text that is in memory; `file` is what errors call it.
absl::StatusOr<PciDevice> ParseFixture(std::string_view text,
                                       std::string_view file);

// Whether a device makes sense: that every field has a value it may have, and
// that what the fixture says twice (regions and BAR registers, irqs and
// capabilities, identity and header) agrees. Lists of capabilities that are
// broken as hardware breaks them (loops, overlaps, unknown ids) are not errors:
// they are what fixtures are for.
//
// The status has one line for each problem found: "FILE: FIELD: REASON".
absl::Status Validate(const PciDevice& device, std::string_view file);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FIXTURE_H_
