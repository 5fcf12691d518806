// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_FAULT_WALK_IMPATIENT_CPU_H_
#define PASSTHRU_VMM_FAULT_WALK_IMPATIENT_CPU_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/kvm/fake_kvm.h"
#include "passthru/vmm/fault_walk/planned_fault.h"

namespace passthru::vmm {

// A vCPU that waits less long for interrupts once a call has failed, if the
// guest may lose interrupts by that failure.
//
// Used by the guest's thread only.
class ImpatientCpu final : public guest::GuestCpu {
 public:
  // All pointers must outlive this.
  ImpatientCpu(guest::GuestCpu* cpu, fake::FakeKvm* kvm,
               const PlannedFault* fault)
      : cpu_(cpu), kvm_(kvm), fault_(fault) {}

  uint64_t Load(uint64_t address, unsigned width) override {
    return cpu_->Load(address, width);
  }
  void Store(uint64_t address, unsigned width, uint64_t value) override {
    cpu_->Store(address, width, value);
  }
  uint32_t In(uint16_t port, unsigned width) override {
    return cpu_->In(port, width);
  }
  void Out(uint16_t port, unsigned width, uint32_t value) override {
    cpu_->Out(port, width, value);
  }
  std::optional<guest::GuestInterrupt> WaitForInterrupt() override {
    const bool may_lose_one =
        may_lose_interrupts_ && fault_->injected() && !fault_->IsOptional();
    kvm_->SetGuestWaitLimit(may_lose_one ? kPatience : kPatienceWithoutFault);
    return cpu_->WaitForInterrupt();
  }
  bool Stopping() const override { return cpu_->Stopping(); }

  // Sets whether the guest may now lose interrupts, which is not so at first.
  void set_may_lose_interrupts(bool may) { may_lose_interrupts_ = may; }

 private:
  // How long the guest waits for an interrupt that the failure may have lost.
  // If one takes longer, the outcome is kDead instead of kDegraded, which is no
  // problem.
  static constexpr absl::Duration kPatience = absl::Milliseconds(300);
  static constexpr absl::Duration kPatienceWithoutFault = absl::Seconds(60);

  guest::GuestCpu* const cpu_;
  fake::FakeKvm* const kvm_;
  const PlannedFault* const fault_;
  bool may_lose_interrupts_ = false;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_FAULT_WALK_IMPATIENT_CPU_H_
