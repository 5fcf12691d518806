// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_LSPCI_WORDS_H_
#define PASSTHRU_TESTING_CAPTURE_LSPCI_WORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "passthru/testing/capture/lspci_text.h"

namespace passthru::capture {

// Writes into a configuration space of 256 bytes, of which only the header is
// known, the capabilities that lspci (-v) told in words: power management, MSI,
// MSI-X, PCI Express and Advanced Features. Sets the registers that the words
// tell. Returns notes on what it did and on what it had to leave out.
std::vector<std::string> AddCapabilitiesFromWords(
    const std::vector<LspciDevice::Capability>& capabilities,
    absl::Span<uint8_t> config);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_LSPCI_WORDS_H_
