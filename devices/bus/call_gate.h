// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_CALL_GATE_H_
#define PASSTHRU_DEVICES_BUS_CALL_GATE_H_

#include <atomic>
#include <cstdint>

#include "absl/synchronization/mutex.h"

namespace passthru::bus {

// Counts the calls that are inside a device, so that its removal can wait for
// them without a lock being held during a call.
//
// A table of devices uses it so: look the entry up and Enter() its gate under
// the table's lock, call without the lock; to remove, take the entry out of
// the table under the lock, then WaitForOthers() without it.
//
// Thread-safe.
class CallGate {
 public:
  // The scope of one call. Lives on the stack of the thread that makes it, and
  // ends before the gate does.
  class Call {
   public:
    Call() = default;
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // At most once.
    void Enter(CallGate& gate);

   private:
    friend class CallGate;

    CallGate* gate_ = nullptr;
    // The call of the same thread that this one is nested in.
    const Call* outer_ = nullptr;
  };

  CallGate() = default;
  CallGate(const CallGate&) = delete;
  CallGate& operator=(const CallGate&) = delete;

  // Returns when the only calls in the gate are those that the calling thread
  // itself is in. The caller has made sure that no further call enters.
  // Returns the number of its own.
  int WaitForOthers();

 private:
  void Leave();

  std::atomic<int> calls_ = 0;
  std::atomic<bool> waiting_ = false;
  absl::Mutex mutex_;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_CALL_GATE_H_
