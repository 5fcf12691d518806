// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/json_text.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_format.h"

namespace passthru::vmm {
namespace {

// Returns how many bytes the UTF-8 sequence at the beginning of `text` has
// (RFC 3629, section 4), or 0 if there is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&text](size_t i) {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0};
  };
  const auto within = [](uint8_t value, uint8_t low, uint8_t high) {
    return value >= low && value <= high;
  };
  const auto tail = [&](size_t i) { return within(byte(i), 0x80, 0xbf); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (within(first, 0xc2, 0xdf)) return tail(1) ? 2 : 0;
  if (within(first, 0xe0, 0xef)) {
    const uint8_t low = first == 0xe0 ? 0xa0 : 0x80;
    const uint8_t high = first == 0xed ? 0x9f : 0xbf;  // no surrogates
    return within(byte(1), low, high) && tail(2) ? 3 : 0;
  }
  if (within(first, 0xf0, 0xf4)) {
    const uint8_t low = first == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xf4 ? 0x8f : 0xbf;
    return within(byte(1), low, high) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

bool IsMarkup(char c) { return c == '<' || c == '>' || c == '&'; }

}  // namespace

std::string JsonString(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const char c = text.front();
    if (length == 0) {
      json += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f || IsMarkup(c)) {
      absl::StrAppendFormat(&json, "\\u%04x", static_cast<uint8_t>(c));
    } else {
      json.append(text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  json += '"';
  return json;
}

std::string JsonInHtml(std::string_view json) {
  std::string escaped;
  escaped.reserve(json.size());
  for (const char c : json) {
    if (IsMarkup(c)) {
      absl::StrAppendFormat(&escaped, "\\u%04x", static_cast<uint8_t>(c));
    } else {
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace passthru::vmm
