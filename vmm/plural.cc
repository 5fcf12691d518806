// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/plural.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace passthru::vmm {

std::string Count(uint64_t n, std::string_view noun,
                  std::string_view irregular_plural) {
  if (n == 1) return absl::StrCat(n, " ", noun);
  if (irregular_plural.empty()) return absl::StrCat(n, " ", noun, "s");
  return absl::StrCat(n, " ", irregular_plural);
}

}  // namespace passthru::vmm
