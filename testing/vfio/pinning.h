// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_PINNING_H_
#define PASSTHRU_TESTING_VFIO_PINNING_H_

#include <cstdint>

namespace passthru::fake {

// Returns whether pin_user_pages() would succeed on this range of this process,
// with FOLL_WRITE if `write`. Every page must be mapped and readable, and
// writable if `write`. The range must be page aligned and is otherwise
// arbitrary. The function makes the pages of a small range present, as pinning
// does, and changes nothing else. Thread-safe.
bool CanPin(uint64_t vaddr, uint64_t size, bool write);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_PINNING_H_
