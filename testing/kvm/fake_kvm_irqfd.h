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
#include "passthru/testing/kvm/fake_kvm_pins.h"
#include "passthru/testing/kvm/fake_kvm_routing.h"

namespace passthru::fake {

// The destination of an irqfd's interrupt, like kvm_set_irq().
class IrqSink {
 public:
  virtual ~IrqSink() = default;
  virtual void SetIrq(IrqSource source, uint32_t gsi, bool level,
                      std::string_view cause) = 0;
};

// The irqfds of one VM, with the rules of virt/kvm/eventfd.c.
//
// An assigned irqfd is the eventfd's priority waiter. A signal drains the
// eventfd and injects, in the signaller's context, through the route that the
// GSI has at that time. Without a route the interrupt is lost. Assigning
// injects if a count is pending, and leaves the count. Deassigning discards it.
class FakeKvmIrqfds {
 public:
  FakeKvmIrqfds(KernelCore* core, IrqSink* sink);
  FakeKvmIrqfds(const FakeKvmIrqfds&) = delete;
  FakeKvmIrqfds& operator=(const FakeKvmIrqfds&) = delete;
  ~FakeKvmIrqfds();

  // Carries out KVM_IRQFD. Returns 0 or an errno.
  int Set(const kvm_irqfd& request, IrqchipMode mode);

  // Ends all irqfds, like kvm_irqfd_release(), when the VM's descriptor is
  // released.
  void ReleaseAll();

  // Handles the guest's acknowledgement of a level interrupt, like
  // kvm_notify_acked_gsi(). The resampler lowers the line and signals the
  // resample eventfds.
  void Acknowledge(uint32_t gsi);

  struct Assigned {
    uint32_t gsi = 0;
    std::string eventfd;  // See FakeEventfd::identity().
    bool resample = false;
  };
  std::vector<Assigned> All() const;
  // Visits the GSI of each irqfd, without making the strings of All().
  void ForEachGsi(absl::FunctionRef<void(uint32_t gsi)> visit) const;

 private:
  class Irqfd;

  int Assign(const kvm_irqfd& request, IrqchipMode mode);
  int Deassign(const kvm_irqfd& request);
  // Removes and destroys an irqfd whose waiter is detached.
  void Shutdown(std::list<std::unique_ptr<Irqfd>>::iterator irqfd);
  void OnHangup(Irqfd* irqfd);

  KernelCore* const core_;
  IrqSink* const sink_;
  std::list<std::unique_ptr<Irqfd>> irqfds_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_IRQFD_H_
