// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_PAGE_SIZE_H_
#define PASSTHRU_DEVICES_KERNEL_PAGE_SIZE_H_

#include <cstdint>

namespace passthru::kernel {

// The size of a page of this host: the granularity of mmap(2), of KVM's
// memory slots and of what of a BAR can be mapped. A power of two.
uint64_t PageSize();

inline bool IsPageAligned(uint64_t value) {
  return (value & (PageSize() - 1)) == 0;
}

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_PAGE_SIZE_H_
