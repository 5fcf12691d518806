// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_H_
#define PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/allocator/strong_int.h"
#include "passthru/devices/memory/memory_area.h"

namespace passthru::memory {

// Identifies one area in a GuestMemory. An id is never reused after the area
// was removed. A default id identifies no area.
class AreaId : public allocator::StrongInt<AreaId, uint64_t> {
 public:
  using StrongInt::StrongInt;
};

// The memory that the guest reaches without an exit, to which devices add
// areas. The interface is narrow so that a VMM with its own memory map can
// implement it. GuestMemoryMap is the implementation of this library.
//
// Implementations are thread-safe.
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;

  // Adds all of `area` or nothing. After a failure the guest does not reach any
  // of it, unless the kernel also refused to undo a part that it had accepted.
  // In that case the addresses stay taken, `backing` is kept alive, and the
  // removal is retried as after Abandon(). Returns kInvalidArgument for a
  // malformed area, kAlreadyExists for one that overlaps another, and otherwise
  // the failure of the kernel.
  virtual absl::StatusOr<AreaId> Add(const MemoryArea& area) = 0;

  // Removes an area. Once this returns OK, neither the guest nor a device
  // reaches the area, and the caller may release its host memory. After a
  // failure the caller must keep the memory, and may try the removal again.
  // Returns kNotFound for an id that identifies no area.
  virtual absl::Status Remove(AreaId id) = 0;

  // Removes an area on behalf of an owner that is being destroyed and cannot
  // try again. If the kernel refuses, `backing` is kept alive and the removal
  // is retried at every later change. Returns the result of this first attempt.
  virtual absl::Status Abandon(AreaId id) = 0;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_H_
