// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/bdf.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace passthru::pci {
namespace {

// Parses 1 to `max_digits` hexadecimal digits and nothing else. SimpleHexAtoi
// would also accept a sign, "0x" and blanks.
std::optional<uint32_t> ParseHex(absl::string_view text, size_t max_digits) {
  if (text.empty() || text.size() > max_digits) return std::nullopt;
  for (const char c : text) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
      return std::nullopt;
    }
  }
  uint32_t value = 0;
  if (!absl::SimpleHexAtoi(text, &value)) return std::nullopt;
  return value;
}

absl::Status Malformed(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text, "\" is not a PCI address such as 0000:01:00.0: ", why));
}

}  // namespace

absl::StatusOr<Bdf> Bdf::Parse(absl::string_view text) {
  const size_t dot = text.rfind('.');
  if (dot == absl::string_view::npos) {
    return Malformed(text, "there is no '.' before a function number");
  }
  absl::string_view rest = text.substr(0, dot);
  const size_t device_colon = rest.rfind(':');
  if (device_colon == absl::string_view::npos) {
    return Malformed(text, "there is no ':' between bus and device");
  }
  const auto function = ParseHex(text.substr(dot + 1), 1);
  if (!function.has_value() || *function >= kFunctionsPerDevice) {
    return Malformed(text, "the function number is not 0 to 7");
  }
  const auto device = ParseHex(rest.substr(device_colon + 1), 2);
  if (!device.has_value() || *device >= kDevicesPerBus) {
    return Malformed(text, "the device number is not 00 to 1f");
  }
  rest = rest.substr(0, device_colon);
  uint32_t segment = 0;
  const size_t bus_colon = rest.rfind(':');
  if (bus_colon != absl::string_view::npos) {
    const auto parsed = ParseHex(rest.substr(0, bus_colon), 8);
    if (!parsed.has_value()) {
      return Malformed(text, "the segment number is not 0000 to ffffffff");
    }
    segment = *parsed;
    rest = rest.substr(bus_colon + 1);
  }
  const auto bus = ParseHex(rest, 2);
  if (!bus.has_value()) {
    return Malformed(text, "the bus number is not 00 to ff");
  }
  return Bdf(segment, static_cast<uint8_t>(*bus), static_cast<uint8_t>(*device),
             static_cast<uint8_t>(*function));
}

std::string Bdf::ToString() const {
  return absl::StrFormat("%04x:%02x:%02x.%x", segment_, bus_, device_,
                         function_);
}

uint8_t Bdf::Invalid(const char* what, uint8_t value) {
  LOG(FATAL) << "PCI " << what << " number " << int{value}
             << " is out of range";
}

}  // namespace passthru::pci
