// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_LSPCI_FIXTURE_H_
#define PASSTHRU_TESTING_CAPTURE_LSPCI_FIXTURE_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "passthru/testing/capture/capture.h"
#include "passthru/testing/capture/lspci_text.h"

namespace passthru::capture {

struct LspciOptions {
  std::string name;  // By default vendor and device id.
  // Which device of the text; not needed if there is one.
  std::optional<std::string> bdf;
  fixture::Provenance provenance;
  bool include_identity = false;
};

// A fixture of a device that somebody has posted as text. What lspci does not
// print is assumed, and each assumption is a note:
//
// - sizes of BARs that the text does not give: the smallest from 4 KiB (ports:
//   4) that hold the MSI-X structures;
// - VFIO's regions and interrupts: what vfio-pci of Linux 6.12 makes of such a
//   device; how it can be reset: what its capabilities say, without the bus;
// - which bits can be written: as the specification says, the rest unknown;
// - contents of BARs: zeros.
//
// What a driver that was using the device had set is undone: bus mastering,
// interrupts, power state. The result passes Validate(). For any bytes this
// ends with a fixture or with an error that says what to do.
absl::StatusOr<Capture> FixtureFromLspci(std::string_view text,
                                         const LspciOptions& options);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_LSPCI_FIXTURE_H_
