// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_PARSE_SIZE_H_
#define PASSTHRU_VMM_DOCTOR_PARSE_SIZE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace passthru::doctor {

// Parses a size that a user typed, such as "8G", "512M" or "4096", which has
// powers of 1024. Returns InvalidArgument unless it is one below 2^60.
absl::StatusOr<uint64_t> ParseSize(std::string_view text);

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_PARSE_SIZE_H_
