// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/shell_word.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace passthru::doctor {
namespace {

// No line of the report needs more of what a file says.
constexpr size_t kLongest = 400;

// Returns how many bytes the UTF-8 sequence at the beginning of `text` has
// (Unicode 15.0, table 3-7), or 0 if there is none that can be printed.
size_t PrintableLength(std::string_view text) {
  const auto within = [&text](size_t i, uint8_t low, uint8_t high) {
    const auto byte = static_cast<uint8_t>(i < text.size() ? text[i] : 0);
    return byte >= low && byte <= high;
  };
  const auto tail = [&within](size_t i) { return within(i, 0x80, 0xbf); };
  const auto first = static_cast<uint8_t>(text.front());
  if (first < 0x80) return first < 0x20 || first == 0x7f ? 0 : 1;
  // The controls U+0080 to U+009F are terminals' commands, too.
  if (first == 0xc2) return within(1, 0xa0, 0xbf) ? 2 : 0;
  if (within(0, 0xc3, 0xdf)) return tail(1) ? 2 : 0;
  if (within(0, 0xe0, 0xef)) {
    const bool second =
        within(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf);
    return second && tail(2) ? 3 : 0;
  }
  if (within(0, 0xf0, 0xf4)) {
    const bool second =
        within(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// Returns `text` with three octal digits for each byte that cannot be printed.
std::string Escaped(std::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const size_t length = PrintableLength(text);
    if (length == 0) {
      absl::StrAppendFormat(&escaped, "\\%03o",
                            static_cast<uint8_t>(text.front()));
      text.remove_prefix(1);
    } else {
      escaped.append(text.substr(0, length));
      text.remove_prefix(length);
    }
  }
  return escaped;
}

}  // namespace

std::string ShellWord(std::string_view word) {
  if (Escaped(word) != word) {
    return absl::StrCat(
        "$'",
        Escaped(absl::StrReplaceAll(word, {{"\\", "\\\\"}, {"'", "\\'"}})),
        "'");
  }
  if (!word.empty() && word.find_first_of(" '\"\\$&|;<>()*?[]{}!`#~=%^") ==
                           std::string_view::npos) {
    return std::string(word);
  }
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string Printable(std::string_view text) {
  if (text.size() <= kLongest) return Escaped(text);
  return absl::StrCat(Escaped(text.substr(0, kLongest)), "...");
}

}  // namespace passthru::doctor
