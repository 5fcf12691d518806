// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/id_allocator.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/log/check.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"

namespace passthru::allocator {

struct IdAllocation::State {
  State(uint32_t first_id, uint32_t id_count, std::string id_name)
      : name(std::move(id_name)), first(first_id), count(id_count) {}

  const std::string name;
  const uint32_t first;
  const uint32_t count;

  absl::Mutex mutex;
  // Ids from first + untouched upwards were never handed out. Of the ids below,
  // the free ones are in `returned`.
  uint32_t untouched ABSL_GUARDED_BY(mutex) = 0;
  absl::btree_set<uint32_t> returned ABSL_GUARDED_BY(mutex);
};

IdAllocation::IdAllocation(std::shared_ptr<State> state, uint32_t value)
    : state_(std::move(state)), value_(value) {}

IdAllocation::IdAllocation(IdAllocation&& other) noexcept
    : state_(std::move(other.state_)), value_(std::exchange(other.value_, 0)) {}

IdAllocation& IdAllocation::operator=(IdAllocation&& other) noexcept {
  if (this == &other) return *this;
  Release();
  state_ = std::move(other.state_);
  value_ = std::exchange(other.value_, 0);
  return *this;
}

IdAllocation::~IdAllocation() { Release(); }

void IdAllocation::Release() {
  if (state_ == nullptr) return;
  {
    absl::MutexLock lock(&state_->mutex);
    CHECK(state_->returned.insert(value_).second)
        << state_->name << " " << value_ << " was given back twice";
  }
  state_.reset();
  value_ = 0;
}

absl::StatusOr<std::unique_ptr<IdAllocator>> IdAllocator::Create(
    uint32_t first, uint32_t count, std::string name) {
  if (count == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("no %s to hand out: count is 0", name));
  }
  if (count - 1 > std::numeric_limits<uint32_t>::max() - first) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%u %ss from %u on do not fit in 32 bits", count, name, first));
  }
  return absl::WrapUnique(new IdAllocator(
      std::make_shared<IdAllocation::State>(first, count, std::move(name))));
}

IdAllocator::IdAllocator(std::shared_ptr<IdAllocation::State> state)
    : state_(std::move(state)) {}

IdAllocator::~IdAllocator() = default;

absl::StatusOr<IdAllocation> IdAllocator::Allocate() {
  absl::MutexLock lock(&state_->mutex);
  if (!state_->returned.empty()) {
    const auto lowest = state_->returned.begin();
    const uint32_t value = *lowest;
    state_->returned.erase(lowest);
    return IdAllocation(state_, value);
  }
  if (state_->untouched == state_->count) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("all %u %ss from %u on are in use", state_->count,
                        state_->name, state_->first));
  }
  return IdAllocation(state_, state_->first + state_->untouched++);
}

uint32_t IdAllocator::available() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->count - state_->untouched +
         static_cast<uint32_t>(state_->returned.size());
}

uint32_t IdAllocator::capacity() const { return state_->count; }

}  // namespace passthru::allocator
