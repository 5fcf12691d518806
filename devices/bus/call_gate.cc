// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/call_gate.h"

#include <memory>
#include <utility>

#include "absl/log/check.h"

namespace passthru::bus {
namespace {

thread_local CallGate::Call* innermost_call = nullptr;

}  // namespace

void CallGate::Call::Enter(CallGate& gate) {
  CHECK(gate_ == nullptr) << "a call enters one gate, once";
  gate_ = &gate;
  outer_ = innermost_call;
  innermost_call = this;
  gate.calls_.Enter();
}

CallGate::Call::~Call() {
  if (gate_ == nullptr) return;
  CHECK(innermost_call == this) << "calls of a thread end inside out";
  innermost_call = outer_;
  gate_->calls_.Leave();
}

int CallGate::WaitForOthers() {
  int own = 0;
  for (const Call* call = innermost_call; call != nullptr; call = call->outer_)
    own += call->gate_ == this;
  calls_.WaitForAtMost(own);
  return own;
}

void CallGate::DropAfterCalls(std::shared_ptr<void> entry) {
  if (WaitForOthers() == 0) return;
  Call* outermost = nullptr;
  for (Call* call = innermost_call; call != nullptr; call = call->outer_) {
    if (call->gate_ == this) outermost = call;
  }
  outermost->dropped_ = std::move(entry);
}

}  // namespace passthru::bus
