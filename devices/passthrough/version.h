// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_PASSTHROUGH_VERSION_H_
#define PASSTHRU_DEVICES_PASSTHROUGH_VERSION_H_

#include <string_view>

namespace passthru {

// The version of this library and its tools, as in CHANGELOG.md. The tools
// print it with --version.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace passthru

#endif  // PASSTHRU_DEVICES_PASSTHROUGH_VERSION_H_
