// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_CALL_COUNTER_H_
#define PASSTHRU_DEVICES_BUS_CALL_COUNTER_H_

#include <atomic>

namespace passthru::bus {

// Counts calls in flight, so that a thread can wait for their end. A call takes
// a lock only while a thread waits for a counter, to wake it.
//
// Thread-safe. When WaitForAtMost() has returned, the calls that have ended do
// not touch the counter any more, so it may be destroyed.
class CallCounter {
 public:
  CallCounter() = default;
  CallCounter(const CallCounter&) = delete;
  CallCounter& operator=(const CallCounter&) = delete;

  void Enter() { calls_.fetch_add(1); }
  void Leave();

  // Waits until no more than `count` calls are in flight.
  void WaitForAtMost(int count);

 private:
  std::atomic<int> calls_ = 0;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_CALL_COUNTER_H_
