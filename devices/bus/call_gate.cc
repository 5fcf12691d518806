// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/call_gate.h"

#include "absl/log/check.h"
#include "absl/synchronization/mutex.h"

namespace passthru::bus {
namespace {

thread_local const CallGate::Call* innermost_call = nullptr;

}  // namespace

void CallGate::Call::Enter(CallGate& gate) {
  CHECK(gate_ == nullptr) << "a call enters one gate, once";
  gate_ = &gate;
  outer_ = innermost_call;
  innermost_call = this;
  gate.calls_.fetch_add(1);
}

CallGate::Call::~Call() {
  if (gate_ == nullptr) return;
  CHECK(innermost_call == this) << "calls of a thread end inside out";
  innermost_call = outer_;
  gate_->Leave();
}

// Both atomics are sequentially consistent, so either the waiter sees the count
// that Leave() left behind, or Leave() sees that a thread waits.
void CallGate::Leave() {
  calls_.fetch_sub(1);
  if (!waiting_.load()) return;
  // Releasing a Mutex makes it evaluate the conditions of its waiters.
  absl::MutexLock lock(&mutex_);
}

int CallGate::WaitForOthers() {
  int own = 0;
  for (const Call* call = innermost_call; call != nullptr; call = call->outer_)
    own += call->gate_ == this;
  absl::MutexLock lock(&mutex_);
  waiting_.store(true);
  const auto only_own = [this, own] { return calls_.load() <= own; };
  mutex_.Await(absl::Condition(&only_own));
  return own;
}

}  // namespace passthru::bus
