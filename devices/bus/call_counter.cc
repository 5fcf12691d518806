// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/call_counter.h"

#include <atomic>

#include "absl/base/attributes.h"
#include "absl/base/const_init.h"
#include "absl/synchronization/mutex.h"

namespace passthru::bus {
namespace {

// The threads that wait for any counter. They wait outside of it, because it
// may be gone as soon as its last call has ended.
std::atomic<int> waiting_threads = 0;
ABSL_CONST_INIT absl::Mutex waiting_mutex(absl::kConstInit);

}  // namespace

// Both atomics are sequentially consistent, so either the waiter sees the count
// that Leave() left behind, or Leave() sees that a thread waits.
void CallCounter::Leave() {
  calls_.fetch_sub(1);
  if (waiting_threads.load() == 0) return;
  // Releasing a Mutex makes it evaluate the conditions of its waiters.
  absl::MutexLock lock(&waiting_mutex);
}

void CallCounter::WaitForAtMost(int count) {
  // Most waits find no call. They must not make the calls of all other counters
  // take the mutex. A call that this does not count has left by its
  // fetch_sub(), after which Leave() does not touch the counter.
  if (calls_.load() <= count) return;
  absl::MutexLock lock(&waiting_mutex);
  waiting_threads.fetch_add(1);
  const auto few = [this, count] { return calls_.load() <= count; };
  waiting_mutex.Await(absl::Condition(&few));
  waiting_threads.fetch_sub(1);
}

}  // namespace passthru::bus
