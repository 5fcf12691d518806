// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_PLURAL_H_
#define PASSTHRU_VMM_PLURAL_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace passthru::vmm {

// Returns `n` and its noun, as in "1 exit", "2 exits" and "0 exits". The plural
// is the noun with an "s" unless the caller gives an irregular one, as in
// Count(n, "capability", "capabilities").
std::string Count(uint64_t n, std::string_view noun,
                  std::string_view irregular_plural = "");

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_PLURAL_H_
