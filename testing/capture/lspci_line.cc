// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/lspci_line.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace passthru::capture {
namespace {

// Returns the value of four hexadecimal digits and nothing else.
std::optional<uint16_t> FourDigits(std::string_view text) {
  uint32_t value = 0;
  if (text.size() != 4 || !IsHex(text) || !absl::SimpleHexAtoi(text, &value)) {
    return std::nullopt;
  }
  return static_cast<uint16_t>(value);
}

}  // namespace

bool IsHex(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isxdigit(static_cast<unsigned char>(c));
  });
}

std::string_view Unquote(std::string_view line) {
  line = absl::StripAsciiWhitespace(line);
  while (absl::ConsumePrefix(&line, ">") || absl::ConsumePrefix(&line, "|")) {
    line = absl::StripLeadingAsciiWhitespace(line);
  }
  return line;
}

bool FindIds(std::string_view words, LspciDevice& device) {
  bool found = false;
  for (size_t at = words.find(':'); at != std::string_view::npos;
       at = words.find(':', at + 1)) {
    if (at < 4 || at + 5 > words.size()) continue;
    const auto vendor = FourDigits(words.substr(at - 4, 4));
    const auto id = FourDigits(words.substr(at + 1, 4));
    if (!vendor.has_value() || !id.has_value()) continue;
    const std::string_view before = words.substr(0, at - 4);
    const std::string_view after = words.substr(at + 5);
    const bool bracketed =
        absl::EndsWith(before, "[") && absl::StartsWith(after, "]");
    // "Class 0200: " or "0200: " and nothing else.
    std::string_view class_code = before;
    absl::ConsumePrefix(&class_code, "Class ");
    const bool numeric = class_code.size() == 6 &&
                         FourDigits(class_code.substr(0, 4)).has_value() &&
                         absl::EndsWith(class_code, ": ");
    const bool ends = after.empty() || after[0] == ' ' || after[0] == '"';
    if (bracketed ||
        (ends && !found && (numeric || absl::EndsWith(before, "Device ")))) {
      device.vendor_id = vendor;
      device.device_id = id;
      found = true;
    }
  }
  return found;
}

std::optional<uint16_t> IdOfName(std::string_view name) {
  if (const auto id = FourDigits(name)) return id;
  if (name.size() < 6 || name.back() != ']' || name[name.size() - 6] != '[') {
    return std::nullopt;
  }
  return FourDigits(name.substr(name.size() - 5, 4));
}

void FindQuotedIds(std::string_view words, LspciDevice& device) {
  const std::vector<std::string_view> parts = absl::StrSplit(words, '"');
  // The class, the vendor and the device are every second part.
  if (parts.size() < 7 || !parts[0].empty()) return;
  device.vendor_id = IdOfName(parts[3]);
  device.device_id = IdOfName(parts[5]);
}

absl::StatusOr<std::optional<uint64_t>> SizeIn(std::string_view line) {
  constexpr std::string_view kSize = "[size=";
  const size_t begin = line.find(kSize);
  if (begin == std::string_view::npos) return std::nullopt;
  std::string_view text = line.substr(begin + kSize.size());
  text = text.substr(0, text.find(']'));
  unsigned shift = 0;
  if (!text.empty()) {
    switch (absl::ascii_toupper(static_cast<unsigned char>(text.back()))) {
      case 'K':
        shift = 10;
        break;
      case 'M':
        shift = 20;
        break;
      case 'G':
        shift = 30;
        break;
      case 'T':
        shift = 40;
        break;
      case 'P':
        shift = 50;
        break;
      default:
        break;
    }
  }
  if (shift != 0) text.remove_suffix(1);
  uint64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value == 0 ||
      value > std::numeric_limits<uint64_t>::max() >> shift) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"[size=", absl::CHexEscape(text.substr(0, kEchoed)),
                     "\" is no size that lspci prints, such as [size=16K]"));
  }
  return value << shift;
}

std::optional<LspciDevice::Bar> BarIn(std::string_view words) {
  LspciDevice::Bar bar;
  if (absl::ConsumePrefix(&words, "I/O ports at ")) {
    bar.is_io = true;
  } else if (!absl::ConsumePrefix(&words, "Memory at ")) {
    return std::nullopt;
  }
  const std::string_view digits = words.substr(0, words.find(' '));
  uint64_t address = 0;
  if (digits.size() <= 16 && IsHex(digits) &&
      absl::SimpleHexAtoi(digits, &address)) {
    bar.address = address;
  }
  bar.is_64bit = absl::StrContains(words, "(64-bit");
  bar.prefetchable = absl::StrContains(words, " prefetchable)");
  return bar;
}

}  // namespace passthru::capture
