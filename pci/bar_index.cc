// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/bar_index.h"

#include <string>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"

namespace passthru::pci {

std::string BarIndex::ToString() const {
  return is_rom() ? "ROM" : absl::StrCat("BAR", value_);
}

uint8_t BarIndex::Invalid(uint8_t value) {
  LOG(FATAL) << "BAR index " << int{value} << " is not one of 0 to 6";
}

}  // namespace passthru::pci
