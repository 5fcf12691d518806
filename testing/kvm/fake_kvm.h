// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_H_

#include <linux/kvm.h>
#include <sys/types.h>

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

// The fake's /dev/kvm, and the state of its VMs for tests. It answers errno by
// errno as virt/kvm and arch/x86/kvm do in the KernelVersion of the core. A
// call that it does not implement fails as one that this kernel does not know.
//
// Thread-safe. The methods of Subsystem run under the fake kernel's mutex.
class FakeKvm final : public Subsystem {
 public:
  struct Options {
    // How long a guest waits before WaitForInterrupt() returns without an
    // interrupt. In most tests, reaching the limit is a failure.
    absl::Duration guest_wait_limit = absl::Seconds(60);
    // The host CPU's MAXPHYADDR, which KVM_GET_SUPPORTED_CPUID passes on, and
    // beyond which no memory slot may be.
    unsigned physical_address_bits = 46;
  };
  FakeKvm(KernelCore* core, Options options);
  // Stops all guests and waits for their programs to return.
  ~FakeKvm() override;

  // Adds /dev/kvm to the fake's paths.
  void Register() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  // Sets the program of the vCPUs with this id, in every VM. Call it before the
  // vCPU's first KVM_RUN.
  void SetGuestProgram(unsigned vcpu, guest::GuestProgram program)
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Returns the result of the program of the newest vCPU with this id, even
  // after its VM was destroyed, or nullopt until the program returns.
  std::optional<absl::Status> GuestStatus(unsigned vcpu) const
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Sets the limit of the waits that begin from now on. Tests in which an
  // interrupt may be lost use a short one.
  void SetGuestWaitLimit(absl::Duration limit)
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Tells all guests that their VM stops, and waits for their programs to
  // return. KVM_RUN answers KVM_EXIT_SHUTDOWN from then on.
  void StopGuests() ABSL_LOCKS_EXCLUDED(core_->mutex);

  // Returns the sum over all VMs so far, including destroyed ones.
  FakeExitCounts ExitCounts() const ABSL_LOCKS_EXCLUDED(core_->mutex);

  // Return the tables of the newest VM alive, or nothing if there is none. The
  // same VM answers all methods down to Acknowledge().
  std::vector<FakeKvmSlot> Slots() const ABSL_LOCKS_EXCLUDED(core_->mutex);
  std::vector<kvm_irq_routing_entry> Routes() const
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  std::vector<FakeKvmIrqfds::Assigned> Irqfds() const
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Returns the MSIs that were sent to the VM's local APICs, in order and
  // without the first `skip`, whether or not a vCPU took them.
  std::vector<guest::GuestInterrupt> Messages(size_t skip = 0) const
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Returns how many irqfd interrupts arrived for a GSI without a route.
  size_t LostInterrupts() const ABSL_LOCKS_EXCLUDED(core_->mutex);
  // Return the level of an IOAPIC pin, and acknowledge (EOI) as the guest.
  bool LineLevel(uint32_t pin) const ABSL_LOCKS_EXCLUDED(core_->mutex);
  void Acknowledge(uint32_t gsi) ABSL_LOCKS_EXCLUDED(core_->mutex);

  // Waits for the programs of released vCPUs. Call it without the mutex.
  void JoinStoppedGuests() ABSL_LOCKS_EXCLUDED(core_->mutex);

  // Sets the step of device work that a guest's loads and waits cause. Call it
  // once, before any guest runs.
  void set_step_hardware(std::function<bool()> step)
      ABSL_LOCKS_EXCLUDED(core_->mutex);

  // Visits the tables of every VM alive. Called with the mutex held.
  struct VmTables {
    std::string name;   // Such as "vm 1".
    pid_t process = 0;  // Whose memory is in the slots, or 0 for this one's.
    const FakeKvmSlots& slots;
    const FakeKvmRouting& routing;
    const FakeKvmIrqfds& irqfds;
  };
  void ForEachVm(absl::FunctionRef<void(const VmTables&)> visit) const;

  // Subsystem.
  void AppendResources(std::vector<std::string>& resources) const override;

 private:
  friend class FakeKvmSystemFile;

  // Carries out KVM_CREATE_VM and returns the new descriptor.
  kernel::SyscallResult<int> CreateVm()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  std::shared_ptr<FakeKvmVm> NewestVm() const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  KernelCore* const core_;
  const unsigned physical_address_bits_;
  absl::Duration guest_wait_limit_ ABSL_GUARDED_BY(core_->mutex);
  std::map<unsigned, guest::GuestProgram> programs_
      ABSL_GUARDED_BY(core_->mutex);
  std::vector<std::weak_ptr<FakeKvmVm>> vms_ ABSL_GUARDED_BY(core_->mutex);
  // All vCPUs so far. Their counts and results outlive the VM.
  std::vector<std::shared_ptr<FakeVcpu>> vcpus_ ABSL_GUARDED_BY(core_->mutex);
  std::vector<std::thread> stopped_guests_ ABSL_GUARDED_BY(core_->mutex);
  std::function<bool()> step_hardware_ ABSL_GUARDED_BY(core_->mutex);
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_H_
