// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_TEST_AREAS_H_
#define PASSTHRU_DEVICES_MEMORY_TEST_AREAS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"

namespace passthru::memory {

inline const uint64_t kPage = kernel::PageSize();

// Makes a host address, which the tests only compute with and never access.
inline void* Host(uint64_t address) { return reinterpret_cast<void*>(address); }

// Returns RAM of whole pages. Its host address is 0x10000000 above its guest
// address.
inline MemoryArea Ram(std::string name, uint64_t first_page, uint64_t pages) {
  return {.guest = GuestAddress(first_page * kPage),
          .size = pages * kPage,
          .host = Host(0x10000000 + first_page * kPage),
          .name = std::move(name)};
}

inline std::vector<std::string> Names(const std::vector<MemoryArea>& areas) {
  std::vector<std::string> names;
  names.reserve(areas.size());
  for (const MemoryArea& area : areas) names.push_back(area.name);
  return names;
}

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_TEST_AREAS_H_
