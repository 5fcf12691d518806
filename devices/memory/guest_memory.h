// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_H_
#define PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_H_

#include <compare>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/memory/memory_area.h"

namespace passthru::memory {

// Names one area that was added to a GuestMemory. Never used again after its
// removal. A default id names nothing.
class AreaId {
 public:
  constexpr AreaId() = default;
  constexpr explicit AreaId(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }

  friend constexpr auto operator<=>(AreaId, AreaId) = default;

  template <typename H>
  friend H AbslHashValue(H h, AreaId id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  uint64_t value_ = 0;
};

// Where a device puts memory that the guest is to reach directly. Narrow, so
// that a VMM that has a memory map of its own can implement it;
// GuestMemoryMap is ours.
//
// Implementations are thread-safe.
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;

  // All or nothing: after a failure the guest does not reach any of `area`.
  // kInvalidArgument for an area that is malformed, kAlreadyExists for one
  // that overlaps another, else what the kernel refused.
  virtual absl::StatusOr<AreaId> Add(const MemoryArea& area) = 0;

  // Once this returns OK, neither the guest nor a device reaches the area, and
  // its host memory may go. After a failure it must stay, and the removal may
  // be tried again. kNotFound for an id that names nothing.
  virtual absl::Status Remove(AreaId id) = 0;

  // Remove() for an owner that goes away and cannot try again: if the kernel
  // refuses now, the area's `backing` is held, and the removal tried again at
  // later changes, until it does not. Returns what the kernel said now.
  virtual absl::Status Abandon(AreaId id) = 0;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_H_
