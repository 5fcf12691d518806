// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/call_counter.h"

#include "absl/synchronization/mutex.h"

namespace passthru::bus {

// Both atomics are sequentially consistent, so either the waiter sees the count
// that Leave() left behind, or Leave() sees that a thread waits.
void CallCounter::Leave() {
  calls_.fetch_sub(1);
  if (waiters_.load() == 0) return;
  // Releasing a Mutex makes it evaluate the conditions of its waiters.
  absl::MutexLock lock(&mutex_);
}

void CallCounter::WaitForAtMost(int count) {
  absl::MutexLock lock(&mutex_);
  waiters_.fetch_add(1);
  const auto few = [this, count] { return calls_.load() <= count; };
  mutex_.Await(absl::Condition(&few));
  waiters_.fetch_sub(1);
}

}  // namespace passthru::bus
