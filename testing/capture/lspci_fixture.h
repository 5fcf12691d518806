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
  // Selects a device of the text. Not needed if there is only one.
  std::optional<std::string> bdf;
  fixture::Provenance provenance;
  bool include_identity = false;
};

// Makes a fixture of a device from a text that lspci printed. It assumes what
// lspci does not print, and adds a note for each assumption.
//
// - A BAR whose size the text does not give gets the smallest size from 4 KiB
//   on (4 for ports) that holds the MSI-X structures, or less if the address
//   allows no more.
// - A BAR whose register holds nothing is what the text says of it. Of a ROM
//   that is shadowed in low memory, the text says nothing.
// - Capabilities of a text with only the header are as far as the words tell.
// - Regions and interrupts are those that vfio-pci of Linux 6.12 would show.
//   The function can be reset as its capabilities say, and not by the bus.
// - Bits can be written as the specification says. The others are unknown.
// - Contents of BARs are zero.
//
// It undoes what a driver that was using the device had set, which is bus
// mastering, interrupts and power state. The result passes Validate(). For any
// input this returns a fixture or an error that says what to do.
absl::StatusOr<Capture> FixtureFromLspci(std::string_view text,
                                         const LspciOptions& options);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_LSPCI_FIXTURE_H_
