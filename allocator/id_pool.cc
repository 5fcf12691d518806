// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/id_pool.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "absl/log/check.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"

namespace passthru::allocator {

absl::StatusOr<std::shared_ptr<IdPool>> IdPool::Create(uint32_t first,
                                                       uint32_t count,
                                                       std::string name) {
  if (count == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("no %s to hand out: count is 0", name));
  }
  if (count - 1 > std::numeric_limits<uint32_t>::max() - first) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%u %ss from %u on do not fit in 32 bits", count, name, first));
  }
  return absl::WrapUnique(new IdPool(first, count, std::move(name)));
}

IdPool::IdPool(uint32_t first, uint32_t count, std::string name)
    : name_(std::move(name)), first_(first), count_(count) {}

absl::StatusOr<uint32_t> IdPool::Take() {
  absl::MutexLock lock(&mutex_);
  if (!returned_.empty()) {
    const auto lowest = returned_.begin();
    const uint32_t id = *lowest;
    returned_.erase(lowest);
    return id;
  }
  if (untouched_ == count_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "all %u %ss from %u on are in use", count_, name_, first_));
  }
  return first_ + untouched_++;
}

void IdPool::Give(uint32_t id) {
  absl::MutexLock lock(&mutex_);
  CHECK(returned_.insert(id).second)
      << name_ << " " << id << " was given back twice";
}

uint32_t IdPool::available() const {
  absl::MutexLock lock(&mutex_);
  return count_ - untouched_ + static_cast<uint32_t>(returned_.size());
}

}  // namespace passthru::allocator
