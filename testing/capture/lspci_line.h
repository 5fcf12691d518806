// SPDX-License-Identifier: Apache-2.0
//
// The parts of a line of lspci's output.
#ifndef PASSTHRU_TESTING_CAPTURE_LSPCI_LINE_H_
#define PASSTHRU_TESTING_CAPTURE_LSPCI_LINE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "passthru/testing/capture/lspci_text.h"

namespace passthru::capture {

// Messages echo at most this much of a line.
inline constexpr size_t kEchoed = 40;

bool IsHex(std::string_view text);

// Removes quote marks and white space around a line.
std::string_view Unquote(std::string_view line);

// Finds "8086:1533" in the words that lspci prints for a device, and sets the
// ids. Takes the last in brackets, which -nn prints behind the name and before
// "(rev 03) (prog-if 02 [NVM Express])". Without brackets the ids follow the
// word Device, if lspci does not know the vendor's name, or the class (-n).
// Returns whether there are any.
bool FindIds(std::string_view words, LspciDevice& device);

// Parses a name as -mm and -vmm print it, "Intel Corporation [8086]" (-nn) or
// "8086" (-n).
std::optional<uint16_t> IdOfName(std::string_view name);

// Sets the ids from `"0200" "8086" "1533" -r03 ...` (-mm).
void FindQuotedIds(std::string_view words, LspciDevice& device);

// Parses "[size=16K]". Returns std::nullopt for a line without it.
absl::StatusOr<std::optional<uint64_t>> SizeIn(std::string_view line);

// Parses "Memory at fea00000 (64-bit, prefetchable)" or "I/O ports at e000",
// without the size. Returns std::nullopt for other words.
std::optional<LspciDevice::Bar> BarIn(std::string_view words);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_LSPCI_LINE_H_
