// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_ADDRESS_ALLOCATOR_H_
#define PASSTHRU_ALLOCATOR_ADDRESS_ALLOCATOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/attributes.h"
#include "absl/status/statusor.h"

namespace passthru::allocator {

// An address range from an AddressAllocator, which its destructor gives back.
// It shares the allocator's state, so it may outlive the allocator.
//
// Move-only. Thread-compatible. Different threads may destroy different
// allocations of one allocator at the same time.
class ABSL_MUST_USE_RESULT AddressAllocation {
 public:
  // Owns nothing. size() is 0.
  AddressAllocation() = default;
  AddressAllocation(AddressAllocation&& other) noexcept;
  AddressAllocation& operator=(AddressAllocation&& other) noexcept;
  ~AddressAllocation();

  uint64_t address() const { return address_; }
  uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Gives the range back now. The allocation is empty afterwards.
  void Release();

 private:
  friend class AddressAllocator;
  struct State;

  AddressAllocation(std::shared_ptr<State> state, uint64_t address,
                    uint64_t size);

  std::shared_ptr<State> state_;
  uint64_t address_ = 0;
  uint64_t size_ = 0;
};

// Hands out address ranges from one window, such as a bridge window or a range
// of I/O ports. It is for the initial placement of BARs, and never for
// answering a guest that moves one. No two live allocations overlap.
//
// Of the gaps that fit a request, Allocate() takes the one with the smallest
// usable part, and among equals the lowest. Within the gap it takes the lowest
// aligned address. Allocate() runs out of room only if no gap can hold the
// request. Allocation and release take logarithmic time in the number of live
// ranges, except for the first request of a new alignment (see free_ranges.h).
//
// Thread-safe.
class AddressAllocator {
 public:
  // Creates an allocator for the window [base, base + size), whose end may be
  // 2^64. `name` appears in every error message.
  static absl::StatusOr<std::unique_ptr<AddressAllocator>> Create(
      uint64_t base, uint64_t size, std::string name);

  AddressAllocator(const AddressAllocator&) = delete;
  AddressAllocator& operator=(const AddressAllocator&) = delete;
  ~AddressAllocator();

  // Allocates `size` bytes at a multiple of `alignment`, which must be a power
  // of two. 0 means natural alignment, which is the size rounded up to a power
  // of two. Returns kResourceExhausted if nothing fits.
  absl::StatusOr<AddressAllocation> Allocate(uint64_t size,
                                             uint64_t alignment = 0);

  // Allocates exactly [address, address + size), whatever its alignment.
  // Returns kOutOfRange if that leaves the window, and kAlreadyExists if any
  // byte of it is taken.
  absl::StatusOr<AddressAllocation> AllocateAt(uint64_t address, uint64_t size);

  const std::string& name() const;
  uint64_t base() const;
  uint64_t size() const;
  // Return the number of free bytes, and the length of their longest run.
  uint64_t available() const;
  uint64_t largest_gap() const;

 private:
  explicit AddressAllocator(std::shared_ptr<AddressAllocation::State> state);

  const std::shared_ptr<AddressAllocation::State> state_;
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_ADDRESS_ALLOCATOR_H_
