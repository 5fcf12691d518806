// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_CALL_GATE_H_
#define PASSTHRU_DEVICES_BUS_CALL_GATE_H_

#include <memory>

#include "passthru/devices/bus/call_counter.h"

namespace passthru::bus {

// Counts the calls that are inside a device, so that its removal can wait for
// them although no lock is held during a call.
//
// A table of devices uses it as follows. To call a device, look up its entry
// and Enter() the entry's gate under the table's lock, then call without the
// lock. To remove a device, take its entry out of the table under the lock,
// then DropAfterCalls() without the lock. Instead of a lock, the table may be
// Published.
//
// Thread-safe.
class CallGate {
 public:
  // The scope of one call. It lives on the stack of the calling thread and must
  // end before the gate does.
  class Call {
   public:
    Call() = default;
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // Enters `gate`. Must be called at most once.
    void Enter(CallGate& gate);

   private:
    friend class CallGate;

    CallGate* gate_ = nullptr;
    // The enclosing call of the same thread, or null.
    Call* outer_ = nullptr;
    // What DropAfterCalls() left for this call to drop.
    std::shared_ptr<void> dropped_;
  };

  CallGate() = default;
  CallGate(const CallGate&) = delete;
  CallGate& operator=(const CallGate&) = delete;

  // Waits until the only calls in the gate are those that the calling thread
  // itself is in, and returns their number. The caller must have made sure that
  // no further call enters.
  int WaitForOthers();

  // Waits as WaitForOthers() does, and drops `entry`, which contains the gate.
  // If the calling thread itself is in the gate, its outermost call there drops
  // the entry, at its end. So no other thread than the calling one destroys the
  // entry, and no call needs a reference of its own.
  void DropAfterCalls(std::shared_ptr<void> entry);

 private:
  CallCounter calls_;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_CALL_GATE_H_
