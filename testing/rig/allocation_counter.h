// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_ALLOCATION_COUNTER_H_
#define PASSTHRU_TESTING_RIG_ALLOCATION_COUNTER_H_

// Replaces the program's operator new and operator delete by ones that count.
// Exactly one source of a program may include this header, and it must not
// belong to a shared library, because a sanitizer's own operators would then
// take precedence.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "absl/functional/function_ref.h"

namespace passthru::fake {

inline thread_local bool counts_allocations = false;
inline thread_local int64_t allocations = 0;

inline void* CountedAllocate(size_t size, size_t alignment) {
  if (counts_allocations) ++allocations;
  const size_t whole =
      (std::max<size_t>(size, 1) + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, whole);
  if (memory == nullptr) std::abort();
  return memory;
}

// Returns how often `body` allocates memory on this thread.
inline int64_t CountAllocations(absl::FunctionRef<void()> body) {
  allocations = 0;
  counts_allocations = true;
  body();
  counts_allocations = false;
  return allocations;
}

}  // namespace passthru::fake

// NOLINTBEGIN(misc-definitions-in-headers): see above.
[[gnu::noinline]] void* operator new(size_t size) {
  return passthru::fake::CountedAllocate(size, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment) {
  return passthru::fake::CountedAllocate(size, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory,
                                       std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t,
                                       std::align_val_t) noexcept {
  std::free(memory);
}
// NOLINTEND(misc-definitions-in-headers)

#endif  // PASSTHRU_TESTING_RIG_ALLOCATION_COUNTER_H_
