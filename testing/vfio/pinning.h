// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_PINNING_H_
#define PASSTHRU_TESTING_VFIO_PINNING_H_

#include <cstdint>

namespace passthru::fake {

// Whether pin_user_pages() would succeed on this range of this process, with
// FOLL_WRITE if `write`: every page mapped, readable, and writable if asked.
// The range is page aligned and may be anything else; nothing is changed but
// that pages of a small range are made present, as pinning does. Thread-safe.
bool CanPin(uint64_t vaddr, uint64_t size, bool write);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_PINNING_H_
