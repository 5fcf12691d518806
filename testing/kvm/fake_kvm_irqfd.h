// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_IRQFD_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_IRQFD_H_

#include <linux/kvm.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "passthru/testing/kernel/eventfd_table.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm_routing.h"

namespace passthru::fake {

// Who drives an interrupt line: lines are the OR of all sources
// (KVM_*_IRQ_SOURCE_ID).
enum class IrqSource { kUserSpace, kResampler };

// kvm_set_irq(): where an irqfd's interrupt goes.
class IrqSink {
 public:
  virtual ~IrqSink() = default;
  virtual void SetIrq(IrqSource source, uint32_t gsi, bool level,
                      std::string_view cause) = 0;
};

// The irqfds of one VM, as virt/kvm/eventfd.c does them.
//
// An assigned irqfd is the eventfd's priority waiter: a signal drains the
// eventfd and injects in the signaller's context, through whatever route the
// GSI has then; without one the interrupt is lost. Assigning injects when a
// count is pending and leaves the count; deassigning discards it.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeKvmIrqfds {
 public:
  FakeKvmIrqfds(KernelCore* core, IrqSink* sink);
  FakeKvmIrqfds(const FakeKvmIrqfds&) = delete;
  FakeKvmIrqfds& operator=(const FakeKvmIrqfds&) = delete;
  ~FakeKvmIrqfds();

  // KVM_IRQFD: 0 or an errno.
  int Set(const kvm_irqfd& request, IrqchipMode mode);

  // kvm_irqfd_release(), when the VM's descriptor is released.
  void ReleaseAll();

  // The guest acknowledged a level interrupt (kvm_notify_acked_gsi()): the
  // resampler lowers the line and signals the resample eventfds.
  void Acknowledge(uint32_t gsi);

  struct Assigned {
    uint32_t gsi = 0;
    std::string eventfd;  // FakeEventfd::identity().
    bool resample = false;
  };
  std::vector<Assigned> All() const;
  // The GSIs alone.
  void ForEachGsi(absl::FunctionRef<void(uint32_t gsi)> visit) const;

 private:
  class Irqfd;

  int Assign(const kvm_irqfd& request, IrqchipMode mode);
  int Deassign(const kvm_irqfd& request);
  // Takes it out of service and destroys it.
  void Shutdown(std::list<std::unique_ptr<Irqfd>>::iterator irqfd);
  void OnHangup(Irqfd* irqfd);

  KernelCore* const core_;
  IrqSink* const sink_;
  std::list<std::unique_ptr<Irqfd>> irqfds_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_IRQFD_H_
