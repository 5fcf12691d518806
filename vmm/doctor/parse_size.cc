// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/parse_size.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace passthru::doctor {

absl::StatusOr<uint64_t> ParseSize(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  std::string_view digits = text;
  unsigned shift = 0;
  if (!digits.empty()) {
    const size_t unit = kUnits.find(digits.back());
    if (unit != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(unit) + 1);
      digits.remove_suffix(1);
    }
  }
  uint64_t number = 0;
  constexpr uint64_t kLimit = uint64_t{1} << 60;
  if (!absl::SimpleAtoi(digits, &number) || number == 0 ||
      number >= (kLimit >> shift)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" is no size of memory. Give one such as 512M or 8G"));
  }
  return number << shift;
}

}  // namespace passthru::doctor
