// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/page_size.h"

#include <unistd.h>

#include <cstdint>

namespace passthru::kernel {

uint64_t PageSize() {
  static const uint64_t size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace passthru::kernel
