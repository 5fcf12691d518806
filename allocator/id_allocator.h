// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_ID_ALLOCATOR_H_
#define PASSTHRU_ALLOCATOR_ID_ALLOCATOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/attributes.h"
#include "absl/status/statusor.h"

namespace passthru::allocator {

// One id from an IdAllocator, which its destructor gives back. It shares the
// allocator's state, so it may outlive the allocator. Move-only,
// thread-compatible.
class ABSL_MUST_USE_RESULT IdAllocation {
 public:
  // Owns nothing.
  IdAllocation() = default;
  IdAllocation(IdAllocation&& other) noexcept;
  IdAllocation& operator=(IdAllocation&& other) noexcept;
  ~IdAllocation();

  // Meaningless if empty().
  uint32_t value() const { return value_; }
  bool empty() const { return state_ == nullptr; }

  // Gives the id back now. The allocation is empty afterwards.
  void Release();

 private:
  friend class IdAllocator;
  struct State;

  IdAllocation(std::shared_ptr<State> state, uint32_t value);

  std::shared_ptr<State> state_;
  uint32_t value_ = 0;
};

// Hands out the ids [first, first + count), the lowest free one first, in
// logarithmic time. GsiAllocator and MemorySlotAllocator build on it. Code
// outside this package uses those two, whose ids have types.
//
// Thread-safe.
class IdAllocator {
 public:
  // Creates an allocator for [first, first + count). Error messages call an id
  // by `name`.
  static absl::StatusOr<std::unique_ptr<IdAllocator>> Create(uint32_t first,
                                                             uint32_t count,
                                                             std::string name);

  IdAllocator(const IdAllocator&) = delete;
  IdAllocator& operator=(const IdAllocator&) = delete;
  ~IdAllocator();

  // Returns kResourceExhausted if all are taken.
  absl::StatusOr<IdAllocation> Allocate();

  uint32_t available() const;
  uint32_t capacity() const;

 private:
  explicit IdAllocator(std::shared_ptr<IdAllocation::State> state);

  const std::shared_ptr<IdAllocation::State> state_;
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_ID_ALLOCATOR_H_
