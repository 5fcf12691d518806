// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_ID_POOL_H_
#define PASSTHRU_ALLOCATOR_ID_POOL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace passthru::allocator {

// The state that an IdAllocator shares with its allocations. It holds the ids
// as bare numbers.
//
// Thread-safe.
class IdPool {
 public:
  // Creates a pool of the ids [first, first + count). Error messages call an id
  // by `name`.
  static absl::StatusOr<std::shared_ptr<IdPool>> Create(uint32_t first,
                                                        uint32_t count,
                                                        std::string name);

  // Takes the lowest free id. Returns kResourceExhausted if all are taken.
  absl::StatusOr<uint32_t> Take();
  // Gives back an id, which must have been taken.
  void Give(uint32_t id);

  uint32_t available() const;
  uint32_t capacity() const { return count_; }

 private:
  IdPool(uint32_t first, uint32_t count, std::string name);

  const std::string name_;
  const uint32_t first_;
  const uint32_t count_;

  mutable absl::Mutex mutex_;
  // Ids from first_ + untouched_ upwards were never taken. Of the ids below,
  // the free ones are in `returned_`.
  uint32_t untouched_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::btree_set<uint32_t> returned_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_ID_POOL_H_
