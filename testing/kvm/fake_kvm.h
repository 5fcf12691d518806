// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm_irqfd.h"
#include "passthru/testing/kvm/fake_kvm_routing.h"
#include "passthru/testing/kvm/fake_kvm_slots.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::fake {

class FakeKvmVm;

// The fake's /dev/kvm, and what tests ask of its VMs. Answers by errno as the
// KernelVersion of the core does (virt/kvm, arch/x86/kvm); what is not built
// answers as a call that this kernel does not know.
//
// Thread-safe; the Subsystem half runs under the fake kernel's mutex.
class FakeKvm final : public Subsystem {
 public:
  struct Options {
    // How long a guest waits for an interrupt before it is told that none
    // comes: a test that gets there has failed.
    absl::Duration guest_wait_limit = absl::Seconds(60);
  };
  FakeKvm(KernelCore* core, Options options);
  // Stops all guests and waits for their programs to return.
  ~FakeKvm() override;

  // Makes /dev/kvm.
  void Register() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  // What runs on the vCPU with this id, of every VM. Before its first KVM_RUN.
  void SetGuestProgram(unsigned vcpu, guest::GuestProgram program)
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // What the program of the newest vCPU with this id returned, also when the
  // VM is gone; nullopt while it runs.
  std::optional<absl::Status> GuestStatus(unsigned vcpu) const
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // For waits that begin from now on: short where a test expects that an
  // interrupt may be lost.
  void SetGuestWaitLimit(absl::Duration limit)
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Tells all guests that their VM stops, and waits until their programs have
  // returned. KVM_RUN answers KVM_EXIT_SHUTDOWN from then on.
  void StopGuests() ABSL_LOCKS_EXCLUDED(core_->mutex);

  // Of all VMs so far.
  FakeExitCounts ExitCounts() const ABSL_LOCKS_EXCLUDED(core_->mutex);

  // Of the newest VM alive; empty when there is none.
  std::vector<FakeKvmSlot> Slots() const ABSL_LOCKS_EXCLUDED(core_->mutex);
  std::vector<kvm_irq_routing_entry> Routes() const
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  std::vector<FakeKvmIrqfds::Assigned> Irqfds() const
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Every MSI that was sent to its local APICs, in order, taken or not.
  std::vector<guest::GuestInterrupt> Messages() const
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Interrupts of GSIs without a route.
  size_t LostInterrupts() const ABSL_LOCKS_EXCLUDED(core_->mutex);
  // The level of an IOAPIC pin, and the guest's EOI for it.
  bool LineLevel(uint32_t pin) const ABSL_LOCKS_EXCLUDED(core_->mutex);
  void Acknowledge(uint32_t gsi) ABSL_LOCKS_EXCLUDED(core_->mutex);

  // Waits for programs of vCPUs that are gone. Without the mutex.
  void JoinStoppedGuests() ABSL_LOCKS_EXCLUDED(core_->mutex);

  // What a waiting or loading guest lets happen; set once, before any guest.
  void set_step_hardware(std::function<bool()> step)
      ABSL_LOCKS_EXCLUDED(core_->mutex);

  // The tables of every VM alive. Called with the mutex held.
  struct VmTables {
    std::string name;  // "vm 1".
    const FakeKvmSlots& slots;
    const FakeKvmRouting& routing;
    const FakeKvmIrqfds& irqfds;
  };
  void ForEachVm(absl::FunctionRef<void(const VmTables&)> visit) const;

  // Subsystem.
  void AppendResources(std::vector<std::string>& resources) const override;

 private:
  friend class FakeKvmSystemFile;

  // KVM_CREATE_VM: a new descriptor.
  kernel::SyscallResult<int> CreateVm()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  std::shared_ptr<FakeKvmVm> NewestVm() const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  KernelCore* const core_;
  absl::Duration guest_wait_limit_ ABSL_GUARDED_BY(core_->mutex);
  std::map<unsigned, guest::GuestProgram> programs_
      ABSL_GUARDED_BY(core_->mutex);
  std::vector<std::weak_ptr<FakeKvmVm>> vms_ ABSL_GUARDED_BY(core_->mutex);
  // All there ever were: their counts and results outlive the VM.
  std::vector<std::shared_ptr<FakeVcpu>> vcpus_ ABSL_GUARDED_BY(core_->mutex);
  std::vector<std::thread> stopped_guests_ ABSL_GUARDED_BY(core_->mutex);
  std::function<bool()> step_hardware_ ABSL_GUARDED_BY(core_->mutex);
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_H_
