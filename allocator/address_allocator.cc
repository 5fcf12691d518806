// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/address_allocator.h"

#include <bit>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/free_ranges.h"

namespace passthru::allocator {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

// The largest power of two that fits into 64 bits.
constexpr uint64_t kLargestAlignment = uint64_t{1} << 63;

}  // namespace

struct AddressAllocation::State {
  State(uint64_t window_base, uint64_t window_size, std::string window_name)
      : name(std::move(window_name)),
        base(window_base),
        size(window_size),
        available(window_size),
        gaps(window_base, window_base + (window_size - 1)) {}

  std::string Room() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return absl::StrFormat("largest gap 0x%x, 0x%x of 0x%x bytes free",
                           gaps.largest(), available, size);
  }

  const std::string name;
  const uint64_t base;
  const uint64_t size;

  absl::Mutex mutex;
  uint64_t available ABSL_GUARDED_BY(mutex);
  FreeRanges gaps ABSL_GUARDED_BY(mutex);
};

AddressAllocation::AddressAllocation(std::shared_ptr<State> state,
                                     uint64_t address, uint64_t size)
    : state_(std::move(state)), address_(address), size_(size) {}

AddressAllocation::AddressAllocation(AddressAllocation&& other) noexcept
    : state_(std::move(other.state_)),
      address_(std::exchange(other.address_, 0)),
      size_(std::exchange(other.size_, 0)) {}

AddressAllocation& AddressAllocation::operator=(
    AddressAllocation&& other) noexcept {
  if (this == &other) return *this;
  Release();
  state_ = std::move(other.state_);
  address_ = std::exchange(other.address_, 0);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

AddressAllocation::~AddressAllocation() { Release(); }

void AddressAllocation::Release() {
  if (state_ == nullptr) return;
  {
    absl::MutexLock lock(&state_->mutex);
    state_->gaps.Give(address_, address_ + (size_ - 1));
    state_->available += size_;
  }
  state_.reset();
  address_ = 0;
  size_ = 0;
}

absl::StatusOr<std::unique_ptr<AddressAllocator>> AddressAllocator::Create(
    uint64_t base, uint64_t size, std::string name) {
  if (size == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: window at 0x%x has size 0", name, base));
  }
  if (size - 1 > kMax - base) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: window [0x%x, +0x%x) ends beyond 2^64", name, base, size));
  }
  return absl::WrapUnique(new AddressAllocator(
      std::make_shared<AddressAllocation::State>(base, size, std::move(name))));
}

AddressAllocator::AddressAllocator(
    std::shared_ptr<AddressAllocation::State> state)
    : state_(std::move(state)) {}

AddressAllocator::~AddressAllocator() = default;

absl::StatusOr<AddressAllocation> AddressAllocator::Allocate(
    uint64_t size, uint64_t alignment) {
  if (size == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(state_->name, ": allocation of size 0"));
  }
  if (alignment == 0 && size > kLargestAlignment) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: 0x%x bytes have no natural alignment below 2^64",
                        state_->name, size));
  }
  if (alignment == 0) alignment = std::bit_ceil(size);
  if (!std::has_single_bit(alignment)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: alignment 0x%x for 0x%x bytes is not a power of two", state_->name,
        alignment, size));
  }
  absl::MutexLock lock(&state_->mutex);
  const std::optional<uint64_t> address =
      state_->gaps.Take(size, std::countr_zero(alignment));
  if (!address.has_value()) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: no room for 0x%x bytes aligned to 0x%x: %s",
                        state_->name, size, alignment, state_->Room()));
  }
  state_->available -= size;
  return AddressAllocation(state_, *address, size);
}

absl::StatusOr<AddressAllocation> AddressAllocator::AllocateAt(uint64_t address,
                                                               uint64_t size) {
  if (size == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: allocation of size 0 at 0x%x", name(), address));
  }
  if (address < base() || address - base() > this->size() - 1 ||
      size > this->size() - (address - base())) {
    return absl::OutOfRangeError(absl::StrFormat(
        "%s: [0x%x, +0x%x) is not inside the window [0x%x, +0x%x)", name(),
        address, size, base(), this->size()));
  }
  absl::MutexLock lock(&state_->mutex);
  if (!state_->gaps.TakeAt(address, address + (size - 1))) {
    return absl::AlreadyExistsError(
        absl::StrFormat("%s: [0x%x, +0x%x) is not free: %s", state_->name,
                        address, size, state_->Room()));
  }
  state_->available -= size;
  return AddressAllocation(state_, address, size);
}

const std::string& AddressAllocator::name() const { return state_->name; }
uint64_t AddressAllocator::base() const { return state_->base; }
uint64_t AddressAllocator::size() const { return state_->size; }

uint64_t AddressAllocator::available() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->available;
}

uint64_t AddressAllocator::largest_gap() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->gaps.largest();
}

}  // namespace passthru::allocator
