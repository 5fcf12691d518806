// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_PAGE_SIZE_H_
#define PASSTHRU_DEVICES_KERNEL_PAGE_SIZE_H_

#include <cstdint>

namespace passthru::kernel {

// Returns the size in bytes of a page of this host, a power of two. mmap(2),
// KVM's memory slots and mappings of BARs all have this granularity.
uint64_t PageSize();

inline bool IsPageAligned(uint64_t value) {
  return (value & (PageSize() - 1)) == 0;
}

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_PAGE_SIZE_H_
