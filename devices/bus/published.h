// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_PUBLISHED_H_
#define PASSTHRU_DEVICES_BUS_PUBLISHED_H_

#include <array>
#include <atomic>
#include <memory>
#include <utility>

#include "passthru/devices/bus/call_counter.h"

namespace passthru::bus {

// An immutable value that threads read without a lock while another thread
// replaces it by a new one, as Linux does with SRCU. Each reader is counted
// before it takes the pointer. A replacement waits, after it has changed the
// pointer, until each of the two counters has been 0. So it has waited for all
// readers that may have the old value, and no reader waits for it. There are
// two counters, so that new readers cannot hold it up for ever. They use the
// one for which it does not wait.
//
// Read() may be called from any thread. Calls of Replace() must not overlap,
// and none may come from inside Read().
template <typename T>
class Published {
 public:
  explicit Published(std::unique_ptr<const T> value)
      : value_(value.release()) {}
  // No call may be in flight.
  ~Published() { delete value_.load(); }
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  // Calls use(value) and returns what it returns. `use` must be short, because
  // Replace() waits for its end.
  template <typename Use>
  auto Read(Use use) {
    const Reading reading(&counters_[phase_.load()]);
    return use(*value_.load());
  }

  // Replaces the value and destroys the old one, which no thread reads any
  // more.
  void Replace(std::unique_ptr<const T> value) {
    const std::unique_ptr<const T> old(value_.exchange(value.release()));
    for (int i = 0; i < 2; ++i) {
      const unsigned phase = phase_.load();
      phase_.store(1 - phase);
      counters_[phase].WaitForAtMost(0);
    }
  }

 private:
  class Reading {
   public:
    explicit Reading(CallCounter* counter) : counter_(counter) {
      counter_->Enter();
    }
    ~Reading() { counter_->Leave(); }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    CallCounter* const counter_;
  };

  std::atomic<const T*> value_;
  std::atomic<unsigned> phase_ = 0;
  std::array<CallCounter, 2> counters_;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_PUBLISHED_H_
