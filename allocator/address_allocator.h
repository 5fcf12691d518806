// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_ADDRESS_ALLOCATOR_H_
#define PASSTHRU_ALLOCATOR_ADDRESS_ALLOCATOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/attributes.h"
#include "absl/status/statusor.h"

namespace passthru::allocator {

// A range handed out by an AddressAllocator, given back on destruction. It
// shares the allocator's state, so it may outlive the allocator itself.
//
// Move-only. Thread-compatible; different allocations of one allocator may be
// destroyed by different threads at once.
class ABSL_MUST_USE_RESULT AddressAllocation {
 public:
  // Owns nothing; size() is 0.
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

// Hands out address ranges from one window (a bridge window, an I/O port
// range): initial placement of BARs, never an answer to a guest that moves
// one. No two live allocations overlap.
//
// Of the gaps in which a request fits, the one whose usable part is the
// smallest is taken, the lowest one among equals, and in it the lowest aligned
// address. A request is refused only if no gap can hold it. Both allocation
// and release are logarithmic in the number of live ranges; see
// free_ranges.h.
//
// Thread-safe.
class AddressAllocator {
 public:
  // The window is [base, base + size); its end may be 2^64. `name` appears in
  // every error message.
  static absl::StatusOr<std::unique_ptr<AddressAllocator>> Create(
      uint64_t base, uint64_t size, std::string name);

  AddressAllocator(const AddressAllocator&) = delete;
  AddressAllocator& operator=(const AddressAllocator&) = delete;
  ~AddressAllocator();

  // `alignment` is a power of two, or 0 for natural alignment: the size,
  // rounded up to a power of two. kResourceExhausted when nothing fits.
  absl::StatusOr<AddressAllocation> Allocate(uint64_t size,
                                             uint64_t alignment = 0);

  // Exactly [address, address + size), without regard to alignment.
  // kOutOfRange when that leaves the window, kAlreadyExists when any byte of
  // it is taken.
  absl::StatusOr<AddressAllocation> AllocateAt(uint64_t address, uint64_t size);

  const std::string& name() const;
  uint64_t base() const;
  uint64_t size() const;
  // Free bytes, and the longest run of them.
  uint64_t available() const;
  uint64_t largest_gap() const;

 private:
  explicit AddressAllocator(std::shared_ptr<AddressAllocation::State> state);

  const std::shared_ptr<AddressAllocation::State> state_;
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_ADDRESS_ALLOCATOR_H_
